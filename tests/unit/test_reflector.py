"""The reflector and its cache, against a cluster that the test plays event by event."""

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kanary.kube.backoff import Backoff
from kanary.kube.cache import Cache, Delta, Packed, Unpacked
from kanary.kube.errors import ApiError, Forbidden, Gone, InvalidResponse, Throttled, Unreachable
from kanary.kube.reflector import Reflector
from kanary.kube.resources import SERVICES, Json, Key
from tests.unit.kanaries import json_values

QUICK = Backoff(base=0.001, cap=0.01)
WAIT = 60  # seconds that no condition takes when the test passes, however busy the machine is


def service(name: str, version: int | str, namespace: str = "shop", **spec: Any) -> Json:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version)}, "spec": spec}


def bookmark(version: int) -> tuple[str, Json]:
    return "BOOKMARK", {"metadata": {"resourceVersion": str(version)}}


class End:
    """The server ends the watch."""


class FakeWatch:
    """A watch whose events, faults and end the test puts in."""

    def __init__(self, resource_version: str) -> None:
        self.resource_version = resource_version
        self.events: queue.SimpleQueue[tuple[str, Json] | Exception | End] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[tuple[str, Json]]:
        while not isinstance(event := self.events.get(), End):
            if isinstance(event, Exception):
                raise event
            yield event

    def close(self) -> None:
        self.events.put(End())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class FakeCluster:
    """Returns the lists of the test, and passes each open watch to the test."""

    def __init__(self) -> None:
        self.lists: queue.SimpleQueue[tuple[list[Json], str] | Exception] = queue.SimpleQueue()
        self.refusals: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self.opened: queue.SimpleQueue[FakeWatch] = queue.SimpleQueue()
        self.asked: list[str] = []

    def list_as(self, resource: Any, read: Callable[[Json], Any], *_: Any) -> tuple[list[Any], str]:
        self.asked.append("list")
        answer = self.lists.get(timeout=WAIT)
        if isinstance(answer, Exception):
            raise answer
        objects, version = answer
        return [read(obj) for obj in objects], version

    def watch(self, resource: Any, resource_version: str, **options: Any) -> FakeWatch:
        self.asked.append(f"watch {resource_version}")
        if not self.refusals.empty():
            raise self.refusals.get()
        watch = FakeWatch(resource_version)
        self.opened.put(watch)
        return watch

    def next_watch(self) -> FakeWatch:
        return self.opened.get(timeout=WAIT)


class Changes:
    """What the reflector reported, to be taken one after the other."""

    def __init__(self) -> None:
        self._reported: queue.SimpleQueue[tuple[Key, Json | None, Json | None]] = queue.SimpleQueue()

    def __call__(self, key: Key, old: Json | None, new: Json | None) -> None:
        self._reported.put((key, old, new))

    def next(self) -> str:
        """Wait for the next change and return it as text: "+a@1", "a@1->2", "-a@2"."""
        key, old, new = self._reported.get(timeout=WAIT)
        versions = [obj["metadata"]["resourceVersion"] if obj else "" for obj in (old, new)]
        if not old:
            return f"+{key.name}@{versions[1]}"
        return f"{key.name}@{versions[0]}->{versions[1]}" if new else f"-{key.name}@{versions[0]}"

    def none_left(self) -> bool:
        return self._reported.empty()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def make(cluster: FakeCluster, changes: Changes) -> Iterator[Callable[..., Reflector]]:
    made: list[Reflector] = []

    def make(**options: Any) -> Reflector:
        reflector = Reflector(cluster, SERVICES, **{"on_change": changes, "backoff": QUICK, **options})
        made.append(reflector)
        reflector.start()
        return reflector

    yield make
    for reflector in made:
        reflector.stop()


@pytest.fixture
def followed(cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]) -> tuple[Reflector, FakeWatch]:
    """A reflector that has listed the service a at version 1, as of version 10, and its watch."""
    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make()
    assert changes.next() == "+a@1"
    return reflector, cluster.next_watch()


# Follow


def test_it_lists_then_watches_from_the_list_on(followed: tuple[Reflector, FakeWatch], changes: Changes) -> None:
    reflector, watch = followed
    assert reflector.synced.is_set()
    assert watch.resource_version == "10"
    watch.events.put(("ADDED", service("b", 11)))
    watch.events.put(("MODIFIED", service("a", 12, port=80)))
    watch.events.put(("DELETED", service("b", 13)))
    assert [changes.next() for _ in range(3)] == ["+b@11", "a@1->12", "-b@11"]
    assert [*reflector.values()] == [service("a", 12, port=80)]
    assert reflector.get("shop", "a") == service("a", 12, port=80)
    assert reflector.get("shop", "b") is None


def test_after_a_clean_end_the_watch_continues_from_the_last_version_without_a_new_list(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes
) -> None:
    _, watch = followed
    watch.events.put(("ADDED", service("b", 11)))
    watch.events.put(bookmark(50))
    watch.events.put(End())
    again = cluster.next_watch()
    assert again.resource_version == "50"
    again.events.put(("ADDED", service("c", 51)))
    assert [changes.next(), changes.next()] == ["+b@11", "+c@51"]
    assert cluster.asked == ["list", "watch 10", "watch 50"]


def test_after_a_broken_connection_the_watch_continues_from_the_last_version(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster
) -> None:
    _, watch = followed
    watch.events.put(("ADDED", service("b", 11)))
    watch.events.put(Unreachable("reset"))
    assert cluster.next_watch().resource_version == "11"


@pytest.mark.parametrize("fault", [Gone(410, "Expired"), InvalidResponse("<html>"), KeyError("a defect")])
def test_it_lists_again_and_reports_the_difference(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes, fault: Exception
) -> None:
    reflector, watch = followed
    watch.events.put(("ADDED", service("b", 11)))
    watch.events.put(("ADDED", service("same", 12)))
    assert [changes.next(), changes.next()] == ["+b@11", "+same@12"]
    cluster.lists.put(([service("b", 21, port=81), service("same", 12), service("c", 22)], "30"))
    watch.events.put(fault)
    again = cluster.next_watch()
    assert again.resource_version == "30"
    assert [changes.next() for _ in range(3)] == ["-a@1", "b@11->21", "+c@22"]
    assert changes.none_left()
    assert {obj["metadata"]["name"] for obj in reflector.values()} == {"b", "same", "c"}


def test_a_watch_that_is_refused_as_too_old_leads_to_a_new_list(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster
) -> None:
    _, watch = followed
    cluster.refusals.put(Gone(410, "Expired"))
    cluster.lists.put(([], "30"))
    watch.events.put(End())
    assert cluster.next_watch().resource_version == "30"
    assert cluster.asked == ["list", "watch 10", "watch 10", "list", "watch 30"]


def test_it_keeps_trying_until_the_first_list_succeeds(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    cluster.lists.put(Unreachable("refused"))
    cluster.lists.put(Forbidden(403, "Forbidden", "services is forbidden"))
    cluster.lists.put(ApiError(500, "InternalError"))
    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make()
    assert changes.next() == "+a@1"
    assert reflector.synced.wait(WAIT)
    assert cluster.asked[:4] == ["list"] * 4


def test_a_fault_is_reported_until_the_server_responds_again(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes
) -> None:
    reflector, watch = followed
    assert reflector.problem() == ""
    release = threading.Event()
    real_watch = cluster.watch
    told: list[str] = []

    def watch_late(resource: Any, resource_version: str, **options: Any) -> FakeWatch:
        told.append(reflector.problem())
        release.wait(WAIT)
        return real_watch(resource, resource_version, **options)

    cluster.watch = watch_late  # type: ignore[method-assign]
    watch.events.put(Forbidden(403, "Forbidden", "no more"))
    release.set()
    cluster.next_watch().events.put(("ADDED", service("b", 11)))
    assert changes.next() == "+b@11"
    assert told == ["services: no more (403 Forbidden)"]
    assert reflector.problem() == ""


def test_every_restart_of_a_watch_is_counted(cluster: FakeCluster, make: Callable[..., Reflector]) -> None:
    restarts: list[int] = []
    cluster.lists.put(([], "10"))
    make(on_restart=lambda: restarts.append(1))
    cluster.next_watch().events.put(End())
    cluster.next_watch().events.put(Unreachable("reset"))
    cluster.next_watch()
    assert len(restarts) == 2


# Restraint


class PausesOnly(threading.Event):
    """A flag whose `wait` returns at once: it records the requested pauses, and calls `end` after some."""

    def __init__(self, pauses: int, end: Callable[[], None]) -> None:
        super().__init__()
        self.asked: list[float] = []
        self._pauses = pauses
        self._end = end

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout or 0.0)
        if len(self.asked) >= self._pauses:
            self._end()
        return False


def pauses(cluster: FakeCluster, count: int, clock: Callable[[], float] = lambda: 0.0) -> list[float]:
    """Let a reflector run through so many attempts and return the seconds that it wanted to wait after each."""
    reflector = Reflector(
        cluster, SERVICES, on_change=lambda *_: None, backoff=Backoff(base=1.0, cap=30.0), clock=clock
    )
    flag = PausesOnly(count, reflector._stopped.set)
    reflector._wake = flag
    reflector.start()
    reflector._thread.join(WAIT)
    return flag.asked


def test_faults_in_a_row_are_met_with_longer_and_longer_pauses(cluster: FakeCluster) -> None:
    for _ in range(8):
        cluster.lists.put(Unreachable("refused"))
    asked = pauses(cluster, 8)
    assert asked[0] == 1.0
    assert [1.5 <= asked[1] <= 2, 3 <= asked[2] <= 4, 22.5 <= asked[7] <= 30] == [True] * 3


def test_retry_skips_the_backoff(cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]) -> None:
    cluster.lists.put(Unreachable("refused"))
    reflector = make(backoff=Backoff(base=3600, cap=3600))
    assert_eventually(lambda: reflector.problem() != "")
    cluster.lists.put(([service("a", 1)], "10"))
    reflector.retry()
    assert changes.next() == "+a@1"


def test_a_server_that_ends_every_watch_at_once_causes_no_hot_loop(cluster: FakeCluster) -> None:
    cluster.lists.put(([], "10"))

    def watch(*_: Any, **__: Any) -> FakeWatch:
        ended = FakeWatch("10")
        ended.close()
        return ended

    cluster.watch = watch  # type: ignore[method-assign]
    asked = pauses(cluster, 6)
    assert asked[0] == 1.0
    assert asked[5] >= 22.5


def test_a_server_that_calls_every_version_too_old_is_not_listed_in_a_hot_loop(cluster: FakeCluster) -> None:
    for _ in range(6):
        cluster.lists.put(([], "10"))
        cluster.refusals.put(Gone(410, "Expired"))
    assert pauses(cluster, 6)[5] >= 22.5


def test_after_a_watch_that_lived_long_the_next_is_opened_at_once(cluster: FakeCluster) -> None:
    now = 0.0

    def watch(*_: Any, **__: Any) -> FakeWatch:
        class Long(FakeWatch):
            def __iter__(self) -> Iterator[tuple[str, Json]]:
                nonlocal now
                now += 300.0
                return iter(())

        return Long("10")

    cluster.lists.put(([], "10"))
    cluster.watch = watch  # type: ignore[method-assign]
    assert pauses(cluster, 3, clock=lambda: now) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("asked_for", "least"), [(7.0, 7.0), (86400.0, 60.0)])
def test_retry_after_is_obeyed_up_to_a_limit(cluster: FakeCluster, asked_for: float, least: float) -> None:
    cluster.lists.put(Throttled(429, "TooManyRequests", "slow down", asked_for))
    assert pauses(cluster, 1) == [least]


# Health


def test_health_is_a_list_and_recent_word_from_the_server(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    now = 100.0
    listed = threading.Event()
    real_list = cluster.list_as

    def list_late(*arguments: Any) -> tuple[list[Any], str]:
        listed.wait(WAIT)
        return real_list(*arguments)

    cluster.list_as = list_late  # type: ignore[method-assign]
    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make(clock=lambda: now, stale_seconds=60)
    assert not reflector.healthy()
    listed.set()
    watch = cluster.next_watch()
    assert reflector.synced.wait(WAIT)
    assert reflector.healthy()
    now += 61
    assert reflector.age() == 61
    assert not reflector.healthy()
    watch.events.put(bookmark(20))
    watch.events.put(("ADDED", service("b", 21)))
    assert [changes.next(), changes.next()] == ["+a@1", "+b@21"]
    assert (reflector.age(), reflector.healthy()) == (0, True)


# Versions


def test_an_event_older_than_the_copy_is_ignored(followed: tuple[Reflector, FakeWatch], changes: Changes) -> None:
    reflector, watch = followed
    watch.events.put(("MODIFIED", service("a", 20, port=20)))
    watch.events.put(("MODIFIED", service("a", 15, port=15)))
    watch.events.put(("DELETED", service("a", 16)))
    watch.events.put(("ADDED", service("b", 17)))
    watch.events.put(("ADDED", service("c", 21)))
    assert [changes.next(), changes.next()] == ["a@1->20", "+c@21"]
    assert reflector.get("shop", "a") == service("a", 20, port=20)
    assert reflector.get("shop", "b") is None


def test_the_answer_to_a_write_is_known_at_once_and_reported_once(
    followed: tuple[Reflector, FakeWatch], changes: Changes
) -> None:
    reflector, watch = followed
    reflector.remember(service("a", 12, port=12))
    assert changes.next() == "a@1->12"
    assert reflector.get("shop", "a") == service("a", 12, port=12)
    watch.events.put(("MODIFIED", service("a", 11, port=11)))
    watch.events.put(("MODIFIED", service("a", 12, port=12)))
    watch.events.put(("MODIFIED", service("a", 13, port=13)))
    assert changes.next() == "a@12->13"


def test_the_response_to_a_write_does_not_restore_an_object_deleted_since(
    followed: tuple[Reflector, FakeWatch], changes: Changes
) -> None:
    reflector, watch = followed
    watch.events.put(("DELETED", service("a", 13)))
    assert changes.next() == "-a@1"
    reflector.remember(service("a", 12))
    assert reflector.get("shop", "a") is None
    assert changes.none_left()


def test_the_answer_to_a_write_never_replaces_something_newer(
    followed: tuple[Reflector, FakeWatch], changes: Changes
) -> None:
    reflector, _ = followed
    reflector.remember(service("a", 30, port=30))
    reflector.remember(service("a", 20, port=20))
    reflector.remember(service("a", 30, port=31))
    assert reflector.get("shop", "a") == service("a", 30, port=30)
    assert [changes.next(), changes.none_left()] == ["a@1->30", True]


@pytest.mark.parametrize("version", ["", "abc", "-5", "²"])
def test_the_response_to_a_write_is_ignored_if_its_version_is_not_a_number(
    followed: tuple[Reflector, FakeWatch], changes: Changes, version: str
) -> None:
    reflector, _ = followed
    reflector.remember(service("a", version, port=1))
    assert reflector.get("shop", "a") == service("a", 1)
    assert changes.none_left()


def test_before_the_first_list_no_answer_to_a_write_is_taken(cluster: FakeCluster) -> None:
    reflector = Reflector(cluster, SERVICES, on_change=lambda *_: None)
    reflector.remember(service("a", 5))
    assert [*reflector.values()] == []


def test_a_list_made_before_our_write_does_not_undo_it(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes
) -> None:
    reflector, watch = followed
    reflector.remember(service("a", 25, port=25))
    reflector.remember(service("new", 26))
    assert [changes.next(), changes.next()] == ["a@1->25", "+new@26"]
    cluster.lists.put(([service("a", 1)], "20"))
    watch.events.put(Gone(410, "Expired"))
    again = cluster.next_watch()
    assert again.resource_version == "20"
    assert reflector.get("shop", "a") == service("a", 25, port=25)
    assert reflector.get("shop", "new") == service("new", 26)
    again.events.put(("DELETED", service("new", 27)))
    assert changes.next() == "-new@26"


def test_a_cluster_restored_from_a_backup_is_followed_in_its_new_history(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes
) -> None:
    reflector, watch = followed
    watch.events.put(("MODIFIED", service("a", 500, port=500)))
    watch.events.put(("ADDED", service("b", 501)))
    assert [changes.next(), changes.next()] == ["a@1->500", "+b@501"]
    cluster.lists.put(([service("a", 3, port=3)], "4"))
    watch.events.put(bookmark(4))
    again = cluster.next_watch()
    assert again.resource_version == "4"
    assert [changes.next(), changes.next()] == ["-b@501", "a@500->3"]
    assert [*reflector.values()] == [service("a", 3, port=3)]


def test_versions_that_are_not_numbers_count_in_the_order_of_arrival() -> None:
    cache = Cache()
    key = Key("shop", "a")
    cache.replace({key: Packed.of({"metadata": {}, "n": 1}, "v1")}, "list-1")
    assert cache.put(key, {"metadata": {}, "n": 2}, "v0") == Delta(
        key, {"metadata": {}, "n": 1}, {"metadata": {}, "n": 2}
    )
    assert cache.put(key, {"metadata": {}, "n": 2}, "v0") is None
    assert cache.drop(key, "v3") == Delta(key, {"metadata": {}, "n": 2}, None)
    assert cache.advance("list-0")


# Contents


def test_only_kept_fields_are_stored_and_a_change_elsewhere_is_not_reported(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    def keep(obj: Json) -> Json:
        return {"metadata": {"name": obj["metadata"]["name"], "resourceVersion": "kept"}, "port": obj["spec"]["port"]}

    cluster.lists.put(([service("a", 1, port=80, other=1)], "10"))
    reflector = make(transform=keep)
    watch = cluster.next_watch()
    watch.events.put(("MODIFIED", service("a", 11, port=80, other=2)))
    watch.events.put(("MODIFIED", service("a", 12, port=81, other=2)))
    assert [changes.next(), changes.next()] == ["+a@kept", "a@kept->kept"]
    assert [*reflector.values()] == [{"metadata": {"name": "a", "resourceVersion": "kept"}, "port": 81}]


def test_an_object_that_cannot_be_transformed_is_stored_whole_and_the_others_are_followed(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector], caplog: pytest.LogCaptureFixture
) -> None:
    cluster.lists.put(([service("odd", 1), service("a", 2, port=80)], "10"))
    make(transform=lambda obj: {"metadata": obj["metadata"], "port": obj["spec"]["port"]})
    assert [changes.next(), changes.next()] == ["+odd@1", "+a@2"]
    assert "Service shop/odd" in caplog.text


def test_a_failing_handler_is_logged_and_receives_the_next_changes(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector], caplog: pytest.LogCaptureFixture
) -> None:
    def on_change(key: Key, old: Json | None, new: Json | None) -> None:
        if key.name == "a":
            raise RuntimeError("a defect")
        changes(key, old, new)

    cluster.lists.put(([service("a", 1), service("b", 2)], "10"))
    reflector = make(on_change=on_change)
    assert changes.next() == "+b@2"
    cluster.next_watch().events.put(("ADDED", service("c", 11)))
    assert changes.next() == "+c@11"
    assert len(reflector.all_keys()) == 3
    assert "Service shop/a" in caplog.text


def test_an_event_of_unknown_type_is_ignored(
    followed: tuple[Reflector, FakeWatch], changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    _, watch = followed
    watch.events.put(("RENAMED", service("a", 11)))
    watch.events.put(("ADDED", service("b", 12)))
    assert changes.next() == "+b@12"
    assert "unknown type 'RENAMED'" in caplog.text


def test_objects_are_found_by_index(cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]) -> None:
    def owners(obj: Json) -> list[str]:
        return obj["spec"].get("owners", [])

    listed = [service("a", 1, owners=["x", "y"]), service("b", 2, owners=["x"]), service("a", 3, namespace="other")]
    cluster.lists.put((listed, "10"))
    reflector = make(indexers={"owner": owners})
    watch = cluster.next_watch()

    def found(owner: str) -> list[str]:
        return sorted(obj["metadata"]["name"] for obj in reflector.lookup("owner", owner))

    assert (found("x"), found("y"), found("z")) == (["a", "b"], ["a"], [])
    watch.events.put(("MODIFIED", service("a", 11, owners=["z"])))
    watch.events.put(("DELETED", service("b", 12, owners=["x"])))
    for _ in range(5):
        changes.next()
    assert (found("x"), found("y"), found("z")) == ([], [], ["a"])
    with pytest.raises(KeyError):
        reflector.lookup("absent", "x")


def test_an_object_that_cannot_be_indexed_is_stored(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector], caplog: pytest.LogCaptureFixture
) -> None:
    cluster.lists.put(([service("odd", 1), service("a", 2, owner="x")], "10"))
    reflector = make(indexers={"owner": lambda obj: [obj["spec"]["owner"]]})
    assert [changes.next(), changes.next()] == ["+odd@1", "+a@2"]
    assert reflector.lookup("owner", "x") == [service("a", 2, owner="x")]
    assert "shop/odd by owner" in caplog.text


# Stop


def test_stop_ends_the_thread_while_a_watch_waits(followed: tuple[Reflector, FakeWatch]) -> None:
    reflector, _ = followed
    reflector.stop()
    assert not reflector._thread.is_alive()


def test_stop_ends_the_thread_in_a_long_pause(cluster: FakeCluster, make: Callable[..., Reflector]) -> None:
    cluster.lists.put(Unreachable("refused"))
    reflector = make(backoff=Backoff(base=3600, cap=3600))
    assert_eventually(lambda: reflector.problem() != "")
    reflector.stop()
    assert not reflector._thread.is_alive()


def test_stop_without_start_is_no_error(cluster: FakeCluster) -> None:
    Reflector(cluster, SERVICES, on_change=lambda *_: None).stop()


def test_a_fault_is_logged_with_its_backoff(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cluster.lists.put(Unreachable("refused"))
    cluster.lists.put(([service("a", 1)], "10"))
    make()
    assert changes.next() == "+a@1"
    assert "services: refused; retrying in 0.0 s" in caplog.text


def assert_eventually(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(WAIT * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("the condition did not come true")


def test_an_object_that_comes_again_without_a_change_stays_the_same_object() -> None:
    """What was derived from it stays valid, and takes no more memory."""
    cache, key = Cache(), Key("shop", "a")
    cache.replace({key: Packed.of({"metadata": {}, "n": 1}, "1")}, "1")
    first = cache.get(key)
    assert cache.put(key, {"metadata": {}, "n": 1}, "2") is None
    assert cache.get(key) is first


def test_all_copies_of_one_content_have_the_same_id_and_no_others_have_it() -> None:
    cache, key = Cache({"name": lambda obj: [obj["metadata"]["name"]]}), Key("shop", "a")
    keys = [Key("shop", str(number)) for number in range(200)]
    cache.replace({each: Packed.of(service(each.name, 1), "1") for each in (key, *keys)}, "1")
    first = cache.get(key)
    assert isinstance(first, Unpacked)
    ids = {found.content_id for each in keys if isinstance(found := cache.get(each), Unpacked)}
    assert len(ids) == len(keys)
    assert first.content_id not in ids
    (again,) = cache.lookup("name", "a")
    assert isinstance(again, Unpacked)
    assert again is not first
    assert (again.content_id, again) == (first.content_id, first)
    cache.put(key, service("a", 2, ports=[1]), "2")
    changed = cache.get(key)
    assert isinstance(changed, Unpacked)
    assert changed.content_id not in {first.content_id, *ids}


def test_an_object_is_found_by_the_values_that_its_latest_version_has() -> None:
    cache = Cache({"ports": lambda obj: obj["spec"]["ports"]})
    a, b = Key("shop", "a"), Key("shop", "b")
    listed = {a: service("a", 1, ports=[1, 2, 2]), b: service("b", 1, ports=[2])}
    cache.replace({key: Packed.of(obj, "1") for key, obj in listed.items()}, "1")
    assert [cache.lookup_keys("ports", port) for port in (1, 2, 3)] == [(a,), (a, b), ()]
    cache.put(a, service("a", 2, ports=[3]), "2")
    assert [cache.lookup_keys("ports", port) for port in (1, 2, 3)] == [(), (b,), (a,)]
    cache.drop(b, "3")
    assert (cache.has_any("ports", [1, 2]), cache.has_any("ports", [1, 3])) == (False, True)
    assert cache.lookup("ports", 2) == []
    assert cache.lookup("ports", 3) == [service("a", 2, ports=[3])]


@given(st.dictionaries(st.text(), json_values))
@example({"large": "text" * 2000})
def test_an_object_is_read_as_it_was_stored(obj: Json) -> None:
    cache, key = Cache(), Key("shop", "a")
    cache.replace({key: Packed.of(obj, "1")}, "1")
    assert json.dumps(cache.get(key)) == json.dumps(obj)


def test_the_event_of_our_own_write_is_not_read_again(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    read = []

    def transform(obj: Json) -> Json:
        read.append(obj["metadata"]["resourceVersion"])
        return obj

    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make(transform=transform)
    watch = cluster.next_watch()
    reflector.remember(service("a", 12, port=12))
    watch.events.put(("MODIFIED", service("a", 12, port=12)))
    watch.events.put(End())
    assert cluster.next_watch().resource_version == "12"
    assert [changes.next(), changes.next()] == ["+a@1", "a@1->12"]
    assert read == ["1", "12"]
