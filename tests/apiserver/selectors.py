"""Label selectors, as far as the operator uses them: labels that have to have a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .errors import Object, bad_request

Labels = Mapping[str, str]
ObjectTest = Callable[[Object], bool]


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
