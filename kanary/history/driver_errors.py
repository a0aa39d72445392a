"""What the drivers' errors mean: each is translated to a fault of the database, or of what it was given."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError, StatementError

from kanary.history.address import Address
from kanary.history.faults import FaultReason, HistoryError

_LONGEST = 300  # characters of a driver's message

_BY_SQLITE_CODE = {
    sqlite3.SQLITE_BUSY: FaultReason.LOCKED,
    sqlite3.SQLITE_LOCKED: FaultReason.LOCKED,
    sqlite3.SQLITE_FULL: FaultReason.FULL,
    sqlite3.SQLITE_READONLY: FaultReason.READ_ONLY,
    sqlite3.SQLITE_PERM: FaultReason.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: FaultReason.CORRUPT,
    sqlite3.SQLITE_NOTADB: FaultReason.CORRUPT,
    # Extended codes, which come first: the memory-mapped index of the log could not grow.
    sqlite3.SQLITE_IOERR_SHMSIZE: FaultReason.FULL,
}

_BY_ERRNO = {
    errno.ENOSPC: FaultReason.FULL,
    errno.EDQUOT: FaultReason.FULL,
    errno.EROFS: FaultReason.READ_ONLY,
    errno.EACCES: FaultReason.READ_ONLY,
    errno.EPERM: FaultReason.READ_ONLY,
}

_BY_SQLSTATE = {
    "25006": FaultReason.READ_ONLY,
    "40001": FaultReason.LOCKED,
    "40P01": FaultReason.LOCKED,
    "53100": FaultReason.FULL,
    "55P03": FaultReason.LOCKED,
    "57014": FaultReason.LOCKED,
    "XX001": FaultReason.CORRUPT,
    "XX002": FaultReason.CORRUPT,
}

_MESSAGES = {
    FaultReason.LOCKED: "another process has locked the history database {where}: Kanary retries",
    FaultReason.FULL: "the history database {where} has no space left: provide a larger volume, or keep less history",
    FaultReason.READ_ONLY: "the history database {where} is read-only: make it and its folder writable",
    FaultReason.UNAVAILABLE: "the history database {where} cannot be used",
    FaultReason.CORRUPT: "the history database {where} is corrupt",
}


class RefusedEntryError(Exception):
    """The database works, and does not take what it was given."""


@contextmanager
def translated(address: Address, *, with_data: bool = False) -> Iterator[None]:
    """Raise HistoryError for what is wrong with the database, RefusedEntryError for what is wrong with the data.

    The errors' own text and their causes are left behind, since they may quote the URL.
    """
    try:
        yield
    except (HistoryError, RefusedEntryError):
        raise
    except Exception as error:
        if with_data and _is_about_the_data(error):
            raise RefusedEntryError(address.scrub(_first_line(error))) from None
        if not isinstance(error, (SQLAlchemyError, sqlite3.Error, OSError)):
            raise
        raise history_error(error, address) from None


def history_error(error: Exception, address: Address) -> HistoryError:
    """What is wrong with the database, from an error that using it raised."""
    reason = reason_of(error)
    return HistoryError(reason, f"{_MESSAGES[reason].format(where=address)} ({address.scrub(_first_line(error))})")


def reason_of(error: Exception) -> FaultReason:
    """The one word for an error of a driver or of the file system."""
    cause = error.orig if isinstance(error, StatementError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return _BY_SQLITE_CODE.get(code) or _BY_SQLITE_CODE.get(code & 0xFF, FaultReason.UNAVAILABLE)
    if isinstance(cause, OSError):
        return _BY_ERRNO.get(cause.errno or 0, FaultReason.UNAVAILABLE)
    return _BY_SQLSTATE.get(getattr(cause, "sqlstate", None) or "", FaultReason.UNAVAILABLE)


def _is_about_the_data(error: Exception) -> bool:
    """Whether the database would take something else: a value that it cannot hold, or a broken constraint."""
    cause = error.orig if isinstance(error, StatementError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return code in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)
    state = getattr(cause, "sqlstate", None) or ""
    # Classes 22, 23, 54: data exceptions, broken constraints, limits. The others are raised before anything is sent.
    return state[:2] in ("22", "23", "54") or isinstance(cause, (TypeError, ValueError, OverflowError, AttributeError))


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    text = lines[0].strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
