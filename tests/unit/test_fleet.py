"""All proxies of a Kanary: their progress, their problems, and the requests to them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from engine.fleet.fleet import Fleet, Goal, has_rolled_out, is_observed, ready_endpoints
from engine.fleet.proxy import Proxy
from engine.fleet.reports import Report
from engine.fleet.sent import Sent
from engine.model.times import time_text
from states import Progress
from states.timing import (
    EXHAUSTION_REPORTED,
    LOAD_LIMIT,
    SETTLE_LIMIT,
    SETTLING_RECHECK,
)
from tests.unit.kanaries import Json
from tests.unit.observations import DIGEST, NEWER, OTHER, applied
from tests.unit.proxies import SECOND, TEMPLATE, late, live, rolling
from tests.unit.snapshots import NOW

GOAL = Goal(DIGEST, TEMPLATE, replicas=2, ready_endpoints=2)
REFUSED = Report(OTHER, rejected_digest=DIGEST, rejection="[ALERT] no")


def deployment(generation: int = 2, *, observed: int = 2, conditions: tuple[Json, ...] = (), **counts: int) -> Json:
    all_there = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    return {
        "metadata": {"generation": generation},
        "status": {"observedGeneration": observed, "conditions": list(conditions), **(all_there | counts)},
    }


ROLLED_OUT = deployment()


def fleet(*proxies: Proxy, of: Json | None = ROLLED_OUT, after: timedelta = timedelta()) -> Fleet:
    return Fleet(of, proxies, NOW + after)


# How far they are


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [
        pytest.param([live(), live("x-2")], Progress.CURRENT, id="all"),
        pytest.param([rolling(), rolling("x-2")], Progress.CURRENT, id="all of Rolling"),
        pytest.param([], Progress.BEHIND, id="none"),
        pytest.param([live(ready=False)], Progress.BEHIND, id="none is ready"),
        pytest.param([live(stopped=NOW - 60 * SECOND)], Progress.BEHIND, id="the only one stops"),
        pytest.param([live(), live("x-2", OTHER)], Progress.BEHIND, id="one splits in another way"),
        pytest.param([live(), live("x-2", None)], Progress.BEHIND, id="one may split in any way"),
        pytest.param([live(), live("x-2", "")], Progress.BEHIND, id="one serves nothing that is known"),
        pytest.param([live(), live("x-2"), rolling("x-3", OTHER, stopped=NOW)], Progress.BEHIND, id="one listens on"),
        pytest.param([live(), live("x-2", OTHER, ready=False)], Progress.ADOPTED, id="one is not ready"),
        pytest.param([live()], Progress.ADOPTED, id="one is missing"),
        pytest.param([live(), live("x-2", NEWER)], Progress.SERVING, id="one has other pods"),
        pytest.param([live(), live("x-2"), live("x-3", NEWER, stopped=NOW)], Progress.SERVING, id="and listens on"),
        pytest.param(
            [live(), live("x-2"), rolling("x-3", OTHER, stopped=NOW - 60 * SECOND)], Progress.CURRENT, id="one has gone"
        ),
        pytest.param(
            [live(), live("x-2"), rolling("x-3", OTHER, phase="Failed", ready=False)], Progress.CURRENT, id="evicted"
        ),
    ],
)
def test_progress_is_derived_from_what_each_proxy_serves(proxies: list[Proxy], expected: Progress) -> None:
    assert fleet(*proxies).progress(GOAL) is expected


@pytest.mark.parametrize(
    ("goal", "of", "expected"),
    [
        (replace(GOAL, replicas=3), ROLLED_OUT, Progress.ADOPTED),
        (replace(GOAL, ready_endpoints=1), ROLLED_OUT, Progress.ADOPTED),
        (replace(GOAL, template="another image"), ROLLED_OUT, Progress.ADOPTED),
        (GOAL, deployment(replicas=3), Progress.SERVING),
        (GOAL, None, Progress.SERVING),
        (replace(GOAL, digest=NEWER), ROLLED_OUT, Progress.SERVING),
    ],
    ids=[
        "one more is desired",
        "not behind the Service",
        "not as declared",
        "an old pod",
        "no Deployment",
        "newer pods",
    ],
)
def test_progress_is_derived_from_how_proxies_are_run_as_well(goal: Goal, of: Json | None, expected: Progress) -> None:
    assert fleet(live(), live("x-2"), of=of).progress(goal) is expected


def test_ready_proxies_split_alike_and_updated_ones_have_the_latest_pods_as_well() -> None:
    found = fleet(live(), live("x-2", NEWER), live("x-3", OTHER), live("x-4", ready=False), live("x-5", stopped=NOW))
    assert (found.ready(DIGEST), found.updated(DIGEST)) == (2, 1)
    assert (found.ready(OTHER), found.updated(OTHER)) == (1, 1)


def test_of_several_replaced_proxies_the_one_that_listens_longest_counts() -> None:
    stopping = [rolling(f"x-{ago}", OTHER, stopped=NOW - ago * SECOND) for ago in (3, 1, 5)]
    assert fleet(rolling(), *stopping).others_listen_for(DIGEST) == 5 * SECOND
    assert fleet(rolling(), *stopping, after=10 * SECOND).others_listen_for(DIGEST) is None


def test_a_replaced_proxy_that_is_not_stopping_yet_is_checked_again() -> None:
    assert fleet(rolling(digest=OTHER)).others_listen_for(DIGEST) == SETTLING_RECHECK


def test_a_proxy_that_splits_alike_or_is_to_load_the_configuration_is_no_other() -> None:
    assert fleet(rolling(), rolling("x-2", NEWER, stopped=NOW)).others_listen_for(DIGEST) is None
    assert fleet(live(report=OTHER)).others_listen_for(DIGEST) is None
    assert fleet(live(report=OTHER, stopped=NOW)).others_listen_for(DIGEST) == 6 * SECOND


def test_the_proxy_that_is_waited_for_is_named_with_its_node() -> None:
    assert fleet(live(), live("x-2", OTHER, node="node-b")).waiting_for(DIGEST) == "pod x-2 on node node-b"
    assert fleet(live("x-2", ready=False)).waiting_for(DIGEST) == "pod x-2"
    assert fleet(live(), live("x-2", NEWER), live("x-3", OTHER, stopped=NOW)).waiting_for(DIGEST) == ""


def test_a_configuration_is_mounted_as_long_as_a_pod_of_rolling_has_not_ended() -> None:
    found = fleet(
        rolling(), rolling("x-2", OTHER, stopped=NOW), rolling("x-3", NEWER, phase="Failed"), live("x-4", "c")
    )
    assert found.mounted == {DIGEST, OTHER}


# The Deployment and the destination's endpoints


@pytest.mark.parametrize(
    ("found", "replicas", "expected"),
    [
        pytest.param(ROLLED_OUT, 2, True, id="all there"),
        pytest.param(None, 2, False, id="none"),
        pytest.param({}, 2, False, id="empty"),
        pytest.param({"metadata": {"generation": 1}}, 2, False, id="no status yet"),
        pytest.param(deployment(3), 2, False, id="its controller has not seen it"),
        pytest.param(deployment(replicas=3), 2, False, id="an old pod is left"),
        pytest.param(deployment(updatedReplicas=1), 2, False, id="one is of an old template"),
        pytest.param(deployment(readyReplicas=1), 2, False, id="one is not ready"),
        pytest.param(deployment(availableReplicas=1), 2, False, id="one is not available"),
        pytest.param(ROLLED_OUT, 3, False, id="one more is desired"),
    ],
)
def test_a_deployment_is_rolled_out_when_every_pod_is_of_its_template_and_available(
    found: Json | None, replicas: int, expected: bool
) -> None:
    assert has_rolled_out(found, replicas) is expected


def test_a_deployment_has_been_seen_once_its_controller_says_so() -> None:
    assert is_observed(deployment(2, observed=2))
    assert not is_observed(deployment(3, observed=2))
    assert not is_observed(None)


def test_ready_endpoints_are_counted_over_all_slices_once_each() -> None:
    one = {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}, {"addresses": ["10.0.0.2"]}]}
    two = {"endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": False}}]}
    assert ready_endpoints([one, two, {"endpoints": None}, {}]) == 2


def test_an_adopted_service_leads_to_proxies_alone_if_all_of_its_ready_endpoints_do() -> None:
    def piece(*endpoints: tuple[str, bool]) -> list[Json]:
        found = [{"targetRef": {"name": name}, "conditions": {"ready": ready}} for name, ready in endpoints]
        return [{"endpoints": found}]

    ours = fleet(live("x-1"), live("x-2"))
    assert ours.has_all(piece(("x-1", True), ("x-2", True)))
    assert ours.has_all(piece(("x-1", True), ("x-deleted", False)))
    assert not ours.has_all(piece(("x-1", True), ("web-1", True)))
    assert not ours.has_all([{"endpoints": [{"targetRef": {"name": "web-1"}}]}])


def test_a_proxy_of_two_address_families_is_counted_once() -> None:
    four = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}
    six = {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]}
    assert ready_endpoints([four, six]) == 1


# Trouble

PULL = {"reason": "ErrImagePull"}
FAILURE = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: pods"}


@pytest.mark.parametrize(
    ("proxies", "reported"),
    [
        ([rolling(), rolling("x-2", ready=False), rolling("x-3", ready=False, waiting=PULL)], "pod x-3: ErrImagePull"),
        ([rolling(digest=OTHER, ready=False, waiting=PULL)], ""),
        ([rolling(ready=False, waiting=PULL, stopped=NOW)], ""),
        ([rolling(ready=False, waiting=PULL, phase="Failed")], ""),
        ([live(report=None, ready=False, waiting=PULL)], "pod x-1: ErrImagePull"),
        ([live(report=Report(OTHER, problem="no reload: no room"))], "pod x-1: no reload: no room"),
        ([live(report=Report(DIGEST, problem="no reload: no room"))], ""),
        ([late(node="node-b")], "pod x-1 on node node-b did not load the configuration within 15 s"),
        ([late(report=None)], "pod x-1 did not answer the operator within 15 s"),
        ([late(after=14 * SECOND)], ""),
        ([late(report=REFUSED)], ""),
    ],
)
def test_the_first_proxy_in_trouble_is_reported(proxies: list[Proxy], reported: str) -> None:
    assert fleet(*proxies).trouble(DIGEST) == reported


def test_pods_that_cannot_be_made_at_all_are_reported_before_any_other_trouble() -> None:
    found = fleet(rolling(ready=False, waiting=PULL), of=deployment(conditions=(FAILURE,)))
    assert found.trouble(DIGEST).startswith("FailedCreate: exceeded quota: pods: lower spec.proxy.resources")


@pytest.mark.parametrize("condition", [FAILURE | {"status": "False"}, {"type": "Available"}])
def test_a_condition_that_does_not_hold_is_no_trouble(condition: Json) -> None:
    assert fleet(of=deployment(conditions=(condition,))).trouble(DIGEST) == ""


def test_a_rejection_is_reported_for_the_target_only() -> None:
    assert (
        fleet(live(), live("x-2", REFUSED)).rejection(GOAL)
        == "HAProxy of pod x-2 rejects the configuration: [ALERT] no"
    )
    assert fleet(live("x-2", REFUSED)).rejection(replace(GOAL, digest=NEWER)) == ""
    assert fleet(live("x-2", replace(REFUSED, digest=DIGEST))).rejection(GOAL) == ""


def test_a_rejection_by_a_proxy_that_is_replaced_or_stops_is_over() -> None:
    other_image = replace(GOAL, template="of another image")
    assert fleet(live("x-2", REFUSED)).rejection(other_image) == ""
    assert fleet(live("x-2", REFUSED, stopped=NOW)).rejection(GOAL) == ""
    successor = replace(live("x-3", REFUSED), template=other_image.template)
    assert fleet(live("x-2", REFUSED), successor).rejection(other_image).startswith("HAProxy of pod x-3")


# What they run out of


def test_a_proxy_that_was_killed_for_lack_of_memory_is_reported_for_ten_minutes() -> None:
    killed = live(ended={"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T12:00:00Z"})
    reported = fleet(live("x-0"), killed, after=EXHAUSTION_REPORTED - SECOND).exhaustion(DIGEST, None)
    assert reported == (
        "pod x-1: container haproxy was OOMKilled at 2026-01-01T12:00:00Z; its connections were dropped: "
        "raise spec.proxy.resources.limits.memory"
    )
    assert fleet(killed, after=EXHAUSTION_REPORTED).exhaustion(DIGEST, None) == ""


@pytest.mark.parametrize("hours", [-5, 5])
def test_the_lack_of_memory_is_reported_for_as_long_on_a_node_with_a_wrong_clock(hours: int) -> None:
    error = timedelta(hours=hours)
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": time_text(NOW + error)}
    killed = live(report=Report(DIGEST, clock_error=error), ended=ended)
    reported = fleet(killed, after=EXHAUSTION_REPORTED - SECOND).exhaustion(DIGEST, None)
    assert f"OOMKilled at {time_text(NOW)}" in reported
    assert fleet(killed, after=EXHAUSTION_REPORTED).exhaustion(DIGEST, None) == ""


@pytest.mark.parametrize(
    ("report", "requested", "reported"),
    [
        (Report(DIGEST, max_connections=100), 100, ""),
        (Report(DIGEST, max_connections=99), 100, "can hold 99 connections of the 100"),
        (Report(DIGEST, max_connections=100, is_full=True), 100, "is full with 100 connections"),
        (Report(OTHER, max_connections=99, is_full=True), 100, ""),
        (Report(DIGEST), 100, ""),
        (Report(DIGEST, max_connections=99), None, ""),
        (Report(DIGEST, max_connections=99, is_full=True), None, "is full with 99 connections"),
        (
            Report(DIGEST, max_connections=100, short_of_ports="10.0.0.1:80"),
            100,
            "no free source ports for connections to",
        ),
    ],
    ids=[
        "room",
        "less than promised",
        "full",
        "another configuration",
        "unknown",
        "nothing promised",
        "full anyway",
        "ports",
    ],
)
def test_a_proxy_without_room_is_reported(report: Report, requested: int | None, reported: str) -> None:
    found = fleet(live(report=report)).exhaustion(DIGEST, requested)
    assert reported in found
    assert bool(reported) is bool(found)


# Being late

LAST = applied()


def test_proxies_that_miss_the_limit_are_replaced() -> None:
    reported = "pod x-1 on node node-b did not load the configuration within 15 s (spec.updateStrategy: Live)"
    assert fleet(late(node="node-b"), late("x-2")).fallback(LAST) == reported
    assert fleet(late(after=LOAD_LIMIT - SECOND)).fallback(LAST) == ""


def test_one_that_does_not_answer_at_all_is_reported_first() -> None:
    reported = "pod x-2 did not answer the operator within 15 s (spec.updateStrategy: Live)"
    assert fleet(late(), late("x-2", None)).fallback(LAST) == reported


@pytest.mark.parametrize(
    "proxies",
    [
        pytest.param([live(), late("x-2", None)], id="another one has loaded it"),
        pytest.param([live(ready=False), late("x-2", None)], id="another one has, and is not ready"),
        pytest.param([late(report=REFUSED)], id="its HAProxy rejects it"),
        pytest.param([late(ready=False)], id="it is not ready"),
        pytest.param([late(stopped=NOW)], id="it stops"),
        pytest.param([late(phase="Failed")], id="it has ended"),
        pytest.param([rolling(digest=OTHER)], id="it has no agent"),
        pytest.param([live(report=OTHER)], id="it was not sent"),
    ],
)
def test_otherwise_they_are_waited_for(proxies: list[Proxy]) -> None:
    assert fleet(*proxies).fallback(LAST) == ""


def test_a_proxy_that_is_starting_has_the_time_of_a_slow_node_before_late_ones_are_replaced() -> None:
    starting = live("x-0", None, ready=False)
    rolls = deployment(replicas=3)
    assert fleet(starting, late(after=SETTLE_LIMIT - SECOND), of=rolls).fallback(LAST) == ""
    assert fleet(starting, late(after=SETTLE_LIMIT), of=rolls).fallback(LAST).startswith("pod x-1 did not load")
    assert fleet(live("x-0"), late(after=SETTLE_LIMIT), of=rolls).fallback(LAST) == ""


def test_a_replaced_proxy_that_has_loaded_it_is_no_reason_to_wait() -> None:
    """It is about to go; those that stay have not loaded it."""
    assert fleet(live("x-0", stopped=NOW), late()).fallback(LAST) != ""


# What is sent


def sending(proxy: Proxy, after: timedelta = timedelta()) -> tuple[list[str], dict[str, Sent]]:
    """The pods to which a new configuration is sent, and all that is being sent."""
    found = fleet(proxy, after=after)
    return [proxy.name for proxy in found.unsent(DIGEST)], found.sending(DIGEST)


def test_what_is_new_is_sent_once_to_a_pod_that_serves_something_else() -> None:
    sent = Sent(DIGEST, NOW, was_ready=True)
    assert sending(live(report=OTHER)) == sending(live(report=None)) == (["x-1"], {"uid-x-1": sent})
    assert sending(live(report=OTHER, sent=sent), LOAD_LIMIT) == ([], {"uid-x-1": sent})
    assert sending(live(report=OTHER, sent=Sent(NEWER, NOW, was_ready=True)), SECOND) == (["x-1"], {"uid-x-1": sent})


@pytest.mark.parametrize(
    "proxy",
    [
        live(),
        live(report=REFUSED),
        live(report=OTHER, stopped=NOW),
        live(report=OTHER, phase="Failed"),
        rolling(digest=OTHER),
    ],
    ids=["it serves it", "its HAProxy rejects it", "it stops", "it has ended", "it has no agent"],
)
def test_otherwise_nothing_is_sent(proxy: Proxy) -> None:
    assert sending(proxy) == ([], {})


def test_a_proxy_that_serves_it_no_more_has_its_time_again() -> None:
    """Its HAProxy was restarted: the agent reports nothing for a moment, and the pod is still ready."""
    served = fleet(live(sent=Sent(DIGEST, NOW - timedelta(hours=1), was_ready=True))).sending(DIGEST)
    assert served == {}
    assert sending(live(report="", sent=served.get("uid-x-1"))) == (
        ["x-1"],
        {"uid-x-1": Sent(DIGEST, NOW, was_ready=True)},
    )


def test_it_is_sent_to_a_proxy_whose_haproxy_rejected_something_else() -> None:
    assert sending(live(report=replace(REFUSED, rejected_digest=OTHER)))[0] == ["x-1"]


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [
        ([live(), live("x-2")], None),
        ([live(), live("x-2", NEWER)], LOAD_LIMIT),
        ([live(report=REFUSED)], None),
        ([live(), late("x-2")], SETTLE_LIMIT - LOAD_LIMIT),
        ([live(), late("x-2"), late("x-3", after=SETTLE_LIMIT - SECOND)], SECOND),
        ([live(), late("x-2", after=SETTLE_LIMIT)], None),
    ],
    ids=["all serve it", "about to be sent", "rejected", "late", "another limit", "no limit is left"],
)
def test_the_limits_of_proxies_that_are_to_load_it_are_checked(proxies: list[Any], expected: timedelta | None) -> None:
    assert fleet(*proxies).next_limit(DIGEST) == expected


def test_the_more_processes_drain_the_longer_the_next_reload_waits() -> None:
    def wait(draining: int, after: float = 0) -> timedelta | None:
        found = fleet(live(report=Report(DIGEST, draining=draining)), live("x-2"), after=after * SECOND)
        return found.reload_spacing(NOW)

    assert wait(0) is None
    assert wait(4) == SECOND
    assert wait(4, after=0.5) == SECOND / 2
    assert wait(4, after=1) is None
    assert wait(1000) == 5 * SECOND
    assert fleet(live(report=Report(DIGEST, draining=1000))).reload_spacing(NOW + timedelta(hours=1)) is None
