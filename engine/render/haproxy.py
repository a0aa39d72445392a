"""Renders the HAProxy configuration that splits TCP connections between routes by weight.

A pure function from a `ProxyConfig` to text. A running proxy can load three changes without a reload:

- servers: a server's name is its address, with the header that it receives, and of the rest only the limit of
  descriptors depends on their number, in steps of SERVERS_STEP;
- weights: they are in one variable, which nothing else in the text depends on;
- routes: HAProxy's backends are slots (`slots`), and one variable has the names of the backends that they serve.

The split is exact (`selection`). HAProxy's own server weights are rounded to 0..256, which starves a small route beside
one with many pods.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from engine.render.config import Balance, ProxyConfig, ProxyProtocol, Server, connections_to_a_server
from engine.render.rollback import RollbackPlan
from engine.render.selection import COUNTING_ALL, RANDOM_START, PortPlace, selection_rules, split_data
from engine.render.slots import slot_names
from engine.render.sysctls import KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES, KEEPALIVE_SECONDS
from engine.render.zones import zone_lines
from states.snapshot import OnEmptyRoute

SERVERS_STEP = 500
"""File descriptors for health checks are reserved in steps of this number of servers."""

FAILED_CHECKS = 6
"""Number of failed checks in a row after which a server is down."""

RETRIES = 40
"""Number of further attempts to connect, 0.5 s each: they take longer than the checks need to mark a server down."""

LOG_DESCRIPTOR = 3
"""The file descriptor of HAProxy for records of failures, which its parent process opens."""

STOPPING_PATH = "/readyz"
"""Path on the ops port for whether a proxy accepts connections: 200, or 503 when it is stopping."""


def ready_path(digest: str) -> str:
    """Path on the ops port for whether a proxy serves exactly the configuration with this digest.

    200: yes. 503: yes, but it is stopping. 404: it serves another one.
    """
    return f"/ready/{digest}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A haproxy.cfg without its serial and its digest. There is one for each Kanary, and its text is seldom needed."""

    compressed: bytes = field(repr=False)
    """The text."""
    lasting: str
    """Hash of everything except the addresses of the servers."""
    whole: str
    """Hash of the text."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A complete haproxy.cfg and its digest."""

    draft: Draft
    serial: int
    digest: str
    """24 hexadecimal digits that change with any change of the configuration. See `split_of`."""
    split_serial: int
    """Serial of the first configuration that splits connections like this one; see `render`."""

    @property
    def text(self) -> str:
        """The configuration."""
        text = zlib.decompress(self.draft.compressed).decode()
        text = text.replace(_NO_SERIAL, f"configuration {self.serial}", 1)
        return text.replace(_NO_DIGEST, f"str({self.digest})", 1)


def split_of(digest: str) -> str:
    """The half of a digest that covers everything except the servers.

    Proxies with the same half send the same share of the connections to each backend.
    """
    return digest[:_HALF]


def render(config: ProxyConfig, former_digest: str = "", former_serial: int = 0) -> Rendered:
    """The complete haproxy.cfg. `former_serial` is the `split_serial` of the configuration that it replaces."""
    return complete(draft(config), config.serial, former_digest, former_serial)


def draft(config: ProxyConfig) -> Draft:
    """The haproxy.cfg of this configuration, whatever its serial, which `complete` adds."""
    sections = (_global(config), _defaults(config), _ops(config), _split(config), _backends(config))
    parts = ["\n".join(lines) for lines in (*sections, zone_lines(config.zones or ()))]
    text = "\n\n".join(part for part in parts if part) + "\n"
    lasting = [line for line in text.splitlines() if not line.startswith(_PASSING)]
    headers = [route.proxy_protocol if route else None for route in config.routes_by_slot]
    return Draft(zlib.compress(text.encode(), 1), _hash(f"{lasting} {headers}"), _hash(text))


def complete(draft: Draft, serial: int, former_digest: str, former_serial: int) -> Rendered:
    """The complete haproxy.cfg with this serial.

    If the split changes and changes back, it gets another half of the digest: a proxy that still serves the first
    configuration, and is about to load the second, must not count as serving the third.
    """
    stays = bool(former_digest) and _hash(f"{draft.lasting} {former_serial}")[:_HALF] == split_of(former_digest)
    split_serial = former_serial if stays else serial
    split = _hash(f"{draft.lasting} {split_serial}")[:_HALF]
    digest = split + _hash(f"{draft.whole} {serial}")[:_HALF]
    return Rendered(draft, serial, digest, split_serial)


_HALF = 12
_NO_SERIAL = "configuration -"
_NO_DIGEST = "str()"
_REVISION = "  set-var proc.revision "
_PASSING = ("#", "  server ", "  fd-hard-limit ", "  log ", "  log-format ", "  option dontlog-normal", _REVISION)
"""Lines that change with the servers, the serial, the watched revision, the plan of a rollback, or the strategy.

They are no change of the split.
"""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _global(config: ProxyConfig) -> Iterator[str]:
    # The agent reads this line.
    origin = f"Kanary {config.kanary}, {_NO_SERIAL}" if config.kanary else "Written by Kanary"
    yield f"# {origin}. Manual changes are reverted."
    yield "global"
    yield f"  thread-hard-limit {config.threads}"
    yield "  # Two descriptors for each connection; if the container allows fewer, HAProxy uses these."
    yield f"  fd-hard-limit {_descriptors(config)}"
    yield f"  hard-stop-after {config.drain_seconds}s"
    yield "  # Otherwise all servers would be checked at the same moments."
    yield "  spread-checks 20"
    yield f"  set-var proc.digest {_NO_DIGEST}"
    yield "  # The backend of each slot that is not free. The agent sets these variables in a running worker."
    yield f"  set-var proc.slots str({'/'.join(route.backend if route else '' for route in config.routes_by_slot)})"
    yield "  # The turns of a round, each with the name of its slot; then the weights, if they may be redistributed."
    by_slot = map(config.by_slot, config.ports)
    yield f"  set-var proc.split str({split_data(*by_slot, redistribute=_redistributes(config))})"
    for name in _port_names(config) if _redistributes(config) else ():
        yield f"  set-var proc.turns{name} int({COUNTING_ALL})"
    yield "  # The revision of these weights if the agent counts its connections and failures, otherwise 0."
    yield f"{_REVISION}int({config.watched})"
    if config.rollback:
        # No change of the split: it begins with `#`.
        yield "# The agent returns to these turns by itself if the operator is gone and a canary fails."
        yield config.rollback.line(config.watched, _last_good_split(config, config.rollback))
    yield "  # Start of the connection counter: random, since frequent starts at 0 would starve a small route. At a"
    yield "  # reload the agent sets it, below, to the current count, and the round continues."
    for name in _port_names(config):
        yield f"  set-var proc.start{name} {RANDOM_START}"


def _port_names(config: ProxyConfig) -> list[str]:
    """What the names of each port's variables end with."""
    return ["", *(str(port.listen) for port in config.further)]


def _last_good_split(config: ProxyConfig, plan: RollbackPlan) -> str:
    ports = [
        config.by_slot(replace(route, weight=weights.get(route.backend, Decimal())) for route in routes)
        for routes, weights in zip(config.ports, (plan.weights, *plan.further), strict=True)
    ]
    return split_data(*ports, redistribute=_redistributes(config))


def _descriptors(config: ProxyConfig) -> int:
    """File descriptors for connections, for the health checks of present and additional servers, and for the ops port.

    HAProxy derives the connection limit of the process from it: some hundreds more than that of the split port, so that
    a full split port never delays probes or Prometheus.
    """
    servers = sum(len(route.servers) for route in config.all_routes)
    checked = -(-servers // SERVERS_STEP) * SERVERS_STEP
    return 2 * config.max_connections * len(config.ports) + checked + 1000


def _defaults(config: ProxyConfig) -> Iterator[str]:
    yield "defaults"
    yield "  mode tcp"
    yield "  # If a connection is refused or not accepted, HAProxy tries the next server of the route that is up."
    yield "  option redispatch 1"
    yield f"  retries {RETRIES}"
    yield f"  timeout connect {config.connect_milliseconds}ms"
    yield "  # One limit for idle connections, including half-closed ones: a client may finish sending and then wait"
    yield "  # for an answer. Keepalive detects lost peers, also in half-closed connections. While data are under way,"
    yield "  # it does not probe: tcp-ut limits the time until data are acknowledged."
    yield f"  timeout client {config.idle_seconds}s"
    yield f"  timeout server {config.idle_seconds}s"
    yield f"  timeout tunnel {config.idle_seconds}s"
    yield "  option clitcpka"
    yield "  option srvtcpka"
    for side in ("cli", "srv") if config.keepalive_options else ():
        yield f"  {side}tcpka-idle {KEEPALIVE_SECONDS}s"
        yield f"  {side}tcpka-intvl {KEEPALIVE_INTERVAL_SECONDS}s"
        yield f"  {side}tcpka-cnt {KEEPALIVE_PROBES}"
    yield f"  # A server is down after {FAILED_CHECKS} failed checks in a row, until a check passes."
    yield "  # A failed connection does not count, but starts a check."
    # Only checks mark a server down, so that a stall does not: a process that accepts nothing for 10 s (a full backlog,
    # a garbage collection) looks like a lost node, whose packets are dropped. Without a `timeout check`, the time-out
    # of a check is `inter`, and Linux repeats its first packet after 1 s: the last packet of six checks is sent after
    # 11 s. If the server refuses connections, it is down after 10 ms. docs/faults.md has measurements.
    # HAProxy's checks do not detect a server that accepts connections and then resets them: the agent ejects those.
    yield (
        f"  default-server check inter 2s fastinter 1ms downinter 1s fall {FAILED_CHECKS} rise 1"
        " observe layer4 error-limit 1 on-error fastinter"
    )
    if config.balance is Balance.LEAST_CONNECTIONS:
        yield from _refusal_of_versions_that_hang_with_leastconn()
    yield "  # Without free source ports, checks fail and mark healthy servers down. Connections beyond the limit of a"
    yield "  # server go to other servers of the route, or wait. The agent lowers it when ports have run out."
    yield "  timeout queue 10s"
    limit = connections_to_a_server(config.source_ports)
    if config.max_connections > limit:
        yield f"  default-server maxconn {limit}"


def _refusal_of_versions_that_hang_with_leastconn() -> Iterator[str]:
    """3.2.2 ended the loops of 3.2.0 and 3.2.1; 3.2.19 those of servers that are added and toggled since 3.2.6.

    https://github.com/haproxy/haproxy/issues/3014 and https://github.com/haproxy/haproxy/issues/3360. Which release of
    3.3 ended them is not known: all are refused.
    """
    yield ".if version_atleast(3.2-dev0) && version_before(3.2.19) || version_atleast(3.3-dev0) && version_before(3.4)"
    yield '.alert "HAProxy 3.2.0 to 3.2.18 and 3.3 can hang with leastconn: use another version, or balance roundrobin"'
    yield ".endif"


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
    limit = f" tcp-ut {config.unacknowledged_seconds}s"
    yield f"  bind :{port}{limit}"
    # Only if the cluster has IPv6: HAProxy does not start on a host without it.
    used = [server for route in config.all_routes if route.weight for server in route.servers]
    if config.ipv6 or any(":" in server.address for server in used):
        yield f"  bind :::{port} v6only{limit}"


def _split(config: ProxyConfig) -> Iterator[str]:
    yield "# Each connection takes the next turn of the schedule; each route has as many turns as its weight."
    names = _port_names(config)
    for index, name in enumerate(names):
        if index:
            yield ""
        yield f"frontend split{name}"
        yield from _binds(config, config.further[index - 1].listen if index else config.split_port)
        yield f"  maxconn {config.max_connections}"
        if config.failure_log:
            yield from _failure_log()
        place = PortPlace(index, len(names), name)
        yield from selection_rules(len(config.routes_by_slot), place, redistribute=_redistributes(config))
        yield "  default_backend none"


def _failure_log() -> Iterator[str]:
    yield f"  log fd@{LOG_DESCRIPTOR} format raw local0 info  # HAProxy drops a record rather than wait for the agent"
    yield "  option dontlog-normal"
    yield f'  log-format "{_FAILURE_FORMAT}"'


_FAILURE_FORMAT = "%pid %rt %ci %cp %b %s %ts %rc %Tt %B %sc %[bc_err_str]"
"""Process, number of the connection in this process, client address and port, backend, server, how it ended, retries,
milliseconds, bytes sent to the client, connections that the server still has in this process, and the error of the
connection to the server.

The number orders the beginnings of connections without a clock: `show info` has the next one (CumReq)."""


def _redistributes(config: ProxyConfig) -> bool:
    return config.on_empty_route is OnEmptyRoute.REDISTRIBUTE


def _backends(config: ProxyConfig) -> Iterator[str]:
    yield "backend counter"
    # Each port uses one entry. Threads that create it at the same time each need space for their own until one of them
    # wins: otherwise the connections of the others would have no entry.
    yield "  stick-table type integer size 100 store gpc0"
    yield ""
    yield "backend none  # without servers: it closes its connections at once"
    slots = config.routes_by_slot
    for name, route in zip(slot_names(len(slots)), slots, strict=True):
        yield ""
        yield f"# {route.backend}" if route else "# free"
        yield f"backend {name}"
        yield f"  balance {config.balance}"
        if config.zones is not None:
            yield "  # The agent makes the servers of other zones backups: they are used while no other one is up."
            yield "  option allbackups"
        if route:
            yield from (_server(server, route.proxy_protocol, config) for server in route.servers)


_HEADERS = {ProxyProtocol.V1: "send-proxy", ProxyProtocol.V2: "send-proxy-v2"}


def _server(server: Server, header: ProxyProtocol | None, config: ProxyConfig) -> str:
    # HAProxy allows no brackets in a name, and ignores tcp-ut in default-server.
    name, limit = f"{server.address}:{server.port}", f"tcp-ut {config.unacknowledged_seconds}s"
    if not header:
        return f"  server {name} {server.socket} {limit}"
    # A running proxy cannot change the header of a server, but it can replace the server by one of another name. Health
    # checks send the header as well.
    return f"  server {name}_{header} {server.socket} {_HEADERS[header]} {limit}"
