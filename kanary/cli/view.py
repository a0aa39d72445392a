"""A Kanary as people look at it: its status, and what its proxies report at this moment.

Plain data for `kanary get`, `kanary list` and the dashboard; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SerializeAsAny

from engine.fleet.fleet import Fleet
from engine.fleet.proxy import Proxy
from engine.fleet.reach import Traffic, traffic_of
from engine.last_status import read_status
from engine.model.course import RolloutStatus
from engine.model.entries import Entry, WeightChange
from engine.model.shape import Shape, Time
from engine.model.states import read_written
from engine.model.status import KanaryStatus, RouteStatus, SplitStatus
from engine.model.times import time_text
from engine.render.haproxy import split_of
from engine.render.objects import Identity
from engine.status import actual_shares
from kanary.cli.failure import listed
from kanary.cli.live import outdated
from kanary.cli.proxies import Reading, read_proxies, unread
from kanary.cli.times import local_text
from kanary.kube.errors import ClusterError
from kanary.kube.resources import CONFIG_MAPS, Json
from states.rollouts import ENDED
from states.timing import EXHAUSTION_REPORTED, left

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient


class FailedConnection(Shape):
    """A connection that failed."""

    time: Time
    """When it ended, by the API server's clock."""
    server: str
    """Address and port of the last pod that was tried; empty if there was none."""
    pod: str | None = None
    """The pod of the server, if the written configuration contains it."""
    client: str
    """Address and port."""
    cause: str
    proxy: str
    """The proxy's pod."""


class PodView(Shape):
    """A pod of a route that receives no new connections, in HAProxy's words."""

    server: str
    """Address and port."""
    pod: str | None = None
    """Its name, if the written configuration contains it."""
    status: str
    """DOWN, or DRAIN if it is ejected."""
    check: str
    """The result of the last health check, such as L4CON."""
    text: str
    """What the check has found."""
    since: Time
    """The earliest time that a proxy reports."""
    proxies: tuple[str, ...]
    """The pods of the proxies that report it."""

    @property
    def state(self) -> str:
        """As the headings of routes have it."""
        return "down" if self.status == "DOWN" else "ejected"

    @property
    def words(self) -> str:
        """Why. HAProxy's words about an ejected pod are those of a check that has passed."""
        if self.state == "ejected":
            return "it reset its connections"
        return " ".join(filter(None, (self.status, self.check, self.text)))


class RouteView(RouteStatus):
    """A route as the proxies report it now, or as in the status if a proxy cannot be read."""

    pods: tuple[PodView, ...] = ()
    """Pods that receive no new connections: each proxy reports ten at most."""
    failures: tuple[FailedConnection, ...] = ()
    """The last failed connections, newest first."""


class ProxyView(Shape):
    """A proxy's pod. What only its agent reports is null if that cannot be read."""

    name: str
    node: str
    ready: bool
    stopping_since: Time | None = None
    """When its termination began; it may still serve."""
    digest: str = ""
    """Of the configuration that it serves; empty if unknown."""
    revision: int | None = None
    """The revision that it serves; null if the digest belongs to none that the status has."""
    latest: bool = False
    """Whether it serves the latest configuration, with the latest endpoints."""
    connections: int | None = None
    """Open connections."""
    failed: int | None = None
    """Failed connections since its pod started."""
    draining: int | None = None
    """HAProxy processes that only serve connections from before a reload."""
    problems: tuple[str, ...] = ()
    """What is wrong with it."""
    unread: str | None = None
    """Why its report is unknown."""


class KanaryHead(Shape):
    """What the status of a Kanary says first."""

    namespace: str
    name: str
    phase: str
    """Empty if the operator has not written a status yet."""
    reason: str
    message: str
    since: Time | None
    revision: int
    """Revision of the weights that the proxies last received."""


class KanaryOverview(KanaryHead):
    """A Kanary by its status."""

    step: str | None
    """The step of the rollout under way, such as `2/4 10%`; null if there is none."""
    routes: tuple[RouteStatus, ...]
    proxies_ready: int | None
    """Proxies that are ready and serve the revision; null before the first status."""
    proxies_desired: int | None
    unknown: tuple[str, ...]
    """What is not known or outdated, and why."""


class KanaryView(KanaryHead):
    """A Kanary with its routes and proxies."""

    change: SplitStatus | None
    """The last decided weights; their result is null while the change is in progress."""
    rollout: RolloutStatus | None
    """The rollout by steps that is under way, or the last one; null if the Kanary has had none."""
    routes: tuple[RouteView, ...]
    proxies: tuple[ProxyView, ...]
    entries: tuple[SerializeAsAny[Entry], ...]
    """The last entries of the history, oldest first, as in the status."""
    unknown: tuple[str, ...]
    """What could not be read, and why."""
    read_at: Time
    """When the proxies were read, by the API server's clock."""


@dataclass(frozen=True)
class FleetReading:
    """The proxies of a Kanary at a moment."""

    at: datetime
    readings: Sequence[Reading] = ()
    pods: Mapping[str, str] = field(default_factory=dict)
    """The pods of the written configuration, by address and port; empty if it cannot be read."""
    problem: str = ""
    """Why the proxies are unknown, or no longer those of this moment."""


def owner_of(kanary: Json) -> Identity:
    """The identity of a Kanary."""
    metadata = kanary["metadata"]
    return Identity(metadata["namespace"], metadata["name"], metadata["uid"])


def read_fleet(client: ClusterClient, owner: Identity, pods: Mapping[str, str] | None = None) -> FleetReading:
    """Read the proxies from their agents, which takes up to ten seconds, and the written configuration.

    `pods` are those of that configuration, if they are known already.
    """
    try:
        readings = read_proxies(client, owner.namespace, owner.name)
    except ClusterError as error:
        problem = f"the pods of namespace {owner.namespace} cannot be listed: {error}"
        return FleetReading(client.clock.now(), problem=problem)
    return FleetReading(client.clock.now(), readings, pods or _written_pods(client, owner))


def _written_pods(client: ClusterClient, owner: Identity) -> Mapping[str, str]:
    """The pods of the written configuration, by address and port; empty if it cannot be read."""
    try:
        applied = read_written(client.get(CONFIG_MAPS, owner.namespace, owner.proxy_name)).applied
    except ClusterError:
        return {}
    routes = (applied.endpoints_of(route.backend) for route in applied.spec.routes) if applied else ()
    return {endpoint.socket: endpoint.pod for endpoints in routes for endpoint in endpoints}


def _head(owner: Identity, status: KanaryStatus) -> dict[str, Any]:
    same = ("phase", "reason", "message", "since", "revision")
    return {"namespace": owner.namespace, "name": owner.name, **{field: getattr(status, field) for field in same}}


def overview_of(kanary: Json) -> KanaryOverview:
    """A Kanary by its status."""
    status, owner = read_status(kanary), owner_of(kanary)
    rollout = status.rollout if status.rollout and status.rollout.state not in ENDED else None
    return KanaryOverview(
        **_head(owner, status),
        step=rollout.place if rollout else None,
        routes=status.weights,
        proxies_ready=status.proxies.ready if status.proxies else None,
        proxies_desired=status.proxies.replicas if status.proxies else None,
        unknown=tuple(outdated(kanary, status)),
    )


def view_of(kanary: Json, reading: FleetReading) -> KanaryView:
    """A Kanary with what its proxies reported."""
    status, owner, readings = read_status(kanary), owner_of(kanary), reading.readings
    unknown = [*outdated(kanary, status)]
    if reading.problem:
        known = f"are those of {local_text(reading.at)}" if readings else "are unknown"
        unknown.append(f"the proxies {known}: {reading.problem}")
    unknown += [f"the report of {listed(names)} is unknown: {problem}" for problem, names in unread(readings).items()]
    fleet = Fleet(None, tuple(each.proxy for each in readings), reading.at)
    return KanaryView(
        **_head(owner, status),
        change=status.split,
        rollout=status.rollout,
        routes=tuple(_routes(status, fleet, reading)),
        proxies=tuple(_proxy(each, status, reading.at) for each in readings),
        entries=status.history.entries if status.history else (),
        unknown=tuple(unknown),
        read_at=reading.at,
    )


def _routes(status: KanaryStatus, fleet: Fleet, reading: FleetReading) -> Iterator[RouteView]:
    # A sum without some of the proxies would look like a loss of connections.
    is_complete = all(proxy.report for proxy in fleet.proxies if proxy.is_to_run)
    digest, backends = status.config_hash or "", [route.backend for route in status.weights]
    traffic = [traffic_of(fleet, digest, backend) if is_complete else Traffic() for backend in backends]
    shares = actual_shares([each.since_change for each in traffic])
    for route, found, share in zip(status.weights, traffic, shares, strict=True):
        counts: dict[str, Any] = {name: count for name, count in asdict(found).items() if count is not None}
        if found.connections is not None:
            # While some proxies serve other weights, there is no share: that of the status would be of former weights.
            counts |= {"since_change": found.since_change, "actual": share}
        pods, failures = _pods(route.backend, reading), _failures(route.backend, reading)
        yield RouteView(**route.model_dump() | counts, pods=tuple(pods), failures=tuple(failures))


def _pods(backend: str, reading: FleetReading) -> list[PodView]:
    """Those of all proxies, the ejected ones first."""
    found: dict[tuple[str, str], PodView] = {}
    for each in reading.readings:
        for server in each.servers.get(backend, ()):
            since, key = each.read_at - timedelta(seconds=server.seconds), (server.status, server.address)
            known = found.get(key)
            found[key] = PodView(
                server=server.address,
                pod=reading.pods.get(server.address) or None,
                status=server.status,
                check=known.check if known else server.check,
                text=known.text if known else server.text,
                since=min(since, known.since) if known else since,
                proxies=(*(known.proxies if known else ()), each.proxy.name),
            )
    return sorted(found.values(), key=lambda pod: (pod.status == "DOWN", pod.since, pod.server))


def _failures(backend: str, reading: FleetReading) -> list[FailedConnection]:
    """Newest first."""
    found = [
        FailedConnection(
            time=each.read_at - timedelta(seconds=failure.seconds_ago),
            pod=reading.pods.get(failure.server) or None,
            proxy=each.proxy.name,
            **failure.model_dump(exclude={"seconds_ago"}),
        )
        for each in reading.readings
        for failure in each.failures.get(backend, ())
    ]
    return sorted(found, key=lambda failure: failure.time, reverse=True)


def _proxy(reading: Reading, status: KanaryStatus, now: datetime) -> ProxyView:
    proxy, report = reading.proxy, reading.proxy.report
    # The weights of a proxy that has rolled back are those of no configuration.
    digest = "" if report and report.rolled_back else proxy.serves
    revision = _revision(digest, status)
    # While a change is in progress, the status has the configuration before it.
    is_ahead = revision is not None and revision > status.revision
    return ProxyView(
        name=proxy.name,
        node=proxy.node,
        ready=proxy.is_ready,
        stopping_since=proxy.stopping_since,
        digest=digest,
        revision=revision,
        latest=is_ahead or (bool(digest) and digest == status.config_hash),
        connections=report.connections if report else None,
        failed=sum(route.failed for route in report.routes.values()) if report else None,
        draining=report.draining if report else None,
        problems=tuple(_problems(proxy, now)),
        unread=reading.problem or None,
    )


def _revision(digest: str, status: KanaryStatus) -> int | None:
    """The revision whose weights a configuration has."""
    entries = status.history.entries if status.history else ()
    known = [(entry.digest, entry.revision) for entry in entries if isinstance(entry, WeightChange)]
    for other, revision in ((status.config_hash, status.revision), *reversed(known)):
        if digest and other and split_of(other) == split_of(digest):
            return revision
    return None


def _problems(proxy: Proxy, now: datetime) -> Iterator[str]:
    report = proxy.report
    if proxy.trouble:
        yield proxy.trouble
    if proxy.out_of_memory and left(EXHAUSTION_REPORTED, proxy.out_of_memory[1], now):
        container, at = proxy.out_of_memory
        yield f"container {container} was OOMKilled at {time_text(at)}"
    if not report:
        return
    if report.problem:
        yield report.problem
    if report.rejection:
        yield f"HAProxy rejects the configuration: {report.rejection}"
    if report.rolled_back:
        yield f"it has rolled back revision {report.rolled_back.revision} without the operator"
    if report.is_full:
        yield f"it is full with {report.max_connections} connections, and new ones wait"
    if report.short_of_ports:
        yield f"it has no free source ports for connections to {report.short_of_ports}"
