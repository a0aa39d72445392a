"""Tables of what clients saw, for people to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.held.traffic import Seen


@dataclass(slots=True)
class Table:
    """Rows under a heading, written in columns as wide as they need to be."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def text(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        written = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([self.title, "", *written])


class Report:
    """Everything that the tests of one run counted."""

    def __init__(self) -> None:
        self._changes = Table(
            "Connections through change",
            ("change", "times", "new", "failed", "p50 ms", "p99 ms", "max ms", "held", "cut"),
        )
        self._faults = Table(
            "Bad pods: what clients see",
            ("fault", "route", "new", "failed", "p99 ms", "last failure after", "share then", "share again after"),
        )

    def change(self, what: str, times: int, seen: Seen) -> None:
        cells = (what, times, len(seen.visits), _kinds(seen.failures), *_took(seen, 0.5, 0.99, 1))
        self._changes.rows.append((*map(str, cells), str(len(seen.held)), _kinds(seen.cuts)))

    def fault(self, *cells: str) -> None:
        self._faults.rows.append(cells)

    def text(self) -> str:
        return "\n\n".join(table.text() for table in (self._changes, self._faults) if table.rows)


def _took(seen: Seen, *shares: float) -> Sequence[str]:
    """How long the visits that went well took, in milliseconds: so many of them no longer than this."""
    times = sorted(visit.took for visit in seen.visits if not visit.failed)
    return [f"{1000 * times[min(len(times) - 1, int(share * len(times)))]:.1f}" if times else "-" for share in shares]


def _kinds(counted: Counter[str]) -> str:
    """The sum, and of what it consists."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
    return f"{counted.total()}" + (f" ({kinds})" if kinds else "")
