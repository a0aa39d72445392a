"""The objects of a reflector, read by several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from kanary.kube.cache import Cache, Packed, Unpacked
from kanary.kube.resources import Json, Key

MANY = 200
"""More objects than a cache keeps unpacked."""


def _object(data: object) -> Json:
    return {"metadata": {}, "data": data}


def test_no_read_waits_while_another_one_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, unpacked = Cache(), Packed.unpacked
    has_begun, may_go_on = threading.Event(), threading.Event()
    for number in range(MANY):
        cache.put(Key("shop", f"web-{number}"), _object(number), str(number + 1))

    def slow(packed: Packed) -> Unpacked:
        has_begun.set()
        may_go_on.wait(10)
        return unpacked(packed)

    monkeypatch.setattr(Packed, "unpacked", slow)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cache.get, Key("shop", "web-0"))
        try:
            assert has_begun.wait(5)
            last = pool.submit(cache.get, Key("shop", f"web-{MANY - 1}"))
            assert last.result(5) == _object(MANY - 1)
            assert not first.done()
        finally:
            may_go_on.set()
        assert first.result(5) == _object(0)


def test_an_object_that_is_changed_while_it_is_unpacked_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, key, unpacked = Cache(), Key("shop", "web-0"), Packed.unpacked
    for number in range(MANY):
        cache.put(Key("shop", f"web-{number}"), _object(number), str(number + 1))

    def changed_meanwhile(packed: Packed) -> Unpacked:
        monkeypatch.setattr(Packed, "unpacked", unpacked)
        cache.put(key, _object("new"), str(MANY + 1))
        return unpacked(packed)

    monkeypatch.setattr(Packed, "unpacked", changed_meanwhile)
    assert cache.get(key) == _object(0)
    assert cache.get(key) == _object("new")


class _Interrupted:
    """A lock after whose first release something happens before its holder goes on."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._then = then
        self.is_armed = False

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()
        if self.is_armed:
            self.is_armed = False
            self._then()


def test_a_lookup_is_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {Key("shop", "web-new"): Packed.of(_object("new"), "2")}
    lock = _Interrupted(lambda: cache.replace(listed, "2"))
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Lock", lambda: lock)
        cache = Cache({"of": lambda _obj: ["web"]})
    cache.put(Key("shop", "web-old"), _object("old"), "1")
    lock.is_armed = True
    assert cache.lookup("of", "web") == [_object("old")]
    assert cache.lookup("of", "web") == [_object("new")]
