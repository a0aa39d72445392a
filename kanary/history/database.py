"""The database of the writer: creates it if it does not exist, migrates it, and moves a corrupt SQLite file aside.

Only SQLite opens an SQLite file: if this process closed any other descriptor of it, SQLite would lose its locks.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from kanary.history.address import Address, parse_address
from kanary.history.connecting import beside, has_log, reader_engine, writer_engine
from kanary.history.driver_errors import database_error, translated
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.pending import Pending
from kanary.history.records import KnownKanary
from kanary.history.schema import migrate, require_newest, version_of
from kanary.history.tables import CONFIGURATIONS, ENTRIES, KANARIES, METADATA, configuration_rows, entry_row, kanary_of

_log = logging.getLogger(__name__)

FileId = tuple[int, int]


def file_id(path: Path | None) -> FileId | None:
    """Identifies a file whatever its name; None if it does not exist."""
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino) if stat else None


@dataclass(frozen=True, slots=True)
class Figures:
    """The size of the history, and how far back it reaches."""

    size: int
    """In bytes."""
    oldest: datetime | None
    """Time of the oldest entry; None without entries."""


class Database:
    """An open database with the newest schema, created by `open_database`. Only one thread may use it at a time."""

    def __init__(self, address: Address, connection: Connection, resources: ExitStack) -> None:
        self.address = address
        self._connection = connection
        self._resources = resources
        self._file = file_id(address.path)

    def write(self, batch: Sequence[Pending]) -> dict[str, int]:
        """Write the batch in one transaction; returns the number of rows written to each table.

        Entries that exist already stay unchanged. A Kanary that was observed after its deletion loses its mark.
        Raises HistoryError, with the reason ENTRY_REFUSED if an entry caused it.
        """
        with self.transaction(with_entries=True) as connection:
            query = sa.select(KANARIES).where(KANARIES.c.uid.in_([pending.uid for pending in batch]))
            known = {row.uid: row for row in connection.execute(query)}
            written = {table.name: 0 for table in METADATA.sorted_tables}
            # Sorted, so that two operators lock rows in the same order: otherwise they could deadlock on PostgreSQL.
            for pending in sorted(batch, key=lambda pending: pending.uid):
                for table, rows in _missing_rows(connection, pending, known.get(pending.uid)).items():
                    written[table.name] += _insert(connection, table, rows)
                _mark(connection, pending)
            return written

    def living(self) -> list[KnownKanary]:
        """The Kanaries that are not marked as deleted."""
        with self.transaction() as connection:
            rows = connection.execute(sa.select(KANARIES).where(KANARIES.c.deleted_at.is_(None)))
            return [kanary_of(row) for row in rows.mappings()]

    def newest(self) -> datetime | None:
        """As `newest_entry`."""
        with self.transaction() as connection:
            return newest_entry(connection)

    def figures(self) -> Figures:
        """The size of the database, and the time of its oldest entry."""
        with self.transaction() as connection:
            if self.address.path:
                size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            else:
                sizes = (f"pg_total_relation_size(to_regclass('{table}'))" for table in METADATA.tables)
                size = f"SELECT {' + '.join(sizes)}"
            oldest = connection.scalar(sa.select(sa.func.min(ENTRIES.c.at)))
            return Figures(connection.exec_driver_sql(size).scalar_one(), oldest)

    @contextmanager
    def transaction(self, *, with_entries: bool = False) -> Iterator[Connection]:
        """A transaction that may write, provided that the opened file is still in place and has the newest schema.

        Raises HistoryError for faults of the database, or of the written entries.
        """
        if file_id(self.address.path) != self._file:
            message = f"the history database {self.address} was removed or replaced while it was open"
            raise HistoryError(FaultReason.UNAVAILABLE, message)
        with translated(self.address, with_entries=with_entries), self._connection.begin():
            require_newest(self._connection, self.address)
            yield self._connection

    def close(self) -> None:
        """Close the database and release its lock. Never raises."""
        try:
            self._resources.close()
        except Exception as error:  # closing a broken connection may fail
            _log.debug("closing the history database %s: %s", self.address, type(error).__name__)


def open_database(
    url: str | Address, *, on_corrupt: Callable[[Path], None] | None = None, corrupt: FileId | None = None
) -> Database:
    """Open the database, create it if it does not exist, and migrate its schema to the newest version.

    A corrupt SQLite file is an error without `on_corrupt`. With it, the file is moved aside, `on_corrupt` receives its
    new path, and a new database is created. `corrupt` identifies a file that was found corrupt while it was open.
    Raises BadAddressError for an invalid URL, and HistoryError for all other faults.
    """
    address = url if isinstance(url, Address) else parse_address(url)
    with translated(address), ExitStack() as resources:
        if path := address.path:
            resources.enter_context(_writer_lock(path))
            try:
                _check(address, path, corrupt)
            except HistoryError as error:
                if on_corrupt is None or error.fault.reason is not FaultReason.CORRUPT:
                    raise
                on_corrupt(_move_aside(path))
        engine = writer_engine(address)
        resources.callback(engine.dispose)
        connection = engine.connect()
        resources.callback(connection.close)
        with connection.begin():
            migrate(connection, address)
        return Database(address, connection, resources.pop_all())


def newest_entry(connection: Connection) -> datetime | None:
    """The time of the newest entry; None without entries."""
    found: datetime | None = connection.scalar(sa.select(sa.func.max(ENTRIES.c.at)))
    return found


@contextmanager
def _writer_lock(path: Path) -> Iterator[None]:
    """Lock the database against other writing processes; the kernel releases the lock when the process ends.

    SQLite before 3.51.3 can corrupt a database in WAL mode that two connections write or checkpoint at once.
    """
    if not path.parent.is_dir():
        message = f"the folder {path.parent} of the history database does not exist: create it, or mount a volume"
        raise HistoryError(FaultReason.UNAVAILABLE, message)
    with beside(path, ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = (
                f"another process, such as an operator, has the history database {path} open for writing, and only one "
                "can: wait until it ends, or stop it"
            )
            raise HistoryError(FaultReason.LOCKED, message) from None
        yield


def _check(address: Address, path: Path, corrupt: FileId | None) -> None:
    """Check the database before the first write: a newer or corrupt one stays unchanged, to the byte."""
    if not path.exists():
        if has_log(path):
            # The log may be all that is left, and SQLite deletes a log that it finds beside a new database.
            _move_aside(path)
    elif file_id(path) == corrupt:
        raise database_error(FaultReason.CORRUPT, address, "found while it was open")
    else:
        with translated(address), reader_engine(address).connect() as connection:
            version_of(connection, address)
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise database_error(FaultReason.CORRUPT, address, str(found))


def _move_aside(path: Path) -> Path:
    """Rename a database and the files that belong to it, and return its new name.

    The database is renamed first: if the process ends then, the next start moves the remaining log aside.
    """
    aside = beside(path, f".corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    for suffix in ("", "-wal", "-shm", "-journal"):
        if (file := beside(path, suffix)).exists():
            file.rename(beside(aside, suffix))
    _log.error("the history database %s is corrupt: it is kept as %s", path, aside)
    return aside


def _missing_rows(
    connection: Connection, pending: Pending, known: sa.Row[Any] | None
) -> dict[sa.Table, list[dict[str, Any]]]:
    if pending.is_deleted and not pending.entries:
        return {}
    # Pruned entries stay deleted, even if the status still has them.
    entries = [entry for entry in pending.entries if known is None or entry.number > known.pruned]
    # Most entries of a status are in the database already: this query is ten times as fast as making their rows.
    query = sa.select(ENTRIES.c.number).where(ENTRIES.c.uid == pending.uid)
    there = set(connection.scalars(query.where(ENTRIES.c.number.in_([entry.number for entry in entries]))))
    first_seen = min((entry.at for entry in entries), default=pending.at)
    kanary = {"uid": pending.uid, "namespace": pending.namespace, "name": pending.name, "first_seen": first_seen}
    return {
        KANARIES: [] if known else [kanary],
        ENTRIES: [entry_row(pending.uid, entry) for entry in entries if entry.number not in there],
        CONFIGURATIONS: configuration_rows(pending.uid, entries, pending.configurations),
    }


def _insert(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Existing rows stay unchanged, but a configuration takes the number of the newest change that names it."""
    if not rows:
        return 0
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    if table is CONFIGURATIONS:
        newer = statement.excluded.number
        statement = statement.on_conflict_do_update(
            index_elements=("uid", "digest"), set_={"number": newer}, where=newer > table.c.number
        )
    else:
        statement = statement.on_conflict_do_nothing()
    return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount


def _mark(connection: Connection, pending: Pending) -> None:
    """Mark the Kanary as deleted, or remove the mark if the Kanary was observed after its deletion."""
    mine = sa.update(KANARIES).where(KANARIES.c.uid == pending.uid)
    if pending.is_deleted:
        connection.execute(mine.where(KANARIES.c.deleted_at.is_(None)).values(deleted_at=pending.at))
    else:
        connection.execute(mine.where(KANARIES.c.deleted_at < pending.at).values(deleted_at=None))
