"""The database as its one writer has it open."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from kanary.history.address import Address
from kanary.history.faults import told
from kanary.history.files import WriterLock, identity, size_of
from kanary.history.model import Result
from kanary.history.problems import HistoryError, Problem, Reason
from kanary.history.rows import (
    Pending,
    Row,
    change_row,
    configuration_rows,
    kanary_row,
    outcome_row,
    transition_row,
)
from kanary.history.schema import require_newest, share_configurations
from kanary.history.tables import CHANGES, CONFIGURATIONS, KANARIES, METADATA, OUTCOMES, PRUNED, TRANSITIONS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the record takes and how far back it reaches."""

    size: int
    """In bytes."""
    oldest: datetime | None
    """When the oldest change that is kept was made."""


class Store:
    """An open database with the newest schema; made by `open_store`, and for one thread at a time."""

    def __init__(self, address: Address, connection: Connection, lock: WriterLock | None, aside: Path | None) -> None:
        self.address = address
        self.moved_aside = aside
        """Where a corrupt file has been moved to, which this one follows."""
        self._connection = connection
        self._lock = lock
        self._identity = identity(address.path) if address.path else None

    def write(self, batch: Sequence[Pending]) -> dict[str, int]:
        """Record entries in one transaction; returns by how many rows each table grew.

        What is there already is left as it is. Raises HistoryError, or RefusedEntryError where it is an entry's fault.
        """
        # Two operators on PostgreSQL then wait for each other's rows in the same order, and never for each other.
        batch = sorted(batch, key=lambda pending: pending.uid)
        with told(self.address, with_data=True), self.transaction() as connection:
            share_configurations(connection)
            rows = _rows(batch, _pruned(connection, [pending.uid for pending in batch]))
            written = {table.name: _insert(connection, table, rows[table]) for table in rows}
            for pending in batch:
                if pending.deleted_at is not None:
                    _mark_deleted(connection, pending.uid, pending.deleted_at)
            return written

    def living(self, namespace: str | None = None, before: datetime | None = None) -> set[str]:
        """The uids of the Kanaries that are not known to be deleted and were first seen before that time."""
        query = sa.select(KANARIES.c.uid).where(KANARIES.c.deleted_at.is_(None))
        if namespace is not None:
            query = query.where(KANARIES.c.namespace == namespace)
        if before is not None:
            query = query.where(KANARIES.c.first_seen < before)
        with told(self.address), self.transaction() as connection:
            return set(connection.scalars(query))

    def figures(self) -> Figures:
        """How large the database is, and when its oldest change was made."""
        with told(self.address), self.transaction() as connection:
            oldest = connection.scalar(sa.select(sa.func.min(CHANGES.c.at)))
            if self.address.path is not None:
                return Figures(size_of(self.address.path), oldest)
            sizes = [sa.func.pg_total_relation_size(sa.func.to_regclass(table)) for table in METADATA.tables]
            return Figures(sum(connection.execute(sa.select(*sizes)).one()), oldest)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that may write, if the database is still the one that was opened, with the schema it had."""
        if self.address.path is not None and identity(self.address.path) != self._identity:
            message = (
                f"the history database {self.address} was removed or replaced while it was open: it is opened again"
            )
            raise HistoryError(Problem(Reason.UNAVAILABLE, message))
        with self._connection.begin():
            require_newest(self._connection, self.address)
            yield self._connection

    def close(self) -> None:
        """Give the database back. Never raises."""
        try:
            self._connection.close()
        except Exception as error:  # a connection that is broken cannot always be closed in good order
            _log.debug("closing the history database %s: %s", self.address, type(error).__name__)
        self._connection.engine.dispose()
        if self._lock:
            self._lock.release()


def _pruned(connection: Connection, uids: list[str]) -> dict[str, tuple[int, int]]:
    """Up to which revision and number retention has taken these Kanaries' rows."""
    rows = connection.execute(sa.select(PRUNED).where(PRUNED.c.uid.in_(uids)))
    return {row.uid: (row.revision, row.number) for row in rows}


def _rows(batch: Sequence[Pending], pruned: Mapping[str, tuple[int, int]]) -> dict[sa.Table, list[Row]]:
    """The rows of a batch, in the order in which their tables refer to each other."""
    rows: dict[sa.Table, list[Row]] = {
        KANARIES: [],
        CONFIGURATIONS: configuration_rows(batch),
        CHANGES: [],
        OUTCOMES: [],
        TRANSITIONS: [],
    }
    for entry in (pending.entry for pending in batch if pending.entry):
        # What a status still has of what retention took stays away.
        revision, number = pruned.get(entry.uid, (-1, -1))
        rows[KANARIES].append(kanary_row(entry))
        rows[CHANGES] += [change_row(entry.uid, c) for c in entry.changes if c.revision > revision]
        rows[OUTCOMES] += [outcome_row(entry.uid, o) for o in entry.outcomes if o.revision > revision]
        rows[TRANSITIONS] += [transition_row(entry.uid, t) for t in entry.transitions if t.number > number]
    return rows


def _insert(connection: Connection, table: sa.Table, rows: list[Row]) -> int:
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing()
    return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount


def note_pruned(connection: Connection, uid: str, *, revision: int = -1, number: int = -1) -> None:
    """Remember up to where retention has taken a Kanary's rows."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(PRUNED).values(uid=uid, revision=revision, number=number)
    furthest = {
        name: sa.case((statement.excluded[name] > PRUNED.c[name], statement.excluded[name]), else_=PRUNED.c[name])
        for name in ("revision", "number")
    }
    connection.execute(statement.on_conflict_do_update(index_elements=["uid"], set_=furthest))


def _mark_deleted(connection: Connection, uid: str, at: datetime) -> None:
    """Note when the Kanary went, and that its newest change, if nothing had come of it, went with it."""
    is_it = KANARIES.c.uid == uid
    marked = connection.execute(sa.update(KANARIES).where(is_it, KANARIES.c.deleted_at.is_(None)).values(deleted_at=at))
    if not marked.rowcount:
        return
    newest = connection.execute(
        sa.select(CHANGES.c.revision, CHANGES.c.at)
        .where(CHANGES.c.uid == uid)
        .order_by(CHANGES.c.revision.desc())
        .limit(1)
    ).first()
    if newest is not None:
        seconds = max(0.0, (at - newest.at).total_seconds())
        outcome = {"uid": uid, "revision": newest.revision, "result": Result.DELETED, "at": at, "seconds": seconds}
        _insert(connection, OUTCOMES, [outcome])
