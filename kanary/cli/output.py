"""Ways to write records, each page by page: a table for people, JSON, YAML and CSV for programs."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TextIO, TypeVar

from kanary.cli.failure import CommandError
from kanary.cli.records import Columns, row
from kanary.cli.text import Table

T = TypeVar("T")

FORMATS = ("table", "json", "yaml", "csv")


@dataclass(frozen=True)
class Form(Generic[T]):
    """How records of one kind are written."""

    headings: Sequence[str]
    cells: Callable[[T], Sequence[str]]
    """For a table."""
    columns: Columns
    """For CSV."""
    fields: Callable[[T], dict[str, Any]]


class Output(ABC, Generic[T]):
    """Takes pages, then is ended."""

    def __init__(self, form: Form[T], stream: TextIO) -> None:
        self.form = form
        self.stream = stream

    @abstractmethod
    def page(self, items: Sequence[T]) -> None:
        """Write these."""

    def end(self) -> None:
        """There are no more."""


def output_for(name: str, form: Form[T], stream: TextIO) -> Output[T]:
    """The output of this name."""
    outputs: dict[str, Callable[[Form[T], TextIO], Output[T]]] = {
        "table": _TableOutput,
        "json": _JsonOutput,
        "yaml": _YamlOutput,
        "csv": _CsvOutput,
    }
    return outputs[name](form, stream)


def check_format(name: str, known: Sequence[str] = FORMATS) -> str:
    """Raises CommandError for a format that there is not."""
    if name not in known:
        raise CommandError(f"-o {name[:40]!r} is no format: take {', '.join(known[:-1])} or {known[-1]}")
    return name


class _TableOutput(Output[T]):
    def __init__(self, form: Form[T], stream: TextIO) -> None:
        super().__init__(form, stream)
        self._table = Table(form.headings, stream)

    def page(self, items: Sequence[T]) -> None:
        self._table.write(self.form.cells(item) for item in items)


class _JsonOutput(Output[T]):
    """One array with a record on each line."""

    _before = "[\n"

    def page(self, items: Sequence[T]) -> None:
        for item in items:
            self.stream.write(self._before + json_text(self.form.fields(item), self.stream))
            self._before = ",\n"

    def end(self) -> None:
        self.stream.write("[]\n" if self._before.startswith("[") else "\n]\n")


class _YamlOutput(Output[T]):
    """One list."""

    _is_empty = True

    def page(self, items: Sequence[T]) -> None:
        if items:
            self._is_empty = False
            self.stream.write(yaml_text([self.form.fields(item) for item in items], self.stream))

    def end(self) -> None:
        if self._is_empty:
            self.stream.write("[]\n")


class _LineFeeds:
    """Ends the lines of `csv` by a line feed alone.

    Told to do so itself, it would write a carriage return inside a cell without quotes, which ends a line for readers.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        """Write one line."""
        return self._stream.write(line.removesuffix("\r\n") + "\n")


class _CsvOutput(Output[T]):
    """A line with the names of the columns, then one for each record (RFC 4180, but with line feeds)."""

    def __init__(self, form: Form[T], stream: TextIO) -> None:
        super().__init__(form, stream)
        self._csv = csv.DictWriter(_LineFeeds(stream), list(form.columns))
        self._csv.writeheader()

    def page(self, items: Sequence[T]) -> None:
        self._csv.writerows(row(self.form.fields(item), self.form.columns) for item in items)


def json_text(value: Any, stream: TextIO, indent: int | None = None) -> str:
    """JSON that the stream's encoding can carry."""
    return json.dumps(value, ensure_ascii=not carries_unicode(stream), indent=indent)


def yaml_text(value: Any, stream: TextIO) -> str:
    """YAML that the stream's encoding can carry."""
    import yaml  # noqa: PLC0415 -- loaded by the one format that needs it

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=carries_unicode(stream), width=120))


def carries_unicode(stream: TextIO) -> bool:
    """Whether every character can be written to it."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")
