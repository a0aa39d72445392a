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
from kanary.history.faults import told
from kanary.history.files import sync_folder
from kanary.history.problems import HistoryError, Problem, Reason
from kanary.history.reader import Reader


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made and checked."""

    file: Path
    size: int
    changes: int
    """How many changes are in it."""


def backup(url: str | Address, file: Path) -> Backup:
    """Copy an SQLite database to a new file, which is there only once it is whole.

    To restore it, put it where the database was while no operator runs, with no `-wal` or `-shm` beside it. Raises
    BadAddressError and HistoryError.
    """
    reader = Reader(url)
    address, path = reader.address, reader.address.path
    if path is None:
        database = f'"{address}"'
        message = (
            f"a PostgreSQL database is backed up by its own tools: pg_dump --format=custom --file={file} {database}"
        )
        raise HistoryError(Problem(Reason.REFUSED, message))
    with reader.connection():
        pass  # it is there, and has a schema that this program knows
    if file.exists():
        raise _refused(file, "there is a file already: name another")
    if not file.parent.is_dir():
        raise _refused(file, f"the folder {file.parent} does not exist: make it")
    try:
        # In the same folder, so that it can be linked.
        with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            part = Path(folder) / "part"
            with told(address):
                _copy(path, part)
            changes = _checked(part)
            # Never over another file, not even one that was made meanwhile.
            os.link(part, file)
        sync_folder(file.parent)
    except FileExistsError:
        raise _refused(file, "there is a file already: name another") from None
    except OSError as error:
        raise _refused(file, f"it cannot be written: {error.strerror}") from None
    return Backup(file, file.stat().st_size, changes)


def _copy(path: Path, part: Path) -> None:
    with closing(open_sqlite_reader(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(part),))
    with part.open("rb") as copy:
        os.fsync(copy.fileno())


def _checked(part: Path) -> int:
    with closing(sqlite3.connect(part)) as connection:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            message = f"the backup is not whole and was not kept ({found}): the database may be corrupt"
            raise HistoryError(Problem(Reason.CORRUPT, message))
        return int(connection.execute("SELECT count(*) FROM changes").fetchone()[0])


def _refused(file: Path, why: str) -> HistoryError:
    return HistoryError(Problem(Reason.REFUSED, f"no backup is made to {file}: {why}"))
