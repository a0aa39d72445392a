"""The endpoints of a new Service of a manifest, as the cluster would give them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.resolve.slices import read_slice
from kanary.cli.imagined import ImaginedCluster, NoCluster
from kanary.cli.selected import put_selected
from kanary.kube.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Json, Resource


class _Pods(NoCluster):
    def __init__(self, *pods: Json) -> None:
        self._pods = pods

    def list(self, resource: Resource, namespace: str, selector: str = "") -> Sequence[Json]:
        return self._pods if (resource, namespace, selector) == (PODS, "shop", "app=web") else ()


def _pod(*addresses: str, name: str = "web-0", is_ready: bool = True, **spec: Any) -> Json:
    ports = [{"name": "web", "containerPort": 53, "protocol": "UDP"}, {"name": "web", "containerPort": 8080}]
    containers = [{"name": str(number), "ports": [port]} for number, port in enumerate(ports)]
    status = {
        "phase": "Running",
        "podIP": next(iter(addresses), None),
        "podIPs": [{"ip": address} for address in addresses],
        "conditions": [{"type": "Ready", "status": str(is_ready)}],
    }
    return {"metadata": {"name": name}, "spec": {"containers": containers} | spec, "status": status}


def _ready(*pods: Json, **spec: Any) -> set[str]:
    """The ready endpoints of a Service."""
    source = _Pods(*pods)
    cluster = ImaginedCluster(source, datetime(2026, 1, 1, tzinfo=UTC))
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    service = {
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }
    cluster.put(SERVICES, service)
    put_selected(cluster, source, [service])
    return {endpoint.socket for piece in cluster.slices("shop", "web") for endpoint in read_slice(piece, "http").ready}


def test_only_pods_that_can_be_reached_are_endpoints() -> None:
    ended, leaving = _pod("10.0.0.2", name="web-1"), _pod("10.0.0.3", name="web-2")
    ended["status"]["phase"] = "Succeeded"
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    unready = _pod("10.0.0.4", name="web-3", is_ready=False)
    assert _ready(_pod("10.0.0.1"), ended, leaving, unready, _pod(name="web-4")) == {"10.0.0.1:8080"}


def test_pods_that_are_not_ready_are_endpoints_if_the_service_publishes_them() -> None:
    assert _ready(_pod("10.0.0.1", is_ready=False), publishNotReadyAddresses=True) == {"10.0.0.1:8080"}


@pytest.mark.parametrize(
    ("families", "sockets"),
    [
        (None, {"[fd00::1]:8080"}),
        (["IPv4"], {"10.0.0.1:8080"}),
        (["IPv6"], {"[fd00::1]:8080"}),
        (["IPv6", "IPv4"], {"10.0.0.1:8080", "[fd00::1]:8080"}),
    ],
)
def test_addresses_are_of_the_ip_families_of_the_service(families: Sequence[str] | None, sockets: set[str]) -> None:
    assert _ready(_pod("fd00::1", "10.0.0.1"), ipFamilies=families) == sockets


def test_a_sidecar_may_have_the_port() -> None:
    port = {"name": "metrics", "containerPort": 9100}
    ended = {"name": "setup", "ports": [{**port, "containerPort": 9}]}
    sidecar = {"name": "exporter", "ports": [port], "restartPolicy": "Always"}
    ports = [{"name": "http", "port": 80, "targetPort": "metrics"}]
    assert _ready(_pod("10.0.0.1", initContainers=[ended, sidecar]), ports=ports) == {"10.0.0.1:9100"}


def test_a_changed_service_has_other_endpoints_without_endpoint_slices_as_well() -> None:
    """As with Kubernetes 1.20."""
    service = {
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    }
    endpoints = {"subsets": [{"addresses": [{"ip": "10.0.0.9"}], "ports": [{"name": "http", "port": 8080}]}]}

    class Old(_Pods):
        def serves(self, resource: Resource) -> bool:
            return resource is not ENDPOINT_SLICES

        def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
            former = {**service, "spec": {**service["spec"], "selector": {"app": "other"}}}
            return {SERVICES: former, ENDPOINTS: endpoints}.get(resource)

    source = Old(_pod("10.0.0.1"))
    cluster = ImaginedCluster(source, datetime(2026, 1, 1, tzinfo=UTC))
    cluster.put(SERVICES, service)
    put_selected(cluster, source, [service])
    (piece,) = cluster.slices("shop", "web")
    assert [endpoint.socket for endpoint in read_slice(piece, "http").ready] == ["10.0.0.1:8080"]
