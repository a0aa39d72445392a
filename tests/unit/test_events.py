"""The event recorder against a cluster in memory."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import pytest

from kanary.kube.backoff import Backoff
from kanary.kube.errors import AlreadyExists, ApiError, Forbidden, NotFound, Throttled, Unreachable, from_status
from kanary.kube.events import Recorder
from kanary.kube.resources import EVENTS, Json
from tests.waiting import PATIENCE

QUICK = Backoff(base=0.001, cap=0.001)

KANARY: Json = {
    "apiVersion": "kanary.k8s.io/v1",
    "kind": "Kanary",
    "metadata": {"namespace": "shop", "name": "web", "uid": "u-1", "resourceVersion": "7", "labels": {"a": "b"}},
}


class EventServer:
    """Stores Events; fails as set before a call."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], Json] = {}
        self.calls: list[str] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def create(self, resource: Any, namespace: str, body: Json) -> Json:
        assert resource is EVENTS
        self.calls.append("create")
        self.before()
        key = namespace, body["metadata"]["name"]
        if key in self.stored:
            raise AlreadyExists(409, "AlreadyExists")
        self.stored[key] = dict(body)
        self.after()
        return body

    def merge_patch(self, resource: Any, namespace: str, name: str, body: Json) -> Json:
        assert resource is EVENTS
        self.calls.append("patch")
        self.before()
        if (namespace, name) not in self.stored:
            raise NotFound(404, "NotFound")
        self.stored[namespace, name].update(body)
        return self.stored[namespace, name]

    @property
    def events(self) -> list[Json]:
        return list(self.stored.values())


@pytest.fixture
def server() -> EventServer:
    return EventServer()


@pytest.fixture
def make(server: EventServer) -> Iterator[Callable[..., Recorder]]:
    made: list[Recorder] = []

    def make(**options: Any) -> Recorder:
        recorder = Recorder(server, "kanary", "pod-1", **{"backoff": QUICK, **options})
        made.append(recorder)
        return recorder

    yield make
    server.before = lambda: None
    for recorder in made:
        recorder.stop()


@pytest.fixture
def recorder(make: Callable[..., Recorder]) -> Recorder:
    recorder = make()
    recorder.start()
    return recorder


def emit(recorder: Recorder, note: str = "a note", **changes: Any) -> None:
    recorder.emit(**{"regarding": KANARY, "reason": "Rolled", "note": note, "action": "Roll", **changes})


def test_an_event_has_its_object_reason_note_and_reporter(server: EventServer, recorder: Recorder) -> None:
    emit(recorder, "2 of 2 proxies serve revision 7", type="Warning")
    assert recorder.flush(PATIENCE)
    (event,) = server.events
    assert re.fullmatch(r"web\.[0-9a-f]{16}", event["metadata"].pop("name"))
    first, last = event.pop("firstTimestamp"), event.pop("lastTimestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first)
    assert last == first
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "shop"},
        "involvedObject": {
            "apiVersion": "kanary.k8s.io/v1",
            "kind": "Kanary",
            "namespace": "shop",
            "name": "web",
            "uid": "u-1",
            "resourceVersion": "7",
        },
        "count": 1,
        "type": "Warning",
        "reason": "Rolled",
        "action": "Roll",
        "message": "2 of 2 proxies serve revision 7",
        "source": {"component": "kanary"},
        "reportingComponent": "kanary",
        "reportingInstance": "pod-1",
    }


def test_an_event_on_a_cluster_wide_object_lives_in_the_default_namespace(
    server: EventServer, recorder: Recorder
) -> None:
    emit(recorder, regarding={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    assert recorder.flush(PATIENCE)
    (event,) = server.events
    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1"}


@pytest.mark.parametrize("note", ["x" * 1025, "ü" * 600, "\U0001f426" * 300])
def test_a_note_is_cut_to_the_bytes_that_the_api_takes(server: EventServer, recorder: Recorder, note: str) -> None:
    emit(recorder, note)
    assert recorder.flush(PATIENCE)
    sent = server.events[0]["message"]
    assert 1000 < len(sent.encode()) <= 1024
    assert sent.endswith("...")
    assert note.startswith(sent[:-3])


def test_a_note_of_the_maximum_length_is_not_cut(server: EventServer, recorder: Recorder) -> None:
    emit(recorder, "x" * 1024)
    assert recorder.flush(PATIENCE)
    assert server.events[0]["message"] == "x" * 1024


def test_the_longest_name_still_makes_a_valid_event_name(server: EventServer, recorder: Recorder) -> None:
    emit(recorder, regarding={**KANARY, "metadata": {"namespace": "shop", "name": "n" * 253}})
    assert recorder.flush(PATIENCE)
    assert len(server.events[0]["metadata"]["name"]) <= 253


def test_a_name_is_not_cut_where_a_label_of_it_would_end_in_a_dash(server: EventServer, recorder: Recorder) -> None:
    name = "n" * 200 + "-" * 40 + "n"
    emit(recorder, regarding={**KANARY, "metadata": {"namespace": "shop", "name": name}})
    assert recorder.flush(PATIENCE)
    assert server.events[0]["metadata"]["name"].rpartition(".")[0] == "n" * 200


# Order: kubectl sorts by lastTimestamp, which has whole seconds, and leaves those of one second in the order of names.


def in_the_order_of_kubectl(server: EventServer) -> list[str]:
    listed = sorted(server.events, key=lambda event: event["metadata"]["name"])
    return [event["message"] for event in sorted(listed, key=lambda event: event["lastTimestamp"])]


def test_kubectl_shows_events_in_the_order_in_which_they_were_emitted(server: EventServer, recorder: Recorder) -> None:
    notes = [f"{number * 7919 % 100}" for number in range(100)]
    for note in notes:
        emit(recorder, note)
    assert recorder.flush(PATIENCE)
    assert in_the_order_of_kubectl(server) == notes


def test_kubectl_shows_a_repeated_event_after_events_in_between(server: EventServer, recorder: Recorder) -> None:
    notes = ["rolling", "rolling", "ready", "ready", "rolling", "degraded", "rolling", "ready"]
    for note in notes:
        emit(recorder, note)
    assert recorder.flush(PATIENCE)
    assert in_the_order_of_kubectl(server) == [note for note, _ in groupby(notes)]
    assert [event["count"] for event in server.events] == [2, 2, 1, 1, 1, 1]


def test_no_two_events_have_the_same_name_when_the_system_s_clock_stands_still(
    server: EventServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    for number in range(3):
        emit(recorder, f"{number}")
    assert recorder.flush(PATIENCE)
    assert in_the_order_of_kubectl(server) == ["0", "1", "2"]


# Series


def test_a_repeated_event_increases_the_count_of_the_first(server: EventServer, recorder: Recorder) -> None:
    for _ in range(4):
        emit(recorder)
    assert recorder.flush(PATIENCE)
    (event,) = server.events
    assert event["count"] == 4
    assert event["lastTimestamp"] >= event["firstTimestamp"]
    assert server.calls == ["create", "patch", "patch", "patch"]


@pytest.mark.parametrize(
    "change",
    [
        {"note": "another"},
        {"reason": "Other"},
        {"type": "Warning"},
        {"regarding": {**KANARY, "metadata": {**KANARY["metadata"], "uid": "u-2"}}},
    ],
)
def test_a_different_event_is_created(server: EventServer, recorder: Recorder, change: dict[str, Any]) -> None:
    emit(recorder)
    emit(recorder, **change)
    assert recorder.flush(PATIENCE)
    assert server.calls == ["create", "create"]


def test_the_same_after_a_long_time_is_a_new_event(server: EventServer, make: Callable[..., Recorder]) -> None:
    now = 0.0
    recorder = make(clock=lambda: now, series_seconds=100)
    recorder.start()
    for moment in (0.0, 99.0, 198.0, 298.0):
        now = moment
        emit(recorder)
        assert recorder.flush(PATIENCE)
    assert server.calls == ["create", "patch", "patch", "create"]


def test_a_repeated_event_that_has_expired_on_the_server_is_created_again(
    server: EventServer, recorder: Recorder
) -> None:
    emit(recorder)
    assert recorder.flush(PATIENCE)
    server.stored.clear()
    emit(recorder)
    emit(recorder)
    assert recorder.flush(PATIENCE)
    (event,) = server.events
    assert event["count"] == 2
    assert server.calls == ["create", "patch", "create", "patch"]


# Faults


@pytest.mark.parametrize("fault", [Unreachable("reset"), Throttled(429), ApiError(500), ApiError(504)])
def test_a_passing_fault_costs_no_event(server: EventServer, recorder: Recorder, fault: Exception) -> None:
    faults = [fault, fault]

    def fail() -> None:
        if faults:
            raise faults.pop()

    server.before = fail
    emit(recorder)
    assert recorder.flush(PATIENCE)
    assert (len(server.events), recorder.dropped) == (1, 0)


def test_an_event_waits_as_long_as_the_server_asks(server: EventServer, recorder: Recorder) -> None:
    faults = [Throttled(429, retry_after=0.5)]
    began = time.monotonic()

    def fail() -> None:
        if faults:
            raise faults.pop()

    server.before = fail
    emit(recorder)
    assert recorder.flush(PATIENCE)
    assert len(server.events) == 1
    assert time.monotonic() - began >= 0.5


def test_other_events_wait_for_a_throttled_one_only_for_some_seconds(
    server: EventServer, make: Callable[..., Recorder]
) -> None:
    recorder, pauses = make(), list[float]()
    recorder._stopped.wait = lambda seconds=None: bool(pauses.append(seconds or 0.0))  # type: ignore[method-assign]
    recorder.start()

    def fail() -> None:
        if len(server.calls) < 3:
            raise Throttled(429, retry_after=3600)

    server.before = fail
    emit(recorder)
    assert recorder.flush(PATIENCE)
    assert (len(server.events), pauses) == (1, [5.0, 5.0])


def test_an_event_in_a_namespace_that_is_being_deleted_is_no_warning(
    server: EventServer, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    ending = from_status({"details": {"causes": [{"reason": "NamespaceTerminating"}]}}, 403)

    def fail() -> None:
        raise ending

    server.before = fail
    emit(recorder)
    assert recorder.flush(PATIENCE)
    assert (server.calls, recorder.dropped) == (["create"], 1)
    assert caplog.records == []


def test_an_event_whose_answer_is_lost_is_not_sent_twice(server: EventServer, recorder: Recorder) -> None:
    answers = [Unreachable("reset")]

    def lose() -> None:
        if answers:
            raise answers.pop()

    server.after = lose
    emit(recorder)
    assert recorder.flush(PATIENCE)
    assert (len(server.events), recorder.dropped, server.calls) == (1, 0, ["create", "create"])


@pytest.mark.parametrize(
    "fault", [Unreachable("refused"), Forbidden(403, "Forbidden"), ApiError(500, "x"), KeyError("a defect")]
)
def test_an_event_that_cannot_be_sent_is_dropped_and_counted_and_the_next_one_is_sent(
    server: EventServer, make: Callable[..., Recorder], fault: Exception
) -> None:
    drops: list[int] = []
    recorder = make(on_dropped=lambda: drops.append(1))
    recorder.start()

    def fail() -> None:
        raise fault

    server.before = fail
    emit(recorder)
    assert recorder.flush(PATIENCE)
    assert (recorder.dropped, len(drops)) == (1, 1)
    server.before = lambda: None
    emit(recorder, "the next one")
    assert recorder.flush(PATIENCE)
    assert [event["message"] for event in server.events] == ["the next one"]


def test_a_full_queue_drops_the_oldest(server: EventServer, make: Callable[..., Recorder]) -> None:
    recorder = make(capacity=3)
    for number in range(5):
        emit(recorder, f"{number}")
    recorder.start()
    assert recorder.flush(PATIENCE)
    assert [event["message"] for event in server.events] == ["2", "3", "4"]
    assert recorder.dropped == 2


def test_emitting_does_not_wait_for_a_server_that_hangs(server: EventServer, make: Callable[..., Recorder]) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        release.wait(PATIENCE)

    server.before = hang
    recorder = make(capacity=10)
    recorder.start()
    emit(recorder)
    assert hanging.wait(PATIENCE)
    for number in range(30):
        emit(recorder, f"{number}")
    assert recorder.dropped == 20
    assert not recorder.flush(0.01)
    release.set()
    assert recorder.flush(PATIENCE)
    assert len(server.events) == 11


@pytest.mark.parametrize("regarding", [{}, {"kind": "Kanary"}, {"metadata": {}}, {"metadata": None}])
def test_an_event_on_nothing_known_is_dropped_and_counted(
    server: EventServer, recorder: Recorder, regarding: Json
) -> None:
    emit(recorder, regarding=regarding)
    emit(recorder)
    assert recorder.flush(PATIENCE)
    assert (recorder.dropped, len(server.events)) == (1, 1)


def test_stop_sends_queued_events(server: EventServer, recorder: Recorder) -> None:
    for number in range(20):
        emit(recorder, f"{number}")
    recorder.stop(PATIENCE)
    assert len(server.events) == 20


def test_stop_does_not_wait_for_long(server: EventServer, recorder: Recorder) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        release.wait(PATIENCE)

    server.before = hang
    emit(recorder)
    assert hanging.wait(PATIENCE)
    recorder.stop(timeout=0.01)
    assert not release.is_set()
    release.set()
