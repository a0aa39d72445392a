"""A copy of the record, made while the operator writes on."""

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
    """Copy an SQLite database to a new file, which is there only once it is whole and checked.

    Returns how many weight changes are in it. To restore it, put it where the database was while no operator runs, with
    no `-wal` or `-shm` beside it. Raises BadAddressError and HistoryError.
    """
    reader = Reader(url)
    address, path = reader.address, reader.address.path
    if path is None:
        message = f'use the tools of PostgreSQL for its backups: pg_dump --format=custom --file={file} "{address}"'
        raise HistoryError(FaultReason.REFUSED, message)
    with reader.connection():
        pass  # it is there, and has a schema that this program knows
    try:
        # In the same folder, so that it can be linked.
        with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            part = Path(folder) / "part"
            changes = _copy(path, part)
            _sync(part)
            # Never over another file, not even one that was made meanwhile.
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
    """Copy the database; returns how many weight changes are in the copy. Raises HistoryError if it is corrupt."""
    with closing(open_sqlite_reader(path)) as connection:
        # As bytes: a file's name need not be valid UTF-8.
        connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(part),))
    with closing(sqlite3.connect(part)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise HistoryError(FaultReason.CORRUPT, f"the backup of {path} is corrupt and was not kept ({found})")
        return int(connection.execute("SELECT count(*) FROM entries WHERE kind = ?", (CHANGE,)).fetchone()[0])


def _sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
