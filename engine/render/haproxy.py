"""Renders the HAProxy configuration that splits TCP connections between routes by weight.

A pure function from a `ProxyConfig` to text. A backend has the name of its Service and port, which is checked to be
nothing else; servers are called by their addresses, which have been through `ipaddress`; ports and weights are
integers. One newline in a name would be a directive of its own, and some directives run commands even while HAProxy
only checks a file.

A server's name says which one it is, whatever others come and go, and nothing else in the text depends on how many
there are as long as a route has any: so a running proxy can take and leave servers without a reload.

The split is exact (`turns`). HAProxy's own server weights would be rounded to 0..256 parts, which starves a small route
beside one with many pods.
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
# HAProxy counts milliseconds in 31 bits and refuses a longer time.
MAX_SECONDS = (2**31 - 1) // 1000

MAX_CONNECTIONS = 1_000_000
SERVERS_STEP = 500
"""Descriptors for health checks are reserved for so many servers at a time."""
DEFAULT_MAX_CONNECTIONS = 20_000
"""At about 4 KiB for each idle one, 80 MiB."""

_BACKEND = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?:_?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A Service's name and a port's, as Kubernetes has them. The colon keeps it from being a section of our own."""


class Balance(StrEnum):
    """How the connections of a route are spread over its servers: in turn, or to the one that holds the fewest."""

    ROUND_ROBIN = "roundrobin"
    LEAST_CONNECTIONS = "leastconn"


class ProxyProtocol(StrEnum):
    """A header before a connection's data that tells a server the client's address: as a line of text, or binary.

    https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
    """

    V1 = "V1"
    V2 = "V2"


@dataclass(frozen=True, slots=True)
class Server:
    """One pod: its IP address, which is kept in canonical spelling, and the port that it listens on.

    Raises ValueError for anything but a unicast IP address and a port from 1 to 65535.
    """

    address: str
    port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", str(_unicast(self.address)))
        _require_integer("port", self.port, 1, 65535)


@dataclass(frozen=True, slots=True)
class Pool:
    """A backend's share of the connections, in percent, its servers, and the header that these expect, if any.

    `backend` is its Service and port, such as `myapp-v1:http`. The servers are kept in numerical order and without
    doubles, however they are given.

    Raises ValueError for a weight that is not an integer from 0 to 100, and for a name that is not of that form.
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
        # A plain word would be compared by identity, and be taken for another version.
        if self.proxy_protocol is not None:
            object.__setattr__(self, "proxy_protocol", ProxyProtocol(self.proxy_protocol))


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """Everything that the proxies of one Kanary are to do.

    An established connection is closed after `idle_seconds` without a byte in either direction. A stopping proxy
    closes what is still open after `drain_seconds`. `connect_milliseconds` is the time that one server has to accept
    a connection before the next one is tried. Of clients beyond `max_connections`, each waits for another one to end.
    `ipv6` makes the proxies listen on IPv6 although no server has such an address. A `serial` above 0 tells apart
    configurations that say the same, so that one which comes back is not taken for its forerunner.

    A route of weight 0 is not written at all: its servers may come and go without a new configuration. Of
    `on_empty_route`, `Hold` and `Fail` are the same to a proxy: they differ in what the operator does.

    Raises ValueError for a time, a count or a port out of range, for weights that do not sum to 100 and for a
    backend of two routes.
    """

    routes: tuple[Pool, ...]
    on_empty_route: OnEmptyRoute
    idle_seconds: int
    drain_seconds: int
    # A server that drops packets costs its clients this long; within a cluster a handshake takes a few milliseconds.
    connect_milliseconds: int = 500
    # HAProxy's own default is one thread per core of the node, whatever CPU limit the pod has: on a large node, dozens
    # of threads that share one core's quota and are throttled together. More throughput is more replicas.
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
        # As in Pool: no plain words.
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
"""The path on the ops port that says whether a proxy takes connections: 200, or 503 when it is stopping."""


def ready_path(digest: str) -> str:
    """The path on the ops port that says whether a proxy serves exactly the configuration with this digest.

    200: it does. 503: it does, but is stopping. 404: it serves another one.
    """
    return f"/ready/{digest}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A whole haproxy.cfg, and the name that it goes by."""

    text: str
    digest: str
    """24 hexadecimal digits that change whenever the proxies are to do anything else. See `split_of`."""


def split_of(digest: str) -> str:
    """The half of a digest that stays the same while only servers come and go: how connections are split, and all else.

    Proxies that agree in it send the same share of the connections to each backend.
    """
    return digest[:_HALF]


def render(config: ProxyConfig) -> Rendered:
    """The whole haproxy.cfg."""
    sections = (_global(config), _defaults(config), _ops(config), _split(config), _backends(config))
    text = "\n\n".join("\n".join(lines) for lines in sections) + "\n"
    lasting = [line for line in text.splitlines() if not line.startswith(_PASSING)]
    # Servers come and go, but not the header that those of a route expect.
    lasting += [_HEADER[route.proxy_protocol] for route in _weighted(config)]
    digest = _hash("\n".join(lasting)) + _hash(text)
    return Rendered(text.replace(_NO_DIGEST, f"str({digest})", 1), digest)


_HALF = 12
_NO_DIGEST = "str()"
_PASSING = ("#", "  server ", "  fd-hard-limit ")
"""Lines that change when servers come and go, or that say how often they did."""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]


def _global(config: ProxyConfig) -> Iterator[str]:
    number = f" Number {config.serial} of this Kanary's." if config.serial else ""
    yield f"# Written by Kanary.{number} A change made here by hand is undone."
    yield "global"
    yield f"  thread-hard-limit {config.threads}"
    yield "  # Two descriptors for each connection; where the container allows fewer, HAProxy settles for those."
    yield f"  fd-hard-limit {_descriptors(config)}"
    yield f"  hard-stop-after {config.drain_seconds}s"
    yield f"  set-var proc.digest {_NO_DIGEST}"
    yield "  # Where the count of connections begins: anywhere, or frequent starts would starve a small route. What"
    yield "  # reloads a proxy sets it, below, to where the count is, and the round goes on."
    yield f"  set-var proc.start {RANDOM_START}"


def _descriptors(config: ProxyConfig) -> int:
    """What the connections need, one for the health check of each server, of which more may come, and the ops port's.

    HAProxy works out from it how many connections the whole process takes: some hundreds more than the split port does,
    so that a full split port never keeps a probe or Prometheus waiting.
    """
    checked = -(-len(_servers(config)) // SERVERS_STEP) * SERVERS_STEP
    return 2 * config.max_connections + checked + 1000


def _defaults(config: ProxyConfig) -> Iterator[str]:
    yield "defaults"
    yield "  mode tcp"
    yield "  # A server that refuses costs the client nothing while another one of its route accepts."
    yield "  option redispatch 1"
    yield "  retries 3"
    yield f"  timeout connect {config.connect_milliseconds}ms"
    yield "  # One limit for idle connections, half-closed ones included: who is done sending may wait as long for"
    yield "  # an answer. Keepalive finds peers that are gone within four minutes, in half-closed ones as well."
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
    # One failed connection instead of three would save the clients of a dead server hardly an error (where a whole
    # route refuses 1 or 2 instead of 3, where it drops packets 92 instead of 99), and take a route's only server out
    # after each hiccup. With a shorter time to connect, a proxy that is short of CPU would take live servers for dead.
    # No check of HAProxy's notices a server that accepts connections and then resets them: the agent ejects those.
    yield (
        "  default-server check inter 2s fastinter 250ms fall 2 rise 1 observe layer4 error-limit 3 on-error mark-down"
    )


def _ops(config: ProxyConfig) -> Iterator[str]:
    yield "# For the kubelet and for Prometheus. One ready path names the configuration that this proxy serves."
    yield "frontend ops"
    yield "  mode http"
    yield from _binds(config, config.ops_port)
    yield "  timeout client 10s"
    yield "  # Who sends a request byte by byte has a place for no longer."
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
    # Only where the cluster is seen to have IPv6: HAProxy does not start on a host without it.
    if config.ipv6 or any(":" in server.address for server in _servers(config)):
        yield f"  bind :::{port} v6only"


def _split(config: ProxyConfig) -> Iterator[str]:
    yield "# Each connection takes the next turn of the round; each route has as many turns as its weight."
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
    # One entry is ever used. Threads that make it at the same moment each need room for theirs until one of them wins:
    # the others' connections would have no slot.
    yield "  stick-table type integer size 100 store gpc0,gpc1"
    yield ""
    yield "backend none  # without servers: it closes its connections at once"
    for route in _weighted(config):
        yield ""
        yield f"backend {route.backend}"
        yield f"  balance {config.balance}"
        for server in route.servers:
            # HAProxy has no brackets in a name.
            yield f"  server {server.address}:{server.port} {_socket(server)}{_HEADER[route.proxy_protocol]}"


# Health checks send it as well.
_HEADER = {None: "", ProxyProtocol.V1: " send-proxy", ProxyProtocol.V2: " send-proxy-v2"}


def _numerically(server: Server) -> tuple[int, int, int]:
    address = ip_address(server.address)
    return address.version, int(address), server.port


def _socket(server: Server) -> str:
    return f"[{server.address}]:{server.port}" if ":" in server.address else f"{server.address}:{server.port}"


def _unicast(text: object) -> IPv4Address | IPv6Address:
    # An integer or bytes would be an address to ipaddress too; as text they are none.
    address = ip_address(str(text))
    if isinstance(address, IPv6Address):
        # A zone is free text to ipaddress: it would be written as it stands.
        if address.scope_id is not None:
            raise ValueError(f"address {text!r} has a zone, which means nothing outside of its own host")
        address = address.ipv4_mapped or address
    # To HAProxy, the unspecified address means whatever address the client connected to: the proxy itself.
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"address {text!r} is not the address of one host")
    return address


def _require_integer(name: str, value: object, least: int, most: int) -> None:
    # bool is an int that would be written as a word.
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} {value!r} is not an integer from {least} to {most}")
