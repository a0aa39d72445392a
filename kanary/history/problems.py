"""What can be wrong with the record: a reason in one word, and a message with the way out."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
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
    REFUSED = "Refused"
    """What was asked for is not done, such as a backup onto a file that exists."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, as the user will read it. Never holds a password."""

    reason: Reason
    message: str


class HistoryError(Exception):
    """The record cannot be written or read now; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class BadAddressError(ValueError):
    """What was given as the database's URL is none that is supported; says what is."""
