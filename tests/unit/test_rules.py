"""The policy: the decision of each rule, and the invariants of all decisions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from states import (
    KEEP_SERVING,
    RULES,
    Action,
    Decision,
    Delivery,
    Difference,
    OnEmptyRoute,
    Phase,
    Problem,
    Progress,
    Reason,
    RouteFacts,
    Snapshot,
    Trigger,
    UnreachedRoute,
    UpdateStrategy,
    decide,
    degraded,
    next_phase,
)
from states.timing import FIRST_ENDPOINTS_GRACE, SETTLE_LIMIT
from tests.unit.snapshots import DONE, FAULT, LONG_AGO, MISSING, NOW, new, obeyable, serving, snapshots, with_endpoints

SECOND = timedelta(seconds=1)
PROXIES = "proxies serve revision 3"
BEHIND = replace(DONE, ready=1, progress=Progress.BEHIND, former=Progress.BEHIND)
OTHER_WEIGHTS = replace(DONE, difference=Difference.WEIGHTS, progress=Progress.BEHIND)
NEWER_ENDPOINTS = replace(DONE, difference=Difference.ENDPOINTS, progress=Progress.SERVING)
SETTLING = replace(NEWER_ENDPOINTS, progress=Progress.BEHIND, former=Progress.BEHIND, written_at=NOW)
REJECTION = Problem(Reason.OBJECT_EXISTS, 'ConfigMap "x-haproxy" exists: delete or rename it')
EMPTY_V2 = with_endpoints(2, 0)
ALL_EMPTY = with_endpoints(0, 0)


def check(snapshot: Snapshot, rule: str, trigger: Trigger | None, reason: Reason) -> Decision:
    decision = decide(snapshot)
    assert (decision.rule, decision.trigger, decision.reason) == (rule, trigger, reason)
    return decision


def after(decision: Decision) -> timedelta | None:
    """How long after it to look again."""
    return decision.requeue.after if decision.requeue else None


# Each rule


def test_a_spec_that_cannot_be_applied_degrades_with_the_fault() -> None:
    decision = check(serving(fault=FAULT), "spec_is_unusable", Trigger.DEGRADE, Reason.INVALID_WEIGHTS)
    assert decision.message == FAULT.message
    assert decision.actions == KEEP_SERVING


def test_a_new_kanary_whose_spec_cannot_be_applied_makes_nothing() -> None:
    decision = check(new(fault=FAULT), "spec_is_unusable", Trigger.DEGRADE, Reason.INVALID_WEIGHTS)
    assert decision.actions == ()


def test_a_fault_is_reported_before_anything_else() -> None:
    snapshot = serving(fault=FAULT, missing=MISSING, paused=True, routes=ALL_EMPTY, rejection=REJECTION)
    check(snapshot, "spec_is_unusable", Trigger.DEGRADE, Reason.INVALID_WEIGHTS)


def test_a_new_kanary_waits_for_a_backend_that_is_not_there() -> None:
    decision = check(new(missing=MISSING), "backend_is_missing", None, Reason.BACKEND_NOT_FOUND)
    assert decision.message == MISSING.message
    assert decision.actions == ()


def test_a_kanary_that_serves_is_degraded_by_a_backend_that_is_gone_and_goes_on() -> None:
    decision = check(serving(missing=MISSING), "backend_is_missing", Trigger.DEGRADE, Reason.BACKEND_NOT_FOUND)
    assert decision.actions == KEEP_SERVING


def test_a_new_kanary_that_was_degraded_waits_again_when_only_a_backend_is_missing() -> None:
    check(new(phase=Phase.DEGRADED, missing=MISSING), "backend_is_missing", Trigger.WAIT, Reason.BACKEND_NOT_FOUND)


def test_a_new_kanary_that_is_paused_waits_and_says_what_to_do() -> None:
    decision = check(new(paused=True), "is_paused", None, Reason.PAUSED)
    assert decision.message == "spec.paused is true: set it to false to start serving"
    assert decision.actions == ()


def test_a_change_while_paused_is_noted_and_what_serves_is_kept_up() -> None:
    decision = check(serving(paused=True, is_change=True), "is_paused", Trigger.RENDER, Reason.PAUSED)
    assert decision.message == ("spec.paused is true: v1=80 v2=20 stays until it is false; endpoints are still updated")
    assert decision.actions == KEEP_SERVING
    check(serving(phase=Phase.RENDERING, paused=True, is_change=True), "is_paused", None, Reason.PAUSED)


@pytest.mark.parametrize("obstacle", [{"paused": True}, {"missing": MISSING}, {"fault": FAULT}])
def test_proxies_whose_configuration_is_lost_are_left_alone_and_the_user_reads_it(obstacle: dict[str, Any]) -> None:
    snapshot = new(phase=Phase.READY, lost="ConfigMap rule-haproxy was deleted", **obstacle)
    decision = decide(snapshot)
    assert (decision.trigger, decision.actions) == (Trigger.DEGRADE, ())
    assert decision.message.endswith("; ConfigMap rule-haproxy was deleted")


def test_a_configuration_that_is_lost_is_rendered_anew_where_the_spec_can_be_applied() -> None:
    snapshot = new(phase=Phase.READY, lost="ConfigMap rule-haproxy was deleted", routes=EMPTY_V2)
    check(snapshot, "route_is_empty", Trigger.DEGRADE, Reason.ROUTE_WITHOUT_ENDPOINTS)
    assert "ConfigMap" not in decide(snapshot).message


def test_pausing_what_is_served_already_changes_nothing() -> None:
    check(serving(paused=True), "everything_is_served", None, Reason.SERVING)


def test_while_paused_a_rollout_that_is_under_way_settles_before_endpoints_are_followed() -> None:
    decision = check(
        serving(paused=True, is_change=True, delivery=SETTLING), "is_paused", Trigger.RENDER, Reason.PAUSED
    )
    assert decision.actions == ()
    assert after(decision) == SECOND


def test_a_new_kanary_waits_a_while_for_the_slower_backend_and_names_it() -> None:
    decision = check(new(routes=EMPTY_V2), "first_endpoints_are_awaited", None, Reason.WAITING_FOR_ENDPOINTS)
    assert decision.message == (
        "waiting for the first endpoints of v2 (none yet); starts with the ready ones 30 s after the start of this wait"
    )
    assert after(decision) == FIRST_ENDPOINTS_GRACE - 2 * SECOND


def test_a_new_kanary_waits_a_while_for_pods_that_are_not_ready_yet() -> None:
    routes = (RouteFacts("v1", 80, 1, unready=2), RouteFacts("v2", 20, 1))
    decision = check(new(routes=routes), "first_endpoints_are_awaited", None, Reason.WAITING_FOR_ENDPOINTS)
    assert decision.message.startswith("waiting for the first endpoints of v1 (1 of 3 ready); ")
    started = new(routes=routes, since=LONG_AGO)
    check(started, "configuration_differs", Trigger.RENDER, Reason.CONFIGURATION_CHANGED)


def test_with_no_endpoint_at_all_a_new_kanary_waits_without_end() -> None:
    snapshot = new(routes=ALL_EMPTY, since=NOW - timedelta(days=1))
    decision = check(snapshot, "first_endpoints_are_awaited", None, Reason.WAITING_FOR_ENDPOINTS)
    assert decision.message == "waiting for the first endpoints of v1 (none yet), v2 (none yet)"
    assert decision.requeue is None


def test_after_the_grace_a_new_kanary_starts_with_the_routes_that_are_there() -> None:
    snapshot = new(routes=EMPTY_V2, since=NOW - FIRST_ENDPOINTS_GRACE)
    decision = check(snapshot, "route_is_empty", Trigger.DEGRADE, Reason.ROUTE_WITHOUT_ENDPOINTS)
    assert decision.actions == ()
    decision = check(replace(snapshot, is_in_status=True), "route_is_empty", Trigger.DEGRADE, decision.reason)
    assert decision.actions == KEEP_SERVING


def test_the_grace_begins_with_the_wait_and_not_with_one_for_something_else() -> None:
    decision = decide(new(routes=EMPTY_V2, since=LONG_AGO, waits_for_endpoints=False))
    assert (decision.reason, after(decision)) == (Reason.WAITING_FOR_ENDPOINTS, FIRST_ENDPOINTS_GRACE)


@pytest.mark.parametrize("phase", [Phase.RENDERING, Phase.ROLLING, Phase.DEGRADED])
def test_a_new_kanary_that_has_begun_does_not_wait_for_a_slower_pod_again(phase: Phase) -> None:
    assert decide(new(phase=phase, is_in_status=True, routes=EMPTY_V2)).reason is not Reason.WAITING_FOR_ENDPOINTS
    assert decide(new(phase=phase, routes=ALL_EMPTY)).trigger is Trigger.WAIT


def test_a_route_of_weight_0_is_not_waited_for() -> None:
    check(new(routes=with_endpoints(1, 1, 0)), "configuration_differs", Trigger.RENDER, Reason.CONFIGURATION_CHANGED)


def test_a_kanary_that_lost_its_last_endpoint_says_what_happens_to_connections() -> None:
    decision = check(serving(routes=ALL_EMPTY), "no_endpoint_is_left", Trigger.DEGRADE, Reason.NO_READY_ENDPOINTS)
    assert decision.message == (
        "none of v1 (weight 80), v2 (weight 20) has a ready endpoint: "
        "connections are closed until a pod of a backend becomes ready"
    )
    assert decision.actions == KEEP_SERVING


@pytest.mark.parametrize(
    ("policy", "consequence"),
    [
        (OnEmptyRoute.REDISTRIBUTE, "the other routes take its share (spec.onEmptyRoute: Redistribute)"),
        (OnEmptyRoute.HOLD, "the last good configuration stays (v1=80 v2=20) (spec.onEmptyRoute: Hold)"),
        (OnEmptyRoute.FAIL, "connections of its share are closed (spec.onEmptyRoute: Fail)"),
    ],
)
def test_an_empty_route_degrades_and_the_policy_is_reported(policy: OnEmptyRoute, consequence: str) -> None:
    snapshot = serving(routes=EMPTY_V2, on_empty_route=policy)
    decision = check(snapshot, "route_is_empty", Trigger.DEGRADE, Reason.ROUTE_WITHOUT_ENDPOINTS)
    assert decision.message == (
        f"v2 (weight 20) has no ready endpoint: {consequence} until a pod becomes ready or its weight is 0"
    )
    assert decision.actions == KEEP_SERVING


def test_with_hold_the_last_good_configuration_stays_even_with_no_endpoint_anywhere() -> None:
    snapshot = serving(routes=ALL_EMPTY, on_empty_route=OnEmptyRoute.HOLD)
    check(snapshot, "route_is_empty", Trigger.DEGRADE, Reason.ROUTE_WITHOUT_ENDPOINTS)


def test_where_nothing_was_ever_good_hold_does_not_claim_that_it_stays() -> None:
    snapshot = new(routes=EMPTY_V2, on_empty_route=OnEmptyRoute.HOLD, since=LONG_AGO)
    assert "last good" not in decide(snapshot).message


def test_a_route_of_weight_0_without_endpoints_is_no_problem() -> None:
    routes = (RouteFacts("v1", 100, 2), RouteFacts("v2", 0, 0))
    check(serving(routes=routes), "everything_is_served", None, Reason.SERVING)


def test_proxies_that_are_not_there_at_the_deadline_degrade_and_the_cause_is_reported() -> None:
    delivery = replace(BEHIND, trouble="pod x-1: ImagePullBackOff: no such image")
    snapshot = serving(phase=Phase.ROLLING, delivery=delivery, progressing_since=LONG_AGO)
    decision = check(snapshot, "deadline_is_exceeded", Trigger.DEGRADE, Reason.PROGRESS_DEADLINE_EXCEEDED)
    assert decision.message.startswith("not rolled out after 600 s (spec.progressDeadlineSeconds)")
    assert "pod x-1: ImagePullBackOff: no such image" in decision.message
    assert f"1 of 2 {PROXIES}".replace("serve", "serves") in decision.message
    assert decision.message.endswith("fix the cause or change the spec")
    assert decision.actions == KEEP_SERVING


def test_a_second_before_the_deadline_nothing_is_exceeded() -> None:
    snapshot = serving(phase=Phase.ROLLING, delivery=BEHIND, progressing_since=LONG_AGO + SECOND)
    decision = check(snapshot, "proxies_are_behind", None, Reason.ROLLING_OUT)
    assert after(decision) == SECOND


def test_proxies_that_arrived_late_are_no_problem_any_more() -> None:
    check(serving(progressing_since=LONG_AGO), "everything_is_served", None, Reason.SERVING)


def test_a_new_spec_starts_over_after_the_deadline() -> None:
    snapshot = serving(
        phase=Phase.DEGRADED, spec_changed=True, delivery=OTHER_WEIGHTS, progressing_since=LONG_AGO, is_in_status=False
    )
    check(snapshot, "configuration_differs", Trigger.RENDER, Reason.CONFIGURATION_CHANGED)


def test_a_rejected_object_is_retried_and_the_rejection_stays_reported() -> None:
    snapshot = serving(phase=Phase.DEGRADED, rejection=REJECTION, delivery=replace(BEHIND, is_applied=False))
    decision = check(snapshot, "cluster_rejects", None, Reason.OBJECT_EXISTS)
    assert decision.message == REJECTION.message
    assert decision.actions == KEEP_SERVING


def test_what_was_refused_is_tried_again_as_soon_as_the_last_rollout_has_settled() -> None:
    snapshot = serving(phase=Phase.DEGRADED, rejection=REJECTION, delivery=replace(SETTLING, is_applied=False))
    decision = check(snapshot, "cluster_rejects", None, Reason.OBJECT_EXISTS)
    assert (decision.actions, after(decision)) == ((), SECOND)


def test_a_refusal_is_over_when_everything_is_applied() -> None:
    snapshot = serving(phase=Phase.DEGRADED, rejection=REJECTION, delivery=BEHIND)
    check(snapshot, "proxies_are_behind", Trigger.ROLL, Reason.ROLLING_OUT)


def test_a_new_spec_is_tried_whatever_was_refused_before() -> None:
    snapshot = serving(phase=Phase.DEGRADED, rejection=REJECTION, delivery=OTHER_WEIGHTS, spec_changed=True)
    check(snapshot, "configuration_differs", Trigger.RENDER, Reason.CONFIGURATION_CHANGED)


def test_proxies_on_their_way_arrive_before_newer_endpoints_replace_them() -> None:
    snapshot = serving(phase=Phase.ROLLING, delivery=SETTLING, progressing_since=NOW)
    decision = check(snapshot, "endpoints_wait", None, Reason.ROLLING_OUT)
    assert decision.actions == ()
    assert after(decision) == SECOND


def test_while_a_rollout_settles_no_proxy_is_counted_for_what_is_not_written_yet() -> None:
    """None can serve it, so "0 of 2" would be reported even for two proxies that are ready."""
    snapshot = serving(phase=Phase.ROLLING, delivery=SETTLING, progressing_since=NOW)
    assert "0 of 2" not in decide(snapshot).message


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({"written_at": NOW - SETTLE_LIMIT + SECOND}, True),
        ({"written_at": NOW - SETTLE_LIMIT}, False),
        ({"written_at": NOW + timedelta(hours=1)}, False),
        ({"trouble": "pod x-1: ErrImagePull"}, False),
        ({"former": Progress.CURRENT}, False),
        ({"strategy": UpdateStrategy.LIVE}, False),
        ({"difference": Difference.SETTINGS}, False),
        ({"difference": Difference.WEIGHTS}, False),
    ],
    ids=lambda changes: next(iter(changes), "") if isinstance(changes, dict) else "",
)
def test_endpoints_wait_a_minute_at_most_for_replaced_proxies_that_may_still_become_ready(
    changes: dict[str, Any], waits: bool
) -> None:
    snapshot = serving(phase=Phase.ROLLING, delivery=replace(SETTLING, **changes))
    assert (decide(snapshot).rule == "endpoints_wait") is waits


@pytest.mark.parametrize("phase", [Phase.READY, Phase.DEGRADED])
def test_a_kanary_that_waits_for_a_rollout_to_settle_is_rolling(phase: Phase) -> None:
    assert (
        check(serving(phase=phase, delivery=SETTLING), "endpoints_wait", Trigger.ROLL, Reason.ROLLING_OUT).actions == ()
    )


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.ROLLING, Phase.READY, Phase.DEGRADED])
def test_other_weights_are_written_down_under_their_revision_first(phase: Phase) -> None:
    for snapshot in (
        serving(phase=phase, delivery=OTHER_WEIGHTS, is_in_status=False),
        serving(phase=phase, delivery=OTHER_WEIGHTS),
    ):
        decision = check(snapshot, "configuration_differs", Trigger.RENDER, Reason.CONFIGURATION_CHANGED)
        assert decision.message == "v1=80 v2=20 becomes revision 3"
        assert decision.actions == ()


def test_rendering_lasts_until_the_weights_are_written_down() -> None:
    snapshot = serving(phase=Phase.RENDERING, delivery=OTHER_WEIGHTS, is_in_status=False)
    assert check(snapshot, "configuration_differs", None, Reason.CONFIGURATION_CHANGED).actions == ()


def test_other_settings_are_rendered_without_a_new_revision() -> None:
    delivery = replace(DONE, difference=Difference.SETTINGS, progress=Progress.BEHIND)
    decision = check(serving(delivery=delivery), "configuration_differs", Trigger.RENDER, Reason.CONFIGURATION_CHANGED)
    assert decision.message == "revision 3 has new settings, or a route is empty now or has endpoints again"


def test_what_is_rendered_is_written_and_the_deadline_is_kept_in_mind() -> None:
    snapshot = serving(phase=Phase.RENDERING, delivery=OTHER_WEIGHTS, progressing_since=NOW - timedelta(seconds=100))
    decision = check(snapshot, "configuration_differs", Trigger.ROLL, Reason.ROLLING_OUT)
    assert decision.actions == KEEP_SERVING
    assert after(decision) == timedelta(seconds=500)


# Health is not progress


@pytest.mark.parametrize("strategy", UpdateStrategy)
@pytest.mark.parametrize("progress", [Progress.SERVING, Progress.CURRENT])
@pytest.mark.parametrize("difference", [Difference.NONE, Difference.ENDPOINTS])
def test_pods_that_come_and_go_are_given_to_the_proxies_and_move_no_ready_kanary(
    strategy: UpdateStrategy, progress: Progress, difference: Difference
) -> None:
    delivery = replace(DONE, difference=difference, progress=progress, strategy=strategy)
    decision = check(serving(delivery=delivery), "everything_is_served", None, Reason.SERVING)
    assert decision.actions == (SENDING if strategy is UpdateStrategy.LIVE else KEEP_SERVING)
    assert decision.message == f"2 of 2 {PROXIES}: v1=80 v2=20"


def test_a_ready_kanary_whose_newer_endpoints_wait_stays_ready() -> None:
    delivery = replace(NEWER_ENDPOINTS, former=Progress.SERVING, written_at=NOW)
    decision = check(serving(delivery=delivery), "endpoints_wait", None, Reason.SERVING)
    assert decision.message == (
        f"2 of 2 {PROXIES}: v1=80 v2=20; newer endpoints wait: proxies are starting with older ones"
    )
    assert (decision.actions, after(decision)) == ((), SECOND)


@pytest.mark.parametrize("difference", [Difference.SETTINGS, Difference.WEIGHTS])
def test_other_settings_and_weights_do(difference: Difference) -> None:
    check(
        serving(delivery=replace(DONE, difference=difference)),
        "configuration_differs",
        Trigger.RENDER,
        Reason.CONFIGURATION_CHANGED,
    )


@pytest.mark.parametrize("phase", [Phase.READY, Phase.DEGRADED])
def test_a_proxy_that_is_lost_puts_the_kanary_back_to_rolling(phase: Phase) -> None:
    decision = check(serving(phase=phase, delivery=BEHIND), "proxies_are_behind", Trigger.ROLL, Reason.ROLLING_OUT)
    assert decision.message == "1 of 2 proxies serves revision 3"


@pytest.mark.parametrize(
    ("trouble", "waiting_for", "reported"),
    [
        ("pod x-1: ErrImagePull", "", "pod x-1: ErrImagePull"),
        ("", "pod x-1 on node a", "waiting for pod x-1 on node a"),
        ("pod x-1: ErrImagePull", "pod x-2 on node a", "pod x-1: ErrImagePull"),
    ],
)
def test_the_proxy_that_is_waited_for_is_named_and_its_trouble_is_reported(
    trouble: str, waiting_for: str, reported: str
) -> None:
    delivery = replace(BEHIND, ready=0, trouble=trouble, waiting_for=waiting_for)
    assert decide(serving(phase=Phase.ROLLING, delivery=delivery)).message == f"0 of 2 {PROXIES}: {reported}"


def test_proxies_that_were_replaced_and_still_listen_are_reported_and_looked_at_again() -> None:
    delivery = replace(BEHIND, ready=2, others_listen_for=timedelta(seconds=4))
    decision = check(serving(phase=Phase.ROLLING, delivery=delivery), "proxies_are_behind", None, Reason.ROLLING_OUT)
    assert decision.message == f"2 of 2 {PROXIES}; the replaced proxies may still accept connections"
    assert after(decision) == timedelta(seconds=4)


def test_a_rollout_that_is_complete_makes_the_kanary_ready() -> None:
    decision = check(serving(phase=Phase.ROLLING), "everything_is_served", Trigger.COMPLETE, Reason.SERVING)
    assert decision.message == f"2 of 2 {PROXIES}: v1=80 v2=20"


def test_a_kanary_that_is_ready_stays_so_and_is_kept_so() -> None:
    decision = check(serving(), "everything_is_served", None, Reason.SERVING)
    assert decision.actions == KEEP_SERVING
    assert decision.requeue is None


def test_a_kanary_that_is_well_again_goes_by_way_of_rolling() -> None:
    check(serving(phase=Phase.DEGRADED), "everything_is_served", Trigger.ROLL, Reason.ROLLING_OUT)


@pytest.mark.parametrize("delivery", [DONE, BEHIND])
def test_what_may_go_goes_whether_everything_is_served_or_not(delivery: Delivery) -> None:
    assert decide(serving(delivery=delivery, stale=("old",))).actions == (*KEEP_SERVING, Action.RETIRE)


def test_the_rules_have_this_order() -> None:
    assert [rule.__name__ for rule in RULES] == [
        "spec_is_unusable",
        "backend_is_missing",
        "is_paused",
        "destination_is_contested",
        "first_endpoints_are_awaited",
        "no_endpoint_is_left",
        "haproxy_rejects",
        "route_is_empty",
        "deadline_is_exceeded",
        "cluster_rejects",
        "endpoints_wait",
        "configuration_differs",
        "proxies_are_behind",
        "route_is_unreachable",
        "proxies_are_exhausted",
        "rollout_is_under_way",
        "everything_is_served",
    ]


def test_the_same_problem_again_is_no_move() -> None:
    assert degraded(serving(phase=Phase.DEGRADED), FAULT).trigger is None


# Proxies that take a configuration as they run

LIVE = replace(DONE, strategy=UpdateStrategy.LIVE)
SENDING = (Action.CONFIGURE, Action.SEND, Action.RUN_PROXIES, Action.EXPOSE)
AWAITED = replace(BEHIND, strategy=UpdateStrategy.LIVE, next_limit=timedelta(seconds=4))


def test_running_proxies_report_by_themselves() -> None:
    decision = check(serving(delivery=LIVE), "everything_is_served", None, Reason.SERVING)
    assert decision.actions == SENDING
    assert decision.requeue is None


def test_the_limits_of_proxies_that_are_about_to_load_are_checked() -> None:
    snapshot = serving(phase=Phase.ROLLING, delivery=AWAITED, progressing_since=NOW)
    decision = check(snapshot, "proxies_are_behind", None, Reason.ROLLING_OUT)
    assert decision.actions == SENDING
    assert after(decision) == timedelta(seconds=4)


def test_the_deadline_is_kept_although_the_next_limit_is_later() -> None:
    delivery = replace(AWAITED, next_limit=timedelta(seconds=30))
    snapshot = serving(phase=Phase.ROLLING, delivery=delivery, progressing_since=LONG_AGO + SECOND)
    assert after(decide(snapshot)) == SECOND


def test_why_proxies_are_replaced_is_reported() -> None:
    delivery = replace(DONE, difference=Difference.SETTINGS, fallback="pod x-1 did not answer the operator")
    snapshot = serving(phase=Phase.ROLLING, delivery=delivery)
    decision = check(snapshot, "configuration_differs", Trigger.RENDER, Reason.REPLACING_PROXIES)
    assert decision.message == "pod x-1 did not answer the operator: the proxies are replaced"


def test_a_rejection_by_haproxy_degrades_and_the_proxies_continue() -> None:
    delivery = replace(AWAITED, rejection="HAProxy of pod x-1 rejects the configuration: [ALERT] no")
    snapshot = serving(phase=Phase.ROLLING, delivery=delivery, progressing_since=NOW)
    decision = check(snapshot, "haproxy_rejects", Trigger.DEGRADE, Reason.REJECTED_BY_HAPROXY)
    assert decision.message.startswith("HAProxy of pod x-1 rejects the configuration: [ALERT] no; the proxies keep")
    assert "spec.proxy.image" in decision.message


SPACED = replace(LIVE, difference=Difference.ENDPOINTS, progress=Progress.SERVING, reload_spacing=SECOND)


def test_newer_endpoints_wait_while_processes_drain() -> None:
    decision = check(serving(delivery=SPACED), "endpoints_wait", None, Reason.SERVING)
    assert decision.actions == ()
    assert after(decision) == SECOND
    assert decide(serving(delivery=replace(LIVE, reload_spacing=SECOND))).rule == "everything_is_served"


@pytest.mark.parametrize(("phase", "trigger"), [(Phase.ROLLING, None), (Phase.DEGRADED, Trigger.ROLL)])
def test_they_wait_whatever_the_phase(phase: Phase, trigger: Trigger | None) -> None:
    decision = check(serving(phase=phase, delivery=SPACED), "endpoints_wait", trigger, Reason.ROLLING_OUT)
    assert (decision.actions, after(decision)) == ((), SECOND)


@pytest.mark.parametrize(
    "problem",
    [
        {"fault": FAULT},
        {"missing": MISSING},
        {"routes": EMPTY_V2},
        {"routes": ALL_EMPTY},
        {"rejection": REJECTION, "delivery": replace(SPACED, is_applied=False)},
        {"delivery": replace(SPACED, rejection="HAProxy of pod x-1 rejects the configuration")},
        {"progressing_since": LONG_AGO},
        {"paused": True, "is_change": True},
    ],
    ids=lambda problem: next(iter(problem)),
)
def test_they_wait_whatever_else_is_wrong(problem: dict[str, Any]) -> None:
    """Memory may be short then, and each reload takes more of it."""
    decision = decide(serving(**{"phase": Phase.DEGRADED, "delivery": SPACED} | problem))
    assert decision.rule != "endpoints_wait"
    assert (decision.actions, after(decision)) == ((), SECOND)


def test_a_proxy_that_is_exhausted_degrades_once_everything_is_served() -> None:
    reported = "pod x-1 holds 100 connections, all that it may"
    decision = check(
        serving(delivery=replace(LIVE, exhaustion=reported, next_limit=timedelta(seconds=30))),
        "proxies_are_exhausted",
        Trigger.DEGRADE,
        Reason.PROXIES_EXHAUSTED,
    )
    assert decision.message == reported
    assert after(decision) == timedelta(seconds=30)
    snapshot = serving(phase=Phase.ROLLING, delivery=replace(AWAITED, exhaustion=reported), progressing_since=NOW)
    assert decide(snapshot).rule == "proxies_are_behind"


# Routes that no connection reaches


def unreached(seconds: float = 0, backend: str = "v2", weight: int = 20) -> UnreachedRoute:
    """For so many more seconds it may be a stall."""
    evidence = "pod v2-a (10.0.0.1:9000) is DOWN L4CON Connection refused"
    return UnreachedRoute(backend, Decimal(weight), timedelta(seconds=seconds), evidence)


def test_a_route_that_no_connection_reaches_degrades_with_a_pod_and_haproxys_words() -> None:
    decision = check(
        serving(delivery=replace(LIVE, unreached=(unreached(),))),
        "route_is_unreachable",
        Trigger.DEGRADE,
        Reason.ROUTE_UNREACHABLE,
    )
    for part in ("v2 (weight 20)", "pod v2-a (10.0.0.1:9000) is DOWN L4CON", "targetPort", "NetworkPolicies"):
        assert part in decision.message
    assert "the other routes take its share" in decision.message
    assert decision.actions == SENDING


def test_connections_are_closed_if_no_other_route_takes_them() -> None:
    both = (unreached(), unreached(backend="v1", weight=80))
    for snapshot in (
        serving(delivery=replace(LIVE, unreached=both)),
        serving(delivery=replace(LIVE, unreached=both[:1]), on_empty_route=OnEmptyRoute.FAIL),
    ):
        assert "connections of its share are closed" in decide(snapshot).message


def test_a_stall_changes_nothing_while_the_kanary_is_ready() -> None:
    limit = timedelta(seconds=4)
    snapshot = serving(delivery=replace(LIVE, unreached=(unreached(4),), next_limit=limit))
    decision = check(snapshot, "everything_is_served", None, Reason.SERVING)
    assert after(decision) == limit


@pytest.mark.parametrize(("phase", "trigger"), [(Phase.ROLLING, None), (Phase.DEGRADED, Trigger.ROLL)])
def test_no_kanary_becomes_ready_before_it_reaches_each_route(phase: Phase, trigger: Trigger | None) -> None:
    limit = timedelta(seconds=4)
    snapshot = serving(phase=phase, delivery=replace(LIVE, unreached=(unreached(4),), next_limit=limit))
    decision = check(snapshot, "route_is_unreachable", trigger, Reason.ROLLING_OUT)
    assert after(decision) == limit


def test_a_route_that_is_reported_has_no_more_time() -> None:
    """A restarted agent, or a new server that is not checked yet, begins anew."""
    snapshot = serving(phase=Phase.DEGRADED, reports_unreached=True, delivery=replace(LIVE, unreached=(unreached(9),)))
    check(snapshot, "route_is_unreachable", None, Reason.ROUTE_UNREACHABLE)


def test_endpoints_that_wait_do_not_hide_a_route_that_no_connection_reaches() -> None:
    waiting = replace(LIVE, difference=Difference.ENDPOINTS, reload_spacing=timedelta(seconds=2))
    snapshot = serving(
        phase=Phase.DEGRADED, reports_unreached=True, delivery=replace(waiting, unreached=(unreached(),))
    )
    assert check(snapshot, "route_is_unreachable", None, Reason.ROUTE_UNREACHABLE).actions == ()


@given(snapshots)
def test_no_kanary_completes_while_a_route_is_unreached(snapshot: Snapshot) -> None:
    delivery = replace(snapshot.delivery, unreached=(unreached(3),))
    assert decide(replace(snapshot, delivery=delivery)).trigger is not Trigger.COMPLETE


# Every decision


@given(snapshots)
def test_every_snapshot_is_decided_by_the_first_rule_that_has_something_to_say(snapshot: Snapshot) -> None:
    first = next(rule for rule in RULES if rule(snapshot))
    assert decide(snapshot) == replace(first(snapshot) or pytest.fail("it had"), rule=first.__name__)


@given(snapshots)
def test_every_trigger_is_legal_in_its_phase(snapshot: Snapshot) -> None:
    trigger = decide(snapshot).trigger
    assert trigger is None or next_phase(snapshot.phase, trigger) is not None


@given(snapshots)
def test_a_decision_is_taken_again_in_the_same_way(snapshot: Snapshot) -> None:
    assert decide(snapshot) == decide(replace(snapshot))


@given(snapshots)
def test_every_message_is_one_line_that_says_something(snapshot: Snapshot) -> None:
    message = decide(snapshot).message
    assert message.strip()
    assert message.isprintable()


@given(snapshots)
def test_a_second_later_a_decision_says_the_same_unless_a_time_limit_passed(snapshot: Snapshot) -> None:
    """A message that counted seconds would have the status written for ever."""
    limits = [
        (snapshot.progressing_since, snapshot.progress_deadline),
        (snapshot.since, FIRST_ENDPOINTS_GRACE),
        (snapshot.delivery.written_at, SETTLE_LIMIT),
    ]
    # A time beyond twice the limit in the future comes to count as a second passes, too.
    turns = [since + sign * limit for since, limit in limits if since for sign in (1, -1)]
    assume(not any(snapshot.now <= turn <= snapshot.now + SECOND for turn in turns))
    before, later = decide(snapshot), decide(replace(snapshot, now=snapshot.now + SECOND))
    assert replace(before, requeue=None, limit=None) == replace(later, requeue=None, limit=None)


@given(snapshots)
def test_a_pending_kanary_has_no_actions(snapshot: Snapshot) -> None:
    decision = decide(snapshot)
    phase = next_phase(snapshot.phase, decision.trigger) if decision.trigger else snapshot.phase
    assert phase is not Phase.PENDING or decision.actions == ()


@given(snapshots)
def test_nothing_is_done_while_there_is_nothing_to_serve(snapshot: Snapshot) -> None:
    assert snapshot.applies_spec or snapshot.has_served or decide(snapshot).actions == ()


@given(snapshots)
def test_no_proxy_is_given_what_is_not_written_down_whatever_the_phase(snapshot: Snapshot) -> None:
    assert decide(replace(snapshot, is_in_status=False)).actions == ()


@given(snapshots)
def test_a_kanary_that_has_served_never_waits_as_if_it_had_not(snapshot: Snapshot) -> None:
    assert decide(replace(snapshot, has_served=True)).trigger is not Trigger.WAIT
    assert decide(replace(snapshot, lost="ConfigMap rule-haproxy was deleted")).trigger is not Trigger.WAIT


def waits(snapshot: Snapshot) -> bool:
    """Whether newer endpoints wait, expressed independently of the rules."""
    delivery = snapshot.delivery
    is_young = delivery.written_at is not None and abs(snapshot.now - delivery.written_at) <= SETTLE_LIMIT
    settles = (
        delivery.strategy is UpdateStrategy.ROLLING and delivery.former < Progress.CURRENT and not delivery.trouble
    )
    is_due = delivery.written_at is not None and snapshot.now - delivery.written_at == SETTLE_LIMIT
    held = settles and is_young and not is_due
    return delivery.difference is Difference.ENDPOINTS and (delivery.reload_spacing is not None or held)


@given(snapshots, st.sampled_from(["fault", "missing"]))
def test_what_serves_is_kept_serving_in_the_face_of_a_problem_unless_newer_endpoints_wait(
    snapshot: Snapshot, problem: str
) -> None:
    snapshot = replace(snapshot, has_served=True, is_in_status=True, **{problem: FAULT})
    actions = [each for each in decide(snapshot).actions if each not in (Action.SEND, Action.RETIRE)]
    assert actions == ([] if waits(snapshot) else [*KEEP_SERVING])


@given(snapshots)
def test_a_kanary_whose_newer_endpoints_wait_is_looked_at_again_and_it_is_said_why(snapshot: Snapshot) -> None:
    snapshot = replace(snapshot, has_served=True, is_in_status=True)
    decision = decide(snapshot)
    if waits(snapshot) and decision.trigger is None:
        assert decision.requeue
        assert decision.requeue.after <= 5 * SECOND


@given(snapshots)
def test_a_time_to_look_again_lies_ahead_and_has_a_reason(snapshot: Snapshot) -> None:
    requeue = decide(snapshot).requeue
    assert requeue is None or (requeue.after > timedelta() and requeue.why)


@given(snapshots)
def test_ready_is_said_only_where_every_proxy_serves_the_declared_weights(snapshot: Snapshot) -> None:
    decision = decide(replace(snapshot, fault=None, missing=None, rejection=None))
    if decision.trigger is Trigger.COMPLETE or decision.reason is Reason.SERVING:
        assert snapshot.delivery.progress >= Progress.SERVING


@given(snapshots)
def test_newer_endpoints_alone_never_take_ready_away(snapshot: Snapshot) -> None:
    delivery = replace(snapshot.delivery, difference=Difference.ENDPOINTS, rejection="", exhaustion="", unreached=())
    delivery = replace(delivery, progress=max(delivery.progress, Progress.SERVING))
    quiet = {"fault": None, "missing": None, "rejection": None, "paused": False, "progressing_since": None}
    ready = replace(snapshot, phase=Phase.READY, has_served=True, is_in_status=True, delivery=delivery, **quiet)
    assume(not ready.empty_routes)
    assert (decide(ready).trigger, decide(ready).reason) == (None, Reason.SERVING)


@pytest.mark.parametrize("phase", [Phase.RENDERING, Phase.ROLLING, Phase.READY])
@pytest.mark.parametrize("since", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_time_that_somebody_wrote_into_the_status_stops_nothing(phase: Phase, since: datetime) -> None:
    """Whoever may write the status can write any time into it."""
    assert decide(serving(phase=phase, delivery=BEHIND, progressing_since=since)).actions == KEEP_SERVING


# From any snapshot to serving


def _after(snapshot: Snapshot, decision: Decision) -> Snapshot:
    """The next snapshot in a cluster that executes all actions."""
    phase = next_phase(snapshot.phase, decision.trigger) if decision.trigger else snapshot.phase
    done = Action.CONFIGURE in decision.actions
    arrived = replace(snapshot.delivery, former=Progress.CURRENT, others_listen_for=None, reload_spacing=None)
    is_waiting = decision.reason is Reason.WAITING_FOR_ENDPOINTS
    return replace(
        snapshot,
        phase=phase or pytest.fail("an illegal move"),
        now=snapshot.now + (after(decision) or SECOND),
        since=snapshot.since if is_waiting and snapshot.waits_for_endpoints else snapshot.now,
        waits_for_endpoints=is_waiting,
        spec_changed=False,
        rejection=None,
        is_in_status=snapshot.is_in_status or phase is not Phase.PENDING,
        has_served=snapshot.has_served or done,
        delivery=DONE if done else arrived,
        progressing_since=None if done else snapshot.progressing_since,
    )


@given(obeyable)
@example(new(routes=EMPTY_V2))
@example(new(phase=Phase.DEGRADED, progressing_since=LONG_AGO, spec_changed=False))
@example(new(phase=Phase.READY))
def test_whatever_the_start_a_spec_that_can_be_applied_is_served_in_the_end(snapshot: Snapshot) -> None:
    for _ in range(10):
        snapshot = _after(snapshot, decide(snapshot))
    final = decide(snapshot)
    assert snapshot.has_served
    assert snapshot.delivery == DONE
    assert final.trigger is None
    assert final.reason is (Reason.ROUTE_WITHOUT_ENDPOINTS if snapshot.empty_routes else Reason.SERVING)
    assert snapshot.phase is (Phase.DEGRADED if snapshot.empty_routes else Phase.READY)
