"""The files of an SQLite database: the lock for the one process that writes them, and the way of a corrupt one.

The database's own file is never opened here: closing it would drop the locks that SQLite holds on it in this process.
"""

from __future__ import annotations

import fcntl
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import IO

from kanary.history.faults import FaultReason, HistoryError

_log = logging.getLogger(__name__)

_BESIDE = ("-wal", "-shm", "-journal")


class WriterLock:
    """Held by the one process that writes, for as long as it has the database open; the kernel frees it at its end.

    SQLite before 3.51.3 can corrupt a database in WAL mode that two connections write or checkpoint at once.
    """

    def __init__(self, path: Path) -> None:
        """Raises HistoryError where another process holds it, and OSError where it cannot be made."""
        lock_path = path.with_name(f"{path.name}.lock")
        self._file: IO[bytes] = lock_path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            message = (
                f"another process writes the history database {path}: only one operator at a time can, "
                "and Kanary retries until the other one has ended"
            )
            raise HistoryError(FaultReason.LOCKED, message) from None

    def release(self) -> None:
        """Let another process write."""
        self._file.close()


def require_file(path: Path) -> None:
    """Raises HistoryError where no database can be at this path, and OSError where that cannot be found out."""
    if not path.exists():
        message = f"there is no history database {path}: the operator creates it when it starts, or name another"
    elif path.is_dir():
        message = f"{path} is a folder: name the history database in it"
    else:
        return
    raise HistoryError(FaultReason.UNAVAILABLE, message)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file this is, whatever its name; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def size_of(path: Path) -> int:
    """The bytes of a database and its log."""
    size = 0
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            size += file.stat().st_size
        except OSError:
            continue
    return size


def move_aside(path: Path) -> Path | None:
    """Rename a database and what belongs to it, and return its new name; None where it is no regular file.

    The database goes first: a log that is left alone is moved aside when the next one begins.
    """
    if path.exists() and not S_ISREG(path.stat().st_mode):
        return None
    aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    moved = False
    for suffix in ("", *_BESIDE):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
            moved = True
    if not moved:
        return None
    sync_folder(path.parent)
    _log.error("the history database %s is corrupt: it is kept as %s, and a new one is created", path, aside)
    return aside


def move_stray_log_aside(path: Path) -> None:
    """Keep the log of a database that is gone: SQLite deletes the one that it finds beside a new database."""
    log = path.with_name(f"{path.name}-wal")
    if not path.exists() and log.exists() and log.stat().st_size:
        move_aside(path)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlive the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
