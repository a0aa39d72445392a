"""What HAProxy is configured for: routes with their servers, limits and ports.

All input is validated: backends are named by Service and port, servers by an address parsed with `ipaddress`, ports
are integers, and weights are numbers. A newline in a name would add a directive, and some directives run commands even
while HAProxy only validates a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from engine.model.weight import TOTAL_WEIGHT, decimal_text, read_weight
from engine.render.rollback import RollbackPlan
from engine.render.zones import Zones, require_valid
from states.snapshot import OnEmptyRoute

SPLIT_PORT = 8080
"""Where the proxies listen. A further port has one of the next numbers, and keeps it as long as it is declared."""
OPS_PORT = 8404
# HAProxy counts milliseconds in 31 bits and rejects longer times.
MAX_SECONDS = (2**31 - 1) // 1000

MAX_CONNECTIONS = 1_000_000
DEFAULT_MAX_CONNECTIONS = 20_000
"""About 80 MiB, with 4 KiB for each idle connection."""

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_UNICAST = r"(22[0-3]|2[01][0-9]|1[0-9]{2}|[1-9][0-9]?)"
_IPV4 = re.compile(rf"{_UNICAST}\.{_OCTET}\.{_OCTET}\.{_OCTET}")
"""The address of one host in canonical form; with 0 or more than 239 in front others are valid as well."""
_UID = re.compile(r"[-\w]+", re.ASCII)
DEFAULT_SOURCE_PORTS = 28_232
"""Of a pod without sysctls."""

DEFAULT_UNACKNOWLEDGED_SECONDS = 240
"""The time after which keepalive closes an idle connection to a lost peer.

With less, an idle connection would be closed after fewer unanswered probes than keepalive sends: this limit replaces
their number. It also applies to a peer that is alive and reads nothing.
"""

_BACKEND = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?:_?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""Service and port name as in Kubernetes. The colon prevents a clash with the sections that are not backends."""


class Balance(StrEnum):
    """How the connections of a route are spread over its servers: in turn, or to the one with the fewest."""

    ROUND_ROBIN = "roundrobin"
    LEAST_CONNECTIONS = "leastconn"


class ProxyProtocol(StrEnum):
    """A header before a connection's data with the client's address: V1 is a line of text, V2 is binary.

    https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
    """

    V1 = "V1"
    V2 = "V2"


@dataclass(frozen=True, slots=True)
class Server:
    """One pod: its IP address, stored in canonical form, and the port that it listens on.

    Raises ValueError for anything except a unicast IP address and a port from 1 to 65535.
    """

    address: str
    port: int
    order: tuple[int, int, int] = field(init=False, repr=False, compare=False)
    """Sort key of the numerical order. An address is parsed once, where it enters."""

    def __post_init__(self) -> None:
        _require_integer("port", self.port, 1, 65535)
        if isinstance(self.address, str) and (match := _IPV4.fullmatch(self.address)):
            # As below, at a tenth of the cost: most addresses are of this form.
            version, number = 4, int.from_bytes(bytes(map(int, match.groups())))
        else:
            address = _unicast(self.address)
            version, number = address.version, int(address)
            object.__setattr__(self, "address", str(address))
        object.__setattr__(self, "order", (version, number, self.port))

    @property
    def version(self) -> int:
        """The version of IP, 4 or 6."""
        return self.order[0]

    @property
    def socket(self) -> str:
        """Address and port in HAProxy's form: `10.0.0.1:9000`, `[fd00::1]:9000`."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A backend's share of the connections, in percent, its servers, and the header that these expect, if any.

    `backend` is its Service and port, such as `myapp-v1:http`. The servers are stored in numerical order, without
    duplicates.

    Raises ValueError for a weight that `read_weight` rejects, and for a name of another form.
    """

    backend: str
    weight: Decimal
    servers: tuple[Server, ...]
    proxy_protocol: ProxyProtocol | None = None

    def __post_init__(self) -> None:
        if not _BACKEND.fullmatch(self.backend):
            raise ValueError(f"{self.backend!r} is not the Service and port of a backend")
        object.__setattr__(self, "weight", read_weight(self.weight))
        servers = {server.order: server for server in self.servers}
        object.__setattr__(self, "servers", tuple(servers[order] for order in sorted(servers)))
        # A plain string is not identical with the enum member.
        if self.proxy_protocol is not None:
            object.__setattr__(self, "proxy_protocol", ProxyProtocol(self.proxy_protocol))


@dataclass(frozen=True, slots=True)
class FurtherPort:
    """Another port that the proxies listen on, and its routes. It has a counter and turns of its own.

    Raises ValueError for a port out of range, and for weights that do not sum to 100.
    """

    listen: int
    routes: tuple[Pool, ...]

    def __post_init__(self) -> None:
        _require_integer("listen", self.listen, 1, 65535)
        _require_total(self.routes)


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """The configuration of the proxies of one Kanary.

    An established connection is closed after `idle_seconds` without a byte in either direction, and when the client or
    the pod has not acknowledged data, or has not accepted any, for `unacknowledged_seconds`. A stopping proxy
    closes open connections after `drain_seconds`. `connect_milliseconds` is the time that one server has to accept
    a connection before the next one is tried. Clients beyond `max_connections` wait until another connection ends.
    `ipv6` makes the proxies listen on IPv6 although no server has such an address. `keepalive_options` sets the
    keepalive times of each connection; without it, those of the pod apply (`sysctls`). `source_ports` is the number of
    connections that the pod can have to one server. `kanary` is the uid of the Kanary and `serial` the number of this
    configuration, for proxies that load configurations while they run: they reject those of other Kanaries and older
    ones. Without `kanary` the configuration is not numbered. With `failure_log`, HAProxy writes a record of each
    connection that did not end normally to the file descriptor LOG_DESCRIPTOR, which must be open. `watched` is the
    revision of these weights if the agents count its connections and failures, otherwise 0; it is no part of the split.
    `rollback` is what they need to return to the last good weights without the operator, and no part of it either.
    `slots` are the backends by slot (`engine.render.slots`); those that are not among the routes are free. Without
    `slots`, there is one for each route, in the order of the routes. The routes of `further` ports have slots as well.

    With `zones`, each proxy prefers the servers of its own zone (`engine.render.zones`), which is no part of the split.

    `Hold` and `Fail` of `on_empty_route` are the same for a proxy: they differ in what the operator does.

    Raises ValueError for a time, a count or a port out of range, for weights that do not sum to 100, for duplicate
    backends, for slots that are not one for each backend, and for a uid that is not one word.
    """

    routes: tuple[Pool, ...]
    on_empty_route: OnEmptyRoute
    idle_seconds: int
    drain_seconds: int
    # The delay for clients of a server that drops packets; within a cluster a handshake takes a few milliseconds.
    connect_milliseconds: int = 500
    # HAProxy's own default is one thread per core of the node, whatever the pod's CPU limit: on a large node, dozens
    # of threads share one core's quota and are throttled together. For more throughput, add replicas.
    threads: int = 2
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    balance: Balance = Balance.ROUND_ROBIN
    ipv6: bool = False
    keepalive_options: bool = False
    source_ports: int = DEFAULT_SOURCE_PORTS
    unacknowledged_seconds: int = DEFAULT_UNACKNOWLEDGED_SECONDS
    kanary: str = ""
    serial: int = 0
    failure_log: bool = False
    watched: int = 0
    rollback: RollbackPlan | None = None
    slots: tuple[str, ...] = ()
    zones: Zones | None = None
    further: tuple[FurtherPort, ...] = ()
    split_port: int = SPLIT_PORT
    ops_port: int = OPS_PORT

    def __post_init__(self) -> None:
        _require_integer("idle_seconds", self.idle_seconds, 1, MAX_SECONDS)
        _require_integer("source_ports", self.source_ports, 1, 65535)
        _require_integer("unacknowledged_seconds", self.unacknowledged_seconds, 1, MAX_SECONDS)
        _require_integer("drain_seconds", self.drain_seconds, 1, MAX_SECONDS)
        _require_integer("connect_milliseconds", self.connect_milliseconds, 1, MAX_SECONDS * 1000)
        _require_integer("threads", self.threads, 1, 64)
        _require_integer("max_connections", self.max_connections, 1, MAX_CONNECTIONS)
        if self.kanary and not _UID.fullmatch(self.kanary):
            raise ValueError(f"{self.kanary!r} is not the uid of a Kanary")
        _require_integer("serial", self.serial, 0, 2**63)
        _require_integer("watched", self.watched, 0, 2**53)
        _require_integer("split_port", self.split_port, 1, 65535)
        _require_integer("ops_port", self.ops_port, 1, 65535)
        # As in Pool: no plain strings.
        object.__setattr__(self, "on_empty_route", OnEmptyRoute(self.on_empty_route))
        object.__setattr__(self, "balance", Balance(self.balance))
        require_valid(self.zones or ())
        if self.split_port == self.ops_port:
            raise ValueError(f"split_port and ops_port are both {self.ops_port}: they must differ")
        listening = [self.split_port, self.ops_port, *(port.listen for port in self.further)]
        if len(set(listening)) < len(listening):
            raise ValueError(f"the proxies listen on {listening}: the ports must differ")
        if len({route.backend for route in self.routes}) < len(self.routes):
            raise ValueError("two routes have the same backend")
        for route in self.all_routes:
            if self.slots and self.slots.count(route.backend) != 1:
                raise ValueError(f"{route.backend} has {self.slots.count(route.backend)} slots: it must have 1")
        if self.rollback and not self.watched:
            raise ValueError("a configuration with a rollback has no watched revision")
        if self.rollback and not self.rollback.weights.keys() <= {route.backend for route in self.routes}:
            raise ValueError("the rollback has weights of backends that are not among the routes")
        _require_total(self.routes)

    @property
    def all_routes(self) -> tuple[Pool, ...]:
        """The routes of all ports, each backend once."""
        return tuple({route.backend: route for routes in self.ports for route in routes}.values())

    @property
    def ports(self) -> tuple[tuple[Pool, ...], ...]:
        """The routes of each port."""
        return (self.routes, *(port.routes for port in self.further))

    @property
    def routes_by_slot(self) -> tuple[Pool | None, ...]:
        """The route of each slot, of whatever port; None if it is free."""
        return self.by_slot(self.all_routes)

    def by_slot(self, found: Iterable[Pool]) -> tuple[Pool | None, ...]:
        """Those of these routes by slot."""
        routes = {route.backend: route for route in found}
        return tuple(map(routes.get, self.slots or (route.backend for route in self.all_routes)))


def connections_to_a_server(source_ports: int) -> int:
    """How many connections a proxy may hold to one server.

    Health checks need ports as well, and so do the connections of former workers and those that have just ended.
    """
    return source_ports - source_ports // 16


def _unicast(text: object) -> IPv4Address | IPv6Address:
    # ipaddress would accept integers and bytes as well; as text they are invalid.
    address = ip_address(str(text))
    if isinstance(address, IPv6Address):
        # ipaddress accepts any text as a zone, which would be written unchanged.
        if address.scope_id is not None:
            raise ValueError(f"address {text!r} has a zone, which is valid only on its own host")
        address = address.ipv4_mapped or address
    # For HAProxy, the unspecified address is the address that the client connected to: the proxy itself.
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"address {text!r} is not the address of one host")
    return address


def _require_total(routes: Iterable[Pool]) -> None:
    total = sum((route.weight for route in routes), Decimal())
    if total != TOTAL_WEIGHT:
        raise ValueError(f"the routes' weights sum to {decimal_text(total)}: they must sum to {TOTAL_WEIGHT}")


def _require_integer(name: str, value: object, least: int, most: int) -> None:
    # bool is an int, but would be written as a word.
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} {value!r} is not an integer from {least} to {most}")
