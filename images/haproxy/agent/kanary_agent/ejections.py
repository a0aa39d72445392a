"""Ejection times: they double with each ejection, and start anew when a server has stayed in service for a while."""

from collections.abc import Iterator

SHORTEST_SECONDS = 5
LONGEST_SECONDS = 60


class _Ejection:
    __slots__ = ("end", "is_over", "seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.end = now + seconds
        self.is_over = False


class Ejections:
    """The servers that are ejected or were ejected recently, by their addresses."""

    def __init__(self, shortest: float = SHORTEST_SECONDS) -> None:
        self._shortest = shortest
        self._ejections: dict[str, _Ejection] = {}

    def __len__(self) -> int:
        return len(self._ejections)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ejections)

    @property
    def active(self) -> list[str]:
        """The ejected servers, the longest remaining time first."""
        active = [address for address, ejection in self._ejections.items() if not ejection.is_over]
        return sorted(active, key=lambda address: self._ejections[address].end, reverse=True)

    @property
    def returned(self) -> dict[str, float]:
        """The servers that have returned, and when. They stay here as long as the next ejection would be longer."""
        return {address: ejection.end for address, ejection in self._ejections.items() if ejection.is_over}

    def eject(self, address: str, now: float) -> float:
        """Eject a server; returns for how many seconds."""
        former = self._ejections.get(address)
        seconds = min(2 * former.seconds, LONGEST_SECONDS) if former else self._shortest
        self._ejections[address] = _Ejection(seconds, now)
        return seconds

    def adopt(self, address: str, now: float) -> None:
        """Add a server that a former agent has ejected."""
        self._ejections.setdefault(address, _Ejection(self._shortest, now))

    def expire(self, now: float) -> list[str]:
        """Return the servers whose ejection has ended since the last call, and forget those that returned long ago."""
        for address in [address for address, end in self.returned.items() if now > end + LONGEST_SECONDS]:
            del self._ejections[address]
        expired = [address for address in self.active if now >= self._ejections[address].end]
        for address in expired:
            self._ejections[address].is_over = True
            # The call may be later than the end.
            self._ejections[address].end = now
        return expired
