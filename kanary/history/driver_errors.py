"""Translates errors of the drivers to faults of the database, or of the entries that it received."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

from kanary.history.address import Address
from kanary.history.faults import FaultReason, HistoryError
from states.texts import harmless

_PROGRAM_LIMIT_EXCEEDED = "54000"  # such as an indexed text that is too long

_NAMES = {
    FaultReason.LOCKED: {"SQLITE_BUSY", "SQLITE_LOCKED", "40001", "40P01", "55P03", "57014"},
    # SHMSIZE: the memory-mapped index of the log cannot grow.
    FaultReason.FULL: {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "ENOSPC", "EDQUOT", "53100"},
    FaultReason.READ_ONLY: {"SQLITE_READONLY", "SQLITE_PERM", "EROFS", "EACCES", "EPERM", "25006"},
    FaultReason.CORRUPT: {"SQLITE_CORRUPT", "SQLITE_NOTADB", "XX001", "XX002"},
}
"""Names of errors of SQLite and of the system, and SQLSTATEs."""
_MESSAGES = {
    FaultReason.LOCKED: "another process has locked the history database {}: Kanary retries",
    FaultReason.FULL: "the history database {} has no space left: provide a larger volume, or keep less history",
    FaultReason.READ_ONLY: "the history database {} is read-only: make it and its folder writable",
    FaultReason.UNAVAILABLE: "the history database {} cannot be used",
    FaultReason.CORRUPT: "the history database {} is corrupt: restore a backup, or let the operator replace the file",
    FaultReason.ENTRY_REFUSED: "the history database {} refused an entry",
}


@contextmanager
def translated(address: Address, *, with_entries: bool = False) -> Iterator[None]:
    """Raise HistoryError for errors of the database, and, if `with_entries`, for those of written entries.

    Secrets of the URL are removed from the text, and the cause is dropped, since both may quote the URL.
    """
    try:
        yield
    except HistoryError:
        raise
    except Exception as error:
        reason = FaultReason.ENTRY_REFUSED if with_entries and _is_about_data(error) else reason_of(error)
        if reason is None:
            raise
        text = str(_cause(error)).strip().partition("\n")[0] or type(error).__name__
        raise database_error(reason, address, harmless(address.scrub(text))) from None


def database_error(reason: FaultReason, address: Address, text: str) -> HistoryError:
    """The error with this reason: its message says what to do, and ends with the text, which has the details."""
    return HistoryError(reason, f"{_MESSAGES[reason].format(address)} ({text})")


def reason_of(error: Exception) -> FaultReason | None:
    """The reason of an error of a driver or of the file system; None for any other error."""
    cause = _cause(error)
    if not isinstance(error, (SQLAlchemyError, sqlite3.Error, OSError)):
        return None
    name = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""
    if isinstance(cause, OSError):
        name = errno.errorcode.get(cause.errno or 0, "")
    # Extended codes count as their base: SQLITE_BUSY_SNAPSHOT as SQLITE_BUSY.
    names = {name, "_".join(name.split("_")[:2])}
    return next((reason for reason, known in _NAMES.items() if names & known), FaultReason.UNAVAILABLE)


def _is_about_data(error: Exception) -> bool:
    """Whether the database rejected these values only; drivers raise some of these errors before they send a value."""
    cause = _cause(error)
    return (
        isinstance(error, (DataError, IntegrityError))
        or isinstance(cause, (TypeError, ValueError, OverflowError, AttributeError))
        or getattr(cause, "sqlstate", None) == _PROGRAM_LIMIT_EXCEEDED
    )


def _cause(error: Exception) -> BaseException:
    return error.orig if isinstance(error, StatementError) and error.orig is not None else error
