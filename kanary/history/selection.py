"""What of the record is asked for, and the place in it where a page ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from kanary.history.records import Page

T = TypeVar("T")

PAGE = 500
"""Rows of a page where nobody says how many."""


class BadCursorError(ValueError):
    """What was given as the place to read on from is none."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which Kanaries, and from when on and until when (both included); a name without a namespace is not enough."""

    namespace: str | None = None
    """None means all."""
    name: str | None = None
    include_deleted: bool = False
    """Those that are gone as well, among them earlier ones of the same name."""
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.name is not None and self.namespace is None:
            raise ValueError(f"of which namespace is {self.name}?")


def pages(read: Callable[[str | None], Page[T]]) -> Iterator[tuple[T, ...]]:
    """One page after the other; each is read when it is wanted."""
    page = read(None)
    yield page.items
    while page.next is not None:
        page = read(page.next)
        yield page.items


def every(read: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """All of it in the memory of one page: `every(lambda after: reader.changes(selection, after))`."""
    for items in pages(read):
        yield from items


@dataclass(frozen=True, slots=True)
class Place:
    """The last row of a page. Pages go by it, so that what is recorded meanwhile shifts nothing."""

    at: datetime
    uid: str
    number: int

    def __str__(self) -> str:
        return _text(self.at.isoformat(), self.uid, self.number)


@dataclass(frozen=True, slots=True)
class NamePlace:
    """The last Kanary of a page of Kanaries."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return _text(self.namespace, self.name, self.uid)


def read_place(text: str | None) -> Place | None:
    """The place that `next` of a page of changes or transitions names. Raises BadCursorError."""
    if text is None:
        return None
    at, uid, number = _parts(text)
    try:
        time = datetime.fromisoformat(str(at))
        time.astimezone(UTC)  # which the first and the last hours of all time cannot be
    except (ValueError, OverflowError):
        raise _bad(text) from None
    if time.tzinfo is None or not isinstance(uid, str) or not _is_key(number):
        raise _bad(text)
    return Place(time, uid, number)


def read_name_place(text: str | None) -> NamePlace | None:
    """The place that `next` of a page of Kanaries names. Raises BadCursorError."""
    if text is None:
        return None
    parts = _parts(text)
    if not all(isinstance(part, str) for part in parts):
        raise _bad(text)
    return NamePlace(*parts)


def _text(*parts: str | int) -> str:
    return json.dumps(parts, separators=(",", ":"))


def _parts(text: str) -> tuple[Any, Any, Any]:
    try:
        first, second, third = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise _bad(text) from None
    return first, second, third


def _bad(text: str) -> BadCursorError:
    return BadCursorError(f"{text[:80]!r} is no place to read on from: give what the page before said")


def _is_key(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and -(2**63) <= number < 2**63
