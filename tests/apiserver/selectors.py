"""Label and field selectors, as text and as the LabelSelector objects of workloads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import Object, bad_request

Labels = Mapping[str, str]
LabelTest = Callable[[Labels], bool]
ObjectTest = Callable[[Object], bool]

_SET_BASED = re.compile(r"^\s*(?P<key>[^\s!=,()]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)\s*$")
_EQUALITY = re.compile(r"^\s*(?P<key>[^\s!=,()]+)\s*(?P<operator>==|!=|=)\s*(?P<value>[^\s!=,()]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<operator>!?)\s*(?P<key>[^\s!=,()]+)\s*$")
_TOP_LEVEL_COMMA = re.compile(r",(?![^(]*\))")


def label_selector(text: str) -> LabelTest:
    """A test for `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

    Raises ApiError 400 for what is none of these.
    """
    tests = [_requirement(part) for part in _TOP_LEVEL_COMMA.split(text) if text.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _requirement(text: str) -> LabelTest:
    if found := _SET_BASED.match(text):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["operator"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUALITY.match(text):
        key, value = found["key"], found["value"]
        if found["operator"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(text):
        key, wanted = found["key"], not found["operator"]
        return lambda labels: (key in labels) is wanted
    raise bad_request(f"unable to parse requirement: {text!r}")


def field_selector(text: str, selectable: Mapping[str, str]) -> ObjectTest:
    """A test for `metadata.name=x,metadata.namespace!=y` and the further fields that the resource has.

    Raises ApiError 400 for other fields.
    """
    fields = {"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace", **selectable}
    tests = [_field_requirement(part, fields) for part in text.split(",") if part.strip()]
    return lambda value: all(test(value) for test in tests)


def _field_requirement(text: str, fields: Mapping[str, str]) -> ObjectTest:
    found = re.match(r"^\s*(?P<field>[^!=]+?)\s*(?P<operator>==|!=|=)\s*(?P<value>.*?)\s*$", text)
    if found is None:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{text}'")
    if found["field"] not in fields:
        raise bad_request(f"field label not supported: {found['field']}")
    path, value, equal = fields[found["field"]], found["value"], found["operator"] != "!="
    return lambda candidate: (str(value_at(candidate, path)) == value) is equal


def value_at(value: Any, path: str) -> Any:
    """What a dotted path leads to, "" where it leads nowhere."""
    for name in path.split("."):
        if not isinstance(value, dict) or value.get(name) is None:
            return ""
        value = value[name]
    return value


def selects(selector: Object, labels: Labels) -> bool:
    """Whether a LabelSelector object (matchLabels and matchExpressions) selects these labels."""
    matched = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return matched and all(_expression(e, labels) for e in selector.get("matchExpressions") or ())


def _expression(expression: Object, labels: Labels) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise bad_request(f"{expression['operator']!r} is not a valid label selector operator")
