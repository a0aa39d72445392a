"""How far the proxies are, as read from the cluster."""

from datetime import timedelta
from typing import Any

import pytest

from engine.model.times import time_text
from engine.render.objects import CONFIG_ANNOTATION, ENDPOINTS_SETTLE_SECONDS, STRATEGY_ANNOTATION
from engine.rollout import (
    EXHAUSTION_TOLD,
    SETTLE_LIMIT,
    has_rolled_out,
    is_reached_by_ipv6,
    is_settling,
    others_listen_for,
    out_of_memory,
    ready_endpoints,
    ready_pods,
    trouble,
)
from states import UpdateStrategy
from tests.unit.snapshots import NOW

Json = dict[str, Any]
DIGEST, OTHER = "a" * 16, "b" * 16


def pod(
    digest: str = DIGEST,
    *,
    ready: bool = True,
    stopping: bool = False,
    waiting: Json | None = None,
    exit_code: int | None = None,
    conditions: tuple[Json, ...] = (),
) -> Json:
    container: Json = {"name": "haproxy", "state": {"waiting": waiting} if waiting else {"running": {}}}
    if exit_code is not None:
        container["lastState"] = {"terminated": {"exitCode": exit_code}}
    return {
        "metadata": {
            "name": "x-haproxy-1",
            "annotations": {CONFIG_ANNOTATION: digest},
            **({"deletionTimestamp": "2026-01-01T12:00:00Z"} if stopping else {}),
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}, *conditions],
            "containerStatuses": [container],
        },
    }


def deployment(generation: int = 2, *, observed: int = 2, conditions: tuple[Json, ...] = (), **counts: int) -> Json:
    all_there = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    return {
        "metadata": {"generation": generation},
        "status": {"observedGeneration": observed, "conditions": list(conditions), **(all_there | counts)},
    }


# Pods


def test_ready_pods_are_those_with_the_configuration_that_do_not_stop() -> None:
    pods = [pod(), pod(), pod(OTHER), pod(ready=False), pod(stopping=True)]
    assert ready_pods(pods, DIGEST) == 2
    assert ready_pods(pods, OTHER) == 1


@pytest.mark.parametrize(
    "bare",
    [
        {"metadata": {"name": "x"}},
        {"metadata": {"name": "x", "annotations": None}, "status": {"conditions": None}},
        {"metadata": {"name": "x", "annotations": {CONFIG_ANNOTATION: DIGEST}}},
    ],
)
def test_a_pod_of_which_nothing_is_known_is_not_ready(bare: Json) -> None:
    assert ready_pods([bare], DIGEST) == 0
    assert trouble(None, [bare], DIGEST) == ""


# The Deployment


def test_a_rollout_is_done_when_every_pod_is_of_the_current_template_and_available() -> None:
    assert has_rolled_out(deployment(), 2)


@pytest.mark.parametrize(
    ("found", "replicas"),
    [
        pytest.param(None, 2, id="none"),
        pytest.param({}, 2, id="empty"),
        pytest.param({"metadata": {"generation": 1}}, 2, id="no status yet"),
        pytest.param(deployment(3), 2, id="its controller has not seen it"),
        pytest.param(deployment(replicas=3), 2, id="an old pod is left"),
        pytest.param(deployment(updatedReplicas=1), 2, id="one is of an old template"),
        pytest.param(deployment(readyReplicas=1), 2, id="one is not ready"),
        pytest.param(deployment(availableReplicas=1), 2, id="one is not available"),
        pytest.param(deployment(), 3, id="one more is wanted"),
    ],
)
def test_until_then_it_is_not(found: Json | None, replicas: int) -> None:
    assert not has_rolled_out(found, replicas)


# The destination's endpoints


def test_ready_endpoints_are_counted_over_all_slices_once_each() -> None:
    one = {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}, {"addresses": ["10.0.0.2"]}]}
    two = {"endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.3"], "conditions": {"ready": False}}]}
    assert ready_endpoints([one, two, {"endpoints": None}, {}]) == 2


def test_a_proxy_of_two_address_families_is_counted_once() -> None:
    four = {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}
    six = {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]}
    assert ready_endpoints([four, six]) == 1


def addressed(pod_ip: str | None) -> Json:
    return {"metadata": {"name": "x"}, "status": {"podIP": pod_ip} if pod_ip else {}}


@pytest.mark.parametrize(
    ("pods", "service", "expected"),
    [
        ([], None, False),
        ([addressed(None), addressed("10.0.0.1")], {"spec": {"clusterIP": "10.1.0.1"}}, False),
        ([addressed("10.0.0.1")], {"spec": {"clusterIP": "None"}}, False),
        ([addressed("10.0.0.1"), addressed("fd00::1")], None, True),
        ([], {"spec": {"clusterIP": "fd00::1"}}, True),
        ([addressed("10.0.0.1")], {"spec": {"clusterIP": "10.1.0.1", "clusterIPs": ["10.1.0.1", "fd00::1"]}}, True),
    ],
    ids=["nothing", "IPv4", "headless", "a pod of IPv6", "a Service of IPv6", "a Service of both"],
)
def test_proxies_are_reached_over_ipv6_where_they_or_their_service_have_such_an_address(
    pods: list[Json], service: Json | None, expected: bool
) -> None:
    assert is_reached_by_ipv6(pods, service) is expected


# Proxies that are replaced

SECOND = timedelta(seconds=1)
SETTLE = ENDPOINTS_SETTLE_SECONDS * SECOND


def told_to_stop(ago: timedelta, digest: str = OTHER) -> Json:
    """A proxy that was told so long ago to stop, and has ten minutes to do so."""
    found = pod(digest, stopping=True)
    killed_at = NOW - ago + timedelta(seconds=600)
    found["metadata"] |= {"deletionTimestamp": time_text(killed_at), "deletionGracePeriodSeconds": 600}
    return found


def test_a_replaced_proxy_listens_until_every_node_has_heard_that_it_stops() -> None:
    assert others_listen_for([told_to_stop(ago=SECOND), pod()], DIGEST, NOW) == SETTLE
    assert others_listen_for([told_to_stop(ago=SETTLE + SECOND), pod()], DIGEST, NOW) is None


def test_of_several_the_one_that_listens_longest_counts() -> None:
    pods = [told_to_stop(ago=3 * SECOND), told_to_stop(ago=SECOND), told_to_stop(ago=SETTLE)]
    assert others_listen_for(pods, DIGEST, NOW) == SETTLE


def test_a_replaced_proxy_that_was_not_told_yet_is_looked_at_again() -> None:
    assert others_listen_for([pod(OTHER)], DIGEST, NOW) == SETTLE


def test_proxies_of_this_configuration_are_no_others() -> None:
    assert others_listen_for([pod(), told_to_stop(ago=SECOND, digest=DIGEST)], DIGEST, NOW) is None
    assert others_listen_for([], DIGEST, NOW) is None


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_proxy_that_has_ended_listens_no_more(phase: str) -> None:
    """A pod that was evicted stays as Failed, and nobody deletes it for days."""
    evicted = pod(OTHER, ready=False)
    evicted["status"]["phase"] = phase
    assert others_listen_for([evicted, pod()], DIGEST, NOW) is None


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_proxy_that_has_ended_is_not_waited_for(phase: str) -> None:
    ended = pod(ready=False, waiting={"reason": "CrashLoopBackOff"})
    ended["status"]["phase"] = phase
    assert trouble(None, [ended], DIGEST) == ""


# Trouble


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (pod(ready=False, waiting={"reason": "ContainerCreating"}), ""),
        (pod(ready=False, waiting={"reason": "PodInitializing"}), ""),
        (pod(ready=False), ""),
        (
            pod(ready=False, waiting={"reason": "ImagePullBackOff", "message": "no such image: haproxy:9"}),
            "pod x-haproxy-1: ImagePullBackOff: no such image: haproxy:9",
        ),
        (pod(ready=False, waiting={"reason": "ErrImagePull"}), "pod x-haproxy-1: ErrImagePull"),
        (
            pod(ready=False, waiting={"reason": "CrashLoopBackOff", "message": "back-off"}, exit_code=1),
            "pod x-haproxy-1: CrashLoopBackOff: back-off (its last exit code was 1)",
        ),
        (
            pod(
                ready=False,
                conditions=(
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available",
                    },
                ),
            ),
            "pod x-haproxy-1: Unschedulable: 0/3 nodes are available",
        ),
        (pod(ready=True, waiting={"reason": "ImagePullBackOff"}), ""),
        (pod(ready=False, stopping=True, waiting={"reason": "ImagePullBackOff"}), ""),
        (pod(OTHER, ready=False, waiting={"reason": "ImagePullBackOff"}), ""),
    ],
)
def test_what_keeps_a_proxy_from_being_ready_is_told_in_the_clusters_words(found: Json, text: str) -> None:
    assert trouble(None, [found], DIGEST) == text


def test_what_the_cluster_says_in_several_lines_is_told_in_one() -> None:
    waiting = {"reason": "RunContainerError", "message": "failed to start:\n  exec haproxy\n  no such file\n"}
    found = pod(ready=False, waiting=waiting)
    assert trouble(None, [found], DIGEST) == (
        "pod x-haproxy-1: RunContainerError: failed to start: exec haproxy no such file"
    )


def test_the_first_pod_in_trouble_is_told_of() -> None:
    pods = [pod(), pod(ready=False), pod(ready=False, waiting={"reason": "ErrImagePull"})]
    assert trouble(deployment(), pods, DIGEST) == "pod x-haproxy-1: ErrImagePull"


def test_pods_that_cannot_be_made_at_all_are_told_before_any_other_trouble() -> None:
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota: pods",
    }
    pods = [pod(ready=False, waiting={"reason": "ErrImagePull"})]
    assert trouble(deployment(conditions=(failure,)), pods, DIGEST) == "FailedCreate: exceeded quota: pods"


@pytest.mark.parametrize("condition", [{"type": "ReplicaFailure", "status": "False"}, {"type": "Available"}])
def test_a_condition_that_does_not_hold_is_no_trouble(condition: Json) -> None:
    assert trouble(deployment(conditions=(condition,)), [], DIGEST) == ""


# Settling


def test_a_rollout_settles_for_a_minute_unless_it_is_in_trouble() -> None:
    assert is_settling(NOW, NOW + SETTLE_LIMIT - timedelta(seconds=1), has_trouble=False)
    assert not is_settling(NOW, NOW + SETTLE_LIMIT, has_trouble=False)
    assert not is_settling(NOW, NOW, has_trouble=True)


def test_a_rollout_of_a_clock_that_is_ahead_does_not_settle() -> None:
    assert not is_settling(NOW + timedelta(hours=1), NOW, has_trouble=False)


# Proxies that take a configuration as they run


def live(found: Json) -> Json:
    annotations = {**found["metadata"]["annotations"], STRATEGY_ANNOTATION: "Live"}
    return {**found, "metadata": {**found["metadata"], "annotations": annotations}}


def test_a_proxy_that_is_to_take_the_configuration_as_it_runs_is_no_other() -> None:
    assert others_listen_for([live(pod(OTHER))], DIGEST, NOW, UpdateStrategy.LIVE) is None
    assert others_listen_for([live(pod(OTHER))], DIGEST, NOW) is not None
    assert others_listen_for([pod(OTHER)], DIGEST, NOW, UpdateStrategy.LIVE) is not None


def test_one_that_stops_with_another_configuration_is() -> None:
    stopping = live(pod(OTHER))
    stopping["metadata"]["deletionTimestamp"] = time_text(NOW)
    assert others_listen_for([stopping], DIGEST, NOW, UpdateStrategy.LIVE) is not None


def test_the_trouble_of_a_new_one_is_told_before_it_serves_anything() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    assert "ImagePullBackOff" in trouble(None, [live(pod(OTHER, ready=False, waiting=waiting))], DIGEST)


# Ends


def test_a_container_that_does_not_start_is_told_with_haproxys_own_line() -> None:
    found = pod(ready=False, waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s"})
    log = "[NOTICE] haproxy version is 3.0\n[ALERT] (1) : cannot bind socket\n[WARNING] bye"
    found["status"]["containerStatuses"][0]["lastState"] = {
        "terminated": {"exitCode": 1, "reason": "Error", "message": log}
    }
    assert trouble(None, [found], DIGEST) == (
        "pod x-haproxy-1: CrashLoopBackOff: back-off 10s (its last exit code was 1: [ALERT] (1) : cannot bind socket)"
    )


def killed(at: str) -> Json:
    found = pod()
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": at}
    found["status"]["containerStatuses"][0]["lastState"] = {"terminated": ended}
    return found


def test_a_proxy_that_was_ended_for_want_of_memory_is_told_for_ten_minutes() -> None:
    told = out_of_memory([pod(), killed(time_text(NOW))], NOW + EXHAUSTION_TOLD - timedelta(seconds=1))
    assert told.startswith("pod x-haproxy-1: its haproxy was ended at 2026-01-01T12:00:00Z for want of memory")
    assert out_of_memory([killed(time_text(NOW))], NOW + EXHAUSTION_TOLD) == ""
    assert out_of_memory([pod(), pod(exit_code=137), killed("garbage")], NOW) == ""
