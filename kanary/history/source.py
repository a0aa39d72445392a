"""Where the record is read from: a database, or the operator over HTTP. Nothing here needs a database."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from engine.model.entries import Configuration
from kanary.history.records import KnownKanary, Page, RecordedChange, RecordedEntry
from kanary.history.selection import PAGE, Selection, every


class Source(Protocol):
    """What `Reader` reads in a database, and `HttpSource` requests from the operator.

    Each call raises HistoryError where the record cannot be read, and BadCursorError for an invalid `after`. A page
    may be shorter than `limit`, or even empty, and not be the last: only `next` says so.
    """

    def kanaries(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[KnownKanary]:
        """The Kanaries themselves, by namespace, name and uid; whatever the time."""

    def changes(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[RecordedChange]:
        """Weight changes, the newest first."""

    def entries(
        self, selection: Selection, after: str | None = None, limit: int = PAGE, kinds: frozenset[str] | None = None
    ) -> Page[RecordedEntry]:
        """Entries of these kinds, or of every kind, the newest first."""

    def in_force(
        self, selection: Selection, at: datetime, after: str | None = None, limit: int = PAGE
    ) -> Page[RecordedChange]:
        """For each Kanary that existed at that time, the weight change that was the newest then."""

    def revision(self, kanary: KnownKanary, revision: int) -> RecordedChange | None:
        """One weight change of a Kanary, or None."""

    def revisions(self, kanary: KnownKanary) -> tuple[int, int] | None:
        """The first and the last revision that are kept, or None where none is."""

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None where it is not kept."""

    def close(self) -> None:
        """Close what is open."""


def find_kanary(source: Source, selection: Selection, uid: str | None = None) -> KnownKanary | None:
    """Of those selected the one with that uid; else the one that exists, or that was deleted last. None for none."""
    known = every(lambda after: source.kanaries(selection, after))
    return max((kanary for kanary in known if uid in (None, kanary.uid)), key=_lastness, default=None)


def _lastness(kanary: KnownKanary) -> tuple[bool, datetime]:
    return kanary.deleted_at is None, kanary.deleted_at or kanary.first_seen
