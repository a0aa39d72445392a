"""The database as its one writer has it open: created where there is none, migrated, moved aside where it is corrupt.

The file of an SQLite database is opened by SQLite alone: closing it would drop the locks that SQLite holds on it.
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
    """Which file this is, whatever its name; None where there is none."""
    try:
        stat = path.stat() if path else None
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino) if stat else None


@dataclass(frozen=True, slots=True)
class Figures:
    """How large the record is and how far back it reaches."""

    size: int
    """In bytes."""
    oldest: datetime | None
    """Time of the oldest entry that is kept."""


class Database:
    """An open database with the newest schema; made by `open_database`, and for one thread at a time."""

    def __init__(self, address: Address, connection: Connection, resources: ExitStack) -> None:
        self.address = address
        self._connection = connection
        self._resources = resources
        self._file = file_id(address.path)

    def write(self, batch: Sequence[Pending]) -> dict[str, int]:
        """Record what is pending in one transaction; returns how many rows were written to each table.

        Entries that are there already are left as they are. A Kanary that was taken for deleted and was seen to exist
        after that is no longer deleted. Raises HistoryError, with ENTRY_REFUSED where it is an entry's fault.
        """
        with self.transaction(with_entries=True) as connection:
            query = sa.select(KANARIES).where(KANARIES.c.uid.in_([pending.uid for pending in batch]))
            known = {row.uid: row for row in connection.execute(query)}
            written = {table.name: 0 for table in METADATA.sorted_tables}
            # Two operators on PostgreSQL then wait for each other's rows in the same order, and never for each other.
            for pending in sorted(batch, key=lambda pending: pending.uid):
                for table, rows in _missing_rows(connection, pending, known.get(pending.uid)).items():
                    written[table.name] += _insert(connection, table, rows)
                _mark(connection, pending)
            return written

    def living(self) -> list[KnownKanary]:
        """The Kanaries that are not known to be deleted."""
        with self.transaction() as connection:
            rows = connection.execute(sa.select(KANARIES).where(KANARIES.c.deleted_at.is_(None)))
            return [kanary_of(row) for row in rows.mappings()]

    def figures(self) -> Figures:
        """How large the database is, and the time of its oldest entry."""
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
        """A transaction that may write, if the database is still the one that was opened, with the schema it had.

        Raises HistoryError for what is wrong with the database, or with the entries that are written.
        """
        if file_id(self.address.path) != self._file:
            message = f"the history database {self.address} was removed or replaced while it was open"
            raise HistoryError(FaultReason.UNAVAILABLE, message)
        with translated(self.address, with_entries=with_entries), self._connection.begin():
            require_newest(self._connection, self.address)
            yield self._connection

    def close(self) -> None:
        """Give the database back. Never raises."""
        try:
            self._resources.close()
        except Exception as error:  # a connection that is broken cannot always be closed in good order
            _log.debug("closing the history database %s: %s", self.address, type(error).__name__)


def open_database(
    url: str | Address, *, on_corrupt: Callable[[Path], None] | None = None, corrupt: FileId | None = None
) -> Database:
    """Open the database, create it where there is none, and migrate its schema to the newest version.

    A corrupt SQLite file is an error; with `on_corrupt` it is moved aside, a new one is created, and the former file's
    new name is passed. `corrupt` is a file that turned out to be corrupt in use. Raises BadAddressError for an invalid
    URL, and HistoryError for all else that is wrong.
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


@contextmanager
def _writer_lock(path: Path) -> Iterator[None]:
    """Keep other processes from writing; the kernel frees the lock of a process that ends.

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
    """Read before anything is written: a database that is newer or corrupt stays as it is, to the byte."""
    if not path.exists():
        if has_log(path):
            # It may be all that is left, and SQLite deletes a log that it finds beside a new database.
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

    The database goes first: a log that is left alone is moved aside when the next one is created.
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
    # What a status still has of what retention deleted stays deleted.
    entries = [entry for entry in pending.entries if known is None or entry.number > known.pruned]
    # Most of a status is there already, and making rows of it takes ten times as long as looking.
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
    """What is there already stays; but a configuration is kept for as long as the last change that names it."""
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
    """Mark the Kanary as deleted, or as existing where it was seen after its deletion."""
    mine = sa.update(KANARIES).where(KANARIES.c.uid == pending.uid)
    if pending.is_deleted:
        connection.execute(mine.where(KANARIES.c.deleted_at.is_(None)).values(deleted_at=pending.at))
    else:
        connection.execute(mine.where(KANARIES.c.deleted_at < pending.at).values(deleted_at=None))
