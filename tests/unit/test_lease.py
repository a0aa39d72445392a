"""The elector against a Lease in memory, on a clock that the test moves."""

import copy
import logging
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kanary.kube import lease
from kanary.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound, Unreachable
from kanary.kube.lease import Elector, steady_clock
from kanary.kube.resources import Json
from tests.waiting import PATIENCE, await_that


class FakeClock:
    """A clock that the test advances."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class LeaseServer:
    """One Lease with optimistic concurrency, and faults that the test sets."""

    def __init__(self) -> None:
        self.stored: Json | None = None
        self.writes = 0
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.timeouts: Any = None
        self._version = 0
        self._lock = threading.Lock()

    def with_timeouts(self, timeouts: Any) -> Self:
        self.timeouts = timeouts
        return self

    @property
    def spec(self) -> Json:
        assert self.stored is not None
        return self.stored["spec"]

    def hold(self, holder: str, **spec: Any) -> None:
        """Write the record as another process would."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0, **spec}
        self._store({"metadata": {"name": "operator"}, "spec": spec})

    def get(self, resource: Any, namespace: str, name: str) -> Json:
        self.before()
        with self._lock:
            if self.stored is None:
                raise NotFound(404, "NotFound")
            return copy.deepcopy(self.stored)

    def create(self, resource: Any, namespace: str, body: Json) -> Json:
        self.before()
        with self._lock:
            if self.stored is not None:
                raise AlreadyExists(409, "AlreadyExists")
            written = self._store(body)
        self.after()
        return written

    def replace(self, resource: Any, namespace: str, name: str, body: Json) -> Json:
        self.before()
        with self._lock:
            if self.stored is None:
                raise NotFound(404, "NotFound")
            if body["metadata"]["resourceVersion"] != self.stored["metadata"]["resourceVersion"]:
                raise Conflict(409, "Conflict")
            written = self._store(body)
        self.after()
        return written

    def _store(self, body: Json) -> Json:
        self._version += 1
        self.writes += 1
        self.stored = copy.deepcopy(body)
        self.stored["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(self.stored)


class Running:
    """An elector that runs in a thread, and what became of it."""

    def __init__(self, elector: Elector) -> None:
        self.elector = elector
        self.stop = threading.Event()
        self.started = threading.Event()
        self.starts = 0
        self.lost = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        if not self.elector.run(self.stop, self._on_leading):
            self.lost.set()

    def _on_leading(self) -> None:
        self.starts += 1
        self.started.set()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def elect(server: LeaseServer, clock: FakeClock) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def elect(identity: str = "pod-a", **options: Any) -> Running:
        elector = make(server, clock, identity, **options)
        running.append(Running(elector))
        return running[-1]

    yield elect
    server.before = server.after = lambda: None
    for each in running:
        each.stop.set()
        each.thread.join(PATIENCE)


def make(server: Any, clock: Callable[[], float], identity: str = "pod-a", **options: Any) -> Elector:
    # Retries pass in real time and are short; the lease and its deadline pass on the test's clock.
    return Elector(server, "kanary-system", "operator", identity, **{"retry_seconds": 0.01, "clock": clock, **options})


# Taking and keeping


def test_the_only_candidate_leads_and_writes_a_whole_record(server: LeaseServer, elect: Callable[..., Running]) -> None:
    running = elect("pod-a")
    assert running.started.wait(PATIENCE)
    assert running.elector.is_leader()
    assert server.spec["holderIdentity"] == running.elector.identity
    assert running.elector.identity.startswith("pod-a_")
    assert (server.spec["leaseDurationSeconds"], server.spec["leaseTransitions"]) == (15, 0)
    for field in ("acquireTime", "renewTime"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", server.spec[field])
    assert server.stored is not None
    assert server.stored["apiVersion"] == "coordination.k8s.io/v1"


def test_the_leader_renews_and_leads_on_while_time_passes(
    server: LeaseServer, clock: FakeClock, elect: Callable[..., Running]
) -> None:
    running = elect()
    assert running.started.wait(PATIENCE)
    acquired = server.spec["acquireTime"]
    for _ in range(5):
        clock.now += 6
        writes = server.writes
        await_that(lambda writes=writes: server.writes > writes + 1)
        assert running.elector.is_leader()
    assert not running.lost.is_set()
    assert (server.spec["acquireTime"], server.spec["leaseTransitions"]) == (acquired, 0)


def test_a_candidate_does_not_take_a_lease_that_is_renewed(server: LeaseServer, clock: FakeClock) -> None:
    elector = make(server, clock)
    for second in range(100):
        server.hold("other", renewTime=f"t{second}")
        assert not elector.attempt()
        clock.now += 14
    assert not elector.is_leader()
    assert elector.problem() == "lease kanary-system/operator is held by other"


def test_a_candidate_takes_a_lease_that_did_not_change_for_its_whole_duration(
    server: LeaseServer, clock: FakeClock
) -> None:
    # Its times say nothing: clocks of two machines differ.
    server.hold("other", renewTime="2000-01-01T00:00:00.000000Z", acquireTime="then", leaseTransitions=4)
    elector = make(server, clock)
    assert not elector.attempt()
    clock.now += 15
    assert not elector.attempt()
    clock.now += 0.1
    assert elector.attempt()
    assert elector.is_leader()
    assert server.spec["holderIdentity"] == elector.identity
    assert server.spec["leaseTransitions"] == 5
    assert server.spec["acquireTime"] == server.spec["renewTime"]


def test_an_edit_that_is_no_renewal_does_not_prolong_a_lease(server: LeaseServer, clock: FakeClock) -> None:
    server.hold("other")
    elector = make(server, clock)
    assert not elector.attempt()
    clock.now += 15.1
    assert server.stored is not None
    server._store({**server.stored, "metadata": {"name": "operator", "labels": {"a": "b"}}})
    assert elector.attempt()


@pytest.mark.parametrize(("promised", "waited"), [(60, 60), (3, 15), (None, 15), (0, 15), ("x", 15)])
def test_the_duration_that_counts_is_the_one_that_the_holder_promised_or_a_longer_one_of_ours(
    server: LeaseServer, clock: FakeClock, promised: Any, waited: int
) -> None:
    server.hold("other", leaseDurationSeconds=promised)
    elector = make(server, clock)
    assert not elector.attempt()
    clock.now += waited
    assert not elector.attempt()
    clock.now += 0.1
    assert elector.attempt()


@pytest.mark.parametrize("holder", ["", None])
def test_a_released_lease_is_acquired_at_once(server: LeaseServer, clock: FakeClock, holder: str | None) -> None:
    server._store({"metadata": {"name": "operator"}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1}})
    assert make(server, clock).attempt()


@pytest.mark.parametrize("change", ["delete", "remove the holder", "remove all", "name another", "shorten"])
def test_the_lease_of_a_leader_that_others_took_from_it_is_free_only_when_that_leader_must_have_stopped(
    server: LeaseServer, clock: FakeClock, change: str
) -> None:
    """It may be cut off, so that it does not know."""
    leader, candidate = make(server, clock, "leader"), make(server, clock, "candidate")
    assert leader.attempt()
    assert not candidate.attempt()
    clock.now += 1
    match change:
        case "delete":
            server.stored = None
        case "remove the holder":
            server.hold("")
        case "remove all":
            server._store({"metadata": {"name": "operator"}, "spec": None})
        case "name another":
            server.hold("nobody", leaseDurationSeconds=1)
        case "shorten":
            server.hold(leader.identity, leaseDurationSeconds=1)
    for _ in range(15):
        assert not candidate.attempt()
        clock.now += 1
    assert not leader.is_leader()
    clock.now += 1.1
    assert candidate.attempt()


def test_a_candidate_that_starts_and_finds_no_lease_waits_if_another_one_may_have_led(
    server: LeaseServer, clock: FakeClock
) -> None:
    leader, candidate = make(server, clock, "leader"), make(server, clock, "candidate", is_first=lambda: False)
    assert leader.attempt()
    server.stored = None
    assert not candidate.attempt()
    assert candidate.problem() == "lease kanary-system/operator is missing"
    assert not candidate.attempt()
    clock.now += 15.1
    assert not leader.is_leader()
    assert candidate.attempt()
    assert not leader.attempt()
    assert not leader.attempt()
    assert server.spec["holderIdentity"] == candidate.identity


def test_a_leader_whose_lease_is_deleted_after_its_deadline_never_leads_again(
    server: LeaseServer, clock: FakeClock
) -> None:
    """Another one may have led, and its Lease be the one that was deleted."""
    elector = make(server, clock)
    assert elector.attempt()
    clock.now += 10
    server.stored = None
    assert not elector.attempt()
    assert not elector.attempt()
    assert server.stored is None
    assert elector._is_over


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_leader_takes_back_a_lease_without_a_holder_as_long_as_it_may_write(
    server: LeaseServer, clock: FakeClock, is_deleted: bool
) -> None:
    """Others cannot have led, though they may have created the Lease again."""
    leader, candidate = make(server, clock, "leader"), make(server, clock, "candidate")
    assert leader.attempt()
    assert not candidate.attempt()
    if is_deleted:
        server.stored = None
        assert not candidate.attempt()
        assert server.spec["holderIdentity"] == ""
    else:
        server.hold("")
    assert not leader.attempt()  # a conflict
    assert leader.attempt()
    assert leader.is_leader()
    assert not candidate.attempt()


def test_a_lease_that_is_deleted_all_the_time_has_at_most_one_leader(server: LeaseServer, clock: FakeClock) -> None:
    """The candidate never sees the one that the leader creates."""
    leader, candidate = make(server, clock, "leader"), make(server, clock, "candidate")
    assert leader.attempt()
    assert not candidate.attempt()
    for _ in range(30):
        server.stored = None
        assert not candidate.attempt()
        server.stored = None
        leader.attempt()
        assert leader.is_leader()
        clock.now += 1


def test_fields_that_others_wrote_on_the_lease_are_kept(server: LeaseServer, clock: FakeClock) -> None:
    server.hold("", leaseDurationSeconds=1, preferredHolder="someone")
    assert server.stored is not None
    server.stored["metadata"]["labels"] = {"team": "a"}
    assert make(server, clock).attempt()
    assert server.stored["metadata"]["labels"] == {"team": "a"}
    assert server.spec["preferredHolder"] == "someone"


def test_two_processes_of_the_same_name_have_different_holder_identities(server: LeaseServer, clock: FakeClock) -> None:
    first, second = make(server, clock, "pod"), make(server, clock, "pod")
    assert first.attempt()
    assert not second.attempt()
    assert (first.is_leader(), second.is_leader()) == (True, False)


def test_one_of_two_candidates_that_create_the_lease_at_once_leads(server: LeaseServer, clock: FakeClock) -> None:
    late = make(server, clock)
    calls = 0

    def other_is_faster() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # between looking and creating
            server.hold("other")

    server.before = other_is_faster
    assert not late.attempt()
    assert not late.is_leader()


def test_the_holder_creates_a_deleted_lease_again(server: LeaseServer, clock: FakeClock) -> None:
    elector = make(server, clock)
    assert elector.attempt()
    server.stored = None
    elector.attempt()
    assert elector.attempt()
    assert server.spec["holderIdentity"] == elector.identity


# Succeeding oneself


def succeed(server: LeaseServer, clock: FakeClock, identity: str = "pod-a_uid-1") -> Elector:
    return make(server, clock, identity, is_exclusive=True)


def test_a_process_takes_over_at_once_from_the_former_process_of_its_pod(server: LeaseServer, clock: FakeClock) -> None:
    former = succeed(server, clock)
    assert former.attempt()
    acquired = server.spec["acquireTime"]
    successor = succeed(server, clock)
    assert successor.attempt()
    assert server.spec["holderIdentity"] == successor.identity != former.identity
    assert server.spec["leaseTransitions"] == 1
    assert server.spec["acquireTime"] > acquired


def test_a_former_process_that_runs_against_the_promise_stops_and_takes_nothing_back(
    server: LeaseServer, clock: FakeClock
) -> None:
    former = succeed(server, clock)
    assert former.attempt()
    successor = succeed(server, clock)
    assert successor.attempt()
    assert not former.attempt()  # a conflict
    for _ in range(3):
        assert not former.attempt()
        assert not former.is_leader()
        clock.now += 20
    assert server.spec["holderIdentity"] == successor.identity


def test_only_who_was_there_before_is_succeeded_at_once(server: LeaseServer, clock: FakeClock) -> None:
    """A process of the same pod that appears later is, by the promise, the successor of this one."""
    early = succeed(server, clock)
    server.hold("other")
    assert not early.attempt()
    server.hold("pod-a_uid-1_later")
    assert not early.attempt()
    clock.now += 15.1
    assert early.attempt()


@pytest.mark.parametrize("holder", ["pod-a_uid-2_x", "pod-a_x", "pod-a_uid-1", "pod-a_uid-1_x_y", "uid-1", "x"])
def test_a_lease_of_another_pod_must_expire_first(server: LeaseServer, clock: FakeClock, holder: str) -> None:
    server.hold(holder)
    assert not succeed(server, clock).attempt()


def test_the_former_process_is_recognized_when_the_first_look_fails(server: LeaseServer, clock: FakeClock) -> None:
    assert succeed(server, clock).attempt()
    successor = succeed(server, clock)

    def away() -> None:
        raise Unreachable("refused")

    server.before = away
    assert not successor.attempt()
    server.before = lambda: None
    assert successor.attempt()


# Losing


def test_the_right_to_write_ends_at_the_deadline_without_anyone_doing_anything(
    server: LeaseServer, clock: FakeClock
) -> None:
    elector = make(server, clock)
    assert elector.attempt()
    clock.now += 9.9
    assert elector.is_leader()
    clock.now += 0.1
    assert not elector.is_leader()


def test_the_deadline_counts_from_when_the_renewal_was_sent(server: LeaseServer, clock: FakeClock) -> None:
    elector = make(server, clock)
    assert elector.attempt()

    def slow() -> None:
        clock.now += 8

    server.after = slow
    assert elector.attempt()
    clock.now += 1.9
    assert elector.is_leader()
    clock.now += 0.1
    assert not elector.is_leader()


def test_a_leader_whose_server_was_away_for_long_leads_again_when_it_is_back(
    server: LeaseServer, clock: FakeClock, elect: Callable[..., Running]
) -> None:
    running = elect()
    assert running.started.wait(PATIENCE)
    acquired = server.spec["acquireTime"]

    def away() -> None:
        raise Unreachable("refused")

    server.before = away
    await_that(lambda: running.elector.problem() != "")
    clock.now += 1000
    assert not running.elector.is_leader()
    server.before = lambda: None
    await_that(lambda: running.starts == 2)
    assert running.elector.is_leader()
    assert not running.lost.is_set()
    assert (server.spec["acquireTime"], server.spec["leaseTransitions"]) == (acquired, 0)


def test_the_right_to_write_ends_at_the_deadline_even_while_a_request_hangs(
    server: LeaseServer, clock: FakeClock, elect: Callable[..., Running]
) -> None:
    hanging, release = threading.Event(), threading.Event()
    running = elect()
    assert running.started.wait(PATIENCE)

    def hang() -> None:
        hanging.set()
        release.wait(PATIENCE)
        server.before = lambda: None
        raise Unreachable("timed out")

    server.before = hang
    assert hanging.wait(PATIENCE)
    clock.now += 10
    assert not running.elector.is_leader()
    release.set()
    await_that(running.elector.is_leader)
    assert running.starts == 2


@pytest.mark.parametrize(("holder", "returns"), [("", 1), ("other", 2)])
def test_when_the_api_server_responds_again_this_is_reported_to_leaders_and_candidates(
    server: LeaseServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, holder: str, returns: int
) -> None:
    """A leader reads the Lease again, and replaces it: only when both succeed, or are refused, the outage is over."""
    monkeypatch.setattr(lease, "_RETURN_INTERVAL", 0.0)
    server.hold(holder, leaseDurationSeconds=1)
    stop, events = threading.Event(), list[str]()
    faults: list[Any] = [None, Unreachable("refused"), None, ApiError(503), ApiError(503), None, Conflict(409), None]

    def respond() -> None:
        fault = faults.pop(0) if faults else None
        if not faults:
            stop.set()
        events.append(type(fault).__name__)
        if fault:
            raise fault

    elector = make(server, clock)
    assert elector.attempt() == (holder == "")
    server.before = respond
    assert elector.run(stop, lambda: events.append("leading"), lambda: events.append("return"))
    assert events.count("return") == returns


def test_failures_now_and_then_are_an_outage_at_most_every_30_s_and_a_long_one_always_is(
    server: LeaseServer, clock: FakeClock
) -> None:
    """What follows the end of an outage is load, which an API server that fails under load does not need."""
    stop, returns = threading.Event(), list[float]()
    began, minutes = clock.now, 10

    def respond() -> None:
        clock.now += 2
        passed = clock.now - began
        if passed >= 60 * minutes + 24:
            stop.set()
        if passed < 60 * minutes and passed % 6 == 0:
            raise ApiError(504)
        if 60 * minutes + 6 <= passed < 60 * minutes + 18:
            raise Unreachable("timed out")

    server.before = respond
    assert make(server, clock).run(stop, lambda: None, lambda: returns.append(clock.now - began))
    *short, long = returns
    assert 60 * minutes + 18 <= long <= 60 * minutes + 22
    assert 10 <= len(short) <= 2 * minutes
    assert min(later - earlier for earlier, later in pairwise(short)) >= 30


def test_a_renewal_in_time_is_no_new_start(server: LeaseServer, elect: Callable[..., Running]) -> None:
    running = elect()
    await_that(lambda: server.writes > 5)
    assert running.starts == 1


def test_a_leader_that_was_away_never_leads_again_when_another_one_led_meanwhile(
    server: LeaseServer, clock: FakeClock
) -> None:
    first, second = make(server, clock, "first"), make(server, clock, "second")
    assert first.attempt()
    assert not second.attempt()
    clock.now += 16
    assert second.attempt()
    second._resign()
    assert server.spec["holderIdentity"] == ""
    assert not first.attempt()  # a conflict
    assert not first.attempt()
    assert (first.is_leader(), server.spec["holderIdentity"]) == (False, "")
    assert "is without a holder" in first.problem()


def test_leadership_is_lost_at_once_when_another_holder_is_seen(
    server: LeaseServer, elect: Callable[..., Running]
) -> None:
    running = elect()
    assert running.started.wait(PATIENCE)
    server.hold("usurper")
    assert running.lost.wait(PATIENCE)
    assert not running.elector.is_leader()
    running.thread.join(PATIENCE)
    assert not running.thread.is_alive()
    assert server.spec["holderIdentity"] == "usurper"


def test_a_renewal_whose_answer_is_lost_costs_no_leadership(
    server: LeaseServer, clock: FakeClock, elect: Callable[..., Running]
) -> None:
    running = elect()
    assert running.started.wait(PATIENCE)
    lost_answers = 0

    def lose_some() -> None:
        nonlocal lost_answers
        if lost_answers < 3:
            lost_answers += 1
            raise Unreachable("reset")

    server.after = lose_some
    await_that(lambda: lost_answers == 3)
    clock.now += 5
    writes = server.writes
    # One may have begun before, and the last one not be known to the elector yet.
    await_that(lambda: server.writes > writes + 2)
    clock.now += 8
    assert running.elector.is_leader()
    assert not running.lost.is_set()
    assert server.spec["leaseTransitions"] == 0


@pytest.mark.parametrize(("is_there", "seconds"), [(True, 0.0), (False, 15.1)])
def test_a_lease_that_was_taken_with_a_lost_answer_is_recognized(
    server: LeaseServer, clock: FakeClock, is_there: bool, seconds: float
) -> None:
    """One that was created so is not trusted at once: the Lease of another process may just have been deleted."""
    elector = make(server, clock)
    if is_there:
        server.hold("", leaseDurationSeconds=1)

    def lose() -> None:
        raise Unreachable("reset")

    server.after = lose
    assert not elector.attempt()
    assert not elector.is_leader()
    server.after = lambda: None
    assert elector.attempt() == (seconds == 0)
    clock.now += seconds
    assert elector.attempt()
    assert elector.is_leader()


# Releasing


def test_stopping_releases_the_lease_for_the_next_one_to_take_at_once(
    server: LeaseServer, elect: Callable[..., Running]
) -> None:
    first = elect("first")
    assert first.started.wait(PATIENCE)
    second = elect("second")
    await_that(lambda: "is held by first" in second.elector.problem())
    first.end()
    assert second.started.wait(PATIENCE)
    assert not first.lost.is_set()
    assert (first.elector.is_leader(), second.elector.is_leader()) == (False, True)
    assert server.spec["leaseTransitions"] == 1


def test_the_fence_is_up_before_the_lease_is_released(server: LeaseServer, elect: Callable[..., Running]) -> None:
    running = elect()
    assert running.started.wait(PATIENCE)
    led_after_release: list[bool] = []

    def note() -> None:
        if server.spec["holderIdentity"] == "":
            led_after_release.append(running.elector.is_leader())

    server.after = note
    running.end()
    assert led_after_release == [False]
    assert server.spec["leaseDurationSeconds"] == 1


def test_a_candidate_that_is_stopped_leaves_the_lease_alone(server: LeaseServer, elect: Callable[..., Running]) -> None:
    server.hold("other")
    running = elect()
    await_that(lambda: running.elector.problem() != "")
    running.end()
    assert not running.started.is_set()
    assert not running.lost.is_set()
    assert (server.spec["holderIdentity"], server.writes) == ("other", 1)


def test_a_leader_that_stops_after_its_deadline_still_releases_its_lease(
    server: LeaseServer, clock: FakeClock, elect: Callable[..., Running]
) -> None:
    running = elect(retry_seconds=9)
    assert running.started.wait(PATIENCE)
    clock.now += 20
    running.end()
    assert server.spec["holderIdentity"] == ""


def test_an_elector_that_is_stopped_before_it_runs_takes_no_lease(server: LeaseServer, clock: FakeClock) -> None:
    stop = threading.Event()
    stop.set()
    assert make(server, clock).run(stop, lambda: None)
    assert server.writes == 0


def test_a_failed_release_does_not_fail_the_stop(
    server: LeaseServer, elect: Callable[..., Running], caplog: pytest.LogCaptureFixture
) -> None:
    running = elect()
    assert running.started.wait(PATIENCE)

    def away() -> None:
        raise Unreachable("refused")

    server.before = away
    running.end()
    assert "will expire" in caplog.text


def test_a_start_that_fails_releases_the_lease(server: LeaseServer, clock: FakeClock) -> None:
    elector = make(server, clock)

    def fail() -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        elector.run(threading.Event(), fail)
    assert server.spec["holderIdentity"] == ""
    assert not elector.is_leader()


# Manners


def test_a_lasting_problem_is_logged_once(
    server: LeaseServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def forbid() -> None:
        raise Forbidden(403, "Forbidden", "leases is forbidden")

    server.before = forbid
    elector = make(server, clock)
    for _ in range(5):
        assert not elector.attempt()
    assert caplog.text.count("leases is forbidden") == 1
    assert "leases is forbidden" in elector.problem()


def test_requests_give_up_long_before_the_deadline(server: LeaseServer, clock: FakeClock) -> None:
    make(server, clock, renew_seconds=10)
    assert server.timeouts.connect + server.timeouts.read < 10


@pytest.mark.parametrize("times", [(15, 15, 2), (15, 10, 10), (10, 15, 2), (15, 10, 0)])
def test_times_that_cannot_be_safe_are_refused(server: LeaseServer, times: tuple[float, float, float]) -> None:
    lease, renew, retry = times
    with pytest.raises(ValueError, match="retry < renew < lease"):
        Elector(server, "ns", "n", "i", lease_seconds=lease, renew_seconds=renew, retry_seconds=retry)


def test_the_clock_never_goes_back() -> None:
    assert steady_clock() <= steady_clock()


# Safety


class FaultyServer(LeaseServer):
    """Responds at once, never, or executes the write without a response."""

    def __init__(self) -> None:
        super().__init__()
        self.fault = "none"
        self.delayed: list[tuple[str, Callable[[], Json]]] = []

    def replace(self, resource: Any, namespace: str, name: str, body: Json) -> Json:
        match self.fault:
            case "away":
                raise Unreachable("refused")
            case "delayed":
                write = partial(super().replace, resource, namespace, name, body)
                self.delayed.append((body["spec"]["holderIdentity"], write))
                raise Unreachable("timed out")
            case "lost":
                super().replace(resource, namespace, name, body)
                raise Unreachable("reset")
        return super().replace(resource, namespace, name, body)

    def deliver(self) -> None:
        """Carry out, late, what hung."""
        for _, write in self.delayed:
            try:
                write()
            except (Conflict, NotFound):
                continue
        self.delayed.clear()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["first", "second", "third", "first restarts", "stop", "deliver", "delete", "clear"]),
        st.sampled_from(["none", "none", "away", "lost", "delayed"]),
        st.floats(min_value=0, max_value=20),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_no_two_candidates_may_ever_write_at_the_same_time(steps: list[tuple[str, str, float]]) -> None:
    server, time = FaultyServer(), FakeClock(0.0)
    # Each has a clock of its own, which says another time and runs at the same rate.
    offsets = {"first": 0.0, "second": 5000.0, "third": -70.0}

    def is_first() -> bool:
        return server.writes == 0

    def candidate(name: str) -> Elector:
        return make(
            server, lambda: time.now + offsets[name], name, is_exclusive=True, retry_seconds=2, is_first=is_first
        )

    electors = {name: candidate(name) for name in offsets}
    for who, fault, seconds in steps:
        time.now += seconds
        server.fault = fault
        match who:
            case "deliver":
                server.deliver()
            case "delete":
                server.stored = None
            case "clear" if server.stored:
                server.hold("")
            case "clear":
                pass
            case "first restarts":
                # What it had under way ends with its connections.
                ended = electors["first"].identity
                server.delayed = [(holder, write) for holder, write in server.delayed if holder != ended]
                electors["first"] = candidate("first")
            case "stop":
                electors["second"]._resign()
                electors["second"] = candidate("second")
            case _:
                electors[who].attempt()
        leaders = [name for name, elector in electors.items() if elector.is_leader()]
        assert len(leaders) <= 1, leaders
