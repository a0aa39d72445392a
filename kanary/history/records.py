"""What is read of the record: an entry, or a weight change with how it ended, and whose it is."""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, SerializeAsAny

from engine.model.entries import ChangeResult, Entry, WeightChange, read_entry
from engine.model.shape import Shape, Time

T = TypeVar("T")


def recorded_entry(raw: Any) -> Any:
    """An entry from its JSON; a plain `Entry` where a newer version gave its kind other fields than are known here.

    Raises pydantic.ValidationError for what is no entry.
    """
    return read_entry(raw) if isinstance(raw, Mapping) else raw


class KnownKanary(Shape):
    """A Kanary that the record has something of."""

    uid: str
    """Tells apart those that had the same name one after the other."""
    namespace: str
    name: str
    first_seen: Time
    deleted_at: Time | None = None
    """Null while it exists."""


class KanarySummary(KnownKanary):
    """A Kanary, and which of its revisions are kept."""

    first_revision: int | None = None
    """Null where none is kept."""
    last_revision: int | None = None


class RecordedEntry(Shape):
    """An entry, and whose it is."""

    kanary: KnownKanary
    entry: Annotated[SerializeAsAny[Entry], BeforeValidator(recorded_entry)]
    """As the model of its kind; one of an unknown kind as an `Entry`, with all its fields."""


class RecordedChange(Shape):
    """A weight change, how it ended, and whose it is."""

    kanary: KnownKanary
    change: WeightChange
    result: ChangeResult | None = None
    """Null while it is in progress."""


class Page(Shape, Generic[T]):
    """At most as many items as `limit` says; fewer, or none, where they are large."""

    items: tuple[T, ...]
    next: str | None = None
    """Give this as `after` to read on; null on the last page. Opaque, and safe in a URL once it is quoted."""
