"""Detects outliers: servers that reset their connections while other servers of the route serve theirs.

A server is an outlier if its last connections all ended with a reset and without a byte from it, and there are so many
of them that chance is no explanation: given how the connections of the other servers ended, such a series has a
probability below one in a million. So a service whose connections all end with a reset has no outliers, and neither has
one that rejects some of its clients with a reset. Where the others have nothing to do, since all connections lead to
the one that resets them (it holds the fewest), or the others hold theirs for long, a long series is enough.
"""

from collections.abc import Collection, Iterable, Sequence
from math import exp, lgamma

from kanary_agent.counters import Server

MAX_PROBABILITY = 1e-6
MAX_PROBABILITY_ON_PROBATION = 0.1
"""For a server that was ejected recently: one reset is enough if the others have served nine connections."""
MIN_RESETS = 5
"""The fewest resets in a row of an outlier. A server with so many does not count for the failure rate of others."""
MAX_RESETS = 1000
"""The most that are counted. Otherwise, where all servers reset everything for hours, a single success of one would
make outliers of the others; counters of HAProxy that are read while they change may show one that there was not."""
RESETS_BESIDE_IDLE = 20
"""So many are enough however few connections of the others have ended, and as many again for each that has failed."""
BURST_SECONDS = 1
"""For how long at least these must have been reset: in a burst, the others' connections may be about to be."""
HALF_LIFE_SECONDS = 300
"""How fast former connections lose their weight in the failure rate. Resets in a row may take minutes, and are compared
with as many connections of the others: with only the last ones, each server would be an outlier now and then."""
FORGET_SECONDS = 60
"""Maximum time between two observations whose difference is used."""


class _Record:
    """The connections of a server since its first observation."""

    __slots__ = ("failed", "in_a_row", "row_began_at", "server", "succeeded", "succeeded_at", "succeeded_mark")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.succeeded_mark = server.succeeded
        self.in_a_row = 0
        self.succeeded = self.failed = self.succeeded_at = self.row_began_at = 0.0

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
        elif reset:
            self.row_began_at = self.row_began_at if self.in_a_row else now
            self.in_a_row = min(self.in_a_row + reset, MAX_RESETS)


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
                if len(normal) > is_counted and self._is_outlier(record, *others, address in on_probation):
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

    def _is_outlier(self, record: _Record, succeeded: float, failed: float, on_probation: bool) -> bool:
        """Whether its row proves it, beside others that have succeeded and failed so often."""
        probability = _probability(record.in_a_row, succeeded, failed)
        if on_probation:
            return probability < MAX_PROBABILITY_ON_PROBATION
        lasts = self._observed_at - record.row_began_at >= BURST_SECONDS
        if record.in_a_row >= RESETS_BESIDE_IDLE * (1 + failed) and lasts:
            return True
        return record.in_a_row >= MIN_RESETS and probability < MAX_PROBABILITY


def _probability(in_a_row: int, succeeded: float, failed: float) -> float:
    """That the next connections of a server all fail, so many, if its others have succeeded and failed so often.

    All failure rates are equally likely before these are known (the beta-binomial distribution): a few prove nothing.
    """
    return exp(
        lgamma(failed + in_a_row + 1)
        - lgamma(failed + 1)
        + lgamma(failed + succeeded + 2)
        - lgamma(failed + succeeded + in_a_row + 2)
    )
