"""Texts as a terminal shows them: of known width, and without anything that a terminal would obey."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TextIO

_GAP = "  "


def plain(text: str) -> str:
    """On one line, and with no character that moves the cursor, changes colours or turns the writing direction."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def one_line(text: str) -> str:
    """The same, with each run of white space as one space: for a message that holds what others say."""
    return plain(" ".join(text.split()))


def width(text: str) -> int:
    """The columns that a text takes."""
    return len(text) if text.isascii() else sum(_width_of(character) for character in text)


def _width_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """At most so many columns of a text."""
    if width(text) <= columns:
        return text
    kept = ""
    taken = 1
    for character in text:
        taken += _width_of(character)
        if taken > columns:
            break
        kept += character
    return f"{kept}…"


def padded(text: str, columns: int) -> str:
    """With spaces after it."""
    return text + " " * (columns - width(text))


class Table:
    """Columns under a heading, written page by page: a page is all that is ever held."""

    def __init__(self, headings: Sequence[str], output: TextIO) -> None:
        self._headings = headings
        self._output = output
        self._widths: list[int] | None = None

    def write(self, rows: Iterable[Sequence[str]]) -> None:
        """Write some rows, the heading before the first. Columns may become wider with a later page."""
        page = [[plain(cell) for cell in row] for row in rows]
        if not page:
            return
        first = self._widths is None
        lines = [list(self._headings), *page] if first else page
        least = self._widths or [0] * len(self._headings)
        self._widths = [
            max(low, *map(width, cells)) for low, cells in zip(least, zip(*lines, strict=True), strict=True)
        ]
        for line in lines:
            cells = [padded(cell, columns) for cell, columns in zip(line, self._widths, strict=True)]
            self._output.write(_GAP.join(cells).rstrip() + "\n")
