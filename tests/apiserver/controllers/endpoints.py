"""Endpoints and EndpointSlices of the Services that have selectors, from the pods that they select."""

from __future__ import annotations

from collections.abc import Sequence

from ..access import Store
from ..errors import Object
from ..resources import Catalog
from .pods import address_of, is_going, is_ready

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
Ports = tuple[tuple[str, int, str], ...]
_ALL = "endpoints"


class Endpoints:
    """Keeps both in step. `slice_size` is the greatest number of endpoints in one slice."""

    def __init__(self, store: Store, catalog: Catalog, slice_size: int) -> None:
        self._store = store
        self._catalog = catalog
        self._written: set[tuple[str, str]] = set()
        self.slice_size = slice_size

    def step(self, namespace: str) -> None:
        """Brings the endpoints of one namespace up to date."""
        services = {s["metadata"]["name"]: s for s in self._store.list("services", namespace)}
        for service in services.values():
            if service["spec"].get("selector") and service["spec"].get("type") != "ExternalName":
                self._write(service)
        self._remove_left_over(namespace, services)

    def _write(self, service: Object) -> None:
        namespace = service["metadata"]["namespace"]
        selected = service["spec"]["selector"].items()

        def is_selected(pod: Object) -> bool:
            matches = selected <= (pod["metadata"].get("labels") or {}).items()
            return bool(matches and address_of(pod) and not is_going(pod))

        pods = self._store.find("pods", is_selected, namespace)
        groups: dict[Ports, list[Object]] = {}
        for pod in pods:
            groups.setdefault(_ports(service, pod), []).append(pod)
        if self._serves("", _ALL):
            self._store.put(_endpoints(service, groups), manager="endpoint-controller")
            self._written.add((namespace, service["metadata"]["name"]))
        if self._serves("discovery.k8s.io", "endpointslices"):
            self._write_slices(service, groups)

    def _serves(self, group: str, plural: str) -> bool:
        return any((r.group, r.plural) == (group, plural) for r in self._catalog.all())

    def _write_slices(self, service: Object, groups: dict[Ports, list[Object]]) -> None:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        chunks = [
            (ports, pods[start : start + self.slice_size])
            for ports, pods in groups.items()
            for start in range(0, len(pods), self.slice_size)
        ]
        wanted = [_slice(service, number, *chunk) for number, chunk in enumerate(chunks or [(None, [])])]
        for value in wanted:
            self._store.put(value, manager="endpointslice-controller")
        names = {value["metadata"]["name"] for value in wanted}
        for old in self._slices(namespace, name):
            if old not in names:
                self._store.delete("endpointslices", old, namespace)

    def _slices(self, namespace: str, service: str) -> list[str]:
        """Names of the slices that this controller made for a Service."""
        selector = ",".join(f"{key}={value}" for key, value in {SERVICE_LABEL: service, **MANAGED_BY}.items())
        return [s["metadata"]["name"] for s in self._store.list("endpointslices", namespace, selector)]

    def _remove_left_over(self, namespace: str, services: dict[str, Object]) -> None:
        """Removes the Endpoints of Services that are gone; slices are collected as garbage."""
        gone = {key for key in self._written if key[0] == namespace and key[1] not in services}
        self._written -= gone
        for _, name in gone:
            self._store.delete(_ALL, name, namespace)


def _ports(service: Object, pod: Object) -> Ports:
    """The Service's ports as this pod listens on them. A named port that it does not have is left out."""
    resolved = []
    for port in service["spec"].get("ports") or ():
        target = port.get("targetPort", port["port"])
        number = target if isinstance(target, int) else _named_port(pod, target)
        if number is not None:
            resolved.append((port.get("name", ""), number, port.get("protocol", "TCP")))
    return tuple(resolved)


def _named_port(pod: Object, name: str) -> int | None:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return next((port["containerPort"] for port in ports if port.get("name") == name), None)


def _reference(pod: Object) -> Object:
    metadata = pod["metadata"]
    about = {key: metadata[key] for key in ("name", "namespace", "uid")}
    return {"kind": "Pod", **about}


def _port_list(ports: Ports) -> list[Object]:
    return [({"name": name} if name else {}) | {"port": number, "protocol": p} for name, number, p in ports]


def _endpoints(service: Object, groups: dict[Ports, list[Object]]) -> Object:
    subsets = [_subset(service, ports, pods) for ports, pods in groups.items() if ports]
    metadata = service["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": dict(metadata.get("labels") or {}),
        },
        **({"subsets": subsets} if subsets else {}),
    }


def _subset(service: Object, ports: Ports, pods: Sequence[Object]) -> Object:
    parts: Object = {"addresses": [], "notReadyAddresses": []}
    for pod in pods:
        address = {"ip": address_of(pod), "targetRef": _reference(pod)}
        parts["addresses" if _counts_as_ready(service, pod) else "notReadyAddresses"].append(address)
    return {key: found for key, found in parts.items() if found} | {"ports": _port_list(ports)}


def _counts_as_ready(service: Object, pod: Object) -> bool:
    return is_ready(pod) or bool(service["spec"].get("publishNotReadyAddresses"))


def _slice(service: Object, number: int, ports: Ports | None, pods: Sequence[Object]) -> Object:
    """A slice. That of a Service without endpoints has null for both lists, as a real controller writes it."""
    metadata = service["metadata"]
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{metadata['name']}-{number}",
            "namespace": metadata["namespace"],
            "labels": {SERVICE_LABEL: metadata["name"], **MANAGED_BY},
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        },
        "addressType": "IPv4",
        "ports": None if ports is None else [{"name": n, "port": p, "protocol": t} for n, p, t in ports],
        "endpoints": [_endpoint(service, pod) for pod in pods] or None,
    }


def _endpoint(service: Object, pod: Object) -> Object:
    ready = _counts_as_ready(service, pod)
    return {
        "addresses": [address_of(pod)],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": pod["spec"].get("nodeName", "node"),
        "targetRef": _reference(pod),
    }
