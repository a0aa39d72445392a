"""Faults of the history: a reason in one word, and a message that says what to do."""

from dataclasses import dataclass
from enum import StrEnum


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
