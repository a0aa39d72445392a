"""The queue of entries that are not in the database yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from engine.model.entries import Configuration, Entry

_KANARIES = 10_000
"""Maximum number of Kanaries in the queue, each with its newest state."""
_CONFIGURATIONS = 16
"""Maximum per Kanary, for the time that the database is unavailable."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The newest state of one Kanary that is not in the database yet."""

    uid: str
    namespace: str
    name: str
    at: datetime
    """Time of the observation that it exists or is deleted."""
    entries: tuple[Entry, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    is_deleted: bool = False
    since: float = field(default_factory=time.monotonic, compare=False)
    """When the oldest part of it was queued, by the monotonic clock."""

    def followed_by(self, newer: Pending) -> Pending:
        """Merge with a newer state: newer entries include the older ones, but not their configurations."""
        configurations = {c.digest: c for c in (*self.configurations, *newer.configurations)}
        return replace(
            newer,
            at=self.at if self.is_deleted and newer.is_deleted else newer.at,
            entries=newer.entries or self.entries,
            configurations=tuple(configurations.values())[-_CONFIGURATIONS:],
            since=self.since,
        )

    def last(self) -> int:
        """The number of the last entry; 0 without entries."""
        return max((entry.number for entry in self.entries), default=0)


class Queue:
    """At most one item per Kanary, in the order of arrival. Its lock is never held for long."""

    def __init__(self, most: int = _KANARIES) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._waiting: dict[str, Pending] = {}
        self.is_closed = False
        """Whether `close` was called."""

    def add(self, pending: Pending) -> int:
        """Add an item, or merge it with the one of the same Kanary; returns how many others were dropped for it."""
        with self._changed:
            older = self._waiting.get(pending.uid)
            self._waiting[pending.uid] = older.followed_by(pending) if older else pending
            oldest = list(islice(self._waiting, max(0, len(self._waiting) - self._most)))
            for uid in oldest:
                del self._waiting[uid]
            self._changed.notify_all()
        return len(oldest)

    def waiting(self, most: int | None = None) -> list[Pending]:
        """The items in the queue, or the first `most`, the oldest first; they stay until `remove`."""
        with self._changed:
            return list(islice(self._waiting.values(), most))

    def lag(self) -> float:
        """For how many seconds the oldest item has been in the queue; 0 if it is empty."""
        with self._changed:
            oldest = next(iter(self._waiting.values()), None)
        return max(time.monotonic() - oldest.since, 0.0) if oldest else 0.0

    def remove(self, batch: Iterable[Pending]) -> None:
        """Remove these items; an item that was merged with a newer one in the meantime stays."""
        with self._changed:
            for pending in batch:
                rest = self._waiting.pop(pending.uid, None)
                if rest is not None and rest is not pending:
                    # What was added meanwhile has not waited for longer.
                    self._waiting[pending.uid] = replace(rest, since=time.monotonic())
            self._changed.notify_all()

    def wait(self, seconds: float, *, is_held: bool) -> bool:
        """Wait up to `seconds` for an item, or, if held, for `close` only; False if the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or bool(self._waiting and not is_held), seconds)
            return not self.is_closed or bool(self._waiting)

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the queue is empty; returns whether it is."""
        return self.wait_until(lambda: not self._waiting, timeout)

    def wait_until(self, is_over: Callable[[], bool], timeout: float) -> bool:
        """Wait up to `timeout` seconds for what is true after a `remove` or `notify`; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(is_over, timeout)

    def notify(self) -> None:
        """Let `wait_until` look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Let `wait` return without delay from now on."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
