"""Tables of what clients saw, for people to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.held.traffic import Seen


@dataclass(slots=True)
class Table:
    """Rows under a heading, written in columns as wide as they need to be."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        written = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([self.title, "", *written])


CHANGES = "change"
FAULTS = "fault"
"""Names of the properties that tests have, one for each row."""


class Report:
    """Records what a test counted."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def change(self, what: str, times: int, seen: Seen) -> None:
        took = [milliseconds(seen, share) for share in (0.5, 0.99, 1)]
        cells = what, times, len(seen.visits), kinds(seen.failures), *took, len(seen.held), kinds(seen.cuts)
        self._record(CHANGES, [*map(str, cells)])

    def fault(self, *cells: str) -> None:
        self._record(FAULTS, [*cells])


def text(properties: Sequence[tuple[str, object]]) -> str:
    """What the tests with these properties counted; empty if nothing."""
    changes = Table(
        "Connections through change",
        ("change", "times", "new", "failed", "p50 ms", "p99 ms", "max ms", "held", "cut"),
        [cells for name, cells in properties if name == CHANGES],
    )
    faults = Table(
        "Bad pods: what clients see",
        ("pods of the 30 % route", "failed", "the last one after", "slowest ms", "found after", "share", "back after"),
        [cells for name, cells in properties if name == FAULTS],
    )
    return "\n\n".join(table.text() for table in (changes, faults) if table.rows)


def milliseconds(seen: Seen, share: float) -> str:
    """How long the visits that went well took: this share of them no longer than that."""
    times = sorted(visit.took for visit in seen.visits if not visit.failed)
    return f"{1000 * times[min(len(times) - 1, int(share * len(times)))]:.1f}" if times else "-"


def kinds(counted: Counter[str]) -> str:
    """The sum, and of what it consists."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
    return f"{counted.total()}" + (f" ({kinds})" if kinds else "")
