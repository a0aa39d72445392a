"""Writes records as a table for people, and with every field as JSON, YAML or CSV for programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TextIO

from engine.model.entries import Share
from engine.model.shape import Shape
from engine.model.spec import Route
from kanary.cli.text import write_table
from states.texts import plain

Json = dict[str, Any]

_FORMULA = ("=", "+", "-", "@")
"""Spreadsheets treat a text with one of these at its beginning as a formula, even after a space."""


@dataclass(frozen=True)
class Form:
    """The columns of records of one kind."""

    cells: Mapping[str, Callable[[Any], str]]
    """The cells of a table, by heading."""
    parts: Mapping[str, tuple[type[Shape], ...]]
    """The kinds of each document of a record, by its name; their fields are the columns of CSV."""


def write(output: str, form: Form, pages: Iterator[Sequence[Shape]], stream: TextIO) -> None:
    """Write records page by page."""
    if output == "table":
        rows = ([[cell(item) for cell in form.cells.values()] for item in page] for page in pages)
        write_table([*form.cells], rows, stream)
        return
    items = (document(item) for page in pages for item in page)
    if output == "csv":
        csv.writer(stream, lineterminator="\n").writerows(_rows(form.parts, items))
        return
    # JSON: one record per line.
    text, before, between, end = (json_text, "[\n", ",\n", "\n]\n") if output == "json" else (_yaml_item, "", "", "")
    is_empty = True
    for item in items:
        stream.write(before + text(item, stream))
        before, is_empty = between, False
    stream.write("[]\n" if is_empty else end)


def document(item: Shape) -> Json:
    """A record as JSON, as in the HTTP API."""
    return item.model_dump(mode="json", by_alias=True)


def weights_of(shares: Iterable[Share]) -> dict[str, Decimal]:
    """The weight of each backend."""
    return {share.backend: share.weight for share in shares}


def weights_text(weights: Mapping[str, Decimal]) -> str:
    """Weights as text: `myapp-v1:http=87.5 myapp-v2:9090=12.5`."""
    return " ".join(f"{backend}={weight}" for backend, weight in weights.items())


def routes_text(routes: Iterable[Route]) -> str:
    """The routes that have weight as text."""
    return weights_text({str(route.backend): route.weight for route in routes if route.weight})


def is_unicode(stream: TextIO) -> bool:
    """Whether the stream can encode every character."""
    return (stream.encoding or "utf-8").lower().startswith("utf")


def json_text(value: Any, stream: TextIO, indent: int | None = None) -> str:
    """JSON in characters that the stream can encode, without control characters."""
    return _legible(lambda is_ascii: json.dumps(value, ensure_ascii=is_ascii, indent=indent), stream)


def yaml_text(value: Any, stream: TextIO) -> str:
    """YAML, as `json_text`."""
    import yaml  # noqa: PLC0415 -- loaded by the one format that needs it

    # CSafeDumper is five times as fast, but PyYAML may be built without it.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return _legible(
        lambda is_ascii: yaml.dump(value, None, dumper, allow_unicode=not is_ascii, sort_keys=False), stream
    )


def _yaml_item(value: Any, stream: TextIO) -> str:
    return yaml_text([value], stream)


def _legible(dump: Callable[[bool], str], stream: TextIO) -> str:
    """The dump with all characters unescaped, or, if the stream cannot show some of them, escaped as ASCII."""
    text = dump(False)
    if is_unicode(stream) and text.replace("\n", "").isprintable():
        return text
    # DEL is an ASCII character that JSON does not escape.
    return dump(True).replace("\x7f", "\\u007f")


def _rows(parts: Mapping[str, tuple[type[Shape], ...]], items: Iterable[Json]) -> Iterator[list[Any]]:
    """The row of column names, which are paths such as `change.revision`, then a row for each record."""
    fields = {part: [field for kind in kinds for field in kind.model_fields.values()] for part, kinds in parts.items()}
    paths = list(dict.fromkeys((part, str(field.alias)) for part, found in fields.items() for field in found))
    yield [".".join(path) for path in paths]
    for item in items:
        yield [_cell((item[part] or {}).get(field)) for part, field in paths]


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = weights_text(weights_of(map(Share.model_validate, value)))
    if not isinstance(value, str):
        return value
    # A spreadsheet would execute a formula, and everyone who may change a Kanary can write one into its cause.
    return f"'{plain(value)}" if value.lstrip().startswith(_FORMULA) else plain(value)
