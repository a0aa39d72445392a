"""What waits to be recorded."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from engine.model.entries import Configuration, Entry

_KANARIES = 10_000
"""So many wait at a time; of each only the newest state does."""
_CONFIGURATIONS = 16
"""Of a Kanary, while the database is away."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What is to be recorded of one Kanary."""

    uid: str
    namespace: str
    name: str
    at: datetime
    """When it was seen like this: to exist, or to be deleted."""
    entries: tuple[Entry, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    is_deleted: bool = False

    def followed_by(self, newer: Pending) -> Pending:
        """Both in one: newer entries include the older ones, but not their configurations."""
        configurations = {c.digest: c for c in (*self.configurations, *newer.configurations)}
        return replace(
            newer,
            at=self.at if self.is_deleted and newer.is_deleted else newer.at,
            entries=newer.entries or self.entries,
            configurations=tuple(configurations.values())[-_CONFIGURATIONS:],
        )

    def last(self) -> int:
        """The number of its last entry; 0 where it has none."""
        return max((entry.number for entry in self.entries), default=0)


class Queue:
    """At most one item for each Kanary, in the order in which they came. Its lock is never held for long."""

    def __init__(self, most: int = _KANARIES) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._waiting: dict[str, Pending] = {}
        self.is_closed = False
        """Whether nothing more is waited for."""

    def add(self, pending: Pending) -> int:
        """Add to what waits; returns how many had to be dropped for it."""
        with self._changed:
            older = self._waiting.get(pending.uid)
            self._waiting[pending.uid] = older.followed_by(pending) if older else pending
            oldest = list(islice(self._waiting, max(0, len(self._waiting) - self._most)))
            for uid in oldest:
                del self._waiting[uid]
            self._changed.notify_all()
        return len(oldest)

    def waiting(self, most: int | None = None) -> list[Pending]:
        """What waits, the oldest first, or at most so many of it; it waits on until it is removed."""
        with self._changed:
            return list(islice(self._waiting.values(), most))

    def remove(self, batch: Iterable[Pending]) -> None:
        """These items wait no longer; what was added to them meanwhile does."""
        with self._changed:
            for pending in batch:
                if self._waiting.get(pending.uid) is pending:
                    del self._waiting[pending.uid]
            self._changed.notify_all()

    def wait(self, seconds: float, *, is_held: bool) -> bool:
        """Wait until there is something to do, or so long where it is held; False when all is done and closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or bool(self._waiting and not is_held), seconds)
            return not self.is_closed or bool(self._waiting)

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait so many seconds until nothing waits, and return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def close(self) -> None:
        """Have `wait` return without delay."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
