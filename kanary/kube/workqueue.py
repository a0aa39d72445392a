"""A queue of keys to reconcile, with the promises that a controller depends on.

Keys, not events: one that is added twice before it is handled is handled once. One key is never handled by two workers
at a time, and one that is added while it is handled is handled again afterwards.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kanary.kube.backoff import Backoff

K = TypeVar("K", bound=Hashable)

_BACKOFF = Backoff(base=0.2, cap=60.0)


class WorkQueue(Generic[K]):
    """A queue for any number of threads. Each key that `get()` hands out is to be given back with `done()`."""

    def __init__(self, *, backoff: Backoff = _BACKOFF, clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff = backoff
        self._clock = clock
        self._changed = threading.Condition()
        self._ready: deque[K] = deque()
        self._wanted: set[K] = set()  # to be handled: in _ready, or in _handled and wanted again
        self._handled: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # may hold entries that _due no longer agrees with
        self._serial = 0
        self._failures: dict[K, int] = {}
        self._is_shut = False

    def add(self, key: K) -> None:
        """Have a key handled as soon as a worker is free."""
        with self._changed:
            self._add(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Have a key handled after that time; of several delays of one key the earliest counts."""
        with self._changed:
            if seconds <= 0:
                self._add(key)
            elif not self._is_shut:
                self._delay(key, self._clock() + seconds)

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Have a key that failed handled again, later with each failure in a row, and return the delay in seconds."""
        with self._changed:
            self._failures[key] = self._failures.get(key, 0) + 1
            seconds = max(at_least, self._backoff.delay(self._failures[key]))
            if not self._is_shut:
                self._delay(key, self._clock() + seconds)
        return seconds

    def forget(self, key: K) -> None:
        """Let the next `retry` of a key start from the shortest delay; to be called after success."""
        with self._changed:
            self._failures.pop(key, None)

    def get(self) -> K | None:
        """Wait for a key and take it; None once the queue is shut down."""
        with self._changed:
            while not self._is_shut:
                self._ripen()
                if self._ready:
                    return self._take()
                self._changed.wait(self._next_due())
            return None

    def done(self, key: K) -> None:
        """Say that the handling of a key is over, however it went."""
        with self._changed:
            self._handled.discard(key)
            if key in self._wanted:
                self._ready.append(key)
            self._changed.notify()

    def shutdown(self) -> None:
        """Let every `get()` return None. What is queued is dropped: whoever starts next lists everything anyway."""
        with self._changed:
            self._is_shut = True
            self._changed.notify_all()

    def depth(self) -> int:
        """Return how many keys are ready to be handled."""
        with self._changed:
            self._ripen()
            return len(self._wanted)

    def _add(self, key: K) -> None:
        if self._is_shut or key in self._wanted:
            return
        self._wanted.add(key)
        if key not in self._handled:
            self._ready.append(key)
            self._changed.notify()

    def _take(self) -> K:
        key = self._ready.popleft()
        self._wanted.discard(key)
        self._handled.add(key)
        return key

    def _delay(self, key: K, due: float) -> None:
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        self._serial += 1  # keys need no order of their own
        heapq.heappush(self._heap, (due, self._serial, key))
        # All of them: one that waits without this due time may be the only one free when it comes.
        self._changed.notify_all()

    def _ripen(self) -> None:
        """Make the keys ready whose delay is over."""
        while self._heap and (self._heap[0][0] <= self._clock() or self._is_outdated()):
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key)

    def _is_outdated(self) -> bool:
        due, _, key = self._heap[0]
        return self._due.get(key) != due

    def _next_due(self) -> float | None:
        """Return the seconds until the next delay is over, None when there is none."""
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
