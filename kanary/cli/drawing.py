"""A timeline in the terminal: a column for each point in time, filled from the bottom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain

from kanary.cli.axis import ticks
from kanary.cli.text import cut, padded, plain, width
from kanary.cli.timeline import PHASES, Timeline
from kanary.cli.times import span_text

_BLOCKS, _ASCII = "█░▓▒▚#o+x=", "#.o:+x=*%&"
_COLOURS = (34, 33, 32, 35, 36, 31, 94, 93, 92, 90)
_PHASES = dict(zip(PHASES, ".prRD", strict=True))
_LEFT = 7
_NARROWEST = 20
_TICK = 12  # columns
_NAME = 40  # columns


def drawing(timeline: Timeline, columns: int, rows: int, with_blocks: bool, with_colours: bool) -> str:
    """The drawing, of about so many columns and rows."""
    lines = _Drawing(timeline, max(_NARROWEST, columns - _LEFT - 1), rows, with_blocks, with_colours).lines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


class _Drawing:
    def __init__(self, timeline: Timeline, columns: int, rows: int, with_blocks: bool, with_colours: bool) -> None:
        self._timeline = timeline
        self._columns = columns
        self._rows = rows
        self._signs, self._frame = (_BLOCKS, tuple("┤└─┬")) if with_blocks else (_ASCII, tuple("|+-+"))
        self._with_colours = with_colours

    def lines(self) -> Iterator[str]:
        yield f"{plain(self._timeline.title)}, {span_text(self._timeline.start, self._timeline.end)}"
        yield ""
        yield from self._stack()
        yield from self._axis()
        if self._timeline.spans:
            yield "phase".rjust(_LEFT - 2) + "  " + self._phases()
        yield ""
        yield from self._legend()

    def _stack(self) -> Iterator[str]:
        columns = [self._cells(time) for time in self._times()]
        quarter = self._rows // 4
        for row in range(self._rows, 0, -1):
            label = f"{round(row / self._rows * 100)} %" if row % quarter == 0 else ""
            signs = (self._sign(column[row - 1]) if column else " " for column in columns)
            yield f"{label:>{_LEFT - 2}} {self._frame[0]}{''.join(signs)}"

    def _times(self) -> Iterator[datetime]:
        """The end of each column."""
        span = self._timeline.end - self._timeline.start
        return (self._timeline.start + span * ((column + 1) / self._columns) for column in range(self._columns))

    def _cells(self, time: datetime) -> list[int]:
        """From the bottom, which backend each cell belongs to; nothing where none has a weight."""
        weights = next((step.weights for step in reversed(self._timeline.steps) if step.at < time), {})
        counts = cells([weights.get(backend, 0) for backend in self._timeline.backends], self._rows)
        return [backend for backend, count in enumerate(counts) for _ in range(count)]

    def _sign(self, backend: int) -> str:
        sign = self._signs[backend % len(self._signs)]
        return f"\x1b[{_COLOURS[backend % len(_COLOURS)]}m{sign}\x1b[0m" if self._with_colours else sign

    def _axis(self) -> Iterator[str]:
        corner, line, tick_sign = self._frame[1:]
        axis, labels = [line] * self._columns, " " * self._columns
        for tick in ticks(self._timeline.start, self._timeline.end, max(2, self._columns // _TICK)):
            column = min(self._columns - 1, int(self._timeline.share(tick.at) * self._columns))
            axis[column] = tick_sign
            start = max(0, min(column - len(tick.label) // 2, self._columns - len(tick.label)))
            end = start + len(tick.label)
            if not labels[max(0, start - 1) : end + 1].strip():
                labels = labels[:start] + tick.label + labels[end:]
        yield " " * (_LEFT - 1) + corner + "".join(axis)
        yield " " * _LEFT + labels

    def _phases(self) -> str:
        signs = [" "] * self._columns
        for span in chain(*self._timeline.phases.values()):
            first, last = (self._timeline.share(time) * self._columns for time in (span.start, span.end))
            begin = min(int(first), self._columns - 1)
            end = max(begin + 1, int(last - 1e-9) + 1)
            signs[begin:end] = _PHASES.get(span.phase, "?") * (end - begin)
        return "".join(signs)

    def _legend(self) -> Iterator[str]:
        names = [cut(plain(backend), _NAME) for backend in self._timeline.last]
        longest = max(map(width, names))
        for number, (name, last) in enumerate(zip(names, self._timeline.last.values(), strict=True)):
            yield f"{' ' * _LEFT}{self._sign(number) * 2} {padded(name, longest)}  {last}"
        yield " " * _LEFT + "   ".join(f"{_PHASES.get(phase, '?')} {phase}" for phase in self._timeline.phases)


def cells(shares: Sequence[int], rows: int) -> list[int]:
    """How many cells each share gets: as near as can be, and at least one where there is any share."""
    total = sum(shares) or 1
    exact = [share / total * rows for share in shares]
    counts = [max(int(value), 1 if share else 0) for value, share in zip(exact, shares, strict=True)]
    while sum(counts) < rows and any(shares):
        # Those that are furthest from their share, the first of equals.
        counts[max(range(len(counts)), key=lambda i: exact[i] - counts[i])] += 1
    while sum(counts) > rows:
        shrinkable = [i for i, count in enumerate(counts) if count > 1]
        counts[max(shrinkable, key=lambda i: counts[i] - exact[i])] -= 1
    return counts
