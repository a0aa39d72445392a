"""The queries of the history: the arguments of `Source`, and the query parameters of its HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from engine.model.shape import Time
from kanary.history.records import Page

T = TypeVar("T")
Q = TypeVar("Q", bound="RecordQuery")

PAGE = 500
"""Default maximum of items per page."""

Text = Annotated[str, Field(max_length=253, pattern=r"^[^\x00]*$")]
"""A name or word. PostgreSQL rejects NUL."""


class _Query(BaseModel):
    # Unknown parameters are rejected: the query would otherwise ignore a misspelt one and return too much.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RecordQuery(_Query):
    """Selects Kanaries, and a page of the result."""

    PLACE: ClassVar[TypeAdapter[Any]]
    """Sort key of the last item of a page, where the next page begins. Newly recorded items do not shift pages."""

    namespace: Text | None = None
    """Only Kanaries in this namespace."""
    name: Text | None = None
    """Only Kanaries with this name; requires `namespace`."""
    uid: Text | None = None
    """Only the Kanary with this uid, deleted or not."""
    deleted: bool = False
    """Include deleted Kanaries, such as earlier ones with the same name."""
    limit: int = Field(default=PAGE, ge=1, le=1000)
    """Maximum number of items on the page."""
    after: str | None = Field(default=None, max_length=1024)
    """Continue after the previous page: the value of its `next`."""

    @model_validator(mode="after")
    def _name_needs_namespace(self) -> RecordQuery:
        if self.name is not None and self.namespace is None:
            raise ValueError("name needs a namespace")
        return self

    @field_validator("after")
    @classmethod
    def _is_place(cls, after: str) -> str:
        try:
            cls.PLACE.validate_json(after)
        except ValidationError:
            raise ValueError("use the `next` of the page before") from None
        return after

    @property
    def place(self) -> Any:
        """The sort key to continue after, of the type `PLACE`; None for the first page."""
        return None if self.after is None else self.PLACE.validate_json(self.after)


class KanaryQuery(RecordQuery):
    """Kanaries, sorted by namespace, name and uid."""

    PLACE = TypeAdapter(tuple[Text, Text, Text])


class _SpanQuery(RecordQuery):
    PLACE = TypeAdapter(tuple[Time, Text, Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)]])

    since: Time | None = None
    """Nothing before this time (RFC 3339; write a `+` in it as %2B)."""
    until: Time | None = None
    """Nothing after this time."""


class EntryQuery(_SpanQuery):
    """Entries, newest first: with `name` or `uid` by number, the existing Kanary first, otherwise by time."""

    kinds: Text | None = None
    """Only entries of these kinds, separated by commas. Default: every kind."""


class ChangeQuery(_SpanQuery):
    """Weight changes, newest first: with `name` or `uid` by number, the existing Kanary first, otherwise by time."""

    at: Time | None = None
    """Only the newest change up to this time of each Kanary that existed then, even if it was not served yet."""
    revision: int | None = Field(default=None, ge=0, lt=2**63)
    """Only this revision."""


class ConfigurationQuery(_Query):
    """The configuration with this digest; an empty page if the history does not have it."""

    digest: Text
    """The `digest` of a weight change."""


def pages(read: Callable[[Q], Page[T]], query: Q) -> Iterator[tuple[T, ...]]:
    """The items of each page, read when they are needed: `pages(source.changes, query)`."""
    page = read(query)
    yield page.items
    while page.next is not None:
        page = read(query.model_copy(update={"after": page.next}))
        yield page.items


def every(read: Callable[[Q], Page[T]], query: Q) -> Iterator[T]:
    """All items, with one page in memory at a time."""
    return chain.from_iterable(pages(read, query))
