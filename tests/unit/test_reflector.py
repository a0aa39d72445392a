"""The reflector and its cache, against a cluster that the test plays event by event."""

import itertools
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
from kanary.kube.errors import (
    ApiError,
    ClusterError,
    Forbidden,
    Gone,
    InvalidResponse,
    NotFound,
    Throttled,
    Unreachable,
)
from kanary.kube.reflector import Reflector
from kanary.kube.resources import SERVICES, Json, Key
from tests.unit.kanaries import json_values
from tests.waiting import PATIENCE, await_that


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


QUICK = Backoff(base=0.001, cap=0.01)


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
    """Returns the lists of the test, and passes each open watch to the test. `living` are the objects to get."""

    def __init__(self) -> None:
        self.living: dict[str, Json | Exception] = {}
        self.lists: queue.SimpleQueue[tuple[list[Json], str] | Exception] = queue.SimpleQueue()
        self.refusals: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self.opened: queue.SimpleQueue[FakeWatch] = queue.SimpleQueue()
        self.asked: list[str] = []

    def list_as(self, resource: Any, read: Callable[[Json], Any], *_: Any, **_options: Any) -> tuple[list[Any], str]:
        self.asked.append("list")
        answer = self.lists.get(timeout=PATIENCE)
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

    def get(self, resource: Any, namespace: str | None, name: str) -> Json:
        self.asked.append(f"get {namespace}/{name}")
        found = self.living.get(name, NotFound(404, "NotFound"))
        if isinstance(found, Exception):
            raise found
        return found

    def next_watch(self) -> FakeWatch:
        return self.opened.get(timeout=PATIENCE)


class Changes:
    """What the reflector reported, to be taken one after the other."""

    def __init__(self) -> None:
        self._reported: queue.SimpleQueue[tuple[Key, Json | None, Json | None]] = queue.SimpleQueue()

    def __call__(self, key: Key, old: Json | None, new: Json | None) -> None:
        self._reported.put((key, old, new))

    def next(self) -> str:
        """Wait for the next change and return it as text: "+a@1", "a@1->2", "-a@2"."""
        key, old, new = self._reported.get(timeout=PATIENCE)
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
    assert cluster.asked == ["list", "watch 10", "watch 10", "list", "get shop/a", "watch 30"]


def test_it_keeps_trying_until_the_first_list_succeeds(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    cluster.lists.put(Unreachable("refused"))
    cluster.lists.put(Forbidden(403, "Forbidden", "services is forbidden"))
    cluster.lists.put(ApiError(500, "InternalError"))
    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make()
    assert changes.next() == "+a@1"
    assert reflector.synced.wait(PATIENCE)
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
        release.wait(PATIENCE)
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
    reflector._thread.join(PATIENCE)
    return flag.asked


@pytest.mark.parametrize(
    ("fault", "longest"),
    [(Forbidden(403, "Forbidden"), 30), (Unreachable("refused"), 5), (ApiError(503, "ServiceUnavailable"), 5)],
)
def test_faults_in_a_row_are_met_with_longer_and_longer_pauses(
    cluster: FakeCluster, fault: ClusterError, longest: int
) -> None:
    """Up to 30 s, but in an outage 5 s: it ends for all at once."""
    for _ in range(8):
        cluster.lists.put(fault)
    asked = pauses(cluster, 8)
    assert asked[0] == 1.0
    assert [1.5 <= asked[1] <= 2, 3 <= asked[2] <= 4, 0.75 * longest <= asked[7] <= longest] == [True] * 3


def test_reconnecting_skips_the_backoff(cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]) -> None:
    cluster.lists.put(Unreachable("refused"))
    reflector = make(backoff=Backoff(base=3600, cap=3600))
    await_that(lambda: reflector.problem() != "")
    cluster.lists.put(([service("a", 1)], "10"))
    reflector.reconnect()
    assert changes.next() == "+a@1"


def test_reconnecting_opens_an_open_watch_again_where_it_was(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    """Its connection may be dead."""
    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make()
    assert changes.next() == "+a@1"
    cluster.opened.get(timeout=PATIENCE)
    reflector.reconnect()
    assert cluster.opened.get(timeout=PATIENCE).resource_version == "10"


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


def watches_that_end(now: Clock, *, after: float, events: Callable[[], Iterator[Any]] = lambda: iter(())) -> Any:
    """The method of a cluster whose watches end after this time and these events."""

    class Ending(FakeWatch):
        def __iter__(self) -> Iterator[tuple[str, Json]]:
            now.seconds += after
            yield from events()

    return lambda *_, **__: Ending("10")


def test_after_a_watch_that_lived_long_the_next_is_opened_at_once(cluster: FakeCluster) -> None:
    now = Clock()
    versions = itertools.count(11)
    cluster.lists.put(([], "10"))
    cluster.watch = watches_that_end(now, after=15.0, events=lambda: iter([bookmark(next(versions))]))  # type: ignore[method-assign]
    assert pauses(cluster, 3, clock=now) == [0.0, 0.0, 0.0]


def test_retry_after_is_obeyed(cluster: FakeCluster) -> None:
    cluster.lists.put(Throttled(429, "TooManyRequests", "slow down", 7.0))
    assert pauses(cluster, 1) == [7.0]


# Health


def test_a_copy_is_healthy_once_it_is_listed_and_while_the_server_sends_anything(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    now = Clock()
    listed = threading.Event()
    real_list = cluster.list_as

    def list_late(*arguments: Any, **options: Any) -> tuple[list[Any], str]:
        listed.wait(PATIENCE)
        return real_list(*arguments, **options)

    cluster.list_as = list_late  # type: ignore[method-assign]
    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make(clock=now, stale_seconds=60)
    assert not reflector.healthy()
    listed.set()
    watch = cluster.next_watch()
    assert reflector.synced.wait(PATIENCE)
    now.seconds += 149
    assert (reflector.age(), reflector.healthy()) == (149, True)
    now.seconds += 2
    assert (reflector.healthy(), reflector.staleness()) == (False, "services: the API server has sent nothing for 90 s")
    watch.events.put(bookmark(20))
    watch.events.put(("ADDED", service("b", 21)))
    assert [changes.next(), changes.next()] == ["+a@1", "+b@21"]
    await_that(lambda: (reflector.age(), reflector.healthy()) == (0, True))


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_requests_that_fail_are_a_trouble_after_some_time_until_a_watch_has_been_open_for_some(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector], verb: str
) -> None:
    """A list that succeeds between watches that are refused ends no trouble, or it would come and go."""
    now = Clock()
    fault = Forbidden(403, "Forbidden", "no more")
    if verb == "list":
        cluster.lists.put(fault)
    else:
        cluster.lists.put(([], "10"))
        cluster.refusals.put(fault)
    reflector = make(clock=now, stale_seconds=30, backoff=Backoff(base=3600, cap=3600))
    await_that(lambda: reflector.problem() != "")
    now.seconds += 29
    assert reflector.staleness() == ""
    now.seconds += 2
    assert reflector.staleness() == "services: no more (403 Forbidden)"
    cluster.lists.put(([], "10"))
    now.seconds += 90
    reflector.reconnect()
    cluster.next_watch()
    await_that(lambda: reflector._opened_at is not None)
    # A first list is all that was missing.
    assert reflector.staleness() == ("services: no more (403 Forbidden)" if verb == "watch" else "")
    now.seconds += 10
    assert (reflector.staleness(), reflector.problem()) == ("", "")


def test_a_fault_before_a_watch_that_was_open_for_some_time_is_no_trouble_when_the_next_one_opens(
    cluster: FakeCluster, make: Callable[..., Reflector]
) -> None:
    """Also if the watch has ended without an event, as those of idle kinds do."""
    now = Clock()
    cluster.lists.put(([], "10"))
    reflector = make(clock=now, stale_seconds=30)
    cluster.next_watch().events.put(Unreachable("reset"))
    second = cluster.next_watch()
    await_that(lambda: reflector._opened_at is not None)
    assert reflector._failing_since == 0
    now.seconds += 60
    second.close()
    cluster.next_watch()
    await_that(lambda: reflector._opened_at == 60)
    assert (reflector.staleness(), reflector.problem()) == ("", "")


# Silence


@pytest.fixture
def unreviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists have no other cause than silence."""
    monkeypatch.setattr("kanary.kube.list_schedule._FIRST_REVIEW", 1e9)


@pytest.mark.usefixtures("unreviewed")
def test_a_watch_that_says_nothing_until_its_time_out_is_not_resumed(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    now = Clock()
    cluster.lists.put(([service("a", 1)], "10"))
    make(clock=now)
    watch = cluster.next_watch()
    now.seconds += 90
    cluster.lists.put(([service("a", 12, port=1)], "15"))
    watch.events.put(Unreachable("timed out"))
    assert cluster.next_watch().resource_version == "15"
    assert [changes.next(), changes.next()] == ["+a@1", "a@1->12"]
    assert cluster.asked == ["list", "watch 10", "list", "watch 15"]


@pytest.mark.usefixtures("unreviewed")
def test_a_watch_whose_connection_never_times_out_is_closed(
    cluster: FakeCluster, make: Callable[..., Reflector]
) -> None:
    """A server may send empty lines, or a line byte by byte."""
    now = Clock()
    cluster.lists.put(([], "10"))
    reflector = make(clock=now)
    cluster.next_watch()
    now.seconds += 89
    reflector.close_if_silent()
    assert cluster.asked == ["list", "watch 10"]
    now.seconds += 1
    cluster.lists.put(([], "15"))
    await_that(lambda: reflector._opened_at is not None)
    reflector.close_if_silent()
    assert cluster.next_watch().resource_version == "15"


@pytest.mark.usefixtures("unreviewed")
@pytest.mark.parametrize(
    "events",
    [
        lambda: iter(()),
        lambda: iter([("MODIFIED", service("a", 9)), ("DELETED", service("a", 10))]),
        lambda: iter([bookmark(10)]),
        lambda: iter([("RENAMED", service("a", 11))]),
    ],
    ids=["nothing", "the past", "the same position again", "nothing known"],
)
def test_watches_without_news_lead_to_a_list_every_90_seconds(
    cluster: FakeCluster, events: Callable[[], Iterator[Any]]
) -> None:
    """Each ends after 31 s, so that a list is due before each third one."""
    for _ in range(3):
        cluster.lists.put(([], "10"))
    now = Clock()
    watch = watches_that_end(now, after=31.0, events=events)

    def asked(*arguments: Any, **options: Any) -> FakeWatch:
        cluster.asked.append("watch")
        ending: FakeWatch = watch(*arguments, **options)
        return ending

    cluster.watch = asked  # type: ignore[method-assign]
    assert pauses(cluster, 7, clock=now) == [0.0] * 7
    assert [each for each in cluster.asked if "get" not in each][:8] == ["list", *["watch"] * 3, "list", *["watch"] * 3]


@pytest.mark.usefixtures("unreviewed")
def test_a_version_that_the_server_refuses_for_90_seconds_is_given_up(cluster: FakeCluster) -> None:
    """As after a restore of etcd: "Too large resource version" has the status 504."""
    now = Clock()
    cluster.lists.put(([], "10"))
    cluster.lists.put(([], "5"))

    def refuse(*_: Any, **__: Any) -> FakeWatch:
        cluster.asked.append("watch")
        now.seconds += 30
        raise ApiError(504, "Timeout", "Too large resource version")

    cluster.watch = refuse  # type: ignore[method-assign]
    pauses(cluster, 4, clock=now)
    assert cluster.asked == ["list", "watch", "watch", "watch", "list", "watch"]


def test_the_larger_a_list_is_the_less_often_it_is_made(cluster: FakeCluster, make: Callable[..., Reflector]) -> None:
    now = Clock()
    real_list = cluster.list_as

    def list_slowly(*arguments: Any, **options: Any) -> tuple[list[Any], str]:
        now.seconds += 10.0
        return real_list(*arguments, **options)

    cluster.list_as = list_slowly  # type: ignore[method-assign]
    cluster.lists.put(([], "10"))
    reflector = make(clock=now)
    cluster.next_watch()
    assert reflector._schedule.silence == 200.0
    reflector._schedule.list_seconds = 60.0
    assert reflector._schedule.silence == 600.0, "however slow the server is"
    assert reflector._schedule.review_at - now.seconds >= 2000.0


# Reviews


def test_changes_that_a_watch_omits_are_found_after_a_minute_or_two(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    """Bookmarks alone are no proof."""
    now = Clock()
    cluster.lists.put(([service("a", 1)], "10"))
    reflector = make(clock=now)
    cluster.lists.put(([service("a", 12, port=1), service("b", 13)], "90"))
    watch = cluster.next_watch()
    for version in (30, 60, 90):
        watch.events.put(bookmark(version))
        await_that(lambda version=version: reflector._cache.position == str(version))
        now.seconds += 30
    watch.events.put(End())
    assert cluster.next_watch().resource_version == "90"
    assert [changes.next() for _ in range(3)] == ["+a@1", "a@1->12", "+b@13"]
    assert 60 <= reflector._schedule.review_at - now.seconds <= 90, "this watch is not trusted"


def test_a_watch_that_is_proven_right_is_reviewed_ever_less_often(
    cluster: FakeCluster, make: Callable[..., Reflector]
) -> None:
    """What has changed since the last event, or has just been written, is no fault of the watch."""
    now = Clock()
    cluster.lists.put(([service("a", 1), service("b", 2), service("c", 3)], "10"))
    reflector = make(clock=now)
    spans = []
    for version in range(20, 110, 10):
        watch = cluster.next_watch()
        spans.append(reflector._schedule.review_at - now.seconds)
        reflector.remember(service("b", version + 5))
        now.seconds = reflector._schedule.review_at
        cluster.lists.put(([service("a", version, port=version), service("b", 2)], str(version)))
        watch.events.put(End())
    assert [60 * 2**n <= span <= 90 * 2**n for n, span in enumerate(spans[:6])] == [True] * 6
    assert [3600 <= span <= 5400 for span in spans[6:]] == [True] * 3


def test_a_list_copies_only_the_objects_that_the_copy_lacks(
    cluster: FakeCluster, make: Callable[..., Reflector]
) -> None:
    """A second copy of all would be left in the memory of the process."""
    now = Clock()
    cluster.lists.put(([service(name, 1) for name in "abc"], "10"))
    reflector = make(clock=now)
    watch = cluster.next_watch()
    known = reflector._cache.packed(Key("shop", "a"), "1")
    now.seconds = reflector._schedule.review_at
    cluster.lists.put(([service("a", 1), service("b", 12, port=1), service("d", 13)], "20"))
    watch.events.put(End())
    cluster.next_watch()
    assert known
    assert reflector._cache.packed(Key("shop", "a"), "1") is known
    assert reflector._read(service("a", 1)) == (Key("shop", "a"), known)
    assert {key.name: reflector.version(*key) for key in reflector.all_keys()} == {"a": "1", "b": "12", "d": "13"}


# Lists that are wrong


def living(name: str, **metadata: Any) -> Json:
    obj = service(name, 1)
    return {**obj, "metadata": {**obj["metadata"], **metadata}}


@pytest.fixture
def known(cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]) -> tuple[Reflector, FakeWatch]:
    """A reflector of the objects with a label, which has listed three of them, and its watch."""
    cluster.lists.put(([living(name, uid=name, labels={"ours": "yes"}) for name in ("a", "b", "c")], "10"))
    reflector = make(label_selector="ours=yes")
    assert [changes.next() for _ in range(3)] == ["+a@1", "+b@1", "+c@1"]
    return reflector, cluster.next_watch()


@pytest.mark.parametrize("remaining", [[], ["a"]], ids=["all", "two"])
def test_a_list_that_omits_living_objects_changes_nothing(
    known: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes, remaining: list[str]
) -> None:
    reflector, watch = known
    objects = [living(name, uid=name, labels={"ours": "yes"}) for name in ("a", "b", "c")]
    cluster.living = {obj["metadata"]["name"]: obj for obj in objects}
    for _ in range(2):
        cluster.lists.put(([obj for obj in objects if obj["metadata"]["name"] in remaining], "30"))
    cluster.lists.put((objects, "31"))
    watch.events.put(Gone(410, "Expired"))
    assert cluster.next_watch().resource_version == "31"
    assert cluster.asked.count("list") == 4
    assert changes.none_left()
    assert len(reflector.all_keys()) == 3


@pytest.mark.parametrize(
    "found",
    [
        NotFound(404, "NotFound"),
        living("a", uid="another one", labels={"ours": "yes"}),
        living("a", uid="a", labels={"ours": "no"}),
        living("a", uid="a"),
    ],
    ids=["deleted", "created again", "relabelled", "without labels"],
)
def test_an_object_that_the_list_omits_rightly_is_deleted(
    known: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes, found: Json | Exception
) -> None:
    _, watch = known
    cluster.living = {"a": found}
    cluster.lists.put(([living(name, uid=name, labels={"ours": "yes"}) for name in ("b", "c")], "30"))
    watch.events.put(Gone(410, "Expired"))
    assert changes.next() == "-a@1"
    assert cluster.asked[-2:] == ["get shop/a", "watch 30"] or cluster.asked[-1] == "get shop/a"


@pytest.mark.parametrize(
    "fault",
    [
        Unreachable("refused"),
        Forbidden(403, "Forbidden", "no"),
        ApiError(500, "x"),
        NotFound(404, "", "page not found"),
    ],
)
def test_a_deletion_that_cannot_be_confirmed_waits(
    known: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes, fault: Exception
) -> None:
    _, watch = known
    cluster.living = {"a": fault}
    for _ in range(2):
        cluster.lists.put(([living(name, uid=name, labels={"ours": "yes"}) for name in ("b", "c")], "30"))
    watch.events.put(Gone(410, "Expired"))
    await_that(lambda: cluster.asked.count("get shop/a") == 2)
    assert changes.none_left()
    cluster.living = {}
    cluster.lists.put(([living(name, uid=name, labels={"ours": "yes"}) for name in ("b", "c")], "30"))
    assert changes.next() == "-a@1"


def test_of_many_omitted_objects_some_are_requested(
    cluster: FakeCluster, changes: Changes, make: Callable[..., Reflector]
) -> None:
    cluster.lists.put(([service(str(number), 1) for number in range(1000)], "10"))
    reflector = make()
    cluster.lists.put(([], "30"))
    cluster.next_watch().events.put(Gone(410, "Expired"))
    cluster.next_watch()
    assert sum("get" in each for each in cluster.asked) == 100
    assert reflector.all_keys() == ()


def test_a_list_without_a_version_is_not_one(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes
) -> None:
    """A proxy in front of the API server may answer with any JSON object."""
    _, watch = followed
    cluster.lists.put(([], ""))
    cluster.lists.put(([service("a", 1)], "30"))
    watch.events.put(Gone(410, "Expired"))
    assert cluster.next_watch().resource_version == "30"
    assert changes.none_left()


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


@pytest.mark.parametrize("position", ["510", "600"])
def test_a_version_that_is_used_again_after_a_restore_has_its_new_content(
    followed: tuple[Reflector, FakeWatch], cluster: FakeCluster, changes: Changes, position: str
) -> None:
    """Other writes of the new history have reached the versions of the former one."""
    reflector, watch = followed
    watch.events.put(("MODIFIED", service("a", 500, port=500)))
    watch.events.put(bookmark(550))
    assert changes.next() == "a@1->500"
    cluster.lists.put(([service("a", 500, port=3)], position))
    watch.events.put(Gone(410, "Expired"))
    cluster.next_watch()
    assert changes.next() == "a@500->500"
    assert reflector.get("shop", "a") == service("a", 500, port=3)


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
    await_that(lambda: reflector.problem() != "")
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
