"""Resolves a backend to the addresses of its pods.

The port is looked up in the Service by name or number, and then in the Service's slices by the name of the Service
port, as Kubernetes does (the number in a slice is the port of its pods, and may differ between slices).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from engine.memo import Memo
from engine.model.spec import Backend
from engine.model.states import Endpoint
from engine.render.zones import Zones, by_zone, pairs
from engine.resolve.loops import ProxyEndpoint
from engine.resolve.slices import Json, Members, is_outdated, is_tcp, read_slice, ready_members, slices_of
from states import Problem, Reason

MOST_ENDPOINTS = 15_000
"""Of a Kanary. No configuration with more fits into a ConfigMap, so none is rendered; some with fewer do not either."""

_PORTS_SHOWN = 10

_IP_VERSIONS = {"IPv4": 4, "IPv6": 6}


@dataclass(frozen=True, slots=True)
class Resolved:
    """The endpoints of a backend, and a note about those that are left out."""

    endpoints: tuple[Endpoint, ...] = ()
    """Those to connect to, in numerical order and without duplicates: the ready ones; without any, the terminating ones
    that still serve."""
    are_terminating: bool = False
    unready: int = 0
    """Number of further pods, which are not ready."""
    note: str = ""
    """What else the Service has, to be read after `BACKEND has`; empty if nothing."""
    may_reach_proxies: bool = False
    """Some endpoints are proxies of other Kanaries, or addresses that may become theirs without a change of these."""
    is_known: bool = True
    """The Service has a slice of its present version. Without any, its endpoints are unknown."""
    zones: Zones = ()
    """The addresses of the endpoints whose zones are known."""


def resolve(
    backend: Backend,
    *,
    where: str,
    namespace: str,
    service: Json | None,
    slices: Sequence[Json],
    memo: Memo,
    room: int = MOST_ENDPOINTS,
    proxies: Callable[[Sequence[Endpoint]], Mapping[Endpoint, ProxyEndpoint]] = lambda _endpoints: {},
) -> Resolved | Problem:
    """The endpoints of a backend, or the problem with it: for one, that they are more than there is `room` for.

    `where` is the path of the backend in the spec, for the message. `proxies` returns the endpoints that are proxies.
    Equal endpoints are the same tuple each time.
    """
    port = _service_port(backend, where=where, namespace=namespace, service=service)
    if isinstance(port, Problem):
        return port
    spec = (service or {}).get("spec") or {}
    name = port.get("name") or ""
    current = [piece for piece in slices_of(service, slices) if not is_outdated(piece, name, service)]
    counts = Counter[str]()
    for piece in current:
        counts[piece.get("addressType", "")] += memo(ready_members, piece)
    if (most := max(counts.values(), default=0)) > room:
        return _too_many(backend, where, most, room)
    members = [memo(read_slice, piece, name) for piece in current]
    preferred = _IP_VERSIONS.get(next(iter(spec.get("ipFamilies") or ()), ""), 4)
    ready = memo(_joined, preferred, *[memo(_ready, each) for each in members])
    found = dict(proxies(ready))
    ready = _without_loops(memo, ready, found)
    terminating = () if ready else memo(_joined, preferred, *[each.terminating for each in members])
    if terminating:
        found |= proxies(terminating)
        terminating = _without_loops(memo, terminating, found)
    resolved = memo(_resolved, ready, terminating, _port_text(port), *members)
    is_manual = any(not endpoint.pod for endpoint in resolved.endpoints)
    return _with_loops_noted(resolved, found.values()) if found or is_manual else resolved


def port_number(backend: Backend, service: Json | None) -> int | None:
    """The number of the Service port that a backend names, or None if there is none."""
    port = _service_port(backend, where="", namespace="", service=service)
    return None if isinstance(port, Problem) else int(port["port"])


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
    found = sorted((p for p in ports if p.get(key) == backend.service_port), key=is_tcp, reverse=True)
    if not found:
        return Problem(
            Reason.BACKEND_PORT_NOT_FOUND,
            f"{where}.servicePort: {label} has no port {backend.service_port}: {_way_out(backend, ports)}",
        )
    if not is_tcp(found[0]):
        return Problem(
            Reason.BACKEND_PORT_NOT_TCP,
            f"{where}.servicePort: port {backend.service_port} of {label} has protocol {found[0]['protocol']}, and "
            f"Kanary splits TCP only: {_way_out(backend, ports)}",
        )
    return dict(found[0])


def _too_many(backend: Backend, where: str, count: int, room: int) -> Problem:
    others = "" if room == MOST_ENDPOINTS else f", beside {MOST_ENDPOINTS - room} of the routes before it"
    text = (
        f'{where}: Service "{backend.service_name}" has {count} ready endpoints{others}, and the configuration '
        f"of a Kanary has room for at most {MOST_ENDPOINTS}: scale the backends down, or divide them between several "
        "Kanaries"
    )
    return Problem(Reason.TOO_MANY_ENDPOINTS, text)


def _way_out(backend: Backend, ports: Sequence[Json]) -> str:
    tcp = [port for port in ports if is_tcp(port)]
    if not tcp:
        return "add a TCP port to it"
    if backend.service_port in [str(port["port"]) for port in tcp]:
        return "no port has that name; write a number without quotes"
    names = [f"{p['name']} ({p['port']})" if p.get("name") else str(p["port"]) for p in tcp]
    more = f" and {len(names) - _PORTS_SHOWN} more" if len(names) > _PORTS_SHOWN else ""
    return f"use one of {', '.join(names[:_PORTS_SHOWN])}{more}"


def _ready(members: Members) -> tuple[Endpoint, ...]:
    """Apart from the rest, so that a slice in which only the rest has changed changes no configuration."""
    return members.ready


def _joined(preferred: int, *of_slices: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Each pod once, by its address of the preferred IP version if it has one.

    Endpoints without a pod cannot be matched: if any has an address of the preferred version, only those are used.
    """
    found = sorted(chain(*of_slices), key=lambda endpoint: (endpoint.order, endpoint.pod))
    # While a pod moves between slices, it has two entries.
    unique = {endpoint.order: endpoint for endpoint in found}.values()
    pods = {endpoint.pod for endpoint in unique if endpoint.version == preferred}
    return tuple(e for e in unique if e.version == preferred or e.pod not in pods)


def _without(endpoints: tuple[Endpoint, ...], others: frozenset[Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(endpoint for endpoint in endpoints if endpoint not in others)


def _without_loops(
    memo: Memo, endpoints: tuple[Endpoint, ...], proxies: Mapping[Endpoint, ProxyEndpoint]
) -> tuple[Endpoint, ...]:
    loops = frozenset(endpoint for endpoint, proxy in proxies.items() if proxy.returns)
    return memo(_without, endpoints, loops) if loops else endpoints


def _with_loops_noted(found: Resolved, proxies: Collection[ProxyEndpoint]) -> Resolved:
    counts = Counter(proxy.kanary for proxy in proxies if proxy.returns)
    notes = [found.note] if found.note else []
    for kanary, count in sorted(counts.items()):
        how_many = "1 proxy" if count == 1 else f"{count} proxies"
        why = "because it sends connections back" if kanary else "to avoid a loop"
        notes.append(f"{how_many} of {f'Kanary {kanary}' if kanary else 'this Kanary'} as endpoints, left out {why}")
    may_reach = any(proxy.kanary for proxy in proxies) or any(not endpoint.pod for endpoint in found.endpoints)
    return replace(found, note=", ".join(notes), may_reach_proxies=may_reach)


def _resolved(ready: tuple[Endpoint, ...], terminating: tuple[Endpoint, ...], port: str, *members: Members) -> Resolved:
    usable = {endpoint.pod or endpoint.address for endpoint in ready}
    unready = _union(each.unready for each in members) - usable
    note = ", ".join(_notes(len(usable), len(terminating), port, members))
    addresses = {endpoint.address for endpoint in ready or terminating}
    zones = by_zone(pair for each in members for pair in pairs(each.zones) if pair[1] in addresses)
    return Resolved(ready or terminating, bool(terminating), len(unready), note, is_known=bool(members), zones=zones)


def _notes(ready: int, terminating: int, port: str, members: Sequence[Members]) -> Iterable[str]:
    if not members:
        yield "no EndpointSlice yet"
    if terminating:
        yield f"only {_count(terminating, 'terminating pod')} that still {'serves' if terminating == 1 else 'serve'}"
    if without_port := len(_union(each.without_port for each in members)):
        if ready:
            yield f"{without_port} of {ready + without_port} ready pods without a port for {port}"
        else:
            yield f"{_count(without_port, 'ready pod')}, none has a port for {port}"
    if unusable := len(_union(each.unusable for each in members)):
        yield f"{_count(unusable, 'endpoint')} without a unicast IP address and a port from 1 to 65535"
    if host_names := len(_union(each.host_names for each in members)):
        yield f"{_count(host_names, 'host name')} instead of IP addresses (addressType FQDN), which Kanary does not use"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)


def _port_text(port: Json) -> str:
    """The name that a slice looks up in the pods or, if the Service has a number, the name that a slice must have."""
    target = port.get("targetPort")
    return f'targetPort "{target}"' if isinstance(target, str) else f'Service port "{port.get("name") or port["port"]}"'
