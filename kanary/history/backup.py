"""A copy of the database, made while the operator keeps writing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from kanary.history.connecting import open_sqlite_reader
from kanary.history.driver_errors import reason_of
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.reader import CHANGE, Reader


def backup(url: str, file: Path) -> int:
    """Copy an SQLite database to a new file, which appears only when the copy is complete and checked.

    Returns the number of weight changes in the copy. To restore it, stop the operator and replace the database with the
    copy, without a `-wal` or `-shm` file beside it. Raises BadAddressError and HistoryError.
    """
    reader = Reader(url)
    address, path = reader.address, reader.address.path
    if path is None:
        message = f'use the tools of PostgreSQL for its backups: pg_dump --format=custom --file={file} "{address}"'
        raise HistoryError(FaultReason.REFUSED, message)
    with reader.connection():
        pass  # checks that the database exists and has the newest schema
    try:
        # In the same folder: hard links do not cross file systems.
        with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            part = Path(folder) / "part"
            changes = _copy(path, part)
            _sync(part)
            # A link never replaces a file, not even one created in the meantime.
            os.link(part, file)
        _sync(file.parent)
    except (OSError, sqlite3.Error) as error:
        text = f"cannot back up {address} to {file} ({getattr(error, 'strerror', None) or error})"
        if (reason := reason_of(error)) in (FaultReason.CORRUPT, FaultReason.LOCKED):
            raise HistoryError(reason, text) from None
        text = f"{text}: name a new file in a folder that exists and has space for it"
        raise HistoryError(FaultReason.REFUSED, text) from None
    return changes


def _copy(path: Path, part: Path) -> int:
    """Copy the database; returns the number of weight changes in the copy. Raises HistoryError if it is corrupt."""
    with closing(open_sqlite_reader(path)) as connection:
        # As bytes: a file name may be invalid UTF-8.
        connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(part),))
    with closing(sqlite3.connect(part)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise HistoryError(FaultReason.CORRUPT, f"the backup of {path} is corrupt and was not kept ({found})")
        return int(connection.execute("SELECT count(*) FROM entries WHERE kind = ?", (CHANGE,)).fetchone()[0])


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
