"""Validation of custom resources by their structural schema, as far as the schema of Kanaries goes.

`x-kubernetes-validations` (CEL) is not evaluated, as in Kubernetes before 1.25.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from .errors import Cause, Object, value_duplicate, value_invalid, value_not_supported, value_required

_SKIPPED = ("apiVersion", "kind", "metadata")


def validate(value: Object, schema: Object) -> list[Cause]:
    """Every rule of the schema that the object breaks, its metadata left out."""
    properties = {key: below for key, below in schema.get("properties", {}).items() if key not in _SKIPPED}
    body = {key: item for key, item in value.items() if key not in _SKIPPED}
    required = [key for key in schema.get("required", ()) if key not in _SKIPPED]
    return list(_validate(body, schema | {"properties": properties, "required": required}, ""))


def _validate(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    wanted = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema.get("type")
    if wanted and not any(_TYPES[name](value) for name in wanted.split(",")):
        yield value_invalid(path, _type_of(value), f"{path or '<nil>'} in body must be of type {wanted}")
        return
    if "enum" in schema and value not in schema["enum"]:
        yield value_not_supported(path, value, schema["enum"])
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)
    elif isinstance(value, str):
        yield from _string(value, schema, path)
    elif not isinstance(value, bool):
        yield from _between(value, schema, ("minimum", "maximum"), path)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == int(value),
    "number": lambda value: not isinstance(value, bool) and isinstance(value, int | float),
}


def _type_of(value: Any) -> str:
    return next((name for name, fits in _TYPES.items() if fits(value)), "null")


def _object(value: Object, schema: Object, path: str) -> Iterator[Cause]:
    for key in schema.get("required", ()):
        if key not in value:
            yield value_required(_join(path, key))
    for key, item in value.items():
        below = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
        if below is not None:
            yield from _validate(item, below, _join(path, key))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _list(value: list[Any], schema: Object, path: str) -> Iterator[Cause]:
    for index, item in enumerate(value):
        yield from _validate(item, schema["items"], f"{path}[{index}]")
    yield from _between(len(value), schema, ("minItems", "maxItems"), path, " items")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: set[str] = set()
    for index, item in enumerate(value if keys else ()):
        text = json.dumps([item.get(key) for key in keys])
        if text in seen:
            yield value_duplicate(f"{path}[{index}]", text)
        seen.add(text)


def _between(count: float, schema: Object, limits: tuple[str, str], path: str, noun: str = "") -> Iterator[Cause]:
    least, most = limits
    if count > schema.get(most, count):
        yield value_invalid(path, count, f"{path} in body should be less than or equal to {schema[most]}{noun}")
    if count < schema.get(least, count):
        yield value_invalid(path, count, f"{path} in body should be greater than or equal to {schema[least]}{noun}")


def _string(value: str, schema: Object, path: str) -> Iterator[Cause]:
    yield from _between(len(value), schema, ("minLength", "maxLength"), path, " chars long")
    # In Go, $ is the end of the text; in Python it also stands before a last newline.
    if "pattern" in schema and not re.search(re.sub(r"\$$", r"\\Z", schema["pattern"]), value):
        yield value_invalid(path, value, f"{path} in body should match '{schema['pattern']}'")
    if schema.get("format") == "date-time" and not _is_time(value):
        yield value_invalid(path, value, f"{path} in body must be of type date-time")


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
