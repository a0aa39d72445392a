"""What is kept how long, and deleting what is older, a little at a time, so that recording is never held up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kanary.history.database import Database
from kanary.history.driver_errors import translated
from kanary.history.reader import CHANGE, Reader
from kanary.history.records import KnownKanary
from kanary.history.rows import kanary_of
from kanary.history.tables import CONFIGURATIONS, ENTRIES, KANARIES

_KANARIES = 100  # looked at in one transaction
_ROWS = 500  # deleted in one transaction, some milliseconds
_FIRST = datetime.min.replace(tzinfo=UTC)
_BEYOND = 2**63 - 1  # the largest number that an entry can have


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of each Kanary; None is without limit. The newest change of one that exists always stays."""

    age: timedelta | None = timedelta(days=400)
    changes: int | None = 1_000
    """Weight changes, each with the entries of its revision."""
    others: int | None = 10_000
    """Entries that are about no weight change."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value <= type(value)(0):
                raise ValueError(f"history retention by {field.name} is {value}: it must be more than 0, or none")


def retention_of(days: int, changes: int) -> Retention:
    """As the operator's settings say it, where 0 is without limit."""
    return Retention(age=timedelta(days=days) if days else None, changes=changes or None)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was deleted, or would be."""

    kanaries: int = 0
    changes: int = 0
    entries: int = 0
    """Of every kind, the changes included."""

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.kanaries + other.kanaries, self.changes + other.changes, self.entries + other.entries)


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be deleted."""

    total: Pruned
    by_kanary: tuple[tuple[KnownKanary, Pruned], ...]
    """Of those of which anything would be."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """Which entries of a Kanary are deleted: those about revisions before one, and others before a number."""

    revision: int
    number: int
    is_over: bool
    """The Kanary itself is deleted with the last of its entries."""

    @property
    def doomed(self) -> sa.ColumnElement[bool]:
        about_none = sa.and_(ENTRIES.c.revision.is_(None), ENTRIES.c.number < self.number)
        return sa.or_(ENTRIES.c.revision < self.revision, about_none)


def plan(reader: Reader, retention: Retention, now: datetime) -> Plan:
    """What `prune` would delete, without deleting it."""
    found = []
    last = ""
    while True:
        with reader.connection() as connection:
            kanaries = _kanaries_after(connection, last)
            found += [(kanary, _planned(connection, kanary, retention, now)) for kanary in kanaries]
        if not kanaries:
            break
        last = kanaries[-1].uid
    return Plan(sum((share for _, share in found), Pruned()), tuple(each for each in found if each[1] != Pruned()))


def _planned(connection: Connection, kanary: KnownKanary, retention: Retention, now: datetime) -> Pruned:
    limits = _limits(connection, kanary, retention, now)
    doomed = sa.select(sa.func.count()).where(ENTRIES.c.uid == kanary.uid, limits.doomed)
    entries, changes = (connection.scalar(query) or 0 for query in (doomed, doomed.where(ENTRIES.c.kind == CHANGE)))
    return Pruned(kanaries=int(limits.is_over), changes=changes, entries=entries)


def prune(database: Database, retention: Retention, now: datetime) -> Pruned:
    """Delete what is beyond the limits, all at once. Raises HistoryError."""
    return sum(prune_steps(database, retention, now), Pruned())


def prune_steps(database: Database, retention: Retention, now: datetime) -> Iterator[Pruned]:
    """Delete what is beyond the limits, one short transaction a step; between two steps anything may be recorded."""
    last = ""
    while True:
        with translated(database.address), database.transaction() as connection:
            kanaries = _kanaries_after(connection, last)
            limits = {kanary.uid: _limits(connection, kanary, retention, now) for kanary in kanaries}
        if not kanaries:
            return
        last = kanaries[-1].uid
        yield Pruned()
        for uid, mine in limits.items():
            while (pruned := _prune_entries(database, uid, mine)).entries:
                yield pruned
            if mine.is_over:
                yield _prune_kanary(database, uid)


def _kanaries_after(connection: Connection, uid: str) -> list[KnownKanary]:
    query = sa.select(KANARIES).where(KANARIES.c.uid > uid).order_by(KANARIES.c.uid).limit(_KANARIES)
    return [kanary_of(row) for row in connection.execute(query).mappings()]


def _limits(connection: Connection, kanary: KnownKanary, retention: Retention, now: datetime) -> _Limits:
    # An age that reaches back before all time is none.
    cutoff = now - retention.age if retention.age and retention.age < now - _FIRST else None
    if kanary.deleted_at is not None and cutoff is not None and kanary.deleted_at < cutoff:
        return _Limits(_BEYOND, _BEYOND, is_over=True)
    changes = sa.select(ENTRIES.c.revision).where(ENTRIES.c.uid == kanary.uid, ENTRIES.c.kind == CHANGE)
    others = sa.select(ENTRIES.c.number).where(ENTRIES.c.uid == kanary.uid, ENTRIES.c.revision.is_(None))
    return _Limits(
        revision=_first_kept(connection, changes, retention.changes, cutoff, keeps_one=kanary.deleted_at is None),
        number=_first_kept(connection, others, retention.others, cutoff, keeps_one=False),
        is_over=False,
    )


def _first_kept(
    connection: Connection, keys: sa.Select[Any], kept: int | None, cutoff: datetime | None, *, keeps_one: bool
) -> int:
    """The first key that stays; all before it go, whatever the clocks said. Beyond the last one where none stays."""
    (key,) = keys.selected_columns
    newest = connection.scalar(keys.order_by(key.desc()).limit(1))
    if newest is None:
        return 0
    first = 0
    if kept is not None:
        first = connection.scalar(keys.order_by(key.desc()).offset(kept - 1).limit(1)) or 0
    if cutoff is not None:
        young = connection.scalar(keys.where(ENTRIES.c.at >= cutoff).order_by(key).limit(1))
        first = max(first, newest + 1 if young is None else young)
    return min(first, newest) if keeps_one else first


def _prune_entries(database: Database, uid: str, limits: _Limits) -> Pruned:
    """Delete the first few of what is doomed, and remember up to where that was."""
    mine = ENTRIES.c.uid == uid
    with translated(database.address), database.transaction() as connection:
        numbers = connection.scalars(
            sa.select(ENTRIES.c.number).where(mine, limits.doomed).order_by(ENTRIES.c.number).limit(_ROWS)
        ).all()
        if not numbers:
            return Pruned()
        deletion = sa.delete(ENTRIES).where(mine, ENTRIES.c.number.in_(numbers)).returning(ENTRIES.c.kind)
        kinds = connection.scalars(deletion).all()
        is_named = CONFIGURATIONS.c.number.in_(numbers)
        connection.execute(sa.delete(CONFIGURATIONS).where(CONFIGURATIONS.c.uid == uid, is_named))
        is_further = KANARIES.c.pruned < numbers[-1]
        connection.execute(sa.update(KANARIES).where(KANARIES.c.uid == uid, is_further).values(pruned=numbers[-1]))
        return Pruned(changes=kinds.count(CHANGE), entries=len(kinds))


def _prune_kanary(database: Database, uid: str) -> Pruned:
    """Delete the rest of one that has been gone for long and has no entries any more."""
    with translated(database.address), database.transaction() as connection:
        if connection.scalar(sa.select(sa.exists().where(ENTRIES.c.uid == uid))):
            return Pruned()
        connection.execute(sa.delete(CONFIGURATIONS).where(CONFIGURATIONS.c.uid == uid))
        return Pruned(kanaries=connection.execute(sa.delete(KANARIES).where(KANARIES.c.uid == uid)).rowcount)
