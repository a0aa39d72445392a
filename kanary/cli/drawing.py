"""A timeline in the terminal: a column for each point in time, filled from the bottom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from kanary.cli.axis import ticks
from kanary.cli.text import cut, padded, plain, width
from kanary.cli.timeline import OTHERS, Timeline
from kanary.cli.times import span_text

_BLOCKS = "█░▓▒▚#o+x="
_ASCII = "#.o:+x=*%&"
_COLOURS = (34, 33, 32, 35, 36, 31, 94, 93, 92, 90)
_PHASES = {"Ready": ".", "Pending": "p", "Rendering": "r", "Rolling": "R", "Degraded": "D"}
_SEVERITY = ("Ready", "Pending", "Rendering", "Rolling", "Degraded")
_LEFT = 7
_NARROWEST = 20
_TICK = 12  # columns


def draw(timeline: Timeline, columns: int, rows: int, *, with_blocks: bool, with_colours: bool) -> str:
    """The drawing, of about so many columns and rows."""
    drawing = _Drawing(timeline, max(_NARROWEST, columns - _LEFT - 1), rows, with_blocks, with_colours)
    return "\n".join(line.rstrip() for line in drawing.lines()) + "\n"


class _Drawing:
    def __init__(self, timeline: Timeline, columns: int, rows: int, with_blocks: bool, with_colours: bool) -> None:
        self._timeline = timeline
        self._columns = columns
        self._rows = rows
        self._signs = _BLOCKS if with_blocks else _ASCII
        self._edge = "┤" if with_blocks else "|"
        self._base = ("└", "─", "┬") if with_blocks else ("+", "-", "+")
        self._with_colours = with_colours
        self._step_at = self._steps()

    def lines(self) -> Iterator[str]:
        timeline = self._timeline
        name = plain(f"{timeline.kanary.namespace}/{timeline.kanary.name}")
        yield f"{name}, {span_text(timeline.start, timeline.end)}"
        yield ""
        columns = [self._column(index) for index in range(self._columns)]
        for row in range(self._rows, 0, -1):
            label = self._label(row)
            yield f"{label:>{_LEFT - 2}} {self._edge}" + self._painted([column[row - 1] for column in columns])
        yield from self._axis()
        yield from self._phases()
        yield ""
        yield from self._legend()

    def _label(self, row: int) -> str:
        """At the top row 100, and at each quarter."""
        quarter = self._rows // 4 or 1
        return f"{round(row / self._rows * 100)} %" if row % quarter == 0 else ""

    def _time(self, column: float) -> datetime:
        return self._timeline.start + (self._timeline.end - self._timeline.start) * (column / self._columns)

    def _steps(self) -> list[int | None]:
        """For each column the index of the step that was in force at its end."""
        found: list[int | None] = []
        index = -1
        for column in range(self._columns):
            end = self._time(column + 1)
            while index + 1 < len(self._timeline.steps) and self._timeline.steps[index + 1].at < end:
                index += 1
            found.append(index if index >= 0 else None)
        return found

    def _column(self, column: int) -> list[int | None]:
        """From the bottom, which backend each cell belongs to."""
        index = self._step_at[column]
        if index is None:
            return [None] * self._rows
        weights = self._timeline.steps[index].weights
        shares = [weights.get(backend, 0) for backend in self._timeline.backends]
        cells = _cells(shares, self._rows)
        column_cells: list[int | None] = [number for number, count in enumerate(cells) for _ in range(count)]
        return (column_cells + [None] * self._rows)[: self._rows]

    def _painted(self, cells: list[int | None]) -> str:
        return "".join(" " if cell is None else self._sign(cell) for cell in cells)

    def _sign(self, backend: int) -> str:
        sign = self._signs[backend % len(self._signs)]
        if not self._with_colours:
            return sign
        return f"\x1b[{_COLOURS[backend % len(_COLOURS)]}m{sign}\x1b[0m"

    def _axis(self) -> Iterator[str]:
        corner, line, tick_sign = self._base
        axis = [line] * self._columns
        labels = " " * self._columns
        for tick in ticks(self._timeline.start, self._timeline.end, max(2, self._columns // _TICK)):
            column = min(self._columns - 1, int(self._timeline.share(tick.at) * self._columns))
            axis[column] = tick_sign
            start = max(0, min(column - len(tick.label) // 2, self._columns - len(tick.label)))
            end = start + len(tick.label)
            if not labels[max(0, start - 1) : end + 1].strip():
                labels = labels[:start] + tick.label + labels[end:]
        yield " " * (_LEFT - 1) + corner + "".join(axis)
        yield " " * _LEFT + labels

    def _phases(self) -> Iterator[str]:
        if not self._timeline.spans:
            return
        signs = [" "] * self._columns
        ranks = [-1] * self._columns
        for span in self._timeline.spans:
            rank = _SEVERITY.index(span.phase) if span.phase in _SEVERITY else 0
            first = int(self._timeline.share(span.start) * self._columns)
            last = max(first, int(self._timeline.share(span.end) * self._columns - 1e-9))
            for column in range(first, min(last, self._columns - 1) + 1):
                if rank > ranks[column]:
                    signs[column], ranks[column] = _PHASES.get(span.phase, "?"), rank
        yield "phase".rjust(_LEFT - 2) + "  " + "".join(signs)

    def _legend(self) -> Iterator[str]:
        last = self._timeline.steps[-1].weights
        names = [OTHERS if b == OTHERS else cut(plain(b), 40) for b in self._timeline.backends]
        longest = max(width(name) for name in names)
        when = "at the end" if self._timeline.kanary.deleted_at else "now"
        for number, (backend, name) in enumerate(zip(self._timeline.backends, names, strict=True)):
            mark = self._sign(number) * 2
            yield f"{' ' * _LEFT}{mark} {padded(name, longest)}  {when} {last.get(backend, 0)} %"
        present = {span.phase for span in self._timeline.spans}
        if phases := [f"{sign} {phase}" for phase, sign in _PHASES.items() if phase in present]:
            yield f"{' ' * _LEFT}{'   '.join(phases)}"


def _cells(shares: list[int], rows: int) -> list[int]:
    """How many cells each share gets: as near as can be, and one at least where there is any share."""
    total = sum(shares) or 1
    exact = [share / total * rows for share in shares]
    cells = [max(int(value), 1 if share else 0) for value, share in zip(exact, shares, strict=True)]
    while sum(cells) < rows and any(shares):
        # Those that are furthest from what is theirs, the first of equals.
        cells[max(range(len(cells)), key=lambda i: exact[i] - cells[i])] += 1
    while sum(cells) > rows:
        cells[max(range(len(cells)), key=lambda i: cells[i] - exact[i] if cells[i] > 1 else -1.0)] -= 1
    return cells
