"""What is kept how long, and taking what is older, a little at a time, so that recording is never held up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kanary.history.faults import told
from kanary.history.model import KnownKanary
from kanary.history.reader import Reader
from kanary.history.rows import kanary_of
from kanary.history.schema import claim_configurations
from kanary.history.store import Store, note_pruned
from kanary.history.tables import CHANGES, CONFIGURATIONS, KANARIES, OUTCOMES, PRUNED, TRANSITIONS

_KANARIES = 100  # looked at in one transaction
_ROWS = 500  # deleted in one transaction, some milliseconds


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of each Kanary; None is without limit. The newest change of one that exists always stays."""

    age: timedelta | None = timedelta(days=400)
    changes: int | None = 1_000
    transitions: int | None = 10_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value <= type(value)(0):
                raise ValueError(
                    f"the history's retention by {field.name} is {value}: it is to be more than 0, or none"
                )


def retention_of(days: int, changes: int) -> Retention:
    """As the operator's settings say it, where 0 is without limit."""
    return Retention(age=timedelta(days=days) if days else None, changes=changes or None)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went, or would go, of each table."""

    kanaries: int = 0
    changes: int = 0
    transitions: int = 0
    configurations: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            self.kanaries + other.kanaries,
            self.changes + other.changes,
            self.transitions + other.transitions,
            self.configurations + other.configurations,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What would go."""

    total: Pruned
    by_kanary: tuple[tuple[KnownKanary, Pruned], ...]
    """Of those that anything would go of."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """Up to which revision and number a Kanary's rows go; below any where none does."""

    revision: int
    number: int
    is_all: bool


def plan(reader: Reader, retention: Retention, now: datetime) -> Plan:
    """What `prune` would take, without taking it."""
    total = Pruned()
    found = []
    limits: dict[str, _Limits] = {}
    last = ""
    while True:
        with reader.connection() as connection:
            kanaries = _kanaries_after(connection, last)
            for kanary in kanaries:
                mine = _limits(connection, kanary, retention, now)
                gone = _count(connection, kanary, mine)
                if gone != Pruned():
                    limits[kanary.uid] = mine
                    found.append((kanary, gone))
                    total += gone
        if not kanaries:
            break
        last = kanaries[-1].uid
    return Plan(total + Pruned(configurations=_count_orphans(reader, limits)), tuple(found))


def prune(store: Store, retention: Retention, now: datetime) -> Pruned:
    """Take what is beyond the limits, all at once. Raises HistoryError."""
    return sum(prune_steps(store, retention, now), Pruned())


def prune_steps(store: Store, retention: Retention, now: datetime) -> Iterator[Pruned]:
    """Take what is beyond the limits, one short transaction a step; between two of them anything may be recorded."""
    last = ""
    while True:
        with told(store.address), store.transaction() as connection:
            kanaries = _kanaries_after(connection, last)
            limits = {kanary.uid: _limits(connection, kanary, retention, now) for kanary in kanaries}
        if not kanaries:
            break
        last = kanaries[-1].uid
        yield Pruned()
        for kanary in kanaries:
            yield from _take_rows(store, kanary.uid, limits[kanary.uid])
            if limits[kanary.uid].is_all:
                yield _take_kanary(store, kanary.uid)
    yield from _take_orphans(store)


def _kanaries_after(connection: Connection, uid: str) -> list[KnownKanary]:
    query = sa.select(KANARIES).where(KANARIES.c.uid > uid).order_by(KANARIES.c.uid).limit(_KANARIES)
    return [kanary_of(row) for row in connection.execute(query).mappings()]


def _limits(connection: Connection, kanary: KnownKanary, retention: Retention, now: datetime) -> _Limits:
    cutoff = now - retention.age if retention.age is not None else None
    is_living = kanary.deleted_at is None
    revision, no_change = _limit(connection, CHANGES.c.revision, kanary.uid, retention.changes, cutoff, is_living)
    number, no_move = _limit(connection, TRANSITIONS.c.number, kanary.uid, retention.transitions, cutoff, is_living)
    is_over = cutoff is not None and kanary.deleted_at is not None and kanary.deleted_at < cutoff
    return _Limits(revision, number, is_over and no_change and no_move)


def _limit(  # noqa: PLR0917 -- each of them is one of the limits
    connection: Connection, key: sa.Column[int], uid: str, kept: int | None, cutoff: datetime | None, is_living: bool
) -> tuple[int, bool]:
    """Up to which key rows go, and whether none stays. Always a beginning, whatever the clocks said."""
    mine = sa.select(key).where(key.table.c.uid == uid)
    newest = connection.scalar(mine.order_by(key.desc()).limit(1))
    if newest is None:
        return -1, True
    first = -1
    if kept is not None:
        newest_ones = mine.order_by(key.desc()).limit(kept).subquery()
        first = connection.scalar(sa.select(sa.func.min(newest_ones.c[key.name]))) or 0
    if cutoff is not None:
        young = connection.scalar(mine.where(key.table.c.at >= cutoff).order_by(key).limit(1))
        first = max(first, newest + 1 if young is None else young)
    if is_living:
        first = min(first, newest)
    return first - 1, first > newest


def _count(connection: Connection, kanary: KnownKanary, limits: _Limits) -> Pruned:
    changes, transitions = (
        connection.scalar(sa.select(sa.func.count()).where(key.table.c.uid == kanary.uid, key <= limit)) or 0
        for key, limit in ((CHANGES.c.revision, limits.revision), (TRANSITIONS.c.number, limits.number))
    )
    return Pruned(kanaries=int(limits.is_all), changes=changes, transitions=transitions)


def _count_orphans(reader: Reader, limits: dict[str, _Limits]) -> int:
    """The configurations that only changes name which go, or none at all."""
    orphans = 0
    last = ""
    while True:
        with reader.connection() as connection:
            hashes = _hashes_after(connection, last)
            uses = connection.execute(
                sa.select(CHANGES.c.config_hash, CHANGES.c.uid, sa.func.max(CHANGES.c.revision).label("newest"))
                .where(CHANGES.c.config_hash.in_(hashes))
                .group_by(CHANGES.c.config_hash, CHANGES.c.uid)
            )
            used = {use.config_hash for use in uses if use.uid not in limits or use.newest > limits[use.uid].revision}
        if not hashes:
            return orphans
        orphans += len(hashes) - len(used)
        last = hashes[-1]


def _hashes_after(connection: Connection, last: str) -> list[str]:
    query = sa.select(CONFIGURATIONS.c.hash).where(CONFIGURATIONS.c.hash > last)
    return list(connection.scalars(query.order_by(CONFIGURATIONS.c.hash).limit(_ROWS)))


def _take_rows(store: Store, uid: str, limits: _Limits) -> Iterator[Pruned]:
    while changes := _take(store, uid, CHANGES.c.revision, limits.revision):
        yield Pruned(changes=changes)
    while transitions := _take(store, uid, TRANSITIONS.c.number, limits.number):
        yield Pruned(transitions=transitions)


def _take(store: Store, uid: str, key: sa.Column[int], limit: int) -> int:
    with told(store.address), store.transaction() as connection:
        mine = sa.select(key).where(key.table.c.uid == uid, key <= limit)
        next_ones = mine.order_by(key).limit(_ROWS).subquery()
        last = connection.scalar(sa.select(sa.func.max(next_ones.c[key.name])))
        if last is None:
            return 0
        if key.table is CHANGES:
            connection.execute(sa.delete(OUTCOMES).where(OUTCOMES.c.uid == uid, OUTCOMES.c.revision <= last))
        taken = connection.execute(sa.delete(key.table).where(key.table.c.uid == uid, key <= last)).rowcount
        note_pruned(connection, uid, **{key.name: last})
        return taken


def _take_kanary(store: Store, uid: str) -> Pruned:
    """Take the rest of one that has been gone for long and has no more changes."""
    with told(store.address), store.transaction() as connection:
        for table in (CHANGES, TRANSITIONS):
            if connection.scalar(sa.select(sa.exists().where(table.c.uid == uid))):
                return Pruned()
        for table in (OUTCOMES, PRUNED, KANARIES):
            taken = connection.execute(sa.delete(table).where(table.c.uid == uid)).rowcount
        return Pruned(kanaries=taken)


def _take_orphans(store: Store) -> Iterator[Pruned]:
    last = ""
    while True:
        with told(store.address), store.transaction() as connection:
            claim_configurations(connection)
            hashes = _hashes_after(connection, last)
            unused = ~sa.exists().where(CHANGES.c.config_hash == CONFIGURATIONS.c.hash)
            are_next = CONFIGURATIONS.c.hash.in_(hashes)
            taken = connection.execute(sa.delete(CONFIGURATIONS).where(are_next, unused)).rowcount
        if not hashes:
            return
        last = hashes[-1]
        yield Pruned(configurations=taken)
