"""`kanary get`: what a Kanary does now, its rollout, and the connections that failed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from engine.fleet.fleet import Fleet
from engine.fleet.reach import Traffic, traffic_of
from engine.last_status import read_status
from engine.model.course import RolloutStatus
from engine.model.shape import Shape, Time
from engine.model.states import read_written
from engine.model.status import KanaryStatus, RouteStatus
from engine.render.objects import Identity
from kanary.cli.failure import listed, note
from kanary.cli.live import live_kanary, outdated
from kanary.cli.output import document, json_text, yaml_text
from kanary.cli.proxies import Reading, read_proxies, unread
from kanary.cli.rollout_text import write_rollout
from kanary.cli.text import one_line, write_table
from kanary.cli.times import local_text
from kanary.kube.errors import ClusterError
from kanary.kube.resources import CONFIG_MAPS, Json

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_SHOWN = 5
"""Failed connections of each route in a table; the other formats have all that the proxies keep."""


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


class RouteView(RouteStatus):
    """A route as the proxies report it now, or as in the status if a proxy cannot be read."""

    failures: tuple[FailedConnection, ...] = ()
    """The last failed connections, newest first."""


class ProxyView(Shape):
    """A proxy's pod."""

    name: str
    node: str
    ready: bool
    connections: int | None = None
    """Open connections; absent if the proxy could not be read."""


class KanaryView(Shape):
    """A Kanary with its routes and proxies."""

    namespace: str
    name: str
    phase: str
    reason: str
    message: str
    since: Time | None
    revision: int
    rollout: RolloutStatus | None
    """The rollout by steps that is under way, or the last one; null if the Kanary has had none."""
    routes: tuple[RouteView, ...]
    proxies: tuple[ProxyView, ...]
    unknown: tuple[str, ...]
    """What could not be read, and why."""


def get(client: ClusterClient, namespace: str, name: str, output: str) -> None:
    """Print a Kanary. Raises CommandError if it does not exist, and ClusterError."""
    view = _view(client, live_kanary(client, namespace, name))
    if output == "text":
        _write_text(view)
        for problem in view.unknown:
            note(problem)
    elif output == "json":
        sys.stdout.write(json_text(document(view), sys.stdout, indent=2) + "\n")
    else:
        sys.stdout.write(yaml_text(document(view), sys.stdout))


def _view(client: ClusterClient, kanary: Json) -> KanaryView:
    metadata, status = kanary["metadata"], read_status(kanary)
    owner = Identity(metadata["namespace"], metadata["name"], metadata["uid"])
    unknown = [*outdated(kanary, status)]
    readings: list[Reading] = []
    try:
        readings = read_proxies(client, owner.namespace, owner.name)
    except ClusterError as error:
        unknown.append(f"the proxies are unknown: the pods of namespace {owner.namespace} cannot be listed: {error}")
    unknown += [
        f"failed connections at {listed(names)} are unknown: {problem}" for problem, names in unread(readings).items()
    ]
    fleet = Fleet(None, tuple(reading.proxy for reading in readings), client.clock.now())
    return KanaryView(
        namespace=owner.namespace,
        name=owner.name,
        phase=status.phase,
        reason=status.reason,
        message=status.message,
        since=status.since,
        revision=status.revision,
        rollout=status.rollout,
        routes=tuple(_routes(status, fleet, _failures(readings, _pods(client, owner)))),
        proxies=tuple(
            ProxyView(
                name=reading.proxy.name,
                node=reading.proxy.node,
                ready=reading.proxy.is_ready,
                connections=reading.proxy.report.connections if reading.proxy.report else None,
            )
            for reading in readings
        ),
        unknown=tuple(unknown),
    )


def _pods(client: ClusterClient, owner: Identity) -> Mapping[str, str]:
    """The pods of the written configuration, by address and port; empty if it cannot be read."""
    with suppress(ClusterError):
        applied = read_written(client.get(CONFIG_MAPS, owner.namespace, owner.proxy_name)).applied
        if applied:
            routes = (applied.endpoints_of(route.backend) for route in applied.spec.routes)
            return {endpoint.socket: endpoint.pod for endpoints in routes for endpoint in endpoints}
    return {}


def _routes(status: KanaryStatus, fleet: Fleet, failures: Mapping[str, list[FailedConnection]]) -> Iterator[RouteView]:
    # A sum without some of the proxies would look like a loss of connections.
    is_complete = all(proxy.report for proxy in fleet.proxies if proxy.is_to_run)
    for route in status.weights:
        traffic = traffic_of(fleet, status.config_hash or "", route.backend) if is_complete else Traffic()
        counts = {name: count for name, count in asdict(traffic).items() if count is not None}
        found = sorted(failures.get(route.backend, ()), key=lambda failure: failure.time, reverse=True)
        yield RouteView(**route.model_dump() | counts, failures=tuple(found))


def _failures(readings: Sequence[Reading], pods: Mapping[str, str]) -> Mapping[str, list[FailedConnection]]:
    """By backend."""
    found: dict[str, list[FailedConnection]] = {}
    for reading in readings:
        for backend, failures in reading.failures.items():
            found.setdefault(backend, []).extend(
                FailedConnection(
                    time=reading.read_at - timedelta(seconds=failure.seconds_ago),
                    pod=pods.get(failure.server) or None,
                    proxy=reading.proxy.name,
                    **failure.model_dump(exclude={"seconds_ago"}),
                )
                for failure in failures
            )
    return found


def _write_text(view: KanaryView) -> None:
    print(one_line(f"{view.namespace}/{view.name}: {_phase(view)}"))
    if view.message:
        print(one_line(view.message))
    if view.rollout:
        write_rollout(view.rollout, view.message, sys.stdout)
    if view.routes:
        print()
        headings = ["BACKEND", "WEIGHT", "READY", "UP", "DOWN", "EJECTED", "CONNECTIONS", "FAILED"]
        write_table(headings, [[_cells(route) for route in view.routes]], sys.stdout)
    rows = [_failure_cells(route, failure) for route in view.routes for failure in route.failures[:_SHOWN]]
    print()
    if rows:
        write_table(["FAILED AT", "BACKEND", "POD", "CLIENT", "CAUSE"], [rows], sys.stdout)
    elif view.unknown:
        print("No failed connections are known.")
    else:
        print("No connection has failed since the agents of the proxies started.")


def _phase(view: KanaryView) -> str:
    since = f" since {local_text(view.since)}" if view.since else ""
    return f"{view.phase} ({view.reason}){since}" if view.phase else "no status yet"


def _cells(route: RouteView) -> list[str]:
    counts = (route.up, route.down, route.ejected, route.connections, route.failed)
    ready = f"{route.ready}/{route.ready + route.unready}"
    return [route.backend, str(route.weight), ready, *("-" if count is None else str(count) for count in counts)]


def _failure_cells(route: RouteView, failure: FailedConnection) -> list[str]:
    pod = f"{failure.pod} ({failure.server})" if failure.pod else failure.server or "-"
    return [local_text(failure.time), route.backend, pod, failure.client, failure.cause]
