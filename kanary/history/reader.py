"""The record as it is read: newest first, page by page, on connections that cannot write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from kanary.history.address import Address, parse_address
from kanary.history.connecting import reader_engine
from kanary.history.faults import told
from kanary.history.files import require_file
from kanary.history.model import KnownKanary, RecordedChange, RecordedTransition
from kanary.history.rows import change_of, configuration_text, kanary_of, outcome_of, transition_of
from kanary.history.schema import require_readable
from kanary.history.selection import PAGE, NamePlace, Page, Place, Selection, every, read_name_place, read_place
from kanary.history.tables import CHANGES, CONFIGURATIONS, KANARIES, OUTCOMES, TRANSITIONS

__all__ = ["Reader", "every"]

T = TypeVar("T")


@dataclass(frozen=True)
class _Kind(Generic[T]):
    """What differs between reading changes and reading transitions."""

    table: sa.Table
    number: sa.Column[Any]
    query: sa.Select[Any]
    made: Callable[[KnownKanary, RowMapping], T]


_CHANGES = _Kind(
    CHANGES,
    CHANGES.c.revision,
    sa.select(CHANGES, *(OUTCOMES.c[name].label(f"outcome_{name}") for name in ("result", "at", "seconds"))).outerjoin(
        OUTCOMES, sa.and_(OUTCOMES.c.uid == CHANGES.c.uid, OUTCOMES.c.revision == CHANGES.c.revision)
    ),
    lambda kanary, row: RecordedChange(kanary, change_of(row), outcome_of(row)),
)
_TRANSITIONS = _Kind(
    TRANSITIONS,
    TRANSITIONS.c.number,
    sa.select(TRANSITIONS),
    lambda kanary, row: RecordedTransition(kanary, transition_of(row)),
)


class Reader:
    """Reads a record that may be written at the same time; for any number of threads.

    Each call raises HistoryError where the database cannot be read, and BadCursorError for a place that is none.
    """

    def __init__(self, url: str | Address) -> None:
        """Raises BadAddressError for a URL that is none; nothing is opened yet."""
        self.address = url if isinstance(url, Address) else parse_address(url)
        self._engine = reader_engine(self.address)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def kanaries(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[KnownKanary]:
        """The Kanaries themselves, by namespace and name, and by uid where several had the same; whatever the time."""
        key = (KANARIES.c.namespace, KANARIES.c.name, KANARIES.c.uid)
        query = sa.select(KANARIES).where(*_chosen(selection)).order_by(*key).limit(limit + 1)
        if place := read_name_place(after):
            query = query.where(sa.tuple_(*key) > sa.tuple_(place.namespace, place.name, place.uid))
        with self.connection() as connection:
            found = [kanary_of(row) for row in connection.execute(query).mappings()]
        return _page(found, limit, lambda kanary: NamePlace(kanary.namespace, kanary.name, kanary.uid))

    def changes(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[RecordedChange]:
        """Changes, the newest first; those of one name Kanary by Kanary and by revision, else all by time."""
        return self._read(_CHANGES, selection, after, limit)

    def transitions(
        self, selection: Selection, after: str | None = None, limit: int = PAGE
    ) -> Page[RecordedTransition]:
        """Changes of phase, in the order that `changes` has."""
        return self._read(_TRANSITIONS, selection, after, limit)

    def in_force(
        self, selection: Selection, at: datetime, after: str | None = None, limit: int = PAGE
    ) -> Page[RecordedChange]:
        """For each Kanary that existed at that time, the change that was the newest then; a page may be empty.

        Those that were deleted since count only where the selection includes them.
        """
        page = self.kanaries(replace(selection, since=None, until=None), after, limit)
        was_there = [kanary for kanary in page.items if kanary.deleted_at is None or kanary.deleted_at > at]
        query = _CHANGES.query.where(CHANGES.c.at <= at).order_by(CHANGES.c.revision.desc()).limit(1)
        found = []
        with self.connection() as connection:
            for kanary in was_there:
                rows = connection.execute(query.where(CHANGES.c.uid == kanary.uid)).mappings()
                found += [_CHANGES.made(kanary, row) for row in rows]
        return Page(tuple(found), page.next)

    def revision(self, kanary: KnownKanary, revision: int) -> RecordedChange | None:
        """One change of a Kanary, or None."""
        query = _CHANGES.query.where(CHANGES.c.uid == kanary.uid, CHANGES.c.revision == revision)
        with self.connection() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _CHANGES.made(kanary, row) if row else None

    def revisions(self, kanary: KnownKanary) -> tuple[int, int] | None:
        """The first and the last revision that are kept, or None where none is."""
        query = sa.select(sa.func.min(CHANGES.c.revision), sa.func.max(CHANGES.c.revision))
        with self.connection() as connection:
            first, last = connection.execute(query.where(CHANGES.c.uid == kanary.uid)).one()
        return None if first is None else (first, last)

    def configuration(self, config_hash: str) -> str | None:
        """The text of a configuration, or None where it is not kept."""
        query = sa.select(CONFIGURATIONS.c.text).where(CONFIGURATIONS.c.hash == config_hash)
        with self.connection() as connection:
            packed = connection.scalar(query)
        return None if packed is None else configuration_text(packed)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A transaction that sees one state of the record; for the other modules of this package."""
        path = self.address.path
        if path is not None:
            with told(self.address):
                require_file(path)
        with told(self.address), self._engine.begin() as connection:
            require_readable(connection, self.address)
            yield connection

    def _read(self, kind: _Kind[T], selection: Selection, after: str | None, limit: int) -> Page[T]:
        place = read_place(after)
        rows_of = _by_time if selection.name is None else _by_kanary
        with self.connection() as connection:
            rows = rows_of(connection, kind, selection, place, limit + 1)
            owners = _owners(connection, {row["uid"] for row in rows})
        page = _page(rows, limit, lambda row: Place(row["at"], row["uid"], row[kind.number.name]))
        return Page(tuple(kind.made(owners[row["uid"]], row) for row in page.items), page.next)


def _by_time(
    connection: Connection, kind: _Kind[T], selection: Selection, place: Place | None, limit: int
) -> Sequence[RowMapping]:
    at, uid = kind.table.c.at, kind.table.c.uid
    query = kind.query.where(*_within(kind, selection))
    if place is not None:
        # With the columns' types, or SQLite would compare its own text for a time with the driver's.
        types = [at.type, uid.type, kind.number.type]
        query = query.where(sa.tuple_(at, uid, kind.number) < sa.tuple_(place.at, place.uid, place.number, types=types))
    if chosen := _chosen(selection):
        # Not a join: the database is to walk along the index by time and stop at the end of the page.
        query = query.where(sa.exists().where(KANARIES.c.uid == uid, *chosen))
    query = query.order_by(at.desc(), uid.desc(), kind.number.desc()).limit(limit)
    return connection.execute(query).mappings().all()


def _by_kanary(
    connection: Connection, kind: _Kind[T], selection: Selection, place: Place | None, limit: int
) -> Sequence[RowMapping]:
    """The one that lives, then the earlier ones of its name: by the key of each, whatever clocks have said."""
    known = sa.select(KANARIES.c.uid).where(*_chosen(replace(selection, include_deleted=True)))
    if not selection.include_deleted:
        # One that is deleted while its pages are read is read to its end: else a part would look like the whole.
        begun = place.uid if place else None
        known = known.where(sa.or_(KANARIES.c.deleted_at.is_(None), KANARIES.c.uid == begun))
    # One that is deleted while its pages are read stays where it was: it is the last that was.
    order = (KANARIES.c.deleted_at.is_not(None), KANARIES.c.deleted_at.desc(), KANARIES.c.uid.desc())
    uids = list(connection.scalars(known.order_by(*order)))
    if place is not None:
        uids = uids[uids.index(place.uid) :] if place.uid in uids else []
    query = kind.query.where(*_within(kind, selection)).order_by(kind.number.desc())
    rows: list[RowMapping] = []
    for uid in uids:
        mine = query.where(kind.table.c.uid == uid)
        if place is not None and uid == place.uid:
            mine = mine.where(kind.number < place.number)
        rows += connection.execute(mine.limit(limit - len(rows))).mappings()
        if len(rows) == limit:
            break
    return rows


def _chosen(selection: Selection) -> list[sa.ColumnElement[bool]]:
    """What a row of `kanaries` has to be."""
    conditions: list[sa.ColumnElement[bool]] = []
    if selection.namespace is not None:
        conditions.append(KANARIES.c.namespace == selection.namespace)
    if selection.name is not None:
        conditions.append(KANARIES.c.name == selection.name)
    if not selection.include_deleted:
        conditions.append(KANARIES.c.deleted_at.is_(None))
    return conditions


def _within(kind: _Kind[T], selection: Selection) -> list[sa.ColumnElement[bool]]:
    """What a row's time has to be."""
    since = [] if selection.since is None else [kind.table.c.at >= selection.since]
    until = [] if selection.until is None else [kind.table.c.at <= selection.until]
    return [*since, *until]


def _owners(connection: Connection, uids: set[str]) -> dict[str, KnownKanary]:
    rows = connection.execute(sa.select(KANARIES).where(KANARIES.c.uid.in_(sorted(uids)))).mappings()
    return {row["uid"]: kanary_of(row) for row in rows}


def _page(items: Sequence[T], limit: int, place: Callable[[T], Place | NamePlace]) -> Page[T]:
    """One row more than the page has room for says that there is another."""
    kept = tuple(items[:limit])
    return Page(kept, str(place(kept[-1])) if len(items) > limit else None)
