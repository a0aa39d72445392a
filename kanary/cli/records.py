"""Changes and transitions for programs: as the history's API has them (`kanary.history.wire`), and as rows of CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kanary.history.model import RecordedChange, RecordedTransition

Json = dict[str, Any]
Columns = Mapping[str, Callable[[Json], Any]]
"""Of CSV, in their order: a name, and what stands there of a record."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def weights_of(found: RecordedChange) -> str:
    """The weights after a change, on one line."""
    return " ".join(f"{route.backend}={route.weight}" for route in found.change.after)


def change_fields(found: RecordedChange) -> Json:
    """A change as JSON and YAML have it."""
    from kanary.history import wire  # noqa: PLC0415 -- slow to load, and no table needs it

    return wire.Change.of(found).model_dump(mode="json", by_alias=True)


def transition_fields(found: RecordedTransition) -> Json:
    """A transition as JSON and YAML have it."""
    from kanary.history import wire  # noqa: PLC0415 -- as above

    return wire.Transition.of(found).model_dump(mode="json", by_alias=True)


def row(fields: Json, columns: Columns) -> Json:
    """A record for CSV: nothing where nothing is known."""
    return {name: _cell(read(fields)) for name, read in columns.items()}


def _cell(value: Any) -> Any:
    # A spreadsheet runs what looks like a formula, and anyone who may change a Kanary writes a cause.
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _at(*path: str) -> Callable[[Json], Any]:
    def read(fields: Json) -> Any:
        value: Any = fields
        for key in path:
            value = None if value is None else value[key]
        return value

    return read


def _each(*names: str) -> Columns:
    return {name: _at(name) for name in names}


def _weights(name: str) -> Callable[[Json], str]:
    def read(fields: Json) -> str:
        routes: Iterable[Json] = fields[name]
        return " ".join(f"{route['backend']}={route['weight']}" for route in routes)

    return read


_OWNER: Columns = {name: _at("kanary", name) for name in ("namespace", "name", "uid", "deletedAt")}

CHANGE_COLUMNS: Columns = {
    **_OWNER,
    **_each("revision", "at", "generation"),
    "before": _weights("before"),
    "after": _weights("after"),
    **_each("cause", "manager"),
    "result": _at("outcome", "result"),
    "resultAt": _at("outcome", "at"),
    "seconds": _at("outcome", "seconds"),
    "configHash": _at("configHash"),
}

TRANSITION_COLUMNS: Columns = {**_OWNER, **_each("number", "at", "from", "to", "trigger", "reason", "message")}
