"""What names, labels and ports have to look like."""

from __future__ import annotations

import re
from typing import Any

from .errors import Cause, value_invalid, value_required

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LONGEST_NAME, LONGEST_LABEL = 253, 63

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SERVICE_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
# The kinds whose names become host names; every other name is a subdomain.
_STRICTER = {"Service": (_SERVICE, _SERVICE_RULE), "Namespace": (re.compile(_LABEL), _LABEL_RULE)}


def check_name(kind: str, name: Any) -> list[Cause]:
    field = "metadata.name"
    if not name:
        return [value_required(field, "name or generateName is required")]
    pattern, rule = _STRICTER.get(kind, (_SUBDOMAIN, _SUBDOMAIN_RULE))
    longest = LONGEST_LABEL if kind in _STRICTER else LONGEST_NAME
    if len(name) > longest:
        return [value_invalid(field, name, f"must be no more than {longest} characters")]
    return [] if pattern.fullmatch(name) else [value_invalid(field, name, rule)]


def check_labels(labels: Any, field: str = "metadata.labels") -> list[Cause]:
    causes = []
    for key, value in (labels or {}).items():
        if not is_qualified(key):
            causes.append(
                value_invalid(field, key, "name part must consist of alphanumeric characters, '-', '_' or '.'")
            )
        if len(value) > LONGEST_LABEL or not _LABEL_VALUE.fullmatch(value):
            causes.append(
                value_invalid(
                    field,
                    value,
                    _LABEL_VALUE_RULE,
                )
            )
    return causes


def check_annotations(annotations: Any) -> list[Cause]:
    rule = "name part must consist of alphanumeric characters, '-', '_' or '.'"
    bad = [key for key in annotations or {} if not is_qualified(key.lower())]
    return [value_invalid("metadata.annotations", key, rule) for key in bad]


def is_qualified(key: str) -> bool:
    """A name of at most 63 characters, after a subdomain and a slash if there is one."""
    prefix, slash, name = key.rpartition("/")
    named = len(name) <= LONGEST_LABEL and _QUALIFIED.fullmatch(name) is not None
    return named and (not slash or is_subdomain(prefix))


def is_subdomain(name: str) -> bool:
    return len(name) <= LONGEST_NAME and _SUBDOMAIN.fullmatch(name) is not None


def is_port(number: Any) -> bool:
    highest = 65535
    return isinstance(number, int) and not isinstance(number, bool) and 0 < number <= highest
