"""A queue of keys to reconcile, with the guarantees that a controller needs.

The queue holds keys, not events: a key that is added twice before a worker gets it is processed once. Two workers never
process the same key at a time, and a key that is added during its processing is processed again afterwards.
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
    """A thread-safe queue. Call `done()` for each key that `get()` returns."""

    def __init__(self, *, backoff: Backoff = _BACKOFF, clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff = backoff
        self._clock = clock
        self._changed = threading.Condition()
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()  # in _ready, or in _processing and added again
        self._processing: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # may have outdated entries: _due counts
        self._serial = 0
        self._failures: dict[K, int] = {}
        self._is_shut = False

    def add(self, key: K) -> None:
        """Add a key."""
        with self._changed:
            self._add(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add a key after a delay; the earliest of several delays of a key counts."""
        with self._changed:
            if seconds <= 0:
                self._add(key)
            elif not self._is_shut:
                self._delay(key, self._clock() + seconds)

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Add a failed key with a backoff that grows with each failure in a row; return the delay in seconds."""
        with self._changed:
            self._failures[key] = self._failures.get(key, 0) + 1
            seconds = max(at_least, self._backoff.delay(self._failures[key]))
            if not self._is_shut:
                self._delay(key, self._clock() + seconds)
        return seconds

    def forget(self, key: K) -> None:
        """Reset the backoff of a key after a success."""
        with self._changed:
            self._failures.pop(key, None)

    def get(self) -> K | None:
        """Wait for a key; returns None after the shutdown."""
        with self._changed:
            while not self._is_shut:
                self._add_due()
                if self._ready:
                    return self._take()
                self._changed.wait(self._next_due())
            return None

    def done(self, key: K) -> None:
        """Mark the processing of a key as finished, successful or not."""
        with self._changed:
            self._processing.discard(key)
            if key in self._dirty:
                self._ready.append(key)
            self._changed.notify()

    def shutdown(self) -> None:
        """Make every `get()` return None and drop the queue: the next leader lists all objects anyway."""
        with self._changed:
            self._is_shut = True
            self._changed.notify_all()

    def depth(self) -> int:
        """The number of keys that are ready or must be processed again."""
        with self._changed:
            self._add_due()
            return len(self._dirty)

    def _add(self, key: K) -> None:
        if self._is_shut or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.append(key)
            self._changed.notify()

    def _take(self) -> K:
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def _delay(self, key: K, due: float) -> None:
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        self._serial += 1  # so that the heap compares no keys
        heapq.heappush(self._heap, (due, self._serial, key))
        # Wake all: each idle worker waits until the earliest due time.
        self._changed.notify_all()

    def _add_due(self) -> None:
        """Add the keys whose delay is over."""
        while self._heap and (self._heap[0][0] <= self._clock() or self._is_outdated()):
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key)

    def _is_outdated(self) -> bool:
        due, _, key = self._heap[0]
        return self._due.get(key) != due

    def _next_due(self) -> float | None:
        """Seconds until the next delay is over, None if there is none."""
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
