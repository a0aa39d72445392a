"""Where the record is read from: a database, or the operator over HTTP. Nothing here needs a database."""

from __future__ import annotations

from typing import Protocol

from engine.model.entries import Configuration
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry


class Source(Protocol):
    """What `Reader` reads in a database, and `HttpSource` requests from the operator.

    Each call raises HistoryError where the record cannot be read. A page may be shorter than `limit`, or even empty,
    and not be the last: only `next` says so. What the record does not have is an empty page.
    """

    def kanaries(self, query: KanaryQuery) -> Page[KanarySummary]:
        """Kanaries, by namespace, name and uid."""

    def changes(self, query: ChangeQuery) -> Page[RecordedChange]:
        """Weight changes, the newest first; those of one name Kanary by Kanary, the existing one first."""

    def entries(self, query: EntryQuery) -> Page[RecordedEntry]:
        """Entries, in the order of `changes`."""

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None where it is not kept."""

    def close(self) -> None:
        """Close what is open."""
