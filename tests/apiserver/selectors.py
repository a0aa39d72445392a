"""Selectors, as far as Kanary uses them: labels that have to have a value, and the name of an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import Object, bad_request

Labels = Mapping[str, str]
ObjectTest = Callable[[Object], bool]


def selection(query: Mapping[str, Any]) -> ObjectTest:
    """A test of objects for the selectors of a request. Raises ApiError 400."""
    by_labels, by_fields = (
        label_selector(query.get("labelSelector", "")),
        _field_selector(query.get("fieldSelector", "")),
    )
    return lambda value: by_labels(value) and by_fields(value)


def _field_selector(text: str) -> ObjectTest:
    field, _, name = text.partition("=")
    if text and field != "metadata.name":
        raise bad_request(f"field label not supported: {field}: this server knows metadata.name alone")
    return lambda value: not text or value["metadata"].get("name") == name


def label_selector(text: str) -> ObjectTest:
    """A test of objects for `a=b,c=d`.

    Raises ApiError 400 for what is none of these.
    """
    wanted = dict(_requirement(part) for part in text.split(",") if part)
    return lambda value: wanted.items() <= (value["metadata"].get("labels") or {}).items()


def _requirement(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key.endswith("!") or "=" in value:
        raise bad_request(f"unable to parse requirement: {text!r}: this server knows key=value alone")
    return key, value


def selects(selector: Object, labels: Labels) -> bool:
    """Whether a LabelSelector object selects these labels. This server knows matchLabels alone."""
    return bool((selector.get("matchLabels") or {}).items() <= labels.items())
