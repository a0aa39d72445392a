"""A copy of the record, made while the operator writes on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kanary.history.address import Address
from kanary.history.connecting import open_sqlite_reader
from kanary.history.driver_errors import history_error, reason_of, translated
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.files import sync_folder
from kanary.history.reader import CHANGE, Reader

_EXISTS = "the file exists: name another"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made and checked."""

    file: Path
    size: int
    changes: int
    """How many weight changes are in it."""


def backup(url: str | Address, file: Path) -> Backup:
    """Copy an SQLite database to a new file, which is there only once it is whole.

    To restore it, put it where the database was while no operator runs, with no `-wal` or `-shm` beside it. Raises
    BadAddressError and HistoryError.
    """
    reader = Reader(url)
    address, path = reader.address, reader.address.path
    if path is None:
        message = f'use the tools of PostgreSQL for its backups: pg_dump --format=custom --file={file} "{address}"'
        raise HistoryError(FaultReason.REFUSED, message)
    with reader.connection():
        pass  # it is there, and has a schema that this program knows
    try:
        if not file.parent.is_dir():
            raise _refused(file, f"the folder {file.parent} does not exist: create it")
        if file.exists():
            raise _refused(file, _EXISTS)
        # In the same folder, so that it can be linked.
        with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            part = Path(folder) / "part"
            _copy(address, path, part)
            changes = _checked(part)
            # Never over another file, not even one that was made meanwhile.
            os.link(part, file)
        sync_folder(file.parent)
    except FileExistsError:
        raise _refused(file, _EXISTS) from None
    except OSError as error:
        raise _refused(file, f"it cannot be written: {error.strerror}") from None
    except sqlite3.Error as error:
        raise _refused(file, f"{address} cannot be copied there ({error}): check that there is space for it") from None
    return Backup(file, file.stat().st_size, changes)


def _copy(address: Address, path: Path, part: Path) -> None:
    """Raises HistoryError for what is wrong with the database; sqlite3.Error and OSError for the copy."""
    with translated(address):
        opened = open_sqlite_reader(path)
    with closing(opened) as connection:
        try:
            # As bytes: a file's name need not be valid UTF-8.
            connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(part),))
        except sqlite3.Error as error:
            if reason_of(error) in (FaultReason.CORRUPT, FaultReason.LOCKED):
                raise history_error(error, address) from None
            raise
    with part.open("rb") as copy:
        os.fsync(copy.fileno())


def _checked(part: Path) -> int:
    with closing(sqlite3.connect(part)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            message = f"the backup is not whole and was not kept ({found}): the database may be corrupt"
            raise HistoryError(FaultReason.CORRUPT, message)
        return int(connection.execute("SELECT count(*) FROM entries WHERE kind = ?", (CHANGE,)).fetchone()[0])


def _refused(file: Path, why: str) -> HistoryError:
    return HistoryError(FaultReason.REFUSED, f"cannot back up to {file}: {why}")
