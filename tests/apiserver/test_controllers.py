"""The stand-ins for controllers: endpoints and rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.api import Object, eventually

from . import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(controllers=True) as server:
        yield server


def service(server: ApiServer) -> None:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http", "name": "tcp"}]}
    server.store.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec})


def deploy(server: ApiServer, image: str = "first", replicas: int = 2) -> None:
    container = {"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    server.store.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})


def addresses(server: ApiServer) -> list[str]:
    return [pod["status"]["podIP"] for pod in server.store.list("pods", selector="app=web")]


def sliced(server: ApiServer) -> list[str]:
    found = server.store.list("endpointslices", "default", "kubernetes.io/service-name=web")
    return [endpoint["addresses"][0] for each in found for endpoint in each["endpoints"]]


def subsets(server: ApiServer) -> list[Object]:
    return list((server.store.get("endpoints", "web") or {}).get("subsets", []))


def status(server: ApiServer) -> Object:
    return dict((server.store.get("deployments", "web") or {}).get("status", {}))


def until(server: ApiServer, holds: Callable[[Object], object], what: str) -> None:
    eventually(lambda: holds(status(server)), what)


def test_a_deployment_gets_pods_and_becomes_available(server: ApiServer) -> None:
    deploy(server)

    until(server, lambda s: s.get("availableReplicas") == 2, "both replicas are available")
    assert status(server)["observedGeneration"] == 1
    assert {(c["type"], c["status"]) for c in status(server)["conditions"]} == {
        ("Available", "True"),
        ("Progressing", "True"),
    }
    assert len(set(addresses(server))) == 2


def test_pods_of_a_deployment_become_endpoints(server: ApiServer) -> None:
    service(server)
    deploy(server)

    eventually(lambda: len(sliced(server)) == 2, "both pods are in the slice")
    (subset,) = subsets(server)
    assert sliced(server) == [address["ip"] for address in subset["addresses"]] == addresses(server)
    assert subset["ports"] == [{"name": "tcp", "port": 8080, "protocol": "TCP"}]


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_deployment_is_scaled(server: ApiServer, replicas: int) -> None:
    deploy(server)
    until(server, lambda s: s.get("readyReplicas") == 2, "two replicas")
    deploy(server, replicas=replicas)
    until(server, lambda s: s.get("readyReplicas") == replicas, f"{replicas} replicas")

    assert len(addresses(server)) == replicas


def test_a_new_template_replaces_the_pods(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("observedGeneration") == 1, "the first rollout")
    before = addresses(server)
    deploy(server, "second")
    until(server, lambda s: s.get("observedGeneration") == 2, "the second rollout")

    assert len(addresses(server)) == 2
    assert not {*addresses(server)} & {*before}


def test_a_status_that_does_not_change_is_not_written(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("availableReplicas") == 2, "both replicas are available")
    before = server.store.revision
    # It has the controllers look again, and a Service without a selector is none of theirs.
    server.store.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}})
    service(server)
    eventually(lambda: subsets(server), "the controllers have looked")

    writes = server.store.revision - before
    assert writes == 4, "the two Services, the endpoints and the slice, and nothing else"


def test_pods_and_endpoints_go_with_their_owners(server: ApiServer) -> None:
    service(server)
    deploy(server)
    eventually(lambda: sliced(server), "endpoints are there")

    server.store.delete("services", "web")
    server.store.delete("deployments", "web")

    eventually(lambda: not server.store.get("endpoints", "web") and not sliced(server), "endpoints are gone")
    eventually(lambda: not addresses(server), "the pods are gone")


def test_endpoints_of_a_service_without_selector_are_left_alone(server: ApiServer) -> None:
    own = {"apiVersion": "v1", "metadata": {"name": "own"}}
    server.store.put({**own, "kind": "Service"})
    stored = server.store.put({**own, "kind": "Endpoints", "subsets": [{"addresses": [{"ip": "10.9.9.9"}]}]})
    service(server)
    eventually(lambda: server.store.get("endpoints", "web"), "the other service has endpoints")

    assert server.store.get("endpoints", "own") == stored


def test_a_cluster_without_slices_gets_endpoints_only(server: ApiServer) -> None:
    server.withdraw("discovery.k8s.io", "v1", "endpointslices")
    service(server)
    deploy(server)

    eventually(lambda: [a["ip"] for s in subsets(server) for a in s["addresses"]] == addresses(server), "endpoints")


def test_a_deployment_has_all_its_pods_again_when_a_foreign_one_that_it_counted_is_gone(server: ApiServer) -> None:
    deploy(server)
    until(server, lambda s: s.get("observedGeneration") == 1, "the first rollout")
    (replica_set,) = server.store.list("replicasets.apps")
    uid = replica_set["metadata"]["uid"]
    # Of a kind that is not served, so that the pod is not collected before it is counted.
    owner = {"apiVersion": "example.com/v1", "kind": "Other", "name": "other", "controller": True, "uid": uid}
    pod = server.store.list("pods")[0]
    metadata = {"name": "foreign", "labels": pod["metadata"]["labels"], "ownerReferences": [owner]}
    server.store.put({**pod, "metadata": metadata})
    eventually(lambda: len(addresses(server)) == 2, "the foreign pod counts")

    server.store.delete("pods", "foreign")
    eventually(lambda: len(addresses(server)) == 2, "two pods of its own")
