"""Draws a timeline in the terminal: a row for each backend, one for the phases and one for the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import cycle
from math import ceil

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from kanary.cli.output import weights_of
from kanary.cli.timeline import PHASES, E, Span, Timeline, ticks
from kanary.cli.times import span_text
from states.texts import plain

_BLOCKS, _DIGITS = "▁▂▃▄▅▆▇█", "0123456789#"
"""From 0.1 % to 99.9 % in equal steps, then 100 %."""
_COLOURS = ("cyan", "yellow", "magenta", "green", "blue")
_LETTERS = dict(zip(PHASES, ".prRD", strict=True))


def drawing(timeline: Timeline, columns: int, *, with_blocks: bool) -> Iterator[Text]:
    """The lines of the drawing, for a terminal of `columns` columns; in ASCII if without blocks."""
    signs, mark, key = (_BLOCKS, "…", "") if with_blocks else (_DIGITS, "~", "\n0 to 9 are tens of percent, # is 100 %")
    left = max(len("phase"), min(columns // 3, max(cell_len(plain(backend)) for backend in timeline.backends)))
    wide = max(10, columns - left - max(map(len, timeline.backends.values())) - 4)

    def sign(weight: Decimal) -> str:
        return signs[int(weight * (len(signs) - 1) / 100)] if weight else " "

    def row(name: str, cells: Text, last: str = "") -> Text:
        while cell_len(name) > left:
            name = mark + name[2:]  # versions differ at the end of their names
        return Text.assemble(set_cell_size(name, left), "  ", cells, last, no_wrap=True, overflow="crop")

    yield Text(f"{plain(timeline.title)}, {span_text(timeline.start, timeline.end)}\n")
    weights = [weights_of(change.after) if change else {} for change in _columns(timeline, timeline.weights, wide)]
    for (backend, last), colour in zip(timeline.backends.items(), cycle(_COLOURS), strict=False):
        cells = "".join(sign(column.get(backend, Decimal())) for column in weights)
        yield row(plain(backend), Text(cells, colour), f"  {last}")
    letters = {change.to: _LETTERS.get(change.to, "?") for *_, change in timeline.phases}
    phases = [change.to if change else "" for change in _columns(timeline, timeline.phases, wide)]
    ribbon = Text("".join(letters.get(phase, " ") for phase in phases))
    ribbon.highlight_regex("D+", "red")
    yield row("phase", ribbon)
    yield row("", Text(_axis(timeline, wide)))
    yield Text("\n" + "   ".join(f"{letter} {plain(phase)}" for phase, letter in letters.items()) + key)


def _columns(timeline: Timeline, spans: Sequence[Span[E]], wide: int) -> list[E | None]:
    """The entry of the last span in each column: its weights at the end, or its most severe phase."""
    columns: list[E | None] = [None] * wide
    for start, end, change in spans:
        first = min(wide - 1, int(timeline.place(start) * wide))
        count = max(1, ceil(round(timeline.place(end) * wide, 6)) - first)
        columns[first : first + count] = [change] * count
    return columns


def _axis(timeline: Timeline, wide: int) -> str:
    """The time axis: a bar in the column of each tick, followed by its label, if there is room."""
    axis = ""
    for time, label in ticks(timeline.start, timeline.end, max(2, wide // 8)):
        column = int(timeline.place(time) * wide)
        if len(axis) <= column < wide - len(label):
            axis = f"{axis:{column}}|{label}"
    return axis
