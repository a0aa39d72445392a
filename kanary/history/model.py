"""What is kept, as plain records."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Weight:
    """A backend's share before a change, in percent."""

    backend: str
    weight: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route after a change: enough of it to be written back into a spec."""

    backend: str
    weight: int
    service_name: str
    service_port: int | str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of weights: one per (uid, revision)."""

    revision: int
    at: datetime
    generation: int
    before: tuple[Weight, ...]
    after: tuple[Route, ...]
    cause: str
    manager: str
    config_hash: str | None = None
    endpoints: tuple[tuple[str, ...], ...] = ()
    """For each route of `after` its "address:port"."""


class Result(StrEnum):
    """What came of a change."""

    READY = "Ready"
    SUPERSEDED = "Superseded"
    DELETED = "Deleted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the change with this revision, when, and how long it took."""

    revision: int
    result: Result
    at: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of phase: one per (uid, number)."""

    number: int
    at: datetime
    source: str
    destination: str
    trigger: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """The text of a configuration, under the hash that changes name it by."""

    hash: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """All that a Kanary's status has for the record. Recording it again changes nothing."""

    namespace: str
    name: str
    uid: str
    changes: tuple[Change, ...] = ()
    transitions: tuple[Transition, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    configuration: Configuration | None = None


@dataclass(frozen=True, slots=True)
class KnownKanary:
    """A Kanary that the record has something of."""

    uid: str
    namespace: str
    name: str
    first_seen: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change as the record has it, and whose it is."""

    kanary: KnownKanary
    change: Change
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class RecordedTransition:
    """A transition as the record has it, and whose it is."""

    kanary: KnownKanary
    transition: Transition
