"""Resolves a backend to the addresses of its pods.

The port is looked up in the Service by name or number, and then in the Service's slices by the name of the Service
port, as Kubernetes does (the number in a slice is the port of its pods, and may differ between slices).
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from engine.memo import Memo
from engine.model.spec import Backend
from engine.model.states import Endpoint
from states import Problem, Reason

Json = Mapping[str, Any]

_FAMILIES = ("IPv4", "IPv6")


def resolve(
    backend: Backend, *, where: str, namespace: str, service: Json | None, slices: Sequence[Json], memo: Memo
) -> tuple[Endpoint, ...] | Problem:
    """The ready endpoints of a backend, in numerical order and without duplicates, or the problem with it.

    `where` is the path of the backend in the spec, for the message.
    """
    port = _service_port(backend, where=where, namespace=namespace, service=service)
    if isinstance(port, Problem):
        return port
    family = _family(service or {}, slices)
    name = port.get("name") or ""
    return memo(_merged, *[memo(_ready, piece, name) for piece in slices if piece.get("addressType") == family])


def port_number(backend: Backend, service: Json | None) -> int | None:
    """The number of the Service port that a backend names, or None if there is none."""
    port = _service_port(backend, where="", namespace="", service=service)
    return None if isinstance(port, Problem) else int(port["port"])


def unready(service: Json | None, slices: Sequence[Json], memo: Memo) -> int:
    """Number of endpoints of a Service that are not ready."""
    family = _family(service or {}, slices)
    found = [memo(_unready, piece) for piece in slices if piece.get("addressType") == family]
    return len(frozenset[str]().union(*found))


def slices_from_endpoints(endpoints: Json) -> list[dict[str, Any]]:
    """An Endpoints object in the form of slices, one for each subset and address family."""
    slices = []
    for subset in endpoints.get("subsets") or ():
        members = [_member(address, True) for address in subset.get("addresses") or ()]
        members += [_member(address, False) for address in subset.get("notReadyAddresses") or ()]
        for family in _FAMILIES:
            of_family = [m for m in members if (":" in m["addresses"][0]) == (family == "IPv6")]
            if of_family:
                slices.append({"addressType": family, "ports": subset.get("ports"), "endpoints": of_family})
    return slices


def _member(address: Json, is_ready: bool) -> dict[str, Any]:
    return {"addresses": [address["ip"]], "conditions": {"ready": is_ready}, "targetRef": address.get("targetRef")}


def _service_port(backend: Backend, *, where: str, namespace: str, service: Json | None) -> Json | Problem:
    label = f'Service "{backend.service_name}"'
    if service is None:
        return Problem(
            Reason.BACKEND_NOT_FOUND,
            f"{where}.serviceName: {label} does not exist in namespace {namespace}: create it, or name one that does",
        )
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return Problem(
            Reason.BACKEND_IS_EXTERNAL_NAME,
            f'{where}.serviceName: {label} is an ExternalName for "{spec.get("externalName", "")}", which has no '
            "endpoints: name a Service that selects pods",
        )
    ports = spec.get("ports") or ()
    key = "name" if isinstance(backend.service_port, str) else "port"
    # One number may have several protocols, as 53 for a name server.
    found = sorted((p for p in ports if p.get(key) == backend.service_port), key=_is_tcp, reverse=True)
    if not found:
        return Problem(
            Reason.BACKEND_PORT_NOT_FOUND,
            f"{where}.servicePort: {label} has no port {backend.service_port}: {_way_out(backend, ports)}",
        )
    if not _is_tcp(found[0]):
        return Problem(
            Reason.BACKEND_PORT_NOT_TCP,
            f"{where}.servicePort: port {backend.service_port} of {label} has protocol {found[0]['protocol']}, and "
            f"Kanary splits TCP only: {_way_out(backend, ports)}",
        )
    return dict(found[0])


def _is_tcp(port: Json) -> bool:
    return bool(port.get("protocol", "TCP") == "TCP")


def _way_out(backend: Backend, ports: Sequence[Json]) -> str:
    tcp = [port for port in ports if _is_tcp(port)]
    if not tcp:
        return "add a TCP port to it"
    if backend.service_port in [str(port["port"]) for port in tcp]:
        return "no port has that name; write a number without quotes"
    return "use one of " + ", ".join(f"{p['name']} ({p['port']})" if p.get("name") else str(p["port"]) for p in tcp)


def _family(service: Json, slices: Sequence[Json]) -> str:
    """The one address family to use: a dual-stack Service lists each of its pods in both."""
    present = {piece.get("addressType") for piece in slices}
    preferred = [*((service.get("spec") or {}).get("ipFamilies") or ()), *_FAMILIES]
    return next((family for family in preferred if family in present), "IPv4")


def _merged(*of_slices: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    found = sorted(chain(*of_slices), key=lambda endpoint: (endpoint.order, endpoint.pod))
    # While a pod moves between slices, it has two entries.
    return tuple({endpoint.order: endpoint for endpoint in found}.values())


def _ready(piece: Json, port_name: str) -> tuple[Endpoint, ...]:
    """The ready endpoints of one slice that a proxy can use: a manual slice may have addresses that no pod can have."""
    ports = [port for port in piece.get("ports") or () if (port.get("name") or "") == port_name and _is_tcp(port)]
    number = next((int(port["port"]) for port in ports if port.get("port")), 0)
    found = []
    for endpoint in _members(piece) if number else ():
        if _is_ready(endpoint):
            try:
                pod = (endpoint.get("targetRef") or {}).get("name", "")
                found.append(Endpoint(endpoint["addresses"][0], number, pod))
            except ValueError:
                continue
    return tuple(found)


def _unready(piece: Json) -> frozenset[str]:
    """The addresses of one slice that are not ready."""
    return frozenset(endpoint["addresses"][0] for endpoint in _members(piece) if not _is_ready(endpoint))


def _members(piece: Json) -> list[Json]:
    return [endpoint for endpoint in piece.get("endpoints") or () if endpoint.get("addresses")]


def _is_ready(endpoint: Json) -> bool:
    """An unknown readiness counts as ready, as the EndpointSlice API defines."""
    return (endpoint.get("conditions") or {}).get("ready") is not False
