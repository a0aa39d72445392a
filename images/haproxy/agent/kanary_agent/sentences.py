"""How long servers that were found out stay out: longer each time, until they have done well for a while."""

from collections.abc import Iterator

SHORTEST_SECONDS = 5
LONGEST_SECONDS = 60


class _Sentence:
    __slots__ = ("end", "is_over", "seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.end = now + seconds
        self.is_over = False


class Sentences:
    """The servers that are out, and those that were lately, by their addresses."""

    def __init__(self, shortest: float = SHORTEST_SECONDS) -> None:
        self._shortest = shortest
        self._sentences: dict[str, _Sentence] = {}

    def __len__(self) -> int:
        return len(self._sentences)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sentences)

    @property
    def out(self) -> list[str]:
        """Those that are out, those with the longest time left first."""
        out = [address for address, sentence in self._sentences.items() if not sentence.is_over]
        return sorted(out, key=lambda address: self._sentences[address].end, reverse=True)

    @property
    def back(self) -> dict[str, float]:
        """Those that are back, and since when, for as long as what they did is held against them."""
        return {address: sentence.end for address, sentence in self._sentences.items() if sentence.is_over}

    def pass_on(self, address: str, now: float) -> float:
        """Has a server out from now on. For how many seconds."""
        former = self._sentences.get(address)
        seconds = min(2 * former.seconds, LONGEST_SECONDS) if former else self._shortest
        self._sentences[address] = _Sentence(seconds, now)
        return seconds

    def adopt(self, address: str, now: float) -> None:
        """Has a server out that a former agent had out."""
        self._sentences.setdefault(address, _Sentence(self._shortest, now))

    def expire(self, now: float) -> list[str]:
        """Those whose time is over just now."""
        for address in [address for address, end in self.back.items() if now > end + LONGEST_SECONDS]:
            del self._sentences[address]
        over = [address for address in self.out if now >= self._sentences[address].end]
        for address in over:
            self._sentences[address].is_over = True
            # It may be asked later than it was due.
            self._sentences[address].end = now
        return over
