"""Renders the HAProxy configuration that splits TCP connections between routes by weight.

A pure function from a `ProxyConfig` to text. All input is validated: backends are named by Service and port, servers by
an address parsed with `ipaddress`, and ports and weights are integers. A newline in a name would add a directive, and
some directives run commands even while HAProxy only validates a file.

A server's name is its address, and nothing else in the text depends on the number of servers as long as a route has
any. Therefore a running proxy can add and remove servers without a reload.

The split is exact (`selection`). HAProxy's own server weights are rounded to 0..256, which starves a small route beside
one with many pods.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from engine.render.selection import RANDOM_START, selection_rules
from states.snapshot import OnEmptyRoute

SPLIT_PORT = 8080
OPS_PORT = 8404
TOTAL_WEIGHT = 100
# HAProxy counts milliseconds in 31 bits and rejects longer times.
MAX_SECONDS = (2**31 - 1) // 1000

MAX_CONNECTIONS = 1_000_000
SERVERS_STEP = 500
"""File descriptors for health checks are reserved in steps of this number of servers."""
DEFAULT_MAX_CONNECTIONS = 20_000
"""About 80 MiB, with 4 KiB for each idle connection."""

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", str(_unicast(self.address)))
        _require_integer("port", self.port, 1, 65535)


@dataclass(frozen=True, slots=True)
class Pool:
    """A backend's share of the connections, in percent, its servers, and the header that these expect, if any.

    `backend` is its Service and port, such as `myapp-v1:http`. The servers are stored in numerical order, without
    duplicates.

    Raises ValueError for a weight that is not an integer from 0 to 100, and for a name of another form.
    """

    backend: str
    weight: int
    servers: tuple[Server, ...]
    proxy_protocol: ProxyProtocol | None = None

    def __post_init__(self) -> None:
        if not _BACKEND.fullmatch(self.backend):
            raise ValueError(f"{self.backend!r} is not the Service and port of a backend")
        _require_integer("weight", self.weight, 0, TOTAL_WEIGHT)
        object.__setattr__(self, "servers", tuple(sorted(set(self.servers), key=_numerically)))
        # A plain string is not identical with the enum member.
        if self.proxy_protocol is not None:
            object.__setattr__(self, "proxy_protocol", ProxyProtocol(self.proxy_protocol))


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """The configuration of the proxies of one Kanary.

    An established connection is closed after `idle_seconds` without a byte in either direction. A stopping proxy
    closes open connections after `drain_seconds`. `connect_milliseconds` is the time that one server has to accept
    a connection before the next one is tried. Clients beyond `max_connections` wait until another connection ends.
    `ipv6` makes the proxies listen on IPv6 although no server has such an address. A `serial` above 0 distinguishes
    equal configurations, so that a proxy that served an earlier one does not count as updated.

    A route of weight 0 is left out: its servers can change without a new configuration. `Hold` and `Fail` of
    `on_empty_route` are the same for a proxy: they differ in what the operator does.

    Raises ValueError for a time, a count or a port out of range, for weights that do not sum to 100 and for
    duplicate backends.
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
    serial: int = 0
    split_port: int = SPLIT_PORT
    ops_port: int = OPS_PORT

    def __post_init__(self) -> None:
        _require_integer("idle_seconds", self.idle_seconds, 1, MAX_SECONDS)
        _require_integer("drain_seconds", self.drain_seconds, 1, MAX_SECONDS)
        _require_integer("connect_milliseconds", self.connect_milliseconds, 1, MAX_SECONDS * 1000)
        _require_integer("threads", self.threads, 1, 64)
        _require_integer("max_connections", self.max_connections, 1, MAX_CONNECTIONS)
        _require_integer("serial", self.serial, 0, 2**63)
        _require_integer("split_port", self.split_port, 1, 65535)
        _require_integer("ops_port", self.ops_port, 1, 65535)
        # As in Pool: no plain strings.
        object.__setattr__(self, "on_empty_route", OnEmptyRoute(self.on_empty_route))
        object.__setattr__(self, "balance", Balance(self.balance))
        if self.split_port == self.ops_port:
            raise ValueError(f"split_port and ops_port are both {self.ops_port}: they must differ")
        if len({route.backend for route in self.routes}) < len(self.routes):
            raise ValueError("two routes have the same backend")
        total = sum(route.weight for route in self.routes)
        if total != TOTAL_WEIGHT:
            raise ValueError(f"the routes' weights sum to {total}: they must sum to {TOTAL_WEIGHT}")


STOPPING_PATH = "/readyz"
"""Path on the ops port for whether a proxy accepts connections: 200, or 503 when it is stopping."""


def ready_path(digest: str) -> str:
    """Path on the ops port for whether a proxy serves exactly the configuration with this digest.

    200: yes. 503: yes, but it is stopping. 404: it serves another one.
    """
    return f"/ready/{digest}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A complete haproxy.cfg and its digest."""

    text: str
    digest: str
    """24 hexadecimal digits that change with any change of the configuration. See `split_of`."""


def split_of(digest: str) -> str:
    """The half of a digest that covers everything except the servers.

    Proxies with the same half send the same share of the connections to each backend.
    """
    return digest[:_HALF]


def render(config: ProxyConfig) -> Rendered:
    """The complete haproxy.cfg."""
    sections = (_global(config), _defaults(config), _ops(config), _split(config), _backends(config))
    text = "\n\n".join("\n".join(lines) for lines in sections) + "\n"
    lasting = [line for line in text.splitlines() if not line.startswith(_PASSING)]
    # The PROXY protocol is on the servers' lines, but does not change with them.
    lasting += [_HEADER[route.proxy_protocol] for route in _weighted(config)]
    digest = _hash("\n".join(lasting)) + _hash(text)
    return Rendered(text.replace(_NO_DIGEST, f"str({digest})", 1), digest)


_HALF = 12
_NO_DIGEST = "str()"
_PASSING = ("#", "  server ", "  fd-hard-limit ")
"""Lines that change with the servers or with the serial."""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]


def _global(config: ProxyConfig) -> Iterator[str]:
    number = f" Number {config.serial} of this Kanary." if config.serial else ""
    yield f"# Written by Kanary.{number} Manual changes are reverted."
    yield "global"
    yield f"  thread-hard-limit {config.threads}"
    yield "  # Two descriptors for each connection; if the container allows fewer, HAProxy uses these."
    yield f"  fd-hard-limit {_descriptors(config)}"
    yield f"  hard-stop-after {config.drain_seconds}s"
    yield f"  set-var proc.digest {_NO_DIGEST}"
    yield "  # Start of the connection counter: random, since frequent starts at 0 would starve a small route. At a"
    yield "  # reload the agent sets it, below, to the current count, and the round continues."
    yield f"  set-var proc.start {RANDOM_START}"


def _descriptors(config: ProxyConfig) -> int:
    """File descriptors for connections, for the health checks of present and additional servers, and for the ops port.

    HAProxy derives the connection limit of the process from it: some hundreds more than that of the split port, so that
    a full split port never delays probes or Prometheus.
    """
    checked = -(-len(_servers(config)) // SERVERS_STEP) * SERVERS_STEP
    return 2 * config.max_connections + checked + 1000


def _defaults(config: ProxyConfig) -> Iterator[str]:
    yield "defaults"
    yield "  mode tcp"
    yield "  # If a server refuses a connection, HAProxy retries other servers of the route."
    yield "  option redispatch 1"
    yield "  retries 3"
    yield f"  timeout connect {config.connect_milliseconds}ms"
    yield "  # One limit for idle connections, including half-closed ones: a client may finish sending and then wait"
    yield "  # for an answer. Keepalive detects lost peers within four minutes, also in half-closed connections."
    yield f"  timeout client {config.idle_seconds}s"
    yield f"  timeout server {config.idle_seconds}s"
    yield f"  timeout tunnel {config.idle_seconds}s"
    yield "  option clitcpka"
    yield "  option srvtcpka"
    for side in "cli", "srv":
        yield f"  {side}tcpka-idle 2m"
        yield f"  {side}tcpka-intvl 30s"
        yield f"  {side}tcpka-cnt 4"
    yield "  # Two failed checks or three failed connections in a row, and a server is down until a check passes."
    yield "  timeout check 1s"
    # A limit of one failed connection instead of three would save hardly any errors (1 or 2 instead of 3 if a whole
    # route refuses connections, 92 instead of 99 if it drops packets), and would mark a route's only server down after
    # each short failure. With a shorter connect time-out, a proxy without enough CPU would mark healthy servers down.
    # HAProxy's checks do not detect a server that accepts connections and then resets them: the agent ejects those.
    yield (
        "  default-server check inter 2s fastinter 250ms fall 2 rise 1 observe layer4 error-limit 3 on-error mark-down"
    )


def _ops(config: ProxyConfig) -> Iterator[str]:
    yield "# For the kubelet and Prometheus. One ready path contains the digest of this configuration."
    yield "frontend ops"
    yield "  mode http"
    yield from _binds(config, config.ops_port)
    yield "  timeout client 10s"
    yield "  # Slow clients must not occupy the connections of this port."
    yield "  timeout http-request 2s"
    yield "  timeout http-keep-alive 2s"
    yield f"  http-request set-var(txn.ready) str({ready_path('')}),concat(,proc.digest)"
    yield f"  acl ready path {STOPPING_PATH}"
    yield "  acl ready path,strcmp(txn.ready) 0"
    yield "  http-request return status 503 if ready { stopping }"
    yield "  http-request return status 200 if ready || { path /healthz }"
    yield "  http-request use-service prometheus-exporter if { path /metrics }"
    yield "  http-request return status 404"


def _binds(config: ProxyConfig, port: int) -> Iterator[str]:
    yield f"  bind :{port}"
    # Only if the cluster has IPv6: HAProxy does not start on a host without it.
    if config.ipv6 or any(":" in server.address for server in _servers(config)):
        yield f"  bind :::{port} v6only"


def _split(config: ProxyConfig) -> Iterator[str]:
    yield "# Each connection takes the next turn of the schedule; each route has as many turns as its weight."
    yield "frontend split"
    yield from _binds(config, config.split_port)
    yield f"  maxconn {config.max_connections}"
    yield "  tcp-request connection track-sc0 int(1) table counter"
    redistribute = config.on_empty_route is OnEmptyRoute.REDISTRIBUTE
    weights = {route.backend: route.weight for route in _weighted(config) if route.servers or not redistribute}
    if weights:
        yield from selection_rules(weights, redistribute=redistribute)
    yield "  default_backend none"


def _weighted(config: ProxyConfig) -> list[Pool]:
    """The routes that get connections."""
    return [route for route in config.routes if route.weight > 0]


def _servers(config: ProxyConfig) -> list[Server]:
    return [server for route in _weighted(config) for server in route.servers]


def _backends(config: ProxyConfig) -> Iterator[str]:
    yield "backend counter"
    # Only one entry is used. Threads that create it at the same time each need space for their own until one of them
    # wins: otherwise the connections of the others would have no slot.
    yield "  stick-table type integer size 100 store gpc0,gpc1"
    yield ""
    yield "backend none  # without servers: it closes its connections at once"
    for route in _weighted(config):
        yield ""
        yield f"backend {route.backend}"
        yield f"  balance {config.balance}"
        for server in route.servers:
            # HAProxy allows no brackets in a name.
            yield f"  server {server.address}:{server.port} {_socket(server)}{_HEADER[route.proxy_protocol]}"


# Health checks send it as well.
_HEADER = {None: "", ProxyProtocol.V1: " send-proxy", ProxyProtocol.V2: " send-proxy-v2"}


def _numerically(server: Server) -> tuple[int, int, int]:
    address = ip_address(server.address)
    return address.version, int(address), server.port


def _socket(server: Server) -> str:
    return f"[{server.address}]:{server.port}" if ":" in server.address else f"{server.address}:{server.port}"


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


def _require_integer(name: str, value: object, least: int, most: int) -> None:
    # bool is an int, but would be written as a word.
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} {value!r} is not an integer from {least} to {most}")
