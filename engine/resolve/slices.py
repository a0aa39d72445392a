"""Reads EndpointSlices: which endpoints of a slice have the port of a backend, and whether they serve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.states import Endpoint
from engine.render.zones import Zones, by_zone, is_zone

Json = Mapping[str, Any]

FAMILIES = ("IPv4", "IPv6")
_HOST_NAMES = "FQDN"


@dataclass(frozen=True, slots=True)
class Members:
    """The endpoints of one slice. The sets have the name of the pod, or the address of an endpoint without a pod."""

    ready: tuple[Endpoint, ...]
    terminating: tuple[Endpoint, ...]
    """Pods that terminate and still serve, because their readiness probes pass."""
    zones: Zones
    """The addresses of both, by zone."""
    unready: frozenset[str]
    """Pods that are not ready, and are not terminating."""
    without_port: frozenset[str]
    """Ready ones in a slice that does not have the port."""
    unusable: frozenset[str]
    """Ready ones with an address or a port that no pod can have: nothing validates a manual slice."""
    host_names: frozenset[str]
    """Ready ones in a slice of host names."""


def read_slice(piece: Json, port_name: str) -> Members:
    """The endpoints of a slice for the Service port of this name."""
    number, family = _port(piece, port_name), piece.get("addressType")
    ready: list[Endpoint] = []
    terminating: list[Endpoint] = []
    unready, without_port, unusable, host_names = set[str](), set[str](), set[str](), set[str]()
    zones = list[tuple[str, str]]()
    for member in piece.get("endpoints") or ():
        addresses = member.get("addresses")
        if not addresses:
            continue
        address, pod = addresses[0], _pod(member)
        is_ready, serves = is_ready_member(member), _is_terminating(member)
        if family == _HOST_NAMES:
            host_names.update([address] if is_ready else ())
        elif not is_ready and not serves:
            unready.update([] if _conditions(member).get("terminating") else [pod or address])
        elif not number:
            without_port.update([pod or address] if is_ready else ())
        elif family in FAMILIES:
            try:
                endpoint = Endpoint(address, number, pod)
                (ready if is_ready else terminating).append(endpoint)
                zones.append((zone_of(member), endpoint.address))
            except ValueError:
                unusable.add(address)
    sets = map(frozenset, (unready, without_port, unusable, host_names))
    return Members(tuple(ready), tuple(terminating), by_zone(zones), *sets)


def ready_members(piece: Json) -> int:
    """How many endpoints of a slice are ready."""
    return sum(map(is_ready_member, piece.get("endpoints") or ()))


def zones_of_pods(pieces: Sequence[Json]) -> Mapping[str, str]:
    """The zone of each pod whose zone is known, by its name."""
    members = [member for piece in pieces for member in piece.get("endpoints") or ()]
    return {pod: zone for member in members if (pod := _pod(member)) and (zone := zone_of(member))}


def zone_of(member: Json) -> str:
    """The zone of an endpoint; empty if it is unknown, or is no value of a label: nothing validates a manual slice."""
    zone = member.get("zone")
    return zone if isinstance(zone, str) and is_zone(zone) else ""


def still_in(piece: Json, endpoints: tuple[Endpoint, ...]) -> frozenset[Endpoint]:
    """Those of the endpoints that a slice has, ready or not."""
    wanted = {(endpoint.address, endpoint.pod): endpoint for endpoint in endpoints}
    members = ((member.get("addresses") or [""], _pod(member)) for member in piece.get("endpoints") or ())
    return frozenset(wanted[key] for addresses, pod in members if (key := (addresses[0], pod)) in wanted)


def slices_of(service: Json | None, slices: Sequence[Json]) -> list[Json]:
    """The slices without those of a former Service of the same name, which the garbage collector has yet to delete.

    Slices with another owner, or none, are those of a user, or mirror Endpoints of a user.
    """
    uid = ((service or {}).get("metadata") or {}).get("uid")
    return [piece for piece in slices if not uid or _owning_service(piece) in ("", uid)]


def is_outdated(piece: Json, port_name: str, service: Json | None) -> bool:
    """Whether a slice is of a former version of its Service, in which the port had another name.

    The cluster is about to update it. A slice of pods without the port has no port of another name.
    """
    names = {port.get("name") or "" for port in piece.get("ports") or ()}
    if port_name in names or not _owning_service(piece):
        return False
    present = ((service or {}).get("spec") or {}).get("ports") or ()
    return not names <= {port.get("name") or "" for port in present}


def slices_from_endpoints(endpoints: Json) -> list[dict[str, Any]]:
    """An Endpoints object in the form of slices, one for each subset and address family; at least one."""
    slices = []
    for subset in endpoints.get("subsets") or ():
        members = [_member(address, True) for address in subset.get("addresses") or ()]
        members += [_member(address, False) for address in subset.get("notReadyAddresses") or ()]
        for family in FAMILIES:
            of_family = [m for m in members if (":" in m["addresses"][0]) == (family == "IPv6")]
            if of_family:
                slices.append({"addressType": family, "ports": subset.get("ports"), "endpoints": of_family})
    # Without a slice, the endpoints would be unknown.
    return slices or [{"addressType": FAMILIES[0], "ports": [], "endpoints": []}]


def is_ready_member(member: Json) -> bool:
    """Whether an endpoint is ready. An unknown readiness counts as ready, as the EndpointSlice API defines."""
    return _conditions(member).get("ready") is not False


def is_tcp(port: Json) -> bool:
    """Whether this is a TCP port, which is the default."""
    return bool(port.get("protocol", "TCP") == "TCP")


def _is_terminating(member: Json) -> bool:
    conditions = _conditions(member)
    return bool(conditions.get("serving") and conditions.get("terminating"))


def _conditions(member: Json) -> Json:
    return member.get("conditions") or {}


def _pod(member: Json) -> str:
    """The name of the pod; empty if the endpoint is something else."""
    reference = member.get("targetRef") or {}
    return str(reference.get("name") or "") if reference.get("kind") == "Pod" else ""


def _port(piece: Json, port_name: str) -> int:
    """The number of the port of this name, or 0."""
    ports = [port for port in piece.get("ports") or () if (port.get("name") or "") == port_name and is_tcp(port)]
    return next((int(port["port"]) for port in ports if port.get("port")), 0)


def _owning_service(piece: Json) -> str:
    """The uid of the Service that owns the slice, or an empty text."""
    references = (piece.get("metadata") or {}).get("ownerReferences") or ()
    return next((str(reference.get("uid")) for reference in references if reference.get("kind") == "Service"), "")


def _member(address: Json, is_ready: bool) -> dict[str, Any]:
    return {"addresses": [address["ip"]], "conditions": {"ready": is_ready}, "targetRef": address.get("targetRef")}
