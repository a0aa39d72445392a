"""Texts as a terminal shows them: of known width, and without any control sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO


def plain(text: str) -> str:
    """On one line, and with no character that moves the cursor, changes colours or turns the writing direction."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def one_line(text: str) -> str:
    """The same, with each run of white space as one space."""
    return plain(" ".join(text.split()))


def cut(text: str, columns: int) -> str:
    """At most so many columns of a text."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 -- not loaded for --help

    return text if cell_len(text) <= columns else f"{set_cell_size(text, columns - 1)}…"


class Table:
    """Columns under a heading, written page by page: no more than a page is held in memory."""

    def __init__(self, headings: Sequence[str], output: TextIO) -> None:
        self._pending = [headings]
        self._output = output
        self._widths = [0] * len(headings)

    def write(self, rows: Iterable[Sequence[str]]) -> None:
        """Write some rows, the headings before the first. Columns may become wider with a later page."""
        from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 -- not loaded for --help

        page = [[plain(cell) for cell in row] for row in rows]
        if not page:
            return
        lines, self._pending = [*self._pending, *page], []
        columns = zip(*lines, strict=True)
        self._widths = [max(least, *map(cell_len, cells)) for least, cells in zip(self._widths, columns, strict=True)]
        for line in lines:
            self._output.write("  ".join(map(set_cell_size, line, self._widths)).rstrip() + "\n")
