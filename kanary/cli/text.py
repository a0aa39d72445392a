"""Makes texts fit the columns of a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from states.texts import plain


def cut(text: str, columns: int) -> str:
    """The text, cut to at most `columns` columns."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 -- not loaded for --help

    return text if cell_len(text) <= columns else f"{set_cell_size(text, columns - 1)}…"


def write_table(headings: Sequence[str], pages: Iterable[Iterable[Sequence[str]]], stream: TextIO) -> None:
    """Write the headings and then rows page by page, with one page in memory at a time.

    A later page may widen the columns.
    """
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415 -- not loaded for --help

    lines, widths = [list(headings)], [0] * len(headings)
    for page in pages:
        rows = [[plain(cell) for cell in row] for row in page]
        if rows:
            lines += rows
            widths = [max(least, *map(cell_len, cells)) for least, *cells in zip(widths, *lines, strict=True)]
            stream.writelines("  ".join(map(set_cell_size, line, widths)).rstrip() + "\n" for line in lines)
            lines = []
