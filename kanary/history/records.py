"""The results of reading the history: entries, and weight changes with their results, each with its Kanary."""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, SerializeAsAny

from engine.model.entries import ChangeResult, Entry, WeightChange, read_entry
from engine.model.shape import Shape, Time

T = TypeVar("T")


def recorded_entry(raw: Any) -> Any:
    """An entry from its JSON; a plain `Entry` if a newer version wrote fields that its kind does not have here.

    Raises pydantic.ValidationError if the JSON is not an entry.
    """
    return read_entry(raw) if isinstance(raw, Mapping) else raw


class KnownKanary(Shape):
    """A Kanary in the history."""

    uid: str
    """Distinguishes Kanaries that had the same name at different times."""
    namespace: str
    name: str
    first_seen: Time
    deleted_at: Time | None = None
    """Null if it is not deleted."""


class KanarySummary(KnownKanary):
    """A Kanary, and the revisions of it in the history."""

    first_revision: int | None = None
    """Null if the history has none."""
    last_revision: int | None = None


class RecordedEntry(Shape):
    """An entry and its Kanary."""

    kanary: KnownKanary
    entry: Annotated[SerializeAsAny[Entry], BeforeValidator(recorded_entry)]
    """The model of its kind; for an unknown kind an `Entry` with all its fields."""


class RecordedChange(Shape):
    """A weight change with its result and its Kanary."""

    kanary: KnownKanary
    change: WeightChange
    result: ChangeResult | None = None
    """Null while it is in progress."""


class Page(Shape, Generic[T]):
    """At most `limit` items; it may have fewer, or none, even if another page follows."""

    items: tuple[T, ...]
    next: str | None = None
    """The `after` of the next page; null on the last page. Opaque; percent-encode it in a URL."""
