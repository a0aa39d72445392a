"""Tables of what tests have measured: printed when all have run, and kept in build/tables.txt.

A row is a property of its test, so that it arrives from whichever process the test ran in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

ROW = "row of a table"
"""The name of the property."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: tuple[str, ...]

    def text(self, rows: Iterable[Sequence[str]]) -> str:
        """The rows below the title, in columns as wide as they need to be."""
        lines = [self.columns, *rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        written = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([self.title, "", *written])


class Tell:
    """Adds rows to tables: `tell(TABLE, cell, ...)`, with a cell for each column."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def __call__(self, table: Table, *cells: object) -> None:
        assert len(cells) == len(table.columns), f"{table.title}: {cells}"
        self._record(ROW, [table.title, [*table.columns], [*map(str, cells)]])


def text(properties: Iterable[tuple[str, object]]) -> str:
    """The tables of the tests that have these properties; empty if there is none."""
    tables: dict[Table, list[list[str]]] = {}
    for name, value in properties:
        if name == ROW:
            title, columns, cells = value
            tables.setdefault(Table(title, (*columns,)), []).append(cells)
    return "\n\n".join(table.text(sorted(tables[table])) for table in sorted(tables, key=lambda table: table.title))
