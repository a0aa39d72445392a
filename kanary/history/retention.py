"""What is kept how long, and deleting what is older, a little at a time, so that recording is never held up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kanary.history.database import Database
from kanary.history.reader import CHANGE, Reader
from kanary.history.records import KnownKanary
from kanary.history.tables import CONFIGURATIONS, ENTRIES, KANARIES, kanary_of

_ROWS = 500  # deleted in one transaction, some milliseconds
_OTHERS = 10  # kept for each weight change that is
_FIRST = datetime.min.replace(tzinfo=UTC)

Pruned = Counter[str]
"""How many entries were deleted, or would be, by kind; and as `Kanary` how many Kanaries with all that was theirs."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept of each Kanary; 0 is without limit. The newest change of one that exists always stays."""

    age: timedelta = timedelta()
    changes: int = 0
    """Weight changes, each with the entries of its revision; and ten times as many entries that are about none."""

    def cutoff(self, now: datetime) -> datetime:
        """What happened before this is too old."""
        return now - self.age if timedelta() < self.age < now - _FIRST else _FIRST


def plan(reader: Reader, retention: Retention, now: datetime) -> Pruned:
    """What `prune` would delete, without deleting it. Raises HistoryError."""
    total = Pruned()
    with reader.connection() as connection:
        for row in connection.execute(sa.select(KANARIES)).mappings().all():
            excess, is_over = _excess(connection, kanary_of(row), retention, now)
            total.update(connection.scalars(sa.select(ENTRIES.c.kind).where(*excess)))
            total += Pruned(Kanary=is_over)
    return total


def prune(database: Database, retention: Retention, now: datetime) -> Pruned:
    """Delete what is beyond the limits, all at once. Raises HistoryError."""
    return sum(prune_steps(database, retention, now), Pruned())


def prune_steps(database: Database, retention: Retention, now: datetime) -> Iterator[Pruned]:
    """Delete what is beyond the limits, one short transaction a step; between two steps anything may be recorded."""
    last = ""
    while True:
        with database.transaction() as connection:
            query = sa.select(KANARIES).where(KANARIES.c.uid > last).order_by(KANARIES.c.uid).limit(1)
            row = connection.execute(query).mappings().first()
            if row is None:
                return
            kanary = kanary_of(row)
            excess, is_over = _excess(connection, kanary, retention, now)
            pruned = _delete_entries(connection, kanary.uid, excess)
            if pruned.total() < _ROWS:
                last = kanary.uid
                if is_over:
                    for table in (CONFIGURATIONS, KANARIES):
                        connection.execute(sa.delete(table).where(table.c.uid == kanary.uid))
                    pruned["Kanary"] = 1
        yield pruned


def _excess(
    connection: Connection, kanary: KnownKanary, retention: Retention, now: datetime
) -> tuple[Sequence[sa.ColumnElement[bool]], bool]:
    """The entries beyond the limits, and whether the Kanary itself is.

    Entries of a revision go with its change, the first revisions first; those about none go by number.
    """
    cutoff = retention.cutoff(now)
    mine, revision, number = ENTRIES.c.uid == kanary.uid, ENTRIES.c.revision, ENTRIES.c.number
    if kanary.deleted_at is not None and kanary.deleted_at < cutoff:
        return (mine,), True
    changes = sa.select(revision).where(mine, ENTRIES.c.kind == CHANGE, revision.is_not(None))
    others = sa.select(number).where(mine, revision.is_(None))
    first_change = _first_kept(connection, changes, retention.changes, cutoff, keeps_one=kanary.deleted_at is None)
    first_other = _first_kept(connection, others, _OTHERS * retention.changes, cutoff, keeps_one=False)
    return (mine, sa.or_(revision < first_change, sa.and_(revision.is_(None), number < first_other))), False


def _first_kept(connection: Connection, keys: sa.Select[Any], kept: int, cutoff: datetime, *, keeps_one: bool) -> int:
    """The first key that stays; all before it go, whatever the clocks said. Beyond the last one where none stays."""
    (key,) = keys.selected_columns
    newest_first = keys.order_by(key.desc())
    newest = connection.scalar(newest_first.limit(1))
    if newest is None:
        return 0
    young = connection.scalar(keys.where(ENTRIES.c.at >= cutoff).order_by(key).limit(1))
    first = newest + 1 if young is None else young
    if kept:
        first = max(first, connection.scalar(newest_first.offset(kept - 1).limit(1)) or 0)
    return int(min(first, newest) if keeps_one else first)


def _delete_entries(connection: Connection, uid: str, excess: Sequence[sa.ColumnElement[bool]]) -> Pruned:
    """Delete the first few with their configurations, and remember up to where that was."""
    first = sa.select(ENTRIES.c.number).where(*excess).order_by(ENTRIES.c.number).limit(_ROWS)
    numbers = connection.scalars(first).all()
    if not numbers:
        return Pruned()
    named = sa.delete(CONFIGURATIONS).where(CONFIGURATIONS.c.uid == uid, CONFIGURATIONS.c.number.in_(numbers))
    connection.execute(named)
    further = sa.update(KANARIES).where(KANARIES.c.uid == uid, KANARIES.c.pruned < numbers[-1])
    connection.execute(further.values(pruned=numbers[-1]))
    gone = sa.delete(ENTRIES).where(ENTRIES.c.uid == uid, ENTRIES.c.number.in_(numbers))
    return Pruned(connection.scalars(gone.returning(ENTRIES.c.kind)).all())
