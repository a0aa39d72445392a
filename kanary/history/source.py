"""The interface for reading the history from a database, or from the operator over HTTP. Does not load SQLAlchemy."""

from __future__ import annotations

from typing import Protocol

from engine.model.entries import Configuration
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry


class Source(Protocol):
    """Implemented by `Reader` with a database, and by `HttpSource` with the operator's HTTP API.

    Each call raises HistoryError if the history cannot be read. A page may be shorter than `limit`, or even empty,
    without being the last one: check `next`. A query without a match returns an empty page.
    """

    def kanaries(self, query: KanaryQuery) -> Page[KanarySummary]:
        """Kanaries, sorted by namespace, name and uid."""

    def changes(self, query: ChangeQuery) -> Page[RecordedChange]:
        """Weight changes, newest first: with a name or uid by number, the existing Kanary first, otherwise by time."""

    def entries(self, query: EntryQuery) -> Page[RecordedEntry]:
        """Entries, in the order of `changes`."""

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None if the history does not have it."""

    def close(self) -> None:
        """Close the connections."""
