"""Tells the servers of a route that reset their connections from those that serve, by how the connections of each end.

A server is an outlier when its last connections all ended with a reset and without a byte from it, so many of them that
the others' connections make chance no explanation: were each of them to fail as often as theirs do, so many in a row
would be seen once in a million times. So a service whose connections all end like that, and one that sends some clients
away with a reset, have no outliers.
"""

from collections.abc import Collection, Iterable, Sequence

from kanary_agent.counters import Server

DOUBT = 1e-6
DOUBT_ON_TRIAL = 0.1
"""For one that was an outlier before: one connection is enough where the others have ended nine."""
IN_A_ROW = 5
"""The fewest failures of an outlier. Who has so many has no say in what is usual."""
HALF_LIFE_SECONDS = 30
"""How fast what a server did stops to count for others."""
FORGET_SECONDS = 60
"""After so long without a look, its differences say nothing about now."""


class _Record:
    """What a server did since it was first looked at."""

    __slots__ = ("failed", "in_a_row", "server", "well", "well_at", "well_mark")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.well_mark = server.well
        self.in_a_row = 0
        self.well = self.failed = self.well_at = 0.0

    def renew(self, server: Server, fade: float, now: float) -> None:
        # A connection is counted as reset a moment before it is counted as ended.
        well = max(0, server.well - self.well_mark)
        reset = max(0, server.reset - self.server.reset)
        has_sent = server.sent != self.server.sent
        self.well_mark, self.server = max(self.well_mark, server.well), server
        if has_sent and not well:
            # It resets when it has answered: that is how its conversations end.
            well, reset = reset, 0
        self.well, self.failed = self.well * fade + well, self.failed * fade + reset
        if well or has_sent:
            self.in_a_row, self.well_at = 0, now
        else:
            self.in_a_row += reset


class Route:
    """The servers of one route. Servers are known by their addresses."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._looked = 0.0

    def look(self, servers: Iterable[Server], out: Collection[str], now: float) -> None:
        """Takes in what is counted now. How connections end that servers held when they were taken out is no matter."""
        past = now - self._looked
        known = self._records if past < FORGET_SECONDS else {}
        self._records, self._looked = {}, now
        for server in servers:
            record = known.get(server.address)
            if record is None or server.address in out:
                record = _Record(server)
            record.renew(server, 0.5 ** (past / HALF_LIFE_SECONDS), now)
            self._records[server.address] = record

    def is_forgotten(self, now: float) -> bool:
        """Whether nothing that it knows matters any more."""
        return now - self._looked >= FORGET_SECONDS

    def __contains__(self, address: object) -> bool:
        return address in self._records

    def name(self, address: str) -> str:
        """What the server is called in HAProxy's configuration."""
        return self._records[address].server.name

    def failed_in_a_row(self, address: str) -> int:
        """How many of its last connections it has reset."""
        return self._records[address].in_a_row

    def did_well_since(self, address: str, time: float) -> bool:
        """Whether a connection of the server ended well after that."""
        return address in self._records and self._records[address].well_at > time

    def outliers(self, out: Collection[str], on_trial: Collection[str]) -> list[str]:
        """The outliers among those that are not out, the one with the most failures first."""
        usual = [
            record for address, record in self._records.items() if address not in out and record.in_a_row < IN_A_ROW
        ]
        well, failed = sum(record.well for record in usual), sum(record.failed for record in usual)
        found = []
        for address, record in self._records.items():
            if record.in_a_row and address not in out:
                # It has no say in what is usual for others.
                is_counted = record.in_a_row < IN_A_ROW
                others = (well - record.well, failed - record.failed) if is_counted else (well, failed)
                if len(usual) > is_counted and _is_outlier(record.in_a_row, *others, address in on_trial):
                    found.append(address)
        return sorted(found, key=self.failed_in_a_row, reverse=True)

    def removable(self, addresses: Sequence[str]) -> list[str]:
        """Of these, as many of the first ones as the route can do without: half of it, and not the last that is up."""
        chosen = [address for address in addresses if address in self._records][: len(self._records) // 2]
        while chosen and not self._is_any_up_without(chosen):
            chosen.pop()
        return chosen

    def _is_any_up_without(self, chosen: Collection[str]) -> bool:
        return any(record.server.is_up for address, record in self._records.items() if address not in chosen)


def _is_outlier(in_a_row: int, well: float, failed: float, on_trial: bool) -> bool:
    # One more of each, as is usual where little is known: nobody is judged by a handful of connections.
    usual = (failed + 1) / (failed + well + 2)
    if on_trial:
        return usual**in_a_row < DOUBT_ON_TRIAL
    return in_a_row >= IN_A_ROW and usual**in_a_row < DOUBT
