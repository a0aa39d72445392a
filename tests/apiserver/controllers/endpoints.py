"""Endpoints and EndpointSlices of the Services that have selectors, from the pods that they select.

The pods are those of Deployments here: all of them ready, and those of one Service with the same ports.
"""

from __future__ import annotations

from ..access import Store
from ..errors import Object
from ..resources import Catalog

SERVICE_LABEL = "kubernetes.io/service-name"


class Endpoints:
    """Keeps both in step."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    def step(self, service: Object) -> None:
        """Brings the endpoints of a Service up to date."""
        if service["spec"].get("selector"):
            self._write(service)

    def _write(self, service: Object) -> None:
        selected = service["spec"]["selector"].items()
        pods = self._store.find(
            "pods",
            lambda pod: selected <= (pod["metadata"].get("labels") or {}).items(),
            service["metadata"]["namespace"],
        )
        ports = _ports(service, pods[0]) if pods else []
        self._store.put(_endpoints(service, ports, [*pods]), manager="endpoint-controller")
        if self._catalog.of_kind("discovery.k8s.io/v1", "EndpointSlice"):
            self._store.put(_slice(service, ports, [*pods]), manager="endpointslice-controller")


def _ports(service: Object, pod: Object) -> list[Object]:
    """The Service's ports as its pods listen on them. A named port that they do not have is left out."""
    numbers = {
        port["name"]: port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
    }
    ports = []
    for port in service["spec"].get("ports") or ():
        target = port["targetPort"]
        if number := target if isinstance(target, int) else numbers.get(target):
            ports.append({"name": port.get("name", ""), "port": number, "protocol": port["protocol"]})
    return ports


def _endpoints(service: Object, ports: list[Object], pods: list[Object]) -> Object:
    addresses = [{"ip": pod["status"]["podIP"], "targetRef": _reference(pod)} for pod in pods]
    value = {"apiVersion": "v1", "kind": "Endpoints", "metadata": _metadata(service, service["metadata"]["name"])}
    return value | ({"subsets": [{"addresses": addresses, "ports": ports}]} if addresses else {})


def _slice(service: Object, ports: list[Object], pods: list[Object]) -> Object:
    name = service["metadata"]["name"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(service, f"{name}-0") | {"labels": {SERVICE_LABEL: name}},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [_endpoint(pod) for pod in pods],
    }


def _endpoint(pod: Object) -> Object:
    conditions = {"ready": True, "serving": True, "terminating": False}
    addresses = [pod["status"]["podIP"]]
    return {"addresses": addresses, "conditions": conditions, "nodeName": "node", "targetRef": _reference(pod)}


def _metadata(service: Object, name: str) -> Object:
    """Endpoints go with their Service."""
    metadata = service["metadata"]
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    return {"name": name, "namespace": metadata["namespace"], "ownerReferences": [owner | {"controller": True}]}


def _reference(pod: Object) -> Object:
    return {"kind": "Pod", **{key: pod["metadata"][key] for key in ("name", "namespace", "uid")}}
