"""Ways to write records: a table for people, and JSON, YAML and CSV for programs, which have every field."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from engine.model.entries import Share
from engine.model.shape import Shape
from kanary.cli.text import Table

Json = dict[str, Any]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


@dataclass(frozen=True)
class Form:
    """How records of one kind are written."""

    cells: Mapping[str, Callable[[Any], str]]
    """Of a table, by heading."""
    parts: Mapping[str, type[Shape]]
    """The documents that a record consists of, whose fields are the columns of CSV."""


def write(output: str, form: Form, pages: Iterator[Sequence[Shape]], stream: TextIO) -> None:
    """Write records page by page."""
    if output == "table":
        table = Table([*form.cells], stream)
        for page in pages:
            table.write([cell(item) for cell in form.cells.values()] for item in page)
        return
    items = (document(item) for page in pages for item in page)
    if output == "csv":
        stream.writelines(map(_line, _rows(form.parts, items)))
    else:
        stream.writelines(_json(items, stream) if output == "json" else _yaml(items, stream))


def document(item: Shape) -> Json:
    """A record as the HTTP API has it."""
    return item.model_dump(mode="json", by_alias=True)


def weights_of(shares: Iterable[Share]) -> dict[str, int]:
    """The weight of each backend."""
    return {share.backend: share.weight for share in shares}


def weights_text(weights: Mapping[str, int]) -> str:
    """`myapp-v1:http=80 myapp-v2:9090=20`."""
    return " ".join(f"{backend}={weight}" for backend, weight in weights.items())


def json_text(value: Any, stream: TextIO, indent: int | None = None) -> str:
    """JSON in the encoding of the stream."""
    return json.dumps(value, ensure_ascii=not is_unicode(stream), indent=indent)


def is_unicode(stream: TextIO) -> bool:
    """Whether every character can be written to it."""
    return (stream.encoding or "utf-8").lower().startswith("utf")


def _json(items: Iterable[Json], stream: TextIO) -> Iterator[str]:
    """One array with a record on each line."""
    before = "[\n"
    for item in items:
        yield before + json_text(item, stream)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _yaml(items: Iterable[Json], stream: TextIO) -> Iterator[str]:
    """One list."""
    import yaml  # noqa: PLC0415 -- loaded by the one format that needs it

    is_empty = True
    for item in items:
        is_empty = False
        yield yaml.safe_dump([item], sort_keys=False, allow_unicode=is_unicode(stream), width=120)
    if is_empty:
        yield "[]\n"


def _rows(parts: Mapping[str, type[Shape]], items: Iterable[Json]) -> Iterator[list[Any]]:
    """The names of the columns, which are paths such as `change.revision`, then the cells of each record."""
    paths = [(part, str(field.alias)) for part, model in parts.items() for field in model.model_fields.values()]
    yield [".".join(path) for path in paths]
    for item in items:
        yield [_cell((item[part] or {}).get(field)) for part, field in paths]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = weights_text(weights_of(map(Share.model_validate, value)))
    # A spreadsheet executes what looks like a formula, and anyone who may change a Kanary writes a cause.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _line(row: Sequence[Any]) -> str:
    """Ends with a line feed alone; with that as its `lineterminator` the writer would not quote a carriage return."""
    line = io.StringIO()
    csv.writer(line).writerow(row)
    return line.getvalue().removesuffix("\r\n") + "\n"
