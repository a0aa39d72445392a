"""The query parameters of the history's HTTP API, and what they select."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from kanary.history.selection import BadCursorError, Selection
from kanary.history.wire import LIMIT_MAX


def _within_reach(time: datetime) -> datetime:
    if not 1 < time.year < 9999:  # noqa: PLR2004 -- the first and the last year, less what a time zone may add
        raise ValueError("there is no history of that year")
    return time


Text = Annotated[str, Field(max_length=253, pattern=r"^[^\x00]*$")]
"""A name or word. PostgreSQL takes no NUL."""
Moment = Annotated[AwareDatetime, AfterValidator(_within_reach)]


class ApiQuery(BaseModel):
    """Base of the queries: unknown parameters are refused, since a misspelt one would select too much."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SelectionQuery(ApiQuery):
    """Which Kanaries, and which page of the answer."""

    namespace: Text | None = None
    """Only of this namespace."""
    name: Text | None = None
    """Only of Kanaries with this name; needs `namespace`."""
    deleted: bool = False
    """Whether deleted Kanaries count, among them former ones of the same name."""
    limit: int = Field(default=100, ge=1, le=LIMIT_MAX)
    """Items of the page at most."""
    after: str | None = Field(default=None, max_length=1024)
    """Where to read on: the `next` of the page before."""

    @model_validator(mode="after")
    def _name_needs_namespace(self) -> SelectionQuery:
        if self.name is not None and self.namespace is None:
            raise ValueError("name needs a namespace")
        return self

    def selection(self) -> Selection:
        """What is selected."""
        return Selection(self.namespace, self.name, self.deleted)

    def place(self) -> str | None:
        """Where to read on. Raises BadCursorError for what cannot be in a database."""
        if self.after is not None and ("\\" in self.after or not self.after.isprintable()):
            raise BadCursorError("invalid `after`: use the `next` of the page before")
        return self.after


class SpanQuery(SelectionQuery):
    """The same, within a span of time."""

    since: Moment | None = None
    """Nothing before this time (RFC 3339; a `+` in it is written %2B)."""
    until: Moment | None = None
    """Nothing after this time."""

    def selection(self) -> Selection:
        """What is selected."""
        return Selection(self.namespace, self.name, self.deleted, self.since, self.until)


class EntryQuery(SpanQuery):
    """The same, of some kinds."""

    kinds: Text | None = None
    """Only entries of these kinds, separated by commas. Default: every kind."""

    def kind_set(self) -> frozenset[str] | None:
        """The kinds, None for every one."""
        return None if self.kinds is None else frozenset(self.kinds.split(","))


class InForceQuery(SelectionQuery):
    """What was in force at a time."""

    at: Moment
    """The time (RFC 3339; a `+` in it is written %2B)."""


class ConfigurationQuery(ApiQuery):
    """One configuration."""

    digest: Text
    """The `digest` of a weight change."""


class KanaryQuery(ApiQuery):
    """One Kanary."""

    namespace: Text
    """Of the Kanary."""
    name: Text
    """Of the Kanary."""
    uid: Text | None = None
    """The Kanary with this uid. Default: the one that exists, else the one that was deleted last."""


class RevisionQuery(KanaryQuery):
    """One revision of a Kanary."""

    revision: int = Field(ge=0, lt=2**63)
    """Number of the revision."""
