"""Validation of custom resources by their structural schema, with causes as the API server words them.

`x-kubernetes-validations` (CEL) is not evaluated, as in Kubernetes before 1.25.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from .errors import (
    Cause,
    Object,
    quoted,
    value_duplicate,
    value_invalid,
    value_not_supported,
    value_required,
)
from .storage import same

_SKIPPED = ("apiVersion", "kind", "metadata")


def validate(value: Object, schema: Object) -> list[Cause]:
    """Every rule of the schema that the object breaks, its metadata left out."""
    properties = {key: below for key, below in (schema.get("properties") or {}).items() if key not in _SKIPPED}
    body = {key: item for key, item in value.items() if key not in _SKIPPED}
    required = [key for key in schema.get("required") or () if key not in _SKIPPED]
    return list(_validate(body, schema | {"properties": properties, "required": required}, ""))


def _validate(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    wanted = "integer,string" if schema.get("x-kubernetes-int-or-string") else schema.get("type")
    if wanted and not any(_is_of(value, name) for name in wanted.split(",")):
        yield _wrong_type(value, wanted, path)
        return
    if "enum" in schema and not any(same(value, choice) for choice in schema["enum"]):
        yield value_not_supported(path, value, schema["enum"])
    yield from _by_form(value, schema, path)
    yield from _combined(value, schema, path)


def _by_form(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _list(value, schema, path)
    elif isinstance(value, str):
        yield from _string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, schema, path)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == int(value),
    "number": lambda value: not isinstance(value, bool) and isinstance(value, int | float),
}


def _is_of(value: Any, name: str) -> bool:
    return _TYPES[name](value)


def _wrong_type(value: Any, wanted: str, path: str) -> Cause:
    names = ("null",) if value is None else ("boolean", "integer", "number", "string", "array", "object")
    found = next((name for name in names if name == "null" or _is_of(value, name)), "null")
    return value_invalid(path, found, f'{path or "<nil>"} in body must be of type {wanted}: "{found}"')


def _object(value: Object, schema: Object, path: str) -> Iterator[Cause]:
    for key in schema.get("required") or ():
        if key not in value:
            yield value_required(_join(path, key))
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    for key, item in value.items():
        below = properties.get(key, others if isinstance(others, dict) else None)
        if below is not None:
            yield from _validate(item, below, _join(path, key))
    yield from _limits(len(value), schema, "Properties", path, "properties")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _list(value: list[Any], schema: Object, path: str) -> Iterator[Cause]:
    items = schema.get("items")
    if items is not None:
        for index, item in enumerate(value):
            yield from _validate(item, items, f"{path}[{index}]")
    yield from _limits(len(value), schema, "Items", path, "items")
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set" or schema.get("uniqueItems"):
        yield from _repeated(value, path, lambda item: item)
    elif kind == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        yield from _repeated(value, path, lambda item: {key: item.get(key) for key in keys})


def _repeated(items: list[Any], path: str, key: Callable[[Any], Any]) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        text = json.dumps(key(item), sort_keys=True)
        if text in seen:
            yield value_duplicate(f"{path}[{index}]", key(item))
        seen.add(text)


def _limits(count: int, schema: Object, what: str, path: str, noun: str) -> Iterator[Cause]:
    if count > schema.get(f"max{what}", count):
        limit = schema[f"max{what}"]
        yield value_invalid(path, count, f"{path} in body should have at most {limit} {noun}")
    if count < schema.get(f"min{what}", count):
        limit = schema[f"min{what}"]
        yield value_invalid(path, count, f"{path} in body should have at least {limit} {noun}")


def _string(value: str, schema: Object, path: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxLength", len(value)):
        yield value_invalid(path, value, f"{path} in body should be at most {schema['maxLength']} chars long")
    if len(value) < schema.get("minLength", 0):
        yield value_invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long")
    if "pattern" in schema and not re.search(_as_python(schema["pattern"]), value):
        yield value_invalid(path, value, f"{path} in body should match '{schema['pattern']}'")
    if not _has_format(value, schema.get("format", "")):
        yield value_invalid(path, value, f"{path} in body must be of type {schema['format']}: {quoted(value)}")


def _as_python(pattern: str) -> str:
    """In Go, $ is the end of the text; in Python it also stands before a last newline."""
    return re.sub(r"(?<!\\)\$$", r"\\Z", pattern)


def _number(value: float, schema: Object, path: str) -> Iterator[Cause]:
    if "maximum" in schema:
        limit, strict = schema["maximum"], bool(schema.get("exclusiveMaximum"))
        if value > limit or (strict and value == limit):
            yield value_invalid(
                path, value, f"{path} in body should be less than {'' if strict else 'or equal to '}{limit}"
            )
    if "minimum" in schema:
        limit, strict = schema["minimum"], bool(schema.get("exclusiveMinimum"))
        if value < limit or (strict and value == limit):
            yield value_invalid(
                path, value, f"{path} in body should be greater than {'' if strict else 'or equal to '}{limit}"
            )
    if "multipleOf" in schema and value % schema["multipleOf"]:
        yield value_invalid(path, value, f"{path} in body should be a multiple of {schema['multipleOf']}")


def _combined(value: Any, schema: Object, path: str) -> Iterator[Cause]:
    for below in schema.get("allOf") or ():
        yield from _validate(value, below, path)
    fits = {key: [not list(_validate(value, b, path)) for b in schema.get(key) or ()] for key in ("anyOf", "oneOf")}
    if fits["anyOf"] and not any(fits["anyOf"]):
        yield value_invalid(path, value, f"{path} in body must validate at least one schema (anyOf)")
    if fits["oneOf"] and sum(fits["oneOf"]) != 1:
        yield value_invalid(path, value, f"{path} in body must validate one and only one schema (oneOf)")
    if "not" in schema and not list(_validate(value, schema["not"], path)):
        yield value_invalid(path, value, f"{path} in body must not validate the schema (not)")


_DURATION_UNIT = r"(ns|us|µs|ms|s|m|h|d|w)"


def _has_format(value: str, name: str) -> bool:
    """Whether a string has one of the formats that the server checks; unknown formats are ignored."""
    match name:
        case "date-time":
            return _parses(value, lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")))
        case "ipv4":
            return _parses(value, ipaddress.IPv4Address)
        case "ipv6":
            return _parses(value, ipaddress.IPv6Address)
        case "duration":
            return re.fullmatch(rf"[-+]?(\d+(\.\d*)?\s*{_DURATION_UNIT})+", value) is not None
    return True


def _parses(value: str, parse: Callable[[str], object]) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True
