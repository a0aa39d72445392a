"""What names and labels have to look like."""

from __future__ import annotations

import re

from .errors import Cause, value_invalid

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LONGEST_NAME, _LONGEST_LABEL = 253, 63


def check_name(kind: str, name: str) -> list[Cause]:
    """The name of a Service becomes a host name; every other name is a subdomain."""
    pattern, longest = (_SERVICE, _LONGEST_LABEL) if kind == "Service" else (_SUBDOMAIN, _LONGEST_NAME)
    if len(name) > longest:
        return [value_invalid("metadata.name", name, f"must be no more than {longest} characters")]
    rule = "must consist of lower case alphanumeric characters, '-' or '.'"
    return [] if pattern.fullmatch(name) else [value_invalid("metadata.name", name, rule)]


def check_labels(labels: dict[str, str] | None) -> list[Cause]:
    rule = f"must be an empty string or consist of at most {_LONGEST_LABEL} alphanumeric characters, '-', '_' or '.'"
    bad = [v for v in (labels or {}).values() if len(v) > _LONGEST_LABEL or not _LABEL_VALUE.fullmatch(v)]
    return [value_invalid("metadata.labels", value, rule) for value in bad]
