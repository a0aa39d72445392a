"""What waits to be recorded, and what has been: the one thing that the writer's thread shares with the others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from kanary.history.model import Entry
from kanary.history.rows import Pending, pending_entry

_log = logging.getLogger(__name__)

MOST = 10_000
"""Kanaries that wait at a time; of each only the newest entry does."""


@dataclass(frozen=True, slots=True)
class Present:
    """The Kanaries that there were at a time."""

    uids: frozenset[str]
    at: datetime
    namespace: str | None


class Queue:
    """At most one thing for each Kanary, in the order in which they came. Its lock is never held for long."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._waiting: dict[str, Pending] = {}
        self._taken: dict[str, Pending] = {}
        self._present: Present | None = None
        self._confirmed: dict[str, tuple[int, int]] = {}
        self._is_closed = False

    def record(self, entry: Entry) -> int:
        """Add an entry; returns how many had to be given up for it. Never raises."""
        try:
            return self.add(pending_entry(entry))
        except Exception:  # what goes on in a cluster must not fail for a record of it
            _log.exception("an entry of the history is left out, since it is none")
            return 1

    def add(self, pending: Pending) -> int:
        """Add to what waits; returns how many had to be given up for it."""
        with self._changed:
            older = self._waiting.get(pending.uid)
            self._waiting[pending.uid] = older.followed_by(pending) if older else pending
            too_many = max(0, len(self._waiting) - self._most)
            for uid in list(self._waiting)[:too_many]:
                del self._waiting[uid]
            self._changed.notify_all()
        return too_many

    def present(self, uids: frozenset[str], at: datetime, namespace: str | None) -> None:
        """Have `take_present` return this."""
        with self._changed:
            self._present = Present(uids, at, namespace)
            self._changed.notify_all()

    def take_present(self) -> Present | None:
        """What is to be compared with the record; it stays until `mark_absent` is called for it."""
        with self._changed:
            return self._present

    def mark_absent(self, asked: Present, living: set[str]) -> None:
        """Have those marked as deleted that were not there then and have not been heard of since."""
        with self._changed:
            if self._present is asked:
                self._present = None
            for uid in living - asked.uids - self._confirmed.keys() - self._waiting.keys():
                self._waiting[uid] = Pending(uid, deleted_at=asked.at)
            self._changed.notify_all()

    def wait(self, seconds: float, *, is_held: bool) -> bool:
        """Wait until there is something to do, or so long where it is held; False when all is done and closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or (not is_held and self._has_work()), seconds)
            return not self._is_closed or self._has_work()

    def take(self, most: int) -> list[Pending]:
        """The first of what waits; if it is not confirmed until `settle`, it waits again."""
        with self._changed:
            for uid in list(self._waiting)[:most]:
                self._taken[uid] = self._waiting.pop(uid)
            return list(self._taken.values())

    def confirm(self, batch: Iterable[Pending]) -> None:
        """These have been dealt with, and what they have an entry of is in the database."""
        with self._changed:
            for pending in batch:
                self._taken.pop(pending.uid, None)
                if pending.entry:
                    revision, number = self._confirmed.get(pending.uid, (0, 0))
                    self._confirmed[pending.uid] = (
                        max(revision, *(change.revision for change in pending.entry.changes), 0),
                        max(number, *(move.number for move in pending.entry.transitions), 0),
                    )
                if pending.deleted_at is not None:
                    self._confirmed.pop(pending.uid, None)

    def settle(self) -> None:
        """What was taken and not confirmed waits again, before all else."""
        with self._changed:
            later, self._waiting = self._waiting, self._taken
            self._taken = {}
            for uid, pending in later.items():
                older = self._waiting.get(uid)
                self._waiting[uid] = older.followed_by(pending) if older else pending
            self._changed.notify_all()

    def confirmed(self, uid: str) -> tuple[int, int]:
        """The last revision and number that are in the database for sure."""
        with self._changed:
            return self._confirmed.get(uid, (0, 0))

    def forget_confirmed(self) -> None:
        """Nothing is sure any more."""
        with self._changed:
            self._confirmed.clear()

    def lost(self) -> list[tuple[Entry, int]]:
        """What waits of Kanaries that are gone, with how many of its changes are not in the database.

        Who comes next hears of it no more: their statuses are gone as well.
        """
        with self._changed:
            waiting = dict(self._taken)
            for uid, pending in self._waiting.items():
                waiting[uid] = waiting[uid].followed_by(pending) if uid in waiting else pending
            gone = [pending.entry for pending in waiting.values() if pending.entry and pending.deleted_at]
            return [(entry, missing) for entry in gone if (missing := self._missing(entry))]

    def _missing(self, entry: Entry) -> int:
        revision, _ = self._confirmed.get(entry.uid, (0, 0))
        return sum(change.revision > revision for change in entry.changes)

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait so many seconds until nothing waits, and return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._has_work(), timeout)

    def close(self) -> None:
        """Have `wait` return without delay, and False when nothing is left."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def is_closed(self) -> bool:
        """Whether nothing more is waited for."""
        with self._changed:
            return self._is_closed

    def _has_work(self) -> bool:
        return bool(self._waiting or self._taken or self._present)
