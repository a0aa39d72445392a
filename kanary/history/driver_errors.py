"""What the drivers' errors mean, told as a Problem."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError, StatementError

from kanary.history.address import Address
from kanary.history.problems import HistoryError, Problem, Reason

_LONGEST = 300  # characters of what a driver says

_BY_SQLITE_CODE = {
    sqlite3.SQLITE_BUSY: Reason.LOCKED,
    sqlite3.SQLITE_LOCKED: Reason.LOCKED,
    sqlite3.SQLITE_FULL: Reason.FULL,
    sqlite3.SQLITE_READONLY: Reason.READ_ONLY,
    sqlite3.SQLITE_PERM: Reason.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: Reason.CORRUPT,
    sqlite3.SQLITE_NOTADB: Reason.CORRUPT,
    # Extended codes, which come first: the memory-mapped index of the log could not grow.
    sqlite3.SQLITE_IOERR_SHMSIZE: Reason.FULL,
}

_BY_ERRNO = {
    errno.ENOSPC: Reason.FULL,
    errno.EDQUOT: Reason.FULL,
    errno.EROFS: Reason.READ_ONLY,
    errno.EACCES: Reason.READ_ONLY,
    errno.EPERM: Reason.READ_ONLY,
}

_BY_SQLSTATE = {
    "25006": Reason.READ_ONLY,
    "40001": Reason.LOCKED,
    "40P01": Reason.LOCKED,
    "53100": Reason.FULL,
    "55P03": Reason.LOCKED,
    "57014": Reason.LOCKED,
    "XX001": Reason.CORRUPT,
    "XX002": Reason.CORRUPT,
}

_SAYS = {
    Reason.LOCKED: "another process has locked the history database {where}: it is tried again until that one is done",
    Reason.FULL: "the history database {where} has no space left: give it a larger volume, or keep less history",
    Reason.READ_ONLY: "the history database {where} is read-only: make it and its folder writable for this process",
    Reason.UNAVAILABLE: "the history database {where} cannot be used",
    Reason.CORRUPT: "the history database {where} is corrupt",
}


class RefusedEntryError(Exception):
    """The database is well, and does not take what it was given."""


def problem_of(error: Exception, address: Address) -> Problem:
    """What is wrong with the database, from an error that using it raised."""
    reason = reason_of(error)
    return Problem(reason, f"{_SAYS[reason].format(where=address)} ({address.scrub(_first_line(error))})")


def reason_of(error: Exception) -> Reason:
    """The one word for an error of a driver or of the file system."""
    cause = error.orig if isinstance(error, StatementError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return _BY_SQLITE_CODE.get(code) or _BY_SQLITE_CODE.get(code & 0xFF, Reason.UNAVAILABLE)
    if isinstance(cause, OSError):
        return _BY_ERRNO.get(cause.errno or 0, Reason.UNAVAILABLE)
    return _BY_SQLSTATE.get(getattr(cause, "sqlstate", None) or "", Reason.UNAVAILABLE)


def is_about_the_data(error: Exception) -> bool:
    """Whether the database would take something else: a value that it cannot hold, or a broken constraint."""
    cause = error.orig if isinstance(error, StatementError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return code in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)
    state = getattr(cause, "sqlstate", None) or ""
    # Classes 22 and 23: data exceptions and broken constraints. The others are raised before anything is sent.
    return state[:2] in ("22", "23") or isinstance(cause, (TypeError, ValueError, OverflowError, AttributeError))


@contextmanager
def told(address: Address, *, with_data: bool = False) -> Iterator[None]:
    """Turn what goes wrong with the database into HistoryError; what is wrong with the data into RefusedEntryError.

    The errors' own text and their causes are left behind, since they may quote the URL.
    """
    try:
        yield
    except (HistoryError, RefusedEntryError):
        raise
    except Exception as error:
        if with_data and is_about_the_data(error):
            raise RefusedEntryError(address.scrub(_first_line(error))) from None
        if not isinstance(error, (SQLAlchemyError, sqlite3.Error, OSError)):
            raise
        raise HistoryError(problem_of(error, address)) from None


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    text = lines[0].strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
