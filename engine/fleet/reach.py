"""What the proxies report about the routes: whether connections reach them, and their counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.fleet.fleet import Fleet
from engine.fleet.reports import RouteReport
from engine.model.states import Applied, Endpoint
from states import UnreachedRoute
from states.timing import UNREACHED_LIMIT, left


@dataclass(frozen=True, slots=True)
class Traffic:
    """The reports of all proxies about one route; None where no proxy reports."""

    up: int | None = None
    down: int | None = None
    ejected: int | None = None
    connections: int | None = None
    failed: int | None = None
    since_change: int | None = None


def traffic_of(fleet: Fleet, digest: str, backend: str) -> Traffic:
    """Servers as the proxy sees them that reaches the fewest, and the connections of all proxies.

    For the servers only proxies count that split connections as this configuration does. The connections since the
    weights changed are known if all proxies that accept connections do so, and report.
    """
    serving = _reports(fleet, digest, backend)
    every = [p.report.routes[backend] for p in fleet.proxies if p.report and backend in p.report.routes]
    if not every:
        return Traffic()
    since_change = [report.since_change for report in serving if report.since_change is not None]
    is_complete = fleet.all_split_by(digest) and len(since_change) == fleet.ready(digest)
    return Traffic(
        up=min((report.up for report in serving), default=None),
        down=max((report.down for report in serving), default=None),
        ejected=max((report.ejected for report in serving), default=None),
        connections=sum(report.connections for report in every),
        failed=sum(report.failed for report in every),
        since_change=sum(since_change) if is_complete else None,
    )


def unreached_routes(fleet: Fleet, applied: Applied) -> tuple[UnreachedRoute, ...]:
    """The routes with a weight and endpoints, of which no server has passed a check of any proxy that reports."""
    found = []
    for route in applied.spec.all_routes:
        backend, endpoints = str(route.backend), applied.endpoints_of(route.backend)
        reports = _reports(fleet, applied.digest, backend)
        since = [report.unreached_since for report in reports if report.unreached_since]
        if route.weight and endpoints and reports and len(since) == len(reports):
            remaining = left(UNREACHED_LIMIT, max(since), fleet.now)
            found.append(UnreachedRoute(backend, route.weight, remaining, _evidence(reports, endpoints)))
    return tuple(found)


def _reports(fleet: Fleet, digest: str, backend: str) -> list[RouteReport]:
    """Of the proxies that serve this configuration, or split connections as it does."""
    return [p.report.routes[backend] for p in fleet.serving(digest) if p.report and backend in p.report.routes]


def _evidence(reports: Iterable[RouteReport], endpoints: Iterable[Endpoint]) -> str:
    """One server that is down, with HAProxy's words; empty before the first check has ended."""
    server, line = min(((r.server, r.line) for r in reports if r.server), default=("", ""))
    if not server:
        return ""
    pods: Mapping[str, str] = {endpoint.socket: endpoint.pod for endpoint in endpoints}
    pod = f"pod {pods[server]} ({server})" if pods.get(server) else server
    return f"{pod} is {line}"
