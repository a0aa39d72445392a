"""The data of the states: phases, the table, reasons, actions, and which spec is served."""

import re
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given

from states import (
    KEEP_SERVING,
    TRANSITIONS,
    Action,
    OnEmptyRoute,
    Phase,
    Reason,
    RouteFacts,
    Snapshot,
    Source,
    Trigger,
    next_phase,
    which_spec,
)
from tests.unit.snapshots import FAULT, MISSING, NOW, new, serving, snapshots, with_endpoints

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


def test_the_deadline_is_ten_minutes_unless_the_user_says_otherwise() -> None:
    assert Snapshot(Phase.PENDING, NOW).progress_deadline == timedelta(seconds=600)


@pytest.mark.parametrize(
    ("snapshot", "source"),
    [
        pytest.param(serving(), Source.DECLARED, id="nothing is wrong"),
        pytest.param(new(), Source.DECLARED, id="nothing is wrong with a new one"),
        pytest.param(serving(fault=FAULT), Source.LAST_GOOD, id="a spec that cannot be obeyed"),
        pytest.param(new(fault=FAULT), Source.NOTHING, id="a spec that cannot be obeyed, and never one that could"),
        pytest.param(serving(missing=MISSING), Source.LAST_GOOD, id="a backend that is gone"),
        pytest.param(new(missing=MISSING), Source.NOTHING, id="a backend that is not there yet"),
        pytest.param(serving(paused=True), Source.LAST_GOOD, id="paused"),
        pytest.param(new(paused=True), Source.NOTHING, id="paused from the start"),
        pytest.param(serving(routes=with_endpoints(1, 0)), Source.DECLARED, id="an empty route"),
        pytest.param(serving(routes=with_endpoints(0, 0)), Source.DECLARED, id="empty routes only"),
        pytest.param(
            serving(routes=with_endpoints(1, 0), on_empty_route=OnEmptyRoute.FAIL), Source.DECLARED, id="Fail"
        ),
        pytest.param(
            serving(routes=with_endpoints(1, 0), on_empty_route=OnEmptyRoute.HOLD), Source.LAST_GOOD, id="Hold"
        ),
        pytest.param(
            serving(routes=with_endpoints(1, 1, 0), on_empty_route=OnEmptyRoute.HOLD),
            Source.DECLARED,
            id="Hold with a route of weight 0 that is empty",
        ),
        pytest.param(
            new(routes=with_endpoints(1, 0), on_empty_route=OnEmptyRoute.HOLD),
            Source.DECLARED,
            id="Hold with nothing to hold",
        ),
        pytest.param(new(routes=with_endpoints(0, 0)), Source.NOTHING, id="a new one with empty routes only"),
    ],
)
def test_the_declared_spec_is_served_where_it_can_be_and_else_the_last_good_one(
    snapshot: Snapshot, source: Source
) -> None:
    assert which_spec(snapshot) is source


@given(snapshots)
def test_what_is_served_never_depends_on_how_far_the_proxies_are(snapshot: Snapshot) -> None:
    """The target has to be known before the rollout towards it can be."""
    declared_only = Snapshot(
        phase=snapshot.phase,
        now=snapshot.now,
        fault=snapshot.fault,
        missing=snapshot.missing,
        routes=snapshot.routes,
        on_empty_route=snapshot.on_empty_route,
        paused=snapshot.paused,
        has_served=snapshot.has_served,
    )
    assert which_spec(declared_only) is which_spec(snapshot)


@given(snapshots)
def test_what_has_been_served_once_is_served_whatever_is_declared(snapshot: Snapshot) -> None:
    assert not (snapshot.has_served and which_spec(snapshot) is Source.NOTHING)
