"""What a request for history may say in its path and its query: each value checked before anything is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl, unquote

T = TypeVar("T")

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"  # a DNS subdomain, as Kubernetes has them
_WORD = r"^[0-9A-Za-z][-0-9A-Za-z._:]*$"
_CURSOR = r"^[ -\[\]-~]+$"  # printable ASCII without a backslash: JSON that can hide no other character
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,30})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
_SHOWN = 80  # characters of a bad value that its message repeats
_FIELDS = 32  # of a query


class BadParameterError(ValueError):
    """A parameter that is none, or a value that it does not take."""


@dataclass(frozen=True, eq=False)
class Parameter(Generic[T]):
    """A parameter, for the server and for the API's description."""

    name: str
    description: str
    schema: Mapping[str, Any]
    """The JSON schema of what it takes."""
    read: Callable[[str], T]
    """Raises ValueError for a text that it does not take."""
    default: T | None = None


class Values:
    """The values of a request, by parameter."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def __or__(self, others: Values) -> Values:
        return Values(self._values | others._values)

    def __getitem__(self, parameter: Parameter[T]) -> T:
        return cast(T, self._values[parameter.name])

    def get(self, parameter: Parameter[T]) -> T | None:
        """None where the path has no such parameter."""
        return cast(T | None, self._values.get(parameter.name))


def read_values(known: Iterable[Parameter[Any]], given: Mapping[str, str]) -> Values:
    """The value of each parameter that is known, as given or by default. Raises BadParameterError."""
    parameters = {parameter.name: parameter for parameter in known}
    for name in given:
        if name not in parameters:
            names = ", ".join(sorted(parameters)) or "none"
            raise BadParameterError(f"there is no parameter {_shown(name)} here; there is {names}")
    values = {name: _read(parameter, given[name]) for name, parameter in parameters.items() if name in given}
    return Values({name: parameter.default for name, parameter in parameters.items()} | values)


def read_query(query: str) -> dict[str, str]:
    """The fields of a query. Raises BadParameterError where it is no query or says a thing twice."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError:
        raise BadParameterError(
            f"the query cannot be read: it takes at most {_FIELDS} fields, percent-encoded as UTF-8"
        ) from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise BadParameterError(f"{_shown(name)} is given twice")
        fields[name] = value
    return fields


def read_segment(segment: str) -> str:
    """A part of a path, decoded. Raises BadParameterError."""
    try:
        return unquote(segment, errors="strict")
    except ValueError:
        raise BadParameterError(f"{_shown(segment)} is not percent-encoded as UTF-8") from None


def is_usable(time: datetime) -> bool:
    """Whether each database and each time zone has such a time."""
    return 1 < time.year < 9999  # noqa: PLR2004 -- the first and the last year, less what a time zone may add


def _read(parameter: Parameter[T], text: str) -> T:
    try:
        return parameter.read(text)
    except ValueError as error:
        raise BadParameterError(f"{parameter.name}={_shown(text)}: {error}") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _text(pattern: str, longest: int, says: str) -> tuple[Mapping[str, Any], Callable[[str], str]]:
    """The schema of such a text, and what reads it."""
    # Of Python's two ends, $ also matches before a line's end.
    matches = re.compile(pattern.removesuffix("$") + r"\Z").match

    def read(text: str) -> str:
        if len(text) > longest or not matches(text):
            raise ValueError(f"it is to be {says}, of at most {longest} characters")
        return text

    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern}, read


def _whole(lowest: int, highest: int) -> tuple[Mapping[str, Any], Callable[[str], int]]:
    def read(text: str) -> int:
        # Not int(), which takes spaces, underscores and the digits of every script.
        number = int(text) if re.fullmatch("[0-9]{1,18}", text) else -1
        if not lowest <= number <= highest:
            raise ValueError(f"it is to be a whole number from {lowest} to {highest}")
        return number

    return {"type": "integer", "minimum": lowest, "maximum": highest}, read


def _time(text: str) -> datetime:
    says = "it is to be a time with its zone, such as 2026-11-23T13:35:00Z, and a + in it is written as %2B"
    if not re.fullmatch(_TIME, text, re.ASCII):
        raise ValueError(says)
    try:
        time = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"{error}; {says}") from None
    if not is_usable(time):
        raise ValueError("there is no history of that year")
    return time.astimezone(UTC)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("it is to be true or false")
    return text == "true"


_TIME_SCHEMA = {"type": "string", "format": "date-time"}
_BOOLEAN = {"type": "boolean"}

NAMESPACE = Parameter("namespace", "Namespace of the Kanary.", *_text(_NAME, 253, "a name of Kubernetes"))
NAME = Parameter("name", "Name of the Kanary.", *_text(_NAME, 253, "a name of Kubernetes"))
REVISION = Parameter("revision", "Number of the revision.", *_whole(0, 10**18 - 1))
HASH = Parameter("hash", "The `configHash` of a change.", *_text(_WORD, 128, "letters, digits and -._:"))
IN_PATH: Mapping[str, Parameter[Any]] = {p.name: p for p in (NAMESPACE, NAME, REVISION, HASH)}

AT: Parameter[datetime | None] = Parameter(
    "at", "For each Kanary the change that was the newest then. Excludes `since` and `until`.", _TIME_SCHEMA, _time
)
SINCE: Parameter[datetime | None] = Parameter("since", "Nothing before this.", _TIME_SCHEMA, _time)
UNTIL: Parameter[datetime | None] = Parameter("until", "Nothing after this.", _TIME_SCHEMA, _time)
DELETED = Parameter(
    "deleted", "Those that are gone as well, among them earlier ones of the same name.", _BOOLEAN, _flag, False
)
CONFIGURATION = Parameter("configuration", "Whether the configuration's text is answered.", _BOOLEAN, _flag, True)
LIMIT = Parameter("limit", "Items of a page at most.", *_whole(1, LIMIT_MAX), LIMIT_DEFAULT)
AFTER: Parameter[str | None] = Parameter(
    "after", "Where to read on: the `next` of the page before.", *_text(_CURSOR, 1024, "what the page before said")
)
UID: Parameter[str | None] = Parameter(
    "uid",
    "The Kanary of this uid, be it deleted or not. Default: the one that exists.",
    *_text(_WORD, 253, "a uid of Kubernetes"),
)
