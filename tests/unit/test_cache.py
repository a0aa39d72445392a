"""The objects of a reflector, read by several threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kanary.kube.cache import Cache, Packed, Unpacked
from kanary.kube.resources import Json, Key

MANY = 200
"""More objects than a cache keeps unpacked."""


def _object(data: object) -> Json:
    return {"metadata": {}, "data": data}


def test_no_read_waits_while_another_one_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, may_go_on, unpacked = Cache(), threading.Event(), Packed.unpacked
    for number in range(MANY):
        cache.put(Key("shop", f"web-{number}"), _object(number), str(number + 1))

    def slow(packed: Packed) -> Unpacked:
        may_go_on.wait(10)
        return unpacked(packed)

    monkeypatch.setattr(Packed, "unpacked", slow)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cache.get, Key("shop", "web-0"))
        last = pool.submit(cache.get, Key("shop", f"web-{MANY - 1}"))
        try:
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
