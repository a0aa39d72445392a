"""What waits to be recorded, and what has been: the one thing that the writer's thread shares with the others."""

from __future__ import annotations

import threading
from collections.abc import Collection
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
        self._confirmed: dict[str, int] = {}
        self._is_closed = False

    def add(self, pending: Pending) -> int:
        """Add to what waits; returns how many had to be dropped for it."""
        with self._changed:
            older = self._waiting.get(pending.uid)
            self._waiting[pending.uid] = older.followed_by(pending) if older else pending
            too_many = max(0, len(self._waiting) - self._most)
            for uid in list(self._waiting)[:too_many]:
                del self._waiting[uid]
            self._changed.notify_all()
        return too_many

    def wait(self, seconds: float, *, is_held: bool) -> bool:
        """Wait until there is something to do, or so long where it is held; False when all is done and closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or bool(self._waiting and not is_held), seconds)
            return not self._is_closed or bool(self._waiting)

    def first(self, most: int) -> list[Pending]:
        """The first of what waits; it waits on until it is confirmed or given up."""
        with self._changed:
            return list(islice(self._waiting.values(), most))

    def confirm(self, batch: Collection[Pending]) -> None:
        """These are in the database."""
        with self._changed:
            for pending in batch:
                self._confirmed[pending.uid] = max(self._confirmed.get(pending.uid, 0), pending.last())
                if pending.is_deleted:
                    del self._confirmed[pending.uid]
        self.give_up(batch)

    def give_up(self, batch: Collection[Pending]) -> None:
        """These wait no longer; what was added to them meanwhile does."""
        with self._changed:
            for pending in batch:
                if self._waiting.get(pending.uid) is pending:
                    del self._waiting[pending.uid]
            self._changed.notify_all()

    def confirmed(self, uid: str) -> int:
        """The number of the last entry that is in the database for sure; 0 for none."""
        with self._changed:
            return self._confirmed.get(uid, 0)

    def forget_confirmed(self) -> None:
        """Nothing is sure any more."""
        with self._changed:
            self._confirmed.clear()

    def lost(self) -> list[tuple[Pending, int]]:
        """What waits of Kanaries that are deleted, with how many of its entries are not in the database.

        No later operator records them: their statuses are deleted as well.
        """
        with self._changed:
            deleted = [pending for pending in self._waiting.values() if pending.is_deleted]
            missing = [sum(e.number > self._confirmed.get(p.uid, 0) for e in p.entries) for p in deleted]
            return [(pending, count) for pending, count in zip(deleted, missing, strict=True) if count]

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait so many seconds until nothing waits, and return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout)

    def close(self) -> None:
        """Have `wait` return without delay, and False when nothing is left."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def is_closed(self) -> bool:
        """Whether nothing more is waited for."""
        with self._changed:
            return self._is_closed
