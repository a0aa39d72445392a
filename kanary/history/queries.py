"""What can be requested of the history: the arguments of `Source`, and the query parameters of its HTTP API."""

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
"""Items of a page at most, unless the query says otherwise."""

Text = Annotated[str, Field(max_length=253, pattern=r"^[^\x00]*$")]
"""A name or word. PostgreSQL takes no NUL."""


class _Query(BaseModel):
    # Unknown parameters are refused, since a misspelt one would select too much.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RecordQuery(_Query):
    """Which Kanaries, and which page of the answer."""

    PLACE: ClassVar[TypeAdapter[Any]]
    """The sort key of the last item of a page. Pages go by it, so that what is recorded meanwhile shifts nothing."""

    namespace: Text | None = None
    """Only of this namespace."""
    name: Text | None = None
    """Only of Kanaries with this name; needs `namespace`."""
    uid: Text | None = None
    """Only of the Kanary with this uid, whether it exists or not."""
    deleted: bool = False
    """Whether deleted Kanaries count, among them former ones of the same name."""
    limit: int = Field(default=PAGE, ge=1, le=1000)
    """Items of the page at most."""
    after: str | None = Field(default=None, max_length=1024)
    """Where to read on: the `next` of the page before."""

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
        """The sort key to read on from, as `PLACE` has it; None for the first page."""
        return None if self.after is None else self.PLACE.validate_json(self.after)


class KanaryQuery(RecordQuery):
    """Kanaries, by namespace, name and uid."""

    PLACE = TypeAdapter(tuple[Text, Text, Text])


class _SpanQuery(RecordQuery):
    PLACE = TypeAdapter(tuple[Time, Text, Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)]])

    since: Time | None = None
    """Nothing before this time (RFC 3339; a `+` in it is written %2B)."""
    until: Time | None = None
    """Nothing after this time."""


class EntryQuery(_SpanQuery):
    """Entries, the newest first: those of one Kanary by number, else all by time."""

    kinds: Text | None = None
    """Only entries of these kinds, separated by commas. Default: every kind."""


class ChangeQuery(_SpanQuery):
    """Weight changes, the newest first: those of one Kanary by number, else all by time."""

    at: Time | None = None
    """Of each Kanary that existed at this time only the newest change up to then, served already or not."""
    revision: int | None = Field(default=None, ge=0, lt=2**63)
    """Only this revision."""


class ConfigurationQuery(_Query):
    """The configuration with a digest, if it is kept."""

    digest: Text
    """The `digest` of a weight change."""


def pages(read: Callable[[Q], Page[T]], query: Q) -> Iterator[tuple[T, ...]]:
    """The items of one page after the other; each is read when it is needed: `pages(source.changes, query)`."""
    page = read(query)
    yield page.items
    while page.next is not None:
        page = read(query.model_copy(update={"after": page.next}))
        yield page.items


def every(read: Callable[[Q], Page[T]], query: Q) -> Iterator[T]:
    """All items, in the memory of one page."""
    return chain.from_iterable(pages(read, query))
