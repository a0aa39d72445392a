"""What of the record is asked for, and the place in it where a page ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import Field, StrictInt, StrictStr, TypeAdapter

from engine.model.shape import Time
from kanary.history.records import Page

T = TypeVar("T")

PAGE = 500
"""Rows of a page where nobody says how many."""


class BadCursorError(ValueError):
    """The place to read on from is invalid."""


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


PLACE: TypeAdapter[tuple[datetime, str, int]] = TypeAdapter(
    tuple[Time, StrictStr, Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]]
)
"""Time, uid and number of the last row of a page. Pages go by it, so that what is recorded meanwhile shifts nothing."""
NAME_PLACE = TypeAdapter(tuple[StrictStr, StrictStr, StrictStr])
"""Namespace, name and uid of the last Kanary of a page of Kanaries."""


def read_place(text: str | None, of: TypeAdapter[T]) -> T | None:
    """The place that `next` of a page names. Raises BadCursorError."""
    if text is None:
        return None
    try:
        return of.validate_json(text)
    except (ValueError, OverflowError):  # the first and the last hours of all time are in no time zone but their own
        message = f"{text[:80]!r} is no place to read on from: give the `next` of the page before"
        raise BadCursorError(message) from None
