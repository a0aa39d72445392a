"""What is read of the record: an entry, or a weight change with how it ended, and whose it is."""

from pydantic import SerializeAsAny

from engine.model.entries import ChangeResult, Entry, WeightChange
from engine.model.shape import Shape, Time


class KnownKanary(Shape):
    """A Kanary that the record has something of."""

    uid: str
    """Tells apart those that had the same name one after the other."""
    namespace: str
    name: str
    first_seen: Time
    deleted_at: Time | None = None
    """Null while it exists."""


class RecordedEntry(Shape):
    """An entry, and whose it is."""

    kanary: KnownKanary
    entry: SerializeAsAny[Entry]


class RecordedChange(Shape):
    """A weight change, how it ended, and whose it is."""

    kanary: KnownKanary
    change: WeightChange
    result: ChangeResult | None = None
    """Null while it is in progress."""
