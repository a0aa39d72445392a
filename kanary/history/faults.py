"""What can be wrong with the record: a reason in one word, and a message with the way out."""

from dataclasses import dataclass
from enum import StrEnum


class FaultReason(StrEnum):
    """Why the record cannot be written or read."""

    LOCKED = "DatabaseLocked"
    FULL = "DatabaseFull"
    READ_ONLY = "DatabaseReadOnly"
    UNAVAILABLE = "DatabaseUnavailable"
    CORRUPT = "DatabaseCorrupt"
    TOO_NEW = "DatabaseTooNew"
    TOO_OLD = "DatabaseTooOld"
    """Of a reader, which may not migrate."""
    ENTRY_REFUSED = "EntryRefused"
    """The database takes everything but this entry."""
    OPENING = "DatabaseOpening"
    DISABLED = "HistoryDisabled"
    REFUSED = "Refused"
    """The request itself is refused, such as a backup onto a file that exists."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, as the user will read it. Never holds a password."""

    reason: FaultReason
    message: str


class HistoryError(Exception):
    """The record cannot be written or read now; `fault` says why."""

    def __init__(self, reason: FaultReason, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(reason, message)


class BadAddressError(ValueError):
    """The database URL is not supported; the message says what is."""
