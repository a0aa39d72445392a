"""The stand-ins for controllers: endpoints and rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.api import Object, eventually

from . import ApiServer, pod


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(controllers=True, slice_size=2) as server:
        yield server


def service(server: ApiServer, name: str = "web", **spec: Any) -> None:
    body = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080, "name": "http"}]} | spec
    server.store.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body})


def slices(server: ApiServer, name: str = "web") -> list[Object]:
    return server.store.list("endpointslices", "default", f"kubernetes.io/service-name={name}")


def sliced(server: ApiServer) -> dict[str, bool]:
    """Whether each address of the slices is ready."""
    endpoints = [endpoint for found in slices(server) for endpoint in found["endpoints"] or ()]
    return {endpoint["addresses"][0]: endpoint["conditions"]["ready"] for endpoint in endpoints}


def subsets(server: ApiServer) -> list[Object]:
    endpoints = server.store.get("endpoints", "web") or {}
    return list(endpoints.get("subsets", []))


def test_ready_and_unready_pods_become_endpoints(server: ApiServer) -> None:
    service(server)
    server.store.put(pod("a", {"app": "web"}, "10.0.0.1"))
    server.store.put(pod("b", {"app": "web"}, "10.0.0.2", ready=False))
    server.store.put(pod("c", {"app": "other"}, "10.0.0.3"))

    eventually(lambda: sliced(server) == {"10.0.0.1": True, "10.0.0.2": False}, "both are in slices")
    found = subsets(server)[0]
    assert [address["ip"] for address in found["addresses"]] == ["10.0.0.1"]
    assert [address["ip"] for address in found["notReadyAddresses"]] == ["10.0.0.2"]
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


def test_many_pods_take_several_slices(server: ApiServer) -> None:
    service(server)
    for number in range(5):
        server.store.put(pod(f"p{number}", {"app": "web"}, f"10.0.0.{number}"))

    eventually(lambda: [len(s["endpoints"] or ()) for s in slices(server)] == [2, 2, 1], "three slices")
    server.store.delete("pods", "p0")
    eventually(lambda: [len(s["endpoints"] or ()) for s in slices(server)] == [2, 2], "two slices")


def test_a_service_without_pods_has_an_empty_slice_and_no_subsets(server: ApiServer) -> None:
    service(server)

    eventually(lambda: [s["endpoints"] for s in slices(server)] == [None], "one empty slice")
    assert subsets(server) == []


def test_a_named_port_is_what_each_pod_calls_so(server: ApiServer) -> None:
    service(server, ports=[{"port": 80, "targetPort": "http"}])
    server.store.put(pod("a", {"app": "web"}, "10.0.0.1", ports={"http": 1000}))
    server.store.put(pod("b", {"app": "web"}, "10.0.0.2", ports={"http": 2000}))

    def by_port() -> dict[int, list[str]]:
        return {
            s["ports"][0]["port"]: [e["addresses"][0] for e in s["endpoints"]] for s in slices(server) if s["ports"]
        }

    eventually(lambda: by_port() == {1000: ["10.0.0.1"], 2000: ["10.0.0.2"]}, "each pod under its own port")


def test_endpoints_go_with_their_service(server: ApiServer) -> None:
    service(server)
    eventually(lambda: server.store.get("endpoints", "web") and slices(server), "endpoints are there")

    server.store.delete("service", "web")

    eventually(lambda: server.store.get("endpoints", "web") is None and not slices(server), "endpoints are gone")


def test_endpoints_of_a_service_without_selector_are_left_alone(server: ApiServer) -> None:
    own = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"}, "subsets": []}
    server.store.put(own)
    service(server, selector={})
    service(server, "other")
    eventually(lambda: slices(server, "other"), "the other service has a slice")

    assert slices(server) == []
    assert server.store.get("endpoints", "web") is not None


def test_a_cluster_without_slices_gets_endpoints_only(server: ApiServer) -> None:
    server.withdraw("discovery.k8s.io", "v1", "endpointslices")
    service(server)
    server.store.put(pod("a", {"app": "web"}, "10.0.0.1"))

    eventually(lambda: [a["ip"] for s in subsets(server) for a in s["addresses"]] == ["10.0.0.1"], "an endpoint")


def deploy(server: ApiServer, image: str = "first", replicas: int = 2, **rolling: int) -> None:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0} | rolling},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": image}]},
        },
    }
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    known = server.store.get("deployments", "web")
    server.store.put(body | ({"status": known["status"]} if known else {}))


def status(server: ApiServer) -> Object:
    return dict((server.store.get("deployments", "web") or {}).get("status", {}))


def condition(server: ApiServer, kind: str) -> tuple[str, str]:
    found = next(c for c in status(server)["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


def images(server: ApiServer) -> list[str]:
    return sorted(p["spec"]["containers"][0]["image"] for p in server.store.list("pods"))


def until(server: ApiServer, holds: Callable[[Object], object], what: str) -> None:
    eventually(lambda: holds(status(server)), what)


def test_a_deployment_gets_pods_and_becomes_available(server: ApiServer) -> None:
    deploy(server)

    until(server, lambda s: s.get("availableReplicas") == 2, "both replicas are available")
    assert status(server)["observedGeneration"] == 1
    assert "unavailableReplicas" not in status(server)
    assert condition(server, "Available") == ("True", "MinimumReplicasAvailable")
    assert condition(server, "Progressing") == ("True", "NewReplicaSetAvailable")
    pods = server.store.list("pods", selector="app=web")
    assert len({p["status"]["podIP"] for p in pods}) == 2
    assert all(p["metadata"]["name"].startswith("web-") for p in pods)


def test_pods_of_a_deployment_become_endpoints(server: ApiServer) -> None:
    service(server)
    deploy(server)

    eventually(lambda: list(sliced(server).values()) == [True, True], "both pods are endpoints")


def test_a_deployment_is_scaled(server: ApiServer) -> None:
    deploy(server, replicas=1)
    until(server, lambda s: s.get("readyReplicas") == 1, "one replica")
    deploy(server, replicas=3)
    until(server, lambda s: s.get("readyReplicas") == 3, "three replicas")
    deploy(server, replicas=2)
    until(server, lambda s: s.get("replicas") == 2, "two replicas")


def test_without_automatic_readiness_pods_wait_for_settle(server: ApiServer) -> None:
    server.deployments.automatic = False
    deploy(server)
    until(server, lambda s: s.get("replicas") == 2, "two pods")

    assert status(server)["unavailableReplicas"] == 2
    assert condition(server, "Available") == ("False", "MinimumReplicasUnavailable")
    assert condition(server, "Progressing") == ("True", "ReplicaSetUpdated")
    server.deployments.settle()

    assert status(server)["availableReplicas"] == 2
    assert condition(server, "Available")[0] == "True"


def test_a_new_template_brings_new_pods_before_old_ones_go(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("availableReplicas") == 2, "the first rollout")
    server.deployments.automatic = False
    deploy(server, "second")
    until(server, lambda s: s.get("observedGeneration") == 2, "the second rollout has begun")

    assert images(server) == ["first", "first", "second"]
    assert status(server)["updatedReplicas"] == 1
    assert status(server)["availableReplicas"] == 2
    assert condition(server, "Progressing")[1] == "ReplicaSetUpdated"
    server.deployments.settle()

    assert images(server) == ["second", "second"]
    assert condition(server, "Progressing")[1] == "NewReplicaSetAvailable"


def test_a_held_rollout_keeps_its_old_pods(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("availableReplicas") == 2, "the first rollout")
    server.deployments.hold("web", reason="ImagePullBackOff", message="no such image")
    deploy(server, "second")
    until(server, lambda s: s.get("updatedReplicas") == 1, "one new pod")
    server.deployments.settle()

    new = next(p for p in server.store.list("pods") if p["spec"]["containers"][0]["image"] == "second")
    waiting = new["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ImagePullBackOff", "message": "no such image"}
    assert new["status"]["phase"] == "Pending"
    assert images(server).count("first") == 2
    assert condition(server, "Available")[0] == "True"

    server.deployments.release("web")

    until(server, lambda s: images(server) == ["second", "second"], "the rollout goes on")


def test_a_deadline_can_be_exceeded(server: ApiServer) -> None:
    server.deployments.hold("web")
    deploy(server)
    until(server, lambda s: s.get("replicas") == 2, "two pods")

    server.deployments.exceed_deadline("web")

    assert condition(server, "Progressing") == ("False", "ProgressDeadlineExceeded")
    assert condition(server, "Available") == ("False", "MinimumReplicasUnavailable")
    server.deployments.release("web")
    assert condition(server, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_running_pods_can_lose_their_readiness(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("availableReplicas") == 2, "both replicas are available")

    server.deployments.hold("web", running=True)

    assert "availableReplicas" not in status(server)
    assert status(server)["unavailableReplicas"] == 2


def test_a_status_that_does_not_change_is_not_written(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("availableReplicas") == 2, "both replicas are available")
    server.deployments.settle()
    before = server.store.revision

    server.deployments.settle()

    assert server.store.revision == before


def test_pods_go_with_their_deployment(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("availableReplicas") == 2, "both replicas are available")

    server.store.delete("deployments", "web")

    eventually(lambda: server.store.list("pods") == [], "the pods are gone")


@pytest.mark.parametrize(("surge", "unavailable", "expected"), [(2, 0, 4), (0, 1, 2), (1, 1, 3)])
def test_surge_and_unavailability_bound_a_rollout(
    server: ApiServer, surge: int, unavailable: int, expected: int
) -> None:
    deploy(server)
    until(server, lambda s: s.get("availableReplicas") == 2, "the first rollout")
    server.deployments.automatic = False
    deploy(server, "second", maxSurge=surge, maxUnavailable=unavailable)
    until(server, lambda s: s.get("observedGeneration") == 2, "the second rollout has begun")

    assert images(server).count("first") == 2 - unavailable
    assert status(server)["replicas"] <= expected
    server.deployments.settle()

    assert images(server) == ["second", "second"]
