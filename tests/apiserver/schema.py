"""Structural schemas: pruning unknown fields, filling in defaults. What validation says is in `validation`."""

from __future__ import annotations

from typing import Any

from .errors import Object
from .storage import copy_of

# Fields of every object, whatever its schema says.
_OBJECT_FIELDS = ("apiVersion", "kind", "metadata")
_ANYTHING: Object = {"x-kubernetes-preserve-unknown-fields": True}


def prune(value: Object, schema: Object) -> Object:
    """The object without the fields that its schema does not know."""
    kept = {key: value[key] for key in _OBJECT_FIELDS if key in value}
    body = {key: item for key, item in value.items() if key not in _OBJECT_FIELDS}
    pruned: Object = _prune(body, schema)
    return kept | pruned


def _prune(value: Any, schema: Object) -> Any:
    if isinstance(value, list):
        return [_prune(item, schema.get("items", _ANYTHING)) for item in value]
    if not isinstance(value, dict):
        return value
    is_open = "x-kubernetes-preserve-unknown-fields" in schema
    known = {key: _below(schema, key) for key in value}
    kept = {key: item for key, item in value.items() if is_open or known[key] is not None}
    return {key: _prune(item, known[key] or _ANYTHING) for key, item in kept.items()}


def _below(schema: Object, key: str) -> Object | None:
    """The schema of a field, None when there is none."""
    found: Object | None = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return found


def default(value: Any, schema: Object) -> Any:
    """The value with its schema's defaults; null gives way to a default, and goes where there is none."""
    if isinstance(value, list):
        return [default(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    filled = {key: item for key, item in value.items() if item is not None or key not in properties}
    for key, below in properties.items():
        if key not in filled and "default" in below:
            filled[key] = copy_of(below["default"])
    return {key: default(item, _below(schema, key) or {}) for key, item in filled.items()}
