"""What the report has about each route: its servers, those that receive no connections, and its counters.

A route is unreached while no server has passed a check: all are down or ejected, or the first check has not ended.
HAProxy takes a new server for up until its first check.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from kanary_agent import counters
from kanary_agent.counters import Counts, Health, SlotFigures, Summary
from kanary_agent.master import Figures, Master
from kanary_agent.slots import Slots
from kanary_agent.totals import Totals

SERVERS_OF_ROUTE = 10
SERVERS = 100
"""How many servers the report lists of a route, and of all routes: a line of a stream has at most 64 KiB."""
REVISION_ROUTES = 100
"""How many routes the report lists of all revisions, those of the present one first."""
REREAD_SECONDS = 5
"""How often the servers of a route are read again while some of them are not up."""
TEXT_LIMIT = 100


class Listed(NamedTuple):
    """A server that receives no new connections."""

    address: str
    status: str
    """DOWN or DRAIN."""
    since: int
    """In seconds of `time.monotonic`."""
    check: str
    """The result of the last check, such as L4CON."""
    text: str
    """What the check has found."""


class Servers(NamedTuple):
    """The servers of a route. A change of any of these values is reported at once."""

    up: int = 0
    down: int = 0
    ejected: int = 0
    unreached_since: int | None = None
    """In seconds of `time.monotonic`; None if a check has passed, or without servers."""
    listed: tuple[Listed, ...] = ()
    """Some of those that are not up, the ejected ones first."""


class Routes:
    """The routes of the current worker."""

    def __init__(self, master: Master, slots: Slots, totals: Totals) -> None:
        self._master = master
        self._slots = slots
        self._totals = totals
        self._watched = 0
        """The watched revision of the current worker."""
        self._sizes: dict[str, int] = {}
        """The number of servers of each route."""
        self._read_at: dict[str, float] = {}
        """When the servers of a route were read last."""
        self.servers: dict[str, Servers] = {}
        """By route: the name of its backend."""

    def figures(self) -> dict[str, object]:
        """The part of the report, by route, whose counts a restarted agent continues.

        It has durations, since the node's clock may be wrong, and may be set at any time.
        """
        self._totals.save()
        room, now = SERVERS, int(time.monotonic())
        found: dict[str, object] = {}
        for name, servers in self._reported_servers.items():
            listed = servers.listed[:room]
            room -= len(listed)
            found[name] = {
                "up": servers.up,
                "down": servers.down,
                "ejected": servers.ejected,
                "unreachedSeconds": None if servers.unreached_since is None else now - servers.unreached_since,
                "open": self._totals.open(name),
                **self._totals.of(name)._asdict(),
                "sinceChange": self._totals.since_change(name),
                "servers": [_reported(server, now) for server in listed],
            }
        return found

    def state(self) -> tuple[object, ...]:
        """The part of the report that the operator uses, with rounded counts."""
        totals = self._totals
        return tuple(
            (name, servers, _rounded(totals.of(name), totals.since_change(name)))
            for name, servers in self._reported_servers.items()
        )

    @property
    def _reported_servers(self) -> Mapping[str, Servers]:
        """By route; until HAProxy has responded, the routes of the former agent, so that no count is missing."""
        return self.servers or dict.fromkeys(self._totals.backends, Servers())

    def observe(self, summary: Summary, sizes: Mapping[str, int]) -> None:
        """Take the figures of the current worker. `sizes` are the numbers of servers of its slots.

        Reads the servers of a route if some may have changed. Raises SilentError.
        """
        self._totals.add(summary)
        self._slots.observe(summary.backends)
        observed = {}
        for slot, name in summary.backends.items():
            known, size, figures = self.servers.get(name), sizes.get(slot, 0), summary.slots.get(slot)
            if figures is None:
                continue
            if known is None or self._may_have_changed(name, known, figures, size):
                known = self._read(slot, name, known, figures, size)
            observed[name] = known
        self._watched, self.servers = summary.watched, observed
        self._sizes = {name: sizes.get(slot, 0) for slot, name in summary.backends.items()}
        self._read_at = {name: at for name, at in self._read_at.items() if name in observed}

    def count(self, figures: Figures) -> None:
        """Take the counters of the current worker and of those that still have connections: all others have ended."""
        current, former = figures.current, figures.former
        for summary in (current, *(former or ())):
            if summary.worker:
                self._totals.add(summary)
        if current.worker:
            self._watched = current.watched
            self._totals.split_by(figures.split)
            if former is not None:
                self._totals.forget_all_but(summary.worker for summary in (current, *former))

    def count_now(self) -> None:
        """Read the counters of all workers, and save them. Raises SilentError."""
        self.count(self._master.figures())
        self._totals.save()

    @property
    def failing(self) -> frozenset[tuple[int, str]]:
        """The revisions and routes with a failure, while a revision is watched."""
        return self._totals.revisions.failing if self._watched else frozenset()

    def revisions(self) -> dict[str, object]:
        """The part of the report about the watched revision and those before it; empty if none is watched."""
        if not self._watched:
            return {}
        room, found = REVISION_ROUTES, []
        for revision, routes in self._totals.revisions.of(self._watched).items():
            listed = list(routes.items())[:room]
            room -= len(listed)
            found.append({"revision": revision, "routes": {name: counted._asdict() for name, counted in listed}})
        return {"ledger": self._totals.revisions.ledger, "revisions": found}

    def _may_have_changed(self, name: str, known: Servers, figures: SlotFigures, size: int) -> bool:
        if figures.up != known.up or size != self._sizes.get(name):
            return True
        if known.unreached_since is not None and figures.up:
            # A check may have passed.
            return True
        return figures.up < size and time.monotonic() >= self._read_at.get(name, 0.0) + REREAD_SECONDS

    def _read(self, slot: str, name: str, known: Servers | None, figures: SlotFigures, size: int) -> Servers:
        was_reached = known is not None and known.unreached_since is None and known.up > 0
        if size == 0 or (was_reached and figures.up == size):
            # A new server may not be checked yet, but the route has been reached.
            return Servers(figures.up)
        self._read_at[name], now = time.monotonic(), int(time.monotonic())
        former = {server.address: server for server in (known.listed if known else ())}
        down, ejected, last_change = _Some(), _Some(), 0
        is_reached = was_reached and figures.up > 0
        for server in counters.health(self._master.stream(counters.servers_of(slot))):
            is_reached = is_reached or server.is_reached
            last_change = max(last_change, now - server.unchanged)
            if not server.is_up:
                group = ejected if server.status.startswith("DRAIN") else down
                group.add(server, former.get(server.address), now)
        if known:
            since = known.unreached_since or now
        elif self.servers:
            since = now
        else:
            # The agent has just started. HAProxy keeps the time of a server over a reload, but not that of a slot.
            since = min(now - figures.unchanged, last_change)
        listed = (*ejected.listed, *down.listed)[:SERVERS_OF_ROUTE]
        return Servers(figures.up, down.count, ejected.count, None if is_reached else since, listed)


def _reported(server: Listed, now: int) -> dict[str, object]:
    words = server._asdict()
    return {"seconds": now - words.pop("since"), **words}


def _rounded(counts: Counts, since_change: int) -> tuple[int, ...]:
    """Connections and failures, with zeros after the first two binary digits: up to a third less."""
    rests = ((count, max(0, count.bit_length() - 2)) for count in (counts.connections, counts.failed, since_change))
    return tuple(count >> rest << rest for count, rest in rests)


class _Some:
    """A count of servers, and the first of them: a route may have thousands."""

    def __init__(self) -> None:
        self.count = 0
        self.listed: list[Listed] = []

    def add(self, server: Health, former: Listed | None, now: int) -> None:
        self.count += 1
        if self.count <= SERVERS_OF_ROUTE:
            self.listed.append(_as_listed(server, former, now))


def _as_listed(server: Health, former: Listed | None, now: int) -> Listed:
    """`former` is the same server in the last reading."""
    status, since, text = server.status.split()[0], now - server.unchanged, server.text[:TEXT_LIMIT]
    if status == "DRAIN":
        # HAProxy's time is that of the checks, which still pass.
        since = former.since if former and former.status == status else now
    if former and (former.status, former.check) == (status, server.check):
        # HAProxy's times are whole seconds, so that two readings may differ by one.
        since = former.since if abs(former.since - since) <= 1 else since
        # After a reload, HAProxy has the result of the last check without its details.
        text = former.text if former.text.startswith(text) else text
    return Listed(server.address, status, since, server.check, text)
