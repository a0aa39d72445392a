"""The report of the sidecar agent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from engine.model.spec import MAX_ROUTES
from engine.render.haproxy import split_of
from states.evidence import Counts
from states.texts import harmless
from states.timing import STATUS_INTERVAL

MAX_REVISIONS = 3
"""How many revisions a report has: the present one and those whose connections may last."""
_MAX_TEXT = 400
_MAX_LEDGER = 32
_MAX_COUNT = 2**31
_MAX_TOTAL = 2**53
_LAST_SECOND = 2**32
_MIN_CHANCE = 1e-15
"""Less than the part of the false alarms that an agent reserves."""


@dataclass(frozen=True, slots=True)
class RouteReport:
    """A route of one proxy."""

    up: int = 0
    """Servers that receive connections: HAProxy sends them to a new one before its first check."""
    down: int = 0
    """Servers whose checks fail."""
    ejected: int = 0
    """Servers that receive no connections for a while, because they reset those that they accepted."""
    unreached_since: datetime | None = None
    """Since when no server has passed a check, by the operator's clock; None if one has, or without servers."""
    connections: int = 0
    """All since the pod started."""
    failed: int = 0
    """Those of them that no server accepted, or that a server reset."""
    since_change: int | None = None
    """All since the proxy serves these weights; None if an agent of another version does not report it."""
    server: str = ""
    """Address and port of a server that is down; empty if none is."""
    line: str = ""
    """What HAProxy reports about it."""
    reset: int = 0
    """Those of the failed connections that a server reset; no server accepted the others."""

    @property
    def state(self) -> tuple[object, ...]:
        """All on which decisions depend, with the magnitude of the counts.

        Since when it is unreached is computed anew for each report, and may differ by the time that a line takes.
        """
        counts = self.connections.bit_length(), self.failed.bit_length(), (self.since_change or 0).bit_length()
        is_unreached = self.unreached_since is not None
        return self.up, self.down, self.ejected, is_unreached, self.server, self.line, counts


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The rollback of a proxy by itself, while it had no contact with the operator."""

    revision: int
    """Of the weights that it does not serve any more."""
    canary: str
    """The backend that failed."""
    own: Counts
    """Of the canary in this revision."""
    others: Counts
    chance: float
    """See `states.evidence.Verdict`."""
    at: datetime
    """By the operator's clock."""


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one proxy."""

    digest: str
    """Digest of the configuration that it serves; empty while HAProxy does not answer."""
    rejected_digest: str = ""
    """Digest of the configuration that HAProxy rejects, if any."""
    rejection: str = ""
    """The message of HAProxy about that."""
    draining: int = 0
    """HAProxy processes that only serve connections from before a reload."""
    connections: int = 0
    max_connections: int = 0
    """Maximum number of connections that it can hold, whatever is configured."""
    is_full: bool = False
    """Whether it holds so many, or has a short while ago: then new connections wait."""
    short_of_ports: str = ""
    """A server, by its address, to which it has no free source port, or had none a short while ago."""
    problem: str = ""
    """What else keeps it from serving the mounted configuration."""
    routes: Mapping[str, RouteReport] = field(default_factory=dict)
    """By backend."""
    ledger: str = ""
    """Changes if the proxy has lost the counts of its revisions; no two proxies have the same."""
    revisions: Mapping[int, Mapping[str, Counts]] = field(default_factory=dict)
    """By revision and backend: connections that began while the revision was in force; empty if it is not watched."""
    rolled_back: RolledBack | None = None
    """None as long as it serves the weights that it has received."""
    clock_error: timedelta = timedelta()
    """How far the clock of its node is ahead of the operator's."""
    lost: int = 0
    """File descriptors of HAProxy's master that processes of earlier reloads have left for good."""

    @property
    def state(self) -> tuple[object, ...]:
        """All on which decisions depend. They take counts of connections as they are at that time."""
        routes = tuple((backend, route.state) for backend, route in self.routes.items())
        limits = self.max_connections, self.is_full, self.short_of_ports
        rolled_back = self.rolled_back.revision if self.rolled_back else None
        served = self.digest, self.rejected_digest, self.rejection, self.draining
        return *served, *limits, self.problem, rolled_back, routes

    @property
    def reached(self) -> set[str]:
        """The routes of which a server has passed a check."""
        return {backend for backend, route in self.routes.items() if route.unreached_since is None}

    def news_after(self, former: "Report | None") -> timedelta | None:
        """How long a reconcile for this report may wait; None if it changes nothing since the former one.

        A proxy that has loaded other servers, or whose servers are up or down, changes only counts in the status, which
        are written later anyway. Whether a route is reached at all may decide about the phase. A failed connection of a
        watched revision may decide about a rollout; others count as those of servers.
        """
        if former is None or self._has_more_failures(former):
            return timedelta()
        if self.state == former.state:
            return STATUS_INTERVAL if self.revisions != former.revisions else None
        similar = replace(former, digest=self.digest, routes=self.routes, draining=self.draining)
        same_split = similar.state == self.state
        same_split = same_split and self.reached == former.reached
        is_of_servers = same_split and bool(self.digest) and split_of(self.digest) == split_of(former.digest)
        return STATUS_INTERVAL if is_of_servers else timedelta()

    def _has_more_failures(self, former: "Report") -> bool:
        known = former.revisions
        return any(
            counts.failed > known.get(revision, {}).get(backend, Counts()).failed
            for revision, routes in self.revisions.items()
            for backend, counts in routes.items()
        )


def read_report(raw: object, now: datetime) -> Report:
    """A report from the agent's JSON, which arrived at this moment. Raises ValueError if it is invalid.

    The clock of the proxy's node may be wrong. So the report has durations, and the node's time as it was sent.
    """
    if not isinstance(raw, Mapping):
        raise ValueError("the report is not an object")  # noqa: TRY004  callers handle all invalid reports alike
    rejected = raw.get("rejected") or {}
    if not isinstance(rejected, Mapping):
        raise ValueError("rejected is not an object")  # noqa: TRY004  as above
    ledger, revisions = _text(raw.get("ledger"))[:_MAX_LEDGER], _revisions(raw.get("revisions"))
    if revisions and not ledger:
        raise ValueError("the ledger of the revisions is missing")
    return Report(
        digest=_text(raw.get("digest")),
        rejected_digest=_text(rejected.get("digest")),
        rejection=_text(rejected.get("message")),
        draining=_count(raw.get("draining")),
        lost=_count(raw.get("lost")),
        connections=_count(raw.get("connections")),
        max_connections=_count(raw.get("maxConnections")),
        is_full=raw.get("full") is True,
        short_of_ports=_first(raw.get("shortOfPorts")),
        problem=_text(raw.get("problem")),
        routes=_routes(raw.get("routes"), now),
        ledger=ledger,
        revisions=revisions,
        rolled_back=_rolled_back(raw.get("rolledBack"), now),
        clock_error=_clock_error(raw.get("time"), now),
    )


def _rolled_back(raw: object, now: datetime) -> RolledBack | None:
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise ValueError("rolledBack is not an object")  # noqa: TRY004  as above
    chance = raw.get("chance")
    if type(chance) is not float or not _MIN_CHANCE <= chance <= 1:
        raise ValueError(f"the chance {chance!r} is not a number from {_MIN_CHANCE} to 1")
    return RolledBack(
        revision=_count(raw.get("revision"), _MAX_TOTAL),
        canary=_text(raw.get("canary")),
        own=_counts(raw.get("own")),
        others=_counts(raw.get("others")),
        chance=chance,
        at=now - timedelta(seconds=_count(raw.get("secondsAgo"))),
    )


def _clock_error(raw: object, now: datetime) -> timedelta:
    return datetime.fromtimestamp(_count(raw, _LAST_SECOND), UTC) - now if raw else timedelta()


def _routes(raw: object, now: datetime) -> Mapping[str, RouteReport]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping) or len(raw) > MAX_ROUTES:
        raise ValueError(f"routes is not an object with at most {MAX_ROUTES} routes")
    return {_text(backend): _route(route, now) for backend, route in raw.items()}


def _route(raw: object, now: datetime) -> RouteReport:
    if not isinstance(raw, Mapping):
        raise ValueError("a route is not an object")  # noqa: TRY004  as above
    server, line = _down(raw.get("servers"))
    unreached = raw.get("unreachedSeconds")
    return RouteReport(
        up=_count(raw.get("up")),
        down=_count(raw.get("down")),
        ejected=_count(raw.get("ejected")),
        unreached_since=None if unreached is None else now - timedelta(seconds=_count(unreached)),
        connections=_count(raw.get("connections"), _MAX_TOTAL),
        failed=_count(raw.get("unconnected"), _MAX_TOTAL) + _count(raw.get("reset"), _MAX_TOTAL),
        since_change=None if raw.get("sinceChange") is None else _count(raw.get("sinceChange"), _MAX_TOTAL),
        server=server,
        line=line,
        reset=_count(raw.get("reset"), _MAX_TOTAL),
    )


def _revisions(raw: object) -> Mapping[int, Mapping[str, Counts]]:
    if raw is None:
        return {}
    if not isinstance(raw, list) or len(raw) > MAX_REVISIONS:
        raise ValueError(f"revisions is not a list of at most {MAX_REVISIONS} revisions")
    return dict(_revision(item) for item in raw)


def _revision(raw: object) -> tuple[int, Mapping[str, Counts]]:
    routes = raw.get("routes") if isinstance(raw, Mapping) else None
    if not isinstance(raw, Mapping) or not isinstance(routes, Mapping) or len(routes) > MAX_ROUTES:
        raise ValueError(f"a revision is not an object with at most {MAX_ROUTES} routes")
    return _count(raw.get("revision"), _MAX_TOTAL), {_text(backend): _counts(raw) for backend, raw in routes.items()}


def _counts(raw: object) -> Counts:
    if not isinstance(raw, Mapping):
        raise ValueError("a route of a revision is not an object")  # noqa: TRY004  as above
    counts = Counts(_count(raw.get("connections"), _MAX_TOTAL), _count(raw.get("failed"), _MAX_TOTAL))
    if counts.failed > counts.connections:
        raise ValueError(f"{counts.failed} of {counts.connections} connections failed")
    return counts


def _down(servers: object) -> tuple[str, str]:
    """The first server that is down by its address, and HAProxy's words about it; empty if there is none."""
    if not isinstance(servers, Sequence):
        return "", ""
    found = [server for server in servers if isinstance(server, Mapping) and server.get("status") == "DOWN"]
    words = [[_text(server.get(name)) for name in ("address", "status", "check", "text")] for server in found]
    address, *line = min(words, default=[""])
    return address, " ".join(line)


def _first(texts: object) -> str:
    """The first of these texts; empty if there is none."""
    return _text(texts[0]) if isinstance(texts, list) and texts else ""


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")  # noqa: TRY004  as above
    return harmless(value, _MAX_TEXT)


def _count(value: object, limit: int = _MAX_COUNT) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError(f"{value!r} is not a count")
    return value
