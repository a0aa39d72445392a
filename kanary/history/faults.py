"""Faults of the history: a reason in one word, and a message that says what to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from states.explanation import Explanation


class FaultReason(StrEnum):
    """Why the history cannot be written or read."""

    LOCKED = "DatabaseLocked"
    FULL = "DatabaseFull"
    READ_ONLY = "DatabaseReadOnly"
    UNAVAILABLE = "DatabaseUnavailable"
    CORRUPT = "DatabaseCorrupt"
    TOO_NEW = "DatabaseTooNew"
    TOO_OLD = "DatabaseTooOld"
    """Only for readers, which cannot migrate."""
    ENTRY_REFUSED = "EntryRefused"
    """The database rejects this entry and accepts others."""
    OPENING = "DatabaseOpening"
    DISABLED = "HistoryDisabled"
    REFUSED = "Refused"
    """The request itself is refused, for example a backup to an existing file."""


FAULT_REASONS: Mapping[str, Explanation] = {
    FaultReason.LOCKED: Explanation(
        "The history database cannot be written now; changes wait in the status of the Kanary.",
        "Another process has locked it.",
        "End the other process. The operator retries.",
    ),
    FaultReason.FULL: Explanation(
        "The history database cannot be written; changes wait in the status of the Kanary.",
        "Its volume or its quota has no space left.",
        "Provide a larger volume, or keep less history (`KANARY_HISTORY_DAYS`, `KANARY_HISTORY_CHANGES`).",
    ),
    FaultReason.READ_ONLY: Explanation(
        "The history database cannot be written; changes wait in the status of the Kanary.",
        "The file, its folder, its volume or the PostgreSQL server is read-only.",
        "Make them writable for the operator.",
    ),
    FaultReason.UNAVAILABLE: Explanation(
        "The history database cannot be used; changes wait in the status of the Kanary.",
        "The server or the volume is unavailable, or the URL or the password is wrong; the message has the error.",
        "Fix the cause. The operator retries.",
    ),
    FaultReason.CORRUPT: Explanation(
        "The history database was corrupt: the operator has kept the file aside and continues with a new one.",
        "The file was damaged, for example by its volume.",
        "To have the older history again, restore a backup (docs/operations.md). The report ends with a restart.",
    ),
    FaultReason.TOO_NEW: Explanation(
        "The history database cannot be used; changes wait in the status of the Kanary.",
        "A newer version of Kanary has migrated it.",
        "Use that version, or another database.",
    ),
    FaultReason.TOO_OLD: Explanation(
        "The history database cannot be read.",
        "No operator of this version has migrated it yet.",
        "Run the operator once with this database, or read it with the version of Kanary that wrote it.",
    ),
    FaultReason.ENTRY_REFUSED: Explanation(
        "The history lacks entries of this Kanary; other Kanaries are not affected.",
        "The database rejects the entry; the message has the error.",
        "Report the error: this is a defect.",
    ),
    FaultReason.OPENING: Explanation(
        "The history database is being opened.",
        "The operator has just started.",
        "None: wait a few seconds.",
    ),
    FaultReason.DISABLED: Explanation(
        "There is no history to read.",
        "`KANARY_HISTORY_URL` of the operator is empty.",
        "Set `KANARY_HISTORY_URL`.",
    ),
    FaultReason.REFUSED: Explanation(
        "A request to the history was refused.",
        "Its parameters are invalid; the message names them.",
        "Correct the request.",
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as the user reads it. Never contains a password."""

    reason: FaultReason
    message: str


class HistoryError(Exception):
    """The history cannot be written or read now; `fault` says why."""

    def __init__(self, reason: FaultReason, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(reason, message)


class BadAddressError(ValueError):
    """The database URL is not supported; the message has the supported forms."""
