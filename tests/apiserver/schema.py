"""Structural schemas: pruning unknown fields, filling in defaults. What validation says is in `validation`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .errors import Object
from .storage import copy_of

# Fields of every object, whatever its schema says.
_OBJECT_FIELDS = ("apiVersion", "kind", "metadata")


def prune(value: Object, schema: Object) -> Object:
    """The object without the fields that its schema does not know."""
    kept = {key: value[key] for key in _OBJECT_FIELDS if key in value}
    body = {key: item for key, item in value.items() if key not in _OBJECT_FIELDS}
    pruned: Object = _prune(body, schema)
    return kept | pruned


def _prune(value: Any, schema: Object) -> Any:
    if isinstance(value, list):
        items = schema.get("items")
        return value if items is None else [_prune(item, items) for item in value]
    if not isinstance(value, dict):
        return value
    is_open = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    below = {key: _below(schema, key) for key in value}
    embedded = _OBJECT_FIELDS if schema.get("x-kubernetes-embedded-resource") else ()
    return {
        key: item if (known := below[key]) is None else _prune(item, known)
        for key, item in value.items()
        if below[key] is not None or is_open or key in embedded
    }


def _below(schema: Object, key: str) -> Object | None:
    """The schema of a field, None when there is none."""
    properties = schema.get("properties") or {}
    if key in properties:
        return dict(properties[key])
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        return values
    return {"x-kubernetes-preserve-unknown-fields": True} if values is True else None


def default(value: Any, schema: Object) -> Any:
    """The value with its schema's defaults; null gives way to a default where null is not allowed."""
    if isinstance(value, list):
        items = schema.get("items")
        return value if items is None else [default(item, items) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties") or {}
    filled = {key: item for key, item in value.items() if not _is_stray_null(item, properties.get(key))}
    for key, below in properties.items():
        if key not in filled and "default" in below:
            filled[key] = copy_of(below["default"])
    return {key: _default_field(schema, key, item) for key, item in filled.items()}


def _default_field(schema: Object, key: str, item: Any) -> Any:
    below = _below(schema, key)
    return item if below is None else default(item, below)


def _is_stray_null(item: Any, schema: Object | None) -> bool:
    return item is None and schema is not None and not schema.get("nullable")


def walk(schema: Object) -> Iterator[Object]:
    """A schema and every schema below it."""
    yield schema
    for below in _parts(schema):
        yield from walk(below)


def _parts(schema: Object) -> Iterable[Object]:
    yield from (schema.get("properties") or {}).values()
    yield from (below for key in ("items", "additionalProperties") if isinstance(below := schema.get(key), dict))
