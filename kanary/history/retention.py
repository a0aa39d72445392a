"""The retention limits, and pruning beyond them in short transactions, so that recording never waits for long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from engine.model.times import time_text
from kanary.history.database import Database, newest_entry
from kanary.history.reader import CHANGE, Reader
from kanary.history.records import KnownKanary
from kanary.history.tables import CONFIGURATIONS, ENTRIES, KANARIES, kanary_of

_ROWS = 500  # maximum deleted in one transaction, which takes some milliseconds
_OTHERS = 10  # other entries kept per weight change
_FIRST = datetime.min.replace(tzinfo=UTC)

_DOUBTFUL = timedelta(days=1)

Pruned = Counter[str]
"""Numbers of deleted entries by kind, or of those to delete; `Kanary` is the number of completely deleted Kanaries."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of each Kanary; 0 means no limit. The newest change of an existing Kanary is always kept."""

    age: timedelta = timedelta()
    changes: int = 0
    """Weight changes, each with the entries of its revision, and ten times as many entries without a revision."""

    def cutoff(self, now: datetime) -> datetime:
        """The time before which entries are too old."""
        return now - self.age if timedelta() < self.age < now - _FIRST else _FIRST


@dataclass(frozen=True, slots=True)
class AgeReference:
    """The time from which ages count: a clock that is ahead must not delete the history.

    The clock counts only as far as the entries that others wrote with theirs: the newest one, and what has passed since
    it was read.
    """

    clock: datetime
    newest: datetime | None
    passed: timedelta = timedelta()

    @property
    def time(self) -> datetime:
        """The time."""
        return min(self.clock, self.newest + self.passed) if self.newest else self.clock

    def doubt(self) -> str:
        """What to report if it is far from the clock; otherwise empty."""
        if self.clock - self.time < _DOUBTFUL:
            return ""
        return (
            f"the clock says {time_text(self.clock)}, and the newest entry of the history is of "
            f"{time_text(self.newest or self.time)}: ages count from that entry, because the clock may be wrong"
        )


def age_reference(reader: Reader, clock: datetime) -> AgeReference:
    """The time from which ages count in this database. Raises HistoryError."""
    with reader.connection() as connection:
        return AgeReference(clock, newest_entry(connection))


def counts_text(pruned: Pruned) -> str:
    """The counts as text, such as `1 ChangeResult, 2 WeightChange`."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(pruned.items())) or "nothing"


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
    """Delete everything beyond the limits. Raises HistoryError."""
    return sum(prune_steps(database, retention, now), Pruned())


def prune_steps(database: Database, retention: Retention, now: datetime) -> Iterator[Pruned]:
    """Delete everything beyond the limits, one short transaction per step; entries may be recorded between steps."""
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
    """The entries beyond the limits, and whether the Kanary itself is beyond them.

    Entries with a revision are deleted with its change, the first revisions first; the others by number.
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
    """The first key to keep: all before it are deleted, whatever their times. The last key + 1 if none is kept."""
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
    """Delete the first entries with their configurations, and store the number of the last one as `pruned`."""
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
