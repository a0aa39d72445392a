"""Threads on a clock that jumps to the next moment in which one of them has something to do.

One thread runs at a time, so that a run with the same inputs is the same run.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from tests.waiting import PATIENCE


class VirtualTime:
    """A clock, and the threads that sleep on it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def __call__(self) -> float:
        return self.now

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), action))

    def start(self, target: Callable[[], object]) -> None:
        """Run this in a thread, whenever the others sleep."""

        def run() -> None:
            try:
                target()
            finally:
                self._idle.release()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        self.after(0, lambda: self._switch(thread.start))

    def sleep(self, seconds: float) -> None:
        """Called by these threads."""
        go = threading.Semaphore(0)
        self.after(seconds, lambda: self._switch(go.release))
        self._idle.release()
        assert go.acquire(timeout=PATIENCE)

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self._step()
        self.now = until

    def finish(self) -> None:
        """Until all threads have ended."""
        while any(thread.is_alive() for thread in self._threads) and self._due:
            self._step()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _step(self) -> None:
        self.now, _, action = heapq.heappop(self._due)
        action()

    def _switch(self, wake: Callable[[], object]) -> None:
        """Let a thread run until it sleeps again or ends."""
        wake()
        assert self._idle.acquire(timeout=PATIENCE)


class VirtualEvent(threading.Event):
    """An event whose waits pass on this clock."""

    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._time = time

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            assert timeout is not None
            self._time.sleep(timeout)
        return self.is_set()
