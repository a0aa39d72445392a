"""A queue of keys to reconcile, with the guarantees that a controller needs.

The queue holds keys, not events: a key that is added twice before a worker gets it is processed once. Two workers never
process the same key at a time, and a key that is added during its processing is processed again afterwards.

Changes precede routine looks. Within both, the groups of keys take turns, and the keys of one group never occupy all
workers: a thousand waiting keys of a group do not delay the single key of another one. While that one is processed, the
others get one worker for each group: threads share one interpreter, so that more workers would slow each other down. A
key that takes long waits for a server, and limits no other group any more.
"""

from __future__ import annotations

import heapq
import math
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kanary.kube.backoff import Backoff

K = TypeVar("K", bound=Hashable)

_BACKOFF = Backoff(base=0.2, cap=60.0)
_CHANGES_IN_A_ROW = 10
"""So many changes precede a waiting routine look: an endless flow of changes must not stop the deadlines of others."""
_LONG = 1.0
"""Seconds of a processing that mostly waits."""
_RETRIES_PER_SECOND = 100
"""So many failed keys are retried when the cause may be gone: the API server may be overloaded."""


class _Lane(Generic[K]):
    """Keys in the order of their arrival within each group; the groups take turns."""

    def __init__(self, group: Callable[[K], Hashable], is_open: Callable[[Hashable], bool]) -> None:
        self._group = group
        self._is_open = is_open
        self._groups: OrderedDict[Hashable, OrderedDict[K, None]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether a key can be processed now."""
        return any(map(self._is_open, self._groups))

    def has_any(self) -> bool:
        """Whether it has a key, even if it cannot be processed now."""
        return bool(self._groups)

    def append(self, key: K) -> None:
        self._groups.setdefault(self._group(key), OrderedDict())[key] = None

    def discard(self, key: K) -> None:
        group = self._group(key)
        keys = self._groups.get(group, OrderedDict())
        keys.pop(key, None)
        if not keys:
            self._groups.pop(group, None)

    def pop(self) -> K:
        group = next(filter(self._is_open, self._groups))
        keys = self._groups.pop(group)
        key, _ = keys.popitem(last=False)
        if keys:
            self._groups[group] = keys
        return key


class WorkQueue(Generic[K]):
    """A thread-safe queue. Call `done()` for each key that `get()` returns.

    `group` returns the group of a key; at most `group_limit` keys of one are processed at a time, and only one is begun
    while keys of other groups are processed that have not taken long. A key is routine until it is added without
    `routine`.
    """

    def __init__(
        self,
        *,
        group: Callable[[K], Hashable] = lambda _key: None,
        group_limit: float = math.inf,
        backoff: Backoff = _BACKOFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backoff = backoff
        self._clock = clock
        self._changed = threading.Condition()
        self._group = group
        self._group_limit = group_limit
        self._changes: _Lane[K] = _Lane(group, self._is_open)
        self._routine: _Lane[K] = _Lane(group, self._is_open)
        self._changes_in_a_row = 0
        self._dirty: dict[K, bool] = {}  # whether it is routine; in a lane, or in _processing and added again
        self._processing: dict[K, float] = {}  # since when
        self._due: dict[K, tuple[float, bool]] = {}  # when, and whether it is routine
        self._heap: list[tuple[float, int, K]] = []  # may have outdated entries: _due counts
        self._serial = 0
        self._failures: dict[K, int] = {}
        self._wakes_at = math.inf
        """When a waiting worker wakes up for the next delay or opening. If all did, each one would wake all."""
        self._is_shut = False

    def add(self, key: K, *, routine: bool = False) -> None:
        """Add a key."""
        with self._changed:
            if self._add(key, routine=routine):
                self._changed.notify()

    def add_after(self, key: K, seconds: float, *, routine: bool = False) -> None:
        """Add a key after a delay; the earliest of several delays of a key counts."""
        with self._changed:
            if seconds <= 0:
                if self._add(key, routine=routine):
                    self._changed.notify()
            elif not self._is_shut:
                self._delay(key, self._clock() + seconds, routine=routine)

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Add a failed key with a backoff that grows with each failure in a row; return the delay in seconds."""
        with self._changed:
            self._failures[key] = self._failures.get(key, 0) + 1
            seconds = max(at_least, self._backoff.delay(self._failures[key]))
            if not self._is_shut:
                self._delay(key, self._clock() + seconds, routine=False)
        return seconds

    def forget(self, key: K) -> None:
        """Reset the backoff of a key after a success."""
        with self._changed:
            self._failures.pop(key, None)

    def retry_failed(self) -> None:
        """Add all failed keys soon, because the cause may be gone: the more there are, the longer they are spread.

        Their minimum delays end as well: a server asked for them before it could respond again.
        """
        with self._changed:
            spread = len(self._failures) / _RETRIES_PER_SECOND
            for key in self._failures:
                self._delay(key, self._clock() + random.uniform(0.0, spread), routine=False)  # noqa: S311 -- no secret

    def is_failing(self, key: K) -> bool:
        """Whether the last processing of a key has failed."""
        with self._changed:
            return key in self._failures

    def get(self) -> K | None:
        """Wait for a key; returns None after the shutdown."""
        with self._changed:
            while not self._is_shut:
                self._add_due()
                if self._changes or self._routine:
                    key = self._take()
                    self._wake_next()
                    return key
                self._wait()
            return None

    def done(self, key: K) -> None:
        """Mark the processing of a key as finished, successful or not."""
        with self._changed:
            self._processing.pop(key, None)
            if key in self._dirty:
                self._lane(key).append(key)
            self._wake_next()

    def shutdown(self) -> None:
        """Make every `get()` return None and drop the queue: the next leader lists all objects anyway."""
        with self._changed:
            self._is_shut = True
            self._changed.notify_all()

    def depth(self) -> int:
        """The number of keys that are ready or must be processed again."""
        with self._changed:
            self._add_due()
            self._wake_next()
            return len(self._dirty)

    def _wait(self) -> None:
        until = self._next_time()
        if until >= self._wakes_at:
            self._changed.wait()
            return
        self._wakes_at = until
        try:
            self._changed.wait(max(0.0, until - self._clock()))
        finally:
            self._wakes_at = math.inf

    def _wake_next(self) -> None:
        """Wake a worker for the next key, or as the timekeeper; it will wake another one in turn."""
        if self._changes or self._routine or self._next_time() < self._wakes_at:
            self._changed.notify()

    def _add(self, key: K, *, routine: bool) -> bool:
        """Add a key; returns whether it can be processed now."""
        if self._is_shut or self._dirty.get(key) is routine or self._dirty.get(key) is False:
            return False
        if key in self._dirty:
            self._routine.discard(key)
        self._dirty[key] = routine
        if key in self._processing:
            return False
        self._lane(key).append(key)
        return True

    def _lane(self, key: K) -> _Lane[K]:
        return self._routine if self._dirty[key] else self._changes

    def _is_open(self, group: Hashable) -> bool:
        own = sum(self._group(key) == group for key in self._processing)
        recent = self._clock() - _LONG
        others = any(since > recent and self._group(key) != group for key, since in self._processing.items())
        return own == 0 if others else own < self._group_limit

    def _take(self) -> K:
        is_change = self._changes and (not self._routine or self._changes_in_a_row < _CHANGES_IN_A_ROW)
        self._changes_in_a_row = self._changes_in_a_row + 1 if is_change else 0
        key = (self._changes if is_change else self._routine).pop()
        del self._dirty[key]
        self._processing[key] = self._clock()
        return key

    def _delay(self, key: K, due: float, *, routine: bool) -> None:
        known, is_routine = self._due.get(key, (float("inf"), True))
        self._due[key] = min(due, known), routine and is_routine
        if due >= known:
            return
        self._serial += 1  # so that the heap compares no keys
        heapq.heappush(self._heap, (due, self._serial, key))
        if self._heap[0][1] == self._serial:
            # Only the timekeeper has to, but any worker may be it.
            self._changed.notify_all()

    def _add_due(self) -> None:
        """Add the keys whose delay is over."""
        while self._heap and (self._heap[0][0] <= self._clock() or self._is_outdated()):
            due, _, key = heapq.heappop(self._heap)
            known, routine = self._due.get(key, (None, True))
            if known == due:
                del self._due[key]
                self._add(key, routine=routine)

    def _is_outdated(self) -> bool:
        due, _, key = self._heap[0]
        return key not in self._due or self._due[key][0] != due

    def _next_time(self) -> float:
        """When the next delay is over, or a key may begin because another one takes long; infinite if never."""
        times = [self._heap[0][0]] if self._heap else []
        if self._changes.has_any() or self._routine.has_any():
            recent = self._clock() - _LONG
            times += [since + _LONG for since in self._processing.values() if since > recent]
        return min(times, default=math.inf)
