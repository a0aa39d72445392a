"""Opening a database to write: created where there is none, migrated, and moved aside where it is corrupt.

The file of an SQLite database is opened by SQLite alone: closing it would drop the locks that SQLite holds on it.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kanary.history.address import Address, parse_address
from kanary.history.connecting import beside, has_log, reader_engine, writer_engine
from kanary.history.database import Database, FileId, file_id
from kanary.history.driver_errors import translated
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.schema import migrate, version_of

_log = logging.getLogger(__name__)


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
        raise HistoryError(FaultReason.CORRUPT, f"the history database {address} is corrupt")
    else:
        with translated(address), reader_engine(address).connect() as connection:
            version_of(connection, address)
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise HistoryError(FaultReason.CORRUPT, f"the history database {address} is corrupt ({found})")


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
