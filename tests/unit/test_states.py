"""The data of the states: phases, the table, reasons, actions, whether the spec is applied, and how time is counted."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from states import (
    KEEP_SERVING,
    TRANSITIONS,
    Action,
    OnEmptyRoute,
    Phase,
    Reason,
    Requeue,
    RouteFacts,
    Snapshot,
    Trigger,
    left,
    next_phase,
    soonest,
)
from tests.unit.snapshots import DONE, FAULT, MISSING, NOW, new, serving, snapshots, with_endpoints

LEGAL = {
    Phase.PENDING: {Trigger.RENDER: Phase.RENDERING, Trigger.DEGRADE: Phase.DEGRADED},
    Phase.RENDERING: {Trigger.WAIT: Phase.PENDING, Trigger.ROLL: Phase.ROLLING, Trigger.DEGRADE: Phase.DEGRADED},
    Phase.ROLLING: {
        Trigger.WAIT: Phase.PENDING,
        Trigger.RENDER: Phase.RENDERING,
        Trigger.COMPLETE: Phase.READY,
        Trigger.DEGRADE: Phase.DEGRADED,
    },
    Phase.READY: {
        Trigger.WAIT: Phase.PENDING,
        Trigger.RENDER: Phase.RENDERING,
        Trigger.ROLL: Phase.ROLLING,
        Trigger.DEGRADE: Phase.DEGRADED,
    },
    Phase.DEGRADED: {Trigger.WAIT: Phase.PENDING, Trigger.RENDER: Phase.RENDERING, Trigger.ROLL: Phase.ROLLING},
}


@pytest.mark.parametrize(("phase", "trigger"), list(product(Phase, Trigger)))
def test_the_table_allows_exactly_these_moves(phase: Phase, trigger: Trigger) -> None:
    assert next_phase(phase, trigger) is LEGAL[phase].get(trigger)


def test_no_two_rows_speak_of_the_same_phase_and_trigger() -> None:
    pairs = [(source, row.trigger) for row in TRANSITIONS for source in row.sources]
    assert len(pairs) == len(set(pairs))


def test_no_row_leads_to_where_it_starts() -> None:
    assert [row for row in TRANSITIONS if row.destination in row.sources] == []


def test_a_kanary_is_ready_only_after_it_was_rolling() -> None:
    """So that Ready is never written in the step that applied something."""
    assert {source for source, moves in LEGAL.items() if Phase.READY in moves.values()} == {Phase.ROLLING}


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_one_camel_case_word(reason: Reason) -> None:
    assert re.fullmatch(r"([A-Z][a-z]*)+", reason.value)


def test_the_phases_and_reasons_are_the_words_that_people_script_against() -> None:
    assert [phase.value for phase in Phase] == ["Pending", "Rendering", "Rolling", "Ready", "Degraded"]
    assert len({reason.value for reason in Reason}) == len(Reason)


def test_what_serves_is_changed_before_what_is_exposed_and_nothing_is_deleted_meanwhile() -> None:
    assert KEEP_SERVING == (Action.CONFIGURE, Action.RUN_PROXIES, Action.EXPOSE)
    assert Action.RETIRE not in KEEP_SERVING


def test_a_route_is_empty_only_if_connections_are_promised_to_it() -> None:
    assert RouteFacts("v1", 1, 0).is_empty
    assert not RouteFacts("v1", 0, 0).is_empty
    assert not RouteFacts("v1", 1, 1).is_empty


def test_endpoints_of_a_route_without_weight_are_no_help() -> None:
    snapshot = serving(routes=(RouteFacts("v1", 100, 0), RouteFacts("v2", 0, 5)))
    assert snapshot.all_empty
    assert [route.backend for route in snapshot.empty_routes] == ["v1"]


def test_the_deadline_is_ten_minutes_by_default() -> None:
    assert Snapshot(Phase.PENDING, NOW).progress_deadline == timedelta(seconds=600)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        pytest.param(serving(), True, id="nothing is wrong"),
        pytest.param(new(), True, id="nothing is wrong with a new one"),
        pytest.param(serving(fault=FAULT), False, id="a spec that cannot be applied"),
        pytest.param(new(fault=FAULT), False, id="a spec that cannot be applied, and never one that could"),
        pytest.param(serving(missing=MISSING), False, id="a backend that is gone"),
        pytest.param(new(missing=MISSING), False, id="a backend that is not there yet"),
        pytest.param(serving(paused=True), False, id="paused"),
        pytest.param(new(paused=True), False, id="paused from the start"),
        pytest.param(serving(routes=with_endpoints(1, 0)), True, id="an empty route"),
        pytest.param(serving(routes=with_endpoints(0, 0)), True, id="empty routes only"),
        pytest.param(serving(routes=with_endpoints(1, 0), on_empty_route=OnEmptyRoute.FAIL), True, id="Fail"),
        pytest.param(serving(routes=with_endpoints(1, 0), on_empty_route=OnEmptyRoute.HOLD), False, id="Hold"),
        pytest.param(
            serving(routes=with_endpoints(1, 1, 0), on_empty_route=OnEmptyRoute.HOLD),
            True,
            id="Hold with a route of weight 0 that is empty",
        ),
        pytest.param(
            new(routes=with_endpoints(1, 0), on_empty_route=OnEmptyRoute.HOLD), True, id="Hold with nothing to hold"
        ),
        pytest.param(new(routes=with_endpoints(0, 0)), False, id="a new one with empty routes only"),
    ],
)
def test_the_declared_spec_is_applied_where_it_can_be(snapshot: Snapshot, expected: bool) -> None:
    assert snapshot.applies_spec is expected


@given(snapshots)
def test_whether_it_is_never_depends_on_how_far_the_proxies_are(snapshot: Snapshot) -> None:
    """The target has to be known before the rollout towards it can be."""
    assert (
        replace(snapshot, delivery=DONE, is_in_status=False, revision=0, weights="").applies_spec
        is snapshot.applies_spec
    )


# Time

_limits = st.integers(1, 86_400_000).map(lambda milliseconds: timedelta(milliseconds=milliseconds))
_times = st.datetimes(min_value=datetime(2025, 1, 1), max_value=datetime(2027, 1, 1), timezones=st.just(NOW.tzinfo))


@pytest.mark.parametrize(
    ("since", "expected"),
    [(0, 30), (10, 20), (30, 0), (300, 0), (-10, 30), (-30, 30), (-31, 0), (-300, 0)],
)
def test_of_a_limit_there_is_left_what_has_not_passed(since: int, expected: int) -> None:
    """Seconds ago, of a limit of 30 s; a time in the future counts as now if it is that near."""
    assert left(timedelta(seconds=30), NOW - timedelta(seconds=since), NOW) == timedelta(seconds=expected)


def test_where_nothing_says_since_when_nothing_is_left() -> None:
    assert left(timedelta(seconds=30), None, NOW) == timedelta()


@given(_limits, _times, _times)
def test_no_wait_is_longer_than_twice_its_limit_whatever_clocks_say(
    limit: timedelta, since: datetime, now: datetime
) -> None:
    assert timedelta() <= left(limit, since, now) <= limit
    assert not left(limit, since, now) or not left(limit, since, now + 2 * limit)


@given(_limits, _times)
def test_with_clocks_that_agree_a_wait_is_as_long_as_its_limit(limit: timedelta, since: datetime) -> None:
    assert left(limit, since, since + limit - timedelta(microseconds=1))
    assert not left(limit, since, since + limit)


def test_of_several_times_to_look_again_the_first_counts() -> None:
    soon, late = Requeue(timedelta(seconds=1), "soon"), Requeue(timedelta(seconds=2), "late")
    assert soonest(late, None, soon) is soon
    assert soonest(None) is None
