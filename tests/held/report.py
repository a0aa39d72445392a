"""Tables of what clients saw, for people to read."""

from __future__ import annotations

from collections import Counter

from tests.held.traffic import Seen
from tests.tables import Table, Tell

CHANGES = Table(
    "Connections through change", ("change", "times", "new", "failed", "p50 ms", "p99 ms", "max ms", "held", "cut")
)
FAULTS = Table(
    "Bad pods: what clients see",
    ("pods of the 30 % route", "failed", "the last one after", "slowest ms", "found after", "share", "back after"),
)


class Report:
    """Records what a test counted."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def change(self, what: str, times: int, seen: Seen) -> None:
        took = [milliseconds(seen, share) for share in (0.5, 0.99, 1)]
        cells = what, times, len(seen.visits), kinds(seen.failures), *took, len(seen.held), kinds(seen.cuts)
        self._tell(CHANGES, *cells)

    def fault(self, *cells: str) -> None:
        self._tell(FAULTS, *cells)


def milliseconds(seen: Seen, share: float) -> str:
    """How long the visits that went well took: this share of them no longer than that."""
    times = sorted(visit.took for visit in seen.visits if not visit.failed)
    return f"{1000 * times[min(len(times) - 1, int(share * len(times)))]:.1f}" if times else "-"


def kinds(counted: Counter[str]) -> str:
    """The sum, and of what it consists."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
    return f"{counted.total()}" + (f" ({kinds})" if kinds else "")
