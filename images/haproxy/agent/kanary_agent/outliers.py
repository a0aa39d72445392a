"""Detects outliers: servers that reset their connections while other servers of the route serve theirs.

A server is an outlier if its last connections all ended with a reset and without a byte from it, and there are so many
of them that chance is no explanation: at the failure rate of the other servers, such a series would have a probability
below one in a million. So a service whose connections all end with a reset has no outliers, and neither has one that
rejects some of its clients with a reset.
"""

from collections.abc import Collection, Iterable, Sequence

from kanary_agent.counters import Server

MAX_PROBABILITY = 1e-6
MAX_PROBABILITY_ON_PROBATION = 0.1
"""For a server that was ejected recently: one reset is enough if the others have served nine connections."""
MIN_RESETS = 5
"""The fewest resets in a row of an outlier. A server with so many does not count for the failure rate of others."""
HALF_LIFE_SECONDS = 30
"""How fast former connections lose their weight in the failure rate."""
FORGET_SECONDS = 60
"""Maximum time between two observations whose difference is used."""


class _Record:
    """The connections of a server since its first observation."""

    __slots__ = ("failed", "in_a_row", "server", "succeeded", "succeeded_at", "succeeded_mark")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.succeeded_mark = server.succeeded
        self.in_a_row = 0
        self.succeeded = self.failed = self.succeeded_at = 0.0

    def update(self, server: Server, decay: float, now: float) -> None:
        # HAProxy counts a connection as reset a moment before it counts it as ended.
        succeeded = max(0, server.succeeded - self.succeeded_mark)
        reset = max(0, server.reset - self.server.reset)
        has_sent = server.sent != self.server.sent
        self.succeeded_mark, self.server = max(self.succeeded_mark, server.succeeded), server
        if has_sent and not succeeded:
            # It resets after its answer: this is how its protocol ends a connection.
            succeeded, reset = reset, 0
        self.succeeded, self.failed = self.succeeded * decay + succeeded, self.failed * decay + reset
        if succeeded or has_sent:
            self.in_a_row, self.succeeded_at = 0, now
        else:
            self.in_a_row += reset


class Route:
    """The servers of one route, by their addresses."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._observed_at = 0.0

    def observe(self, servers: Iterable[Server], ejected: Collection[str], now: float) -> None:
        """Read the present counters. Servers in `ejected` start anew: their remaining connections do not count."""
        past = now - self._observed_at
        known = self._records if past < FORGET_SECONDS else {}
        self._records, self._observed_at = {}, now
        for server in servers:
            record = known.get(server.address)
            if record is None or server.address in ejected:
                record = _Record(server)
            record.update(server, 0.5 ** (past / HALF_LIFE_SECONDS), now)
            self._records[server.address] = record

    def is_outdated(self, now: float) -> bool:
        """Whether the last observation is too old to be used."""
        return now - self._observed_at >= FORGET_SECONDS

    def __contains__(self, address: object) -> bool:
        return address in self._records

    def name(self, address: str) -> str:
        """The server's name in HAProxy's configuration."""
        return self._records[address].server.name

    def resets_in_a_row(self, address: str) -> int:
        """How many of its last connections the server has reset."""
        return self._records[address].in_a_row

    def succeeded_since(self, address: str, time: float) -> bool:
        """Whether a connection of the server has succeeded after that time."""
        return address in self._records and self._records[address].succeeded_at > time

    def outliers(self, ejected: Collection[str], on_probation: Collection[str]) -> list[str]:
        """The outliers that are not ejected yet, the one with the most resets first."""
        normal = [
            record
            for address, record in self._records.items()
            if address not in ejected and record.in_a_row < MIN_RESETS
        ]
        succeeded, failed = sum(record.succeeded for record in normal), sum(record.failed for record in normal)
        found = []
        for address, record in self._records.items():
            if record.in_a_row and address not in ejected:
                # A server is compared with the others only.
                is_counted = record.in_a_row < MIN_RESETS
                others = (succeeded - record.succeeded, failed - record.failed) if is_counted else (succeeded, failed)
                if len(normal) > is_counted and _is_outlier(record.in_a_row, *others, address in on_probation):
                    found.append(address)
        return sorted(found, key=self.resets_in_a_row, reverse=True)

    def ejectable(self, addresses: Sequence[str]) -> list[str]:
        """The first ones of these, at most half of the route and never the last server that is up."""
        chosen = [address for address in addresses if address in self._records][: len(self._records) // 2]
        while chosen and not self._is_any_up_without(chosen):
            chosen.pop()
        return chosen

    def _is_any_up_without(self, chosen: Collection[str]) -> bool:
        return any(record.server.is_up for address, record in self._records.items() if address not in chosen)


def _is_outlier(in_a_row: int, succeeded: float, failed: float, on_probation: bool) -> bool:
    # One success and one failure are added, as is usual for small samples: a few connections prove nothing.
    rate = (failed + 1) / (failed + succeeded + 2)
    if on_probation:
        return rate**in_a_row < MAX_PROBABILITY_ON_PROBATION
    return in_a_row >= MIN_RESETS and rate**in_a_row < MAX_PROBABILITY
