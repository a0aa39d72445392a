"""The limit of a decision: at that time another one follows, if nothing changes before."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from states import Phase, Reason, Snapshot, UnreachedRoute, UpdateStrategy, decide, next_phase
from states.rollout_rules import decide_rollout
from states.rollout_snapshot import OnFailure, RolloutSnapshot
from states.rollouts import RolloutState
from states.timing import Limit
from tests.unit.snapshots import NOW, new, serving, snapshots
from tests.unit.test_rollout_rules import CLOSED, FROZEN, MINUTE, UNDECIDED, under_way, watching

SECOND = timedelta(seconds=1)


def shortened(span: timedelta | None, after: timedelta) -> timedelta | None:
    return span - after if span and span > after else None


def at_its_limit(snapshot: Snapshot, limit: Limit, phase: Phase, reason: Reason) -> Snapshot:
    """The same Kanary when the limit has passed, and nothing else has happened."""
    after, delivery = limit.after, snapshot.delivery
    is_waiting = snapshot.waits_for_endpoints
    return replace(
        snapshot,
        phase=phase,
        now=snapshot.now + after,
        since=snapshot.since if is_waiting else snapshot.now,
        waits_for_endpoints=reason is Reason.WAITING_FOR_ENDPOINTS,
        spec_changed=False,
        progressing_since=snapshot.progressing_since or snapshot.now,
        delivery=replace(
            delivery,
            reload_spacing=shortened(delivery.reload_spacing, after),
            others_listen_for=shortened(delivery.others_listen_for, after),
            unreached=tuple(
                replace(route, left=shortened(route.left, after) or timedelta()) for route in delivery.unreached
            ),
        ),
    )


def calm(snapshot: Snapshot) -> Snapshot:
    """Most snapshots have a fault, which no time ends, or times of a clock that is ahead."""
    now, delivery = snapshot.now, snapshot.delivery
    if delivery.strategy is UpdateStrategy.ROLLING:
        delivery = replace(delivery, reload_spacing=None)
    return replace(
        snapshot,
        fault=None,
        missing=None,
        paused=False,
        rejection=None,
        routes=tuple(replace(route, endpoints=max(route.endpoints, 1)) for route in snapshot.routes),
        since=min(snapshot.since or now, now),
        progressing_since=min(snapshot.progressing_since or now, now),
        delivery=replace(delivery, rejection="", trouble="", written_at=min(delivery.written_at or now, now)),
    )


def quiet(snapshot: RolloutSnapshot) -> RolloutSnapshot:
    return replace(snapshot, aborted="", is_new=False, paused="", step=max(snapshot.step, 1))


MANY = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)


@MANY
@given(snapshots.map(calm))
def test_another_decision_about_a_kanary_follows_at_the_limit(snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    assume(decision.limit is not None)
    assert decision.limit
    phase = next_phase(snapshot.phase, decision.trigger) if decision.trigger else snapshot.phase
    assert phase
    later = decide(at_its_limit(snapshot, decision.limit, phase, decision.reason))
    assert (later.rule, later.reason) != (decision.rule, decision.reason)


@MANY
@given(under_way().map(quiet))
def test_another_decision_about_a_rollout_follows_at_the_limit(snapshot: RolloutSnapshot) -> None:
    if snapshot.state is RolloutState.SHIFTING:
        snapshot = replace(snapshot, reason=Reason.STEP_STARTED)
    decision = decide_rollout(snapshot)
    assume(decision.limit is not None and decision.trigger is None)
    assert decision.limit
    after = decision.limit.after
    ends = snapshot.opens is not None and snapshot.opens <= after
    later = decide_rollout(
        replace(
            snapshot,
            reason=decision.reason,
            message=decision.message,
            now=snapshot.now + after,
            waited=(snapshot.waited if snapshot.reason is decision.reason else timedelta()) + after,
            served=snapshot.served + (timedelta() if snapshot.state is RolloutState.SHIFTING else after),
            frozen=None if ends else snapshot.frozen,
            closed=None if ends else snapshot.closed,
            opens=None if ends else snapshot.opens,
        )
    )
    assert (later.rule, later.reason, later.trigger) != (decision.rule, decision.reason, decision.trigger)


def test_a_new_kanary_says_when_it_starts_with_the_ready_pods() -> None:
    routes = tuple(replace(route, unready=1) for route in new().routes)
    assert decide(new(routes=routes)).limit == Limit(28 * SECOND, "traffic starts with the pods that are ready")


def test_a_route_that_may_only_stall_has_the_time_that_is_left() -> None:
    unreached = (UnreachedRoute("v1", 80, 4 * SECOND), UnreachedRoute("v2", 20, 3 * SECOND))
    rolling = serving(phase=Phase.ROLLING, delivery=replace(serving().delivery, unreached=unreached))
    assert decide(rolling).limit == Limit(3 * SECOND, "Degraded (RouteUnreachable)")


@pytest.mark.parametrize("is_rolled_back", [True, False])
def test_a_kanary_waits_as_long_as_its_rollout(is_rolled_back: bool) -> None:
    limit = Limit(MINUTE, "steps may start")
    snapshot = serving(rollout=FROZEN, rollout_limit=limit, is_rolled_back=is_rolled_back)
    assert decide(snapshot).limit == limit


def test_what_serves_or_needs_a_person_has_no_limit() -> None:
    assert decide(serving()).limit is None
    assert decide(serving(fault=FROZEN)).limit is None
    assert decide_rollout(watching(until_promoted=True)).limit is None
    assert decide_rollout(watching(paused="by ann")).limit is None
    assert decide_rollout(watching(frozen=FROZEN)).limit is None


def test_a_step_that_is_watched_ends_with_its_time() -> None:
    limit = decide_rollout(watching(served=MINUTE)).limit
    assert limit == Limit(4 * MINUTE, "the step passes, or reports what it waits for")


def test_a_step_waits_for_evidence_up_to_its_limit() -> None:
    limit = decide_rollout(watching(judgement=UNDECIDED, served=15 * MINUTE)).limit
    assert limit == Limit(50 * MINUTE, "a person has to decide (Inconclusive)")


def test_a_step_waits_until_a_window_opens() -> None:
    limit = decide_rollout(watching(closed=CLOSED, opens=90 * MINUTE)).limit
    assert limit == Limit(90 * MINUTE, "steps may start")


@pytest.mark.parametrize(("promoted_step", "fails"), [(-1, True), (1, False)])
def test_a_promoted_step_that_would_only_pause_has_no_deadline(promoted_step: int, fails: bool) -> None:
    snapshot = watching(
        state=RolloutState.SHIFTING, is_served=False, promoted_step=promoted_step, on_failure=OnFailure.PAUSE
    )
    assert (decide_rollout(snapshot).limit is not None) is fails


@given(st.integers(0, 999), st.integers(-999, 999))
def test_a_limit_that_is_counted_in_rounded_times_stays_the_same_moment(first: int, second: int) -> None:
    limit = Limit(MINUTE, "")
    end = limit.end(NOW + timedelta(milliseconds=first), None)
    assert limit.end(NOW + timedelta(milliseconds=first + second), end) == end


def test_another_limit_is_another_moment() -> None:
    former = NOW + 2 * MINUTE
    assert Limit(MINUTE, "").end(NOW, former) == NOW + MINUTE


def test_a_limit_that_has_passed_is_now() -> None:
    def end(after: timedelta) -> datetime:
        return Limit(after, "").end(NOW, None)

    assert end(-MINUTE) == end(timedelta()) == NOW
