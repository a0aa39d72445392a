"""The database as its one writer has it open."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from kanary.history.address import Address
from kanary.history.driver_errors import translated
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.files import WriterLock, identity, size_of
from kanary.history.pending import Pending
from kanary.history.records import KnownKanary
from kanary.history.rows import configuration_rows, entry_row, kanary_of, kanary_row
from kanary.history.schema import require_newest
from kanary.history.tables import CONFIGURATIONS, ENTRIES, KANARIES, METADATA

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """How large the record is and how far back it reaches."""

    size: int
    """In bytes."""
    oldest: datetime | None
    """Time of the oldest entry that is kept."""


class Database:
    """An open database with the newest schema; made by `open_database`, and for one thread at a time."""

    def __init__(self, address: Address, connection: Connection, lock: WriterLock | None, aside: Path | None) -> None:
        self.address = address
        self.moved_aside = aside
        """Where the corrupt file has been moved to in whose place this one is."""
        self._connection = connection
        self._lock = lock
        self._identity = identity(address.path) if address.path else None

    def write(self, batch: Sequence[Pending]) -> dict[str, int]:
        """Record what is pending in one transaction; returns how many rows were written to each table.

        Entries that are there already are left as they are. A Kanary that was taken for deleted and was seen to exist
        after that is no longer deleted. Raises HistoryError, or RefusedEntryError where it is an entry's fault.
        """
        # Two operators on PostgreSQL then wait for each other's rows in the same order, and never for each other.
        batch = sorted(batch, key=lambda pending: pending.uid)
        with translated(self.address, with_data=True), self.transaction() as connection:
            uids = [pending.uid for pending in batch]
            known = {row.uid: row for row in connection.execute(sa.select(KANARIES).where(KANARIES.c.uid.in_(uids)))}
            written = {table.name: 0 for table in METADATA.sorted_tables}
            for pending in batch:
                _write(connection, pending, known.get(pending.uid), written)
            return written

    def living(self, namespace: str | None = None) -> list[KnownKanary]:
        """The Kanaries that are not known to be deleted."""
        query = sa.select(KANARIES).where(KANARIES.c.deleted_at.is_(None))
        if namespace is not None:
            query = query.where(KANARIES.c.namespace == namespace)
        with translated(self.address), self.transaction() as connection:
            return [kanary_of(row) for row in connection.execute(query).mappings()]

    def figures(self) -> Figures:
        """How large the database is, and the time of its oldest entry."""
        with translated(self.address), self.transaction() as connection:
            oldest = connection.scalar(sa.select(sa.func.min(ENTRIES.c.at)))
            if self.address.path is not None:
                return Figures(size_of(self.address.path), oldest)
            sizes = [sa.func.pg_total_relation_size(sa.func.to_regclass(table)) for table in METADATA.tables]
            return Figures(sum(connection.execute(sa.select(*sizes)).one()), oldest)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that may write, if the database is still the one that was opened, with the schema it had."""
        if self.address.path is not None and identity(self.address.path) != self._identity:
            message = f"the history database {self.address} was removed or replaced while it was open"
            raise HistoryError(FaultReason.UNAVAILABLE, message)
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


def _write(connection: Connection, pending: Pending, known: sa.Row[Any] | None, written: dict[str, int]) -> None:
    if pending.entries or not pending.is_deleted:
        # What a status still has of what retention deleted stays deleted.
        entries = [entry for entry in pending.entries if known is None or entry.number > known.pruned]
        # Most of a status is there already, and making rows of it takes ten times as long as looking.
        is_there = ENTRIES.c.uid == pending.uid, ENTRIES.c.number.in_([entry.number for entry in entries])
        there = set(connection.scalars(sa.select(ENTRIES.c.number).where(*is_there))) if known else set()
        rows = {
            KANARIES: [] if known else [kanary_row(pending)],
            ENTRIES: [entry_row(pending.uid, entry) for entry in entries if entry.number not in there],
            CONFIGURATIONS: configuration_rows(replace(pending, entries=tuple(entries))),
        }
        for table, found in rows.items():
            written[table.name] += _insert(connection, table, found)
    it = sa.update(KANARIES).where(KANARIES.c.uid == pending.uid)
    if pending.is_deleted:
        connection.execute(it.where(KANARIES.c.deleted_at.is_(None)).values(deleted_at=pending.at))
    elif known is not None and known.deleted_at is not None:
        connection.execute(it.where(KANARIES.c.deleted_at < pending.at).values(deleted_at=None))


def _insert(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """What is there already stays; but a configuration is kept for as long as the last change that names it."""
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    if table is CONFIGURATIONS:
        newer = statement.excluded.number
        statement = statement.on_conflict_do_update(
            index_elements=[column.name for column in table.primary_key],
            set_={"number": newer},
            where=newer > table.c.number,
        )
    else:
        statement = statement.on_conflict_do_nothing()
    return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount
