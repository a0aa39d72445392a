"""Reads the history from the database: newest first, page by page, on read-only connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import dropwhile
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from engine.model.entries import ChangeResult, Configuration, Result, WeightChange
from kanary.history.address import Address, parse_address
from kanary.history.connecting import reader_engine
from kanary.history.driver_errors import translated
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery, RecordQuery
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry, recorded_entry
from kanary.history.schema import require_newest
from kanary.history.tables import CONFIGURATIONS, ENTRIES, KANARIES, configuration_of, kanary_of

T = TypeVar("T")

CHANGE = WeightChange.model_fields["kind"].default
_RESULTS = ENTRIES.alias("results")
_RESULT = (
    sa.select(_RESULTS.c.body)
    .where(
        _RESULTS.c.uid == ENTRIES.c.uid,
        _RESULTS.c.kind == ChangeResult.model_fields["kind"].default,
        _RESULTS.c.revision == ENTRIES.c.revision,
    )
    # The first result counts: if the status of a Kanary was removed, its last change ends once more.
    .order_by(_RESULTS.c.number)
    .limit(1)
)
_CHANGES = sa.select(ENTRIES, _RESULT.scalar_subquery().label("result")).where(ENTRIES.c.kind == CHANGE)
_OWN = ENTRIES.alias("own")
_IS_OWN = _OWN.c.uid == KANARIES.c.uid
_IS_CHANGE = _OWN.c.kind == CHANGE
_KANARIES = sa.select(
    KANARIES,
    sa.select(sa.func.min(_OWN.c.revision)).where(_IS_OWN, _IS_CHANGE).scalar_subquery().label("first_revision"),
    sa.select(sa.func.max(_OWN.c.revision)).where(_IS_OWN, _IS_CHANGE).scalar_subquery().label("last_revision"),
    sa.select(sa.func.max(_OWN.c.number)).where(_IS_OWN).scalar_subquery().label("last_number"),
)


class Reader:
    """Implements `Source` with a database that may be written at the same time. Safe for any number of threads.

    Each call raises HistoryError if the database cannot be read.
    """

    def __init__(self, url: str | Address) -> None:
        """Raises BadAddressError for an invalid URL. Does not open the database."""
        self.address = url if isinstance(url, Address) else parse_address(url)
        self._engine = reader_engine(self.address)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def kanaries(self, query: KanaryQuery) -> Page[KanarySummary]:
        """Kanaries, sorted by namespace, name and uid."""
        key = (KANARIES.c.namespace, KANARIES.c.name, KANARIES.c.uid)
        selected = _KANARIES.where(*_chosen(query)).order_by(*key).limit(query.limit + 1)
        if query.place is not None:
            selected = selected.where(sa.tuple_(*key) > sa.tuple_(*query.place))
        with self.connection() as connection:
            rows = connection.execute(selected).mappings().all()
        found = [KanarySummary.model_validate(dict(row)) for row in rows]
        return _page(found, query, lambda kanary: (kanary.namespace, kanary.name, kanary.uid))

    def changes(self, query: ChangeQuery) -> Page[RecordedChange]:
        """Weight changes, newest first: with a name or uid by number, the existing Kanary first, otherwise by time."""
        selected = _CHANGES
        if query.revision is not None:
            selected = selected.where(ENTRIES.c.revision == query.revision)
        if query.at is not None:
            selected = selected.where(ENTRIES.c.at <= query.at, _is_newest_at(query.at, query))
        return self._recorded(selected, query, _change)

    def entries(self, query: EntryQuery) -> Page[RecordedEntry]:
        """Entries, in the order of `changes`."""
        selected = sa.select(ENTRIES)
        if query.kinds is not None:
            selected = selected.where(ENTRIES.c.kind.in_(query.kinds.split(",")))
        return self._recorded(selected, query, _entry)

    def configuration(self, digest: str) -> Configuration | None:
        """A configuration, or None if the history does not have it."""
        selected = sa.select(CONFIGURATIONS.c.body).where(CONFIGURATIONS.c.digest == digest).limit(1)
        with self.connection() as connection:
            packed = connection.scalar(selected)
        return None if packed is None else configuration_of(packed)

    def _recorded(
        self,
        selected: sa.Select[Any],
        query: ChangeQuery | EntryQuery,
        record: Callable[[RowMapping, RowMapping], T | None],
    ) -> Page[T]:
        """A page made of the rows of entries and of their Kanaries, without those that this version cannot read."""
        if query.since is not None:
            selected = selected.where(ENTRIES.c.at >= query.since)
        if query.until is not None:
            selected = selected.where(ENTRIES.c.at <= query.until)
        read = _rows_by_time if query.name is None and query.uid is None else _rows_by_kanary
        with self.connection() as connection:
            rows = read(connection, selected, query)
            page = _page(rows, query, lambda row: (row["at"], row["uid"], row["number"]))
            uids = sorted({row["uid"] for row in page.items})
            found = connection.execute(_KANARIES.where(KANARIES.c.uid.in_(uids))).mappings()
            kanaries = {kanary["uid"]: kanary for kanary in found}
        items = (record(row, kanaries[row["uid"]]) for row in page.items)
        return Page(items=tuple(item for item in items if item is not None), next=page.next)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A transaction that sees one snapshot of the history; for the other modules of this package."""
        with translated(self.address), self._engine.begin() as connection:
            require_newest(connection, self.address)
            yield connection


def _rows_by_time(connection: Connection, selected: sa.Select[Any], query: RecordQuery) -> Sequence[RowMapping]:
    key = (ENTRIES.c.at, ENTRIES.c.uid, ENTRIES.c.number)
    if query.place is not None:
        # The columns' types convert times to text.
        selected = selected.where(sa.tuple_(*key) < sa.tuple_(*query.place, types=[column.type for column in key]))
    if chosen := _chosen(query):
        # Not a join: so the database scans the index by time and stops at the end of the page.
        selected = selected.where(sa.exists().where(KANARIES.c.uid == ENTRIES.c.uid, *chosen))
    selected = selected.order_by(*(column.desc() for column in key)).limit(query.limit + 1)
    return connection.execute(selected).mappings().all()


def _rows_by_kanary(connection: Connection, selected: sa.Select[Any], query: RecordQuery) -> Sequence[RowMapping]:
    """Rows of the existing Kanary, then of earlier ones with its name. By number: clocks may have been wrong."""
    _, begun, last = query.place or (None, None, None)
    # If a Kanary is deleted while its pages are read, it keeps its place: it is the last deleted one.
    order = (KANARIES.c.deleted_at.is_not(None), KANARIES.c.deleted_at.desc(), KANARIES.c.uid.desc())
    uids = connection.scalars(sa.select(KANARIES.c.uid).where(*_chosen(query, or_uid=begun)).order_by(*order)).all()
    rows: list[RowMapping] = []
    for uid in dropwhile(lambda uid: begun not in (None, uid), uids):
        mine = selected.where(ENTRIES.c.uid == uid).order_by(ENTRIES.c.number.desc())
        if uid == begun:
            mine = mine.where(ENTRIES.c.number < last)
        rows += connection.execute(mine.limit(query.limit + 1 - len(rows))).mappings()
        if len(rows) > query.limit:
            break
    return rows


def _chosen(query: RecordQuery, *, or_uid: str | None = None) -> list[sa.ColumnElement[bool]]:
    """Conditions on rows of `kanaries`. The Kanary `or_uid`, whose pages are being read, may be deleted meanwhile."""
    wanted = {KANARIES.c.namespace: query.namespace, KANARIES.c.name: query.name, KANARIES.c.uid: query.uid}
    conditions = [column == value for column, value in wanted.items() if value is not None]
    if not query.deleted and query.uid is None:
        conditions.append(sa.or_(KANARIES.c.deleted_at.is_(None), KANARIES.c.uid == or_uid))
    return conditions


def _is_newest_at(time: datetime, query: RecordQuery) -> sa.ColumnElement[bool]:
    """Whether a change was the newest of its Kanary at this time, and the Kanary existed then."""
    newest = sa.select(_OWN.c.number).where(_IS_OWN, _IS_CHANGE, _OWN.c.at <= time)
    existed = sa.or_(KANARIES.c.deleted_at.is_(None), KANARIES.c.deleted_at > time)
    newest = newest.order_by(_OWN.c.revision.desc()).limit(1)
    of_each = sa.select(KANARIES.c.uid, newest.scalar_subquery()).where(existed, *_chosen(query))
    return sa.tuple_(ENTRIES.c.uid, ENTRIES.c.number).in_(of_each)


def _entry(row: RowMapping, kanary: RowMapping) -> RecordedEntry:
    return RecordedEntry(kanary=kanary_of(kanary), entry=row["body"])


def _change(row: RowMapping, kanary: RowMapping) -> RecordedChange | None:
    change, result = recorded_entry(row["body"]), recorded_entry(row["result"])
    if not isinstance(change, WeightChange):
        return None
    if result is None and kanary["deleted_at"] is not None and change.revision == kanary["last_revision"]:
        result = _deletion(change, kanary["deleted_at"], kanary["last_number"] + 1)
    known = result if isinstance(result, ChangeResult) else None
    return RecordedChange(kanary=kanary_of(kanary), change=change, result=known)


def _deletion(change: WeightChange, at: datetime, number: int) -> ChangeResult:
    """The result of the last change of a deleted Kanary.

    It is derived from the deletion and is not a row. If the Kanary proves to exist, it is no longer derived, and the
    next entry of the Kanary has this number.
    """
    seconds = max(0.0, (at - change.at).total_seconds())
    return ChangeResult(number=number, at=at, revision=change.revision, result=Result.DELETED, seconds=seconds)


def _page(items: Sequence[T], query: RecordQuery, place: Callable[[T], Any]) -> Page[T]:
    """A page of `limit` items; an additional item means that another page follows."""
    kept = tuple(items[: query.limit])
    is_last = len(items) <= query.limit
    return Page(items=kept, next=None if is_last else query.PLACE.dump_json(place(kept[-1])).decode())
