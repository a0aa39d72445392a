"""The record as it is read: newest first, page by page, on connections that cannot write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.engine import Connection, RowMapping

from engine.model.entries import ChangeResult, Configuration, Result, WeightChange
from kanary.history.address import Address, parse_address
from kanary.history.connecting import reader_engine
from kanary.history.driver_errors import translated
from kanary.history.files import require_file
from kanary.history.records import KnownKanary, Page, RecordedChange, RecordedEntry, recorded_entry
from kanary.history.rows import configuration_of, kanary_of
from kanary.history.schema import require_newest
from kanary.history.selection import NAME_PLACE, PAGE, PLACE, Selection, read_place
from kanary.history.tables import CONFIGURATIONS, ENTRIES, KANARIES

T = TypeVar("T")
K = TypeVar("K")
_Place = tuple[datetime, str, int]

CHANGE = WeightChange.model_fields["kind"].default
_RESULTS = ENTRIES.alias("results")
_RESULT = (
    sa.select(_RESULTS.c.body)
    .where(
        _RESULTS.c.uid == ENTRIES.c.uid,
        _RESULTS.c.kind == ChangeResult.model_fields["kind"].default,
        _RESULTS.c.revision == ENTRIES.c.revision,
    )
    # A Kanary whose status was removed has its last change end once more.
    .order_by(_RESULTS.c.number)
    .limit(1)
)
_CHANGES = sa.select(ENTRIES, _RESULT.scalar_subquery().label("result")).where(ENTRIES.c.kind == CHANGE)


class Reader:
    """Reads a record that may be written at the same time; for any number of threads.

    Each call raises HistoryError where the database cannot be read, and BadCursorError for an invalid `after`.
    """

    def __init__(self, url: str | Address) -> None:
        """Raises BadAddressError for an invalid URL; nothing is opened yet."""
        self.address = url if isinstance(url, Address) else parse_address(url)
        self._engine = reader_engine(self.address)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def kanaries(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[KnownKanary]:
        """The Kanaries themselves, by namespace and name, and by uid where several had the same; whatever the time."""
        key = (KANARIES.c.namespace, KANARIES.c.name, KANARIES.c.uid)
        query = sa.select(KANARIES).where(*_chosen(selection)).order_by(*key).limit(limit + 1)
        if place := read_place(after, NAME_PLACE):
            query = query.where(sa.tuple_(*key) > sa.tuple_(*place))
        with self.connection() as connection:
            found = [kanary_of(row) for row in connection.execute(query).mappings()]
        return _page(found, limit, NAME_PLACE, lambda kanary: (kanary.namespace, kanary.name, kanary.uid))

    def changes(self, selection: Selection, after: str | None = None, limit: int = PAGE) -> Page[RecordedChange]:
        """Weight changes, the newest first; those of one name Kanary by Kanary, else all by time."""
        with self.connection() as connection:
            page = _rows(connection, _CHANGES, selection, after, limit)
            owners = _owners(connection, page.items)
            return Page(items=tuple(_changes(connection, page.items, owners)), next=page.next)

    def entries(
        self, selection: Selection, after: str | None = None, limit: int = PAGE, kinds: frozenset[str] | None = None
    ) -> Page[RecordedEntry]:
        """Entries of these kinds, or of every kind, in the order that `changes` has."""
        query = sa.select(ENTRIES)
        if kinds is not None:
            query = query.where(ENTRIES.c.kind.in_(sorted(kinds)))
        with self.connection() as connection:
            page = _rows(connection, query, selection, after, limit)
            owners = _owners(connection, page.items)
        found = (RecordedEntry(kanary=owners[row["uid"]], entry=row["body"]) for row in page.items)
        return Page(items=tuple(found), next=page.next)

    def in_force(
        self, selection: Selection, at: datetime, after: str | None = None, limit: int = PAGE
    ) -> Page[RecordedChange]:
        """For each Kanary that existed at that time, the change that was the newest then; a page may be empty.

        Those that were deleted since count only where the selection includes them.
        """
        page = self.kanaries(replace(selection, since=None, until=None), after, limit)
        existed = {k.uid: k for k in page.items if k.deleted_at is None or k.deleted_at > at}
        query = _CHANGES.where(ENTRIES.c.at <= at).order_by(ENTRIES.c.number.desc()).limit(1)
        with self.connection() as connection:
            rows = [connection.execute(query.where(ENTRIES.c.uid == uid)).mappings().first() for uid in existed]
            found = _changes(connection, [row for row in rows if row is not None], existed)
            return Page(items=tuple(found), next=page.next)

    def revision(self, kanary: KnownKanary, revision: int) -> RecordedChange | None:
        """One change of a Kanary, or None."""
        query = _CHANGES.where(ENTRIES.c.uid == kanary.uid, ENTRIES.c.revision == revision)
        with self.connection() as connection:
            rows = connection.execute(query.order_by(ENTRIES.c.number.desc()).limit(1)).mappings().all()
            return next(_changes(connection, rows, {kanary.uid: kanary}), None)

    def revisions(self, kanary: KnownKanary) -> tuple[int, int] | None:
        """The first and the last revision that are kept, or None where none is."""
        query = sa.select(sa.func.min(ENTRIES.c.revision), sa.func.max(ENTRIES.c.revision))
        with self.connection() as connection:
            first, last = connection.execute(query.where(ENTRIES.c.uid == kanary.uid, ENTRIES.c.kind == CHANGE)).one()
        return None if first is None else (first, last)

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None where it is not kept."""
        query = sa.select(CONFIGURATIONS.c.body).where(CONFIGURATIONS.c.digest == digest).limit(1)
        with self.connection() as connection:
            packed = connection.scalar(query)
        return None if packed is None else configuration_of(packed)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A transaction that sees one state of the record; for the other modules of this package."""
        with translated(self.address):
            if self.address.path is not None:
                require_file(self.address.path)
            with self._engine.begin() as connection:
                require_newest(connection, self.address)
                yield connection


def _rows(
    connection: Connection, query: sa.Select[Any], selection: Selection, after: str | None, limit: int
) -> Page[RowMapping]:
    place = read_place(after, PLACE)
    if selection.since is not None:
        query = query.where(ENTRIES.c.at >= selection.since)
    if selection.until is not None:
        query = query.where(ENTRIES.c.at <= selection.until)
    read = _rows_by_time if selection.name is None else _rows_by_kanary
    rows = read(connection, query, selection, place, limit + 1)
    return _page(rows, limit, PLACE, lambda row: (row["at"], row["uid"], row["number"]))


def _rows_by_time(
    connection: Connection, query: sa.Select[Any], selection: Selection, place: _Place | None, limit: int
) -> Sequence[RowMapping]:
    key = (ENTRIES.c.at, ENTRIES.c.uid, ENTRIES.c.number)
    if place is not None:
        # With the columns' types, which say how a time is written.
        types = [column.type for column in key]
        query = query.where(sa.tuple_(*key) < sa.tuple_(*place, types=types))
    if chosen := _chosen(selection):
        # Not a join: the database is to walk along the index by time and stop at the end of the page.
        query = query.where(sa.exists().where(KANARIES.c.uid == ENTRIES.c.uid, *chosen))
    return connection.execute(query.order_by(*(column.desc() for column in key)).limit(limit)).mappings().all()


def _rows_by_kanary(
    connection: Connection, query: sa.Select[Any], selection: Selection, place: _Place | None, limit: int
) -> Sequence[RowMapping]:
    """Those of the Kanary that exists, then those of earlier ones of its name; by number, whatever the clocks said."""
    known = sa.select(KANARIES.c.uid).where(*_chosen(replace(selection, include_deleted=True)))
    begun = place[1] if place else None
    if not selection.include_deleted:
        # One that is deleted while its pages are read is read to its end: else a part would look like the whole.
        known = known.where(sa.or_(KANARIES.c.deleted_at.is_(None), KANARIES.c.uid == begun))
    # One that is deleted while its pages are read stays where it was: it is the last that was.
    order = (KANARIES.c.deleted_at.is_not(None), KANARIES.c.deleted_at.desc(), KANARIES.c.uid.desc())
    uids = list(connection.scalars(known.order_by(*order)))
    if begun is not None:
        uids = uids[uids.index(begun) :] if begun in uids else []
    rows: list[RowMapping] = []
    for uid in uids:
        mine = query.where(ENTRIES.c.uid == uid)
        if place is not None and uid == begun:
            mine = mine.where(ENTRIES.c.number < place[2])
        rows += connection.execute(mine.order_by(ENTRIES.c.number.desc()).limit(limit - len(rows))).mappings()
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


def _owners(connection: Connection, rows: Sequence[RowMapping]) -> dict[str, KnownKanary]:
    query = sa.select(KANARIES).where(KANARIES.c.uid.in_(sorted({row["uid"] for row in rows})))
    return {row["uid"]: kanary_of(row) for row in connection.execute(query).mappings()}


def _changes(
    connection: Connection, rows: Sequence[RowMapping], owners: Mapping[str, KnownKanary]
) -> Iterator[RecordedChange]:
    """The changes that this version can read, with their results."""
    open_ones = {row["uid"] for row in rows if row["result"] is None and owners[row["uid"]].deleted_at is not None}
    ends = _ends(connection, open_ones) if open_ones else {}
    for row in rows:
        kanary, change, result = owners[row["uid"]], recorded_entry(row["body"]), recorded_entry(row["result"])
        if result is None and isinstance(change, WeightChange) and row["uid"] in ends:
            result = _deleted(kanary, change, *ends[row["uid"]])
        if isinstance(change, WeightChange):
            known = result if isinstance(result, ChangeResult) else None
            yield RecordedChange(kanary=kanary, change=change, result=known)


def _ends(connection: Connection, uids: set[str]) -> dict[str, tuple[int, int]]:
    """The last revision and the last number of these Kanaries."""
    mine = ENTRIES.c.uid == KANARIES.c.uid
    revision = sa.select(sa.func.max(ENTRIES.c.revision)).where(mine, ENTRIES.c.kind == CHANGE).scalar_subquery()
    number = sa.select(sa.func.max(ENTRIES.c.number)).where(mine).scalar_subquery()
    query = sa.select(KANARIES.c.uid, revision, number).where(KANARIES.c.uid.in_(sorted(uids)))
    return {uid: (revision, number) for uid, revision, number in connection.execute(query)}


def _deleted(kanary: KnownKanary, change: WeightChange, revision: int, number: int) -> ChangeResult | None:
    """How the last change of a deleted Kanary ended.

    It follows from the deletion and is not recorded: the number that it would take is that of the Kanary's next entry,
    should the Kanary turn out to exist.
    """
    if change.revision != revision or kanary.deleted_at is None:
        return None
    at = kanary.deleted_at
    seconds = max(0.0, (at - change.at).total_seconds())
    return ChangeResult(number=number + 1, at=at, revision=revision, result=Result.DELETED, seconds=seconds)


def _page(items: Sequence[T], limit: int, kind: TypeAdapter[K], place: Callable[[T], K]) -> Page[T]:
    """One item more than the page has room for says that there is another page."""
    kept = tuple(items[:limit])
    return Page(items=kept, next=kind.dump_json(place(kept[-1])).decode() if len(items) > limit else None)
