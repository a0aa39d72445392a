"""`kanary status`: waits until a Kanary is Ready or Degraded, for pipelines."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from engine.calendar import frozen
from engine.conditions import READY
from engine.last_status import read_status
from engine.model.commands import RETRY, command_for
from engine.model.status import Condition, KanaryStatus
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.failure import CommandError, note
from kanary.cli.live import live_kanary, outdated
from kanary.kanaries import KANARIES
from kanary.kube.backoff import Backoff
from kanary.kube.reflector import Reflector
from kanary.kube.resources import Json
from states import Phase
from states.rollouts import RolloutState
from states.texts import one_line
from states.timing import duration_text

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_IS_READY, _IS_DEGRADED, _TIMED_OUT = 0, 1, 3
_BACKOFF = Backoff(base=0.2, cap=2.0)
_LOOK = 0.5
"""Seconds between two looks whether the API server responds, and whether the time is over."""
_PATIENCE = 5.0
"""Seconds after which it is reported that the operator has not observed the spec."""


def wait(client: ClusterClient, namespace: str, name: str, *, timeout: timedelta | None, grace: timedelta) -> int:
    """Print the phase at each change until it is Ready or Degraded; returns the exit code.

    Raises CommandError if the Kanary does not exist, or is deleted meanwhile, and ClusterError if it cannot be read at
    first: later, a cluster that does not respond is waited for.
    """
    waiting = _Waiting(f"{namespace}/{name}", timeout, grace)
    waiting.see(live_kanary(client, namespace, name))
    # What it logs about a lost connection is printed once.
    logging.getLogger("kanary").addHandler(logging.NullHandler())
    versions: SimpleQueue[Json | None] = SimpleQueue()
    copy = Reflector(
        client,
        KANARIES,
        namespace=namespace,
        field_selector=f"metadata.name={name}",
        on_change=lambda _key, _old, new: versions.put(new),
        backoff=_BACKOFF,
    )
    copy.start()
    try:
        while (code := waiting.result()) is None:
            try:
                kanary = versions.get(timeout=_LOOK)
            except Empty:
                waiting.heed(copy.problem(), is_first=not copy.synced.is_set())
                if not copy.synced.is_set() or copy.get(namespace, name):
                    continue
                kanary = None
            if kanary is None:
                raise CommandError(f"Kanary {name} of namespace {namespace} was deleted")
            waiting.see(kanary)
        return code
    finally:
        # Its thread is a daemon, for which an interrupted command does not wait.
        copy.stop(timeout=0.0)


class _Waiting:
    """What has been seen so far."""

    def __init__(self, name: str, timeout: timedelta | None, grace: timedelta) -> None:
        self._name = name
        self._timeout = timeout
        self._grace = grace.total_seconds()
        self._began = time.monotonic()
        self._status = KanaryStatus()
        self._stale = ""
        self._stale_since: float | None = self._began
        self._degraded_since: float | None = None
        self._is_ready = False
        self._said = ""
        self._problem = ""

    def see(self, kanary: Json) -> None:
        """Take note of a version of the Kanary, and print what is new."""
        self._status = status = read_status(kanary)
        self._stale = next(outdated(kanary, status), "") or _pending_retry(kanary, status)
        if self._stale:
            self._stale_since = self._stale_since or time.monotonic()
            self._is_ready, self._degraded_since = False, None
            return
        self._stale_since = None
        defect = _defect(status)
        self._say(f"Unknown - {defect.message}" if defect else f"{status.phase} - {status.message}")
        self._is_ready = status.phase == Phase.READY and defect is None
        is_degraded = status.phase == Phase.DEGRADED and defect is None
        self._degraded_since = (self._degraded_since or time.monotonic()) if is_degraded else None

    def heed(self, problem: str, *, is_first: bool) -> None:
        """Report once that the API server does not respond. Raises CommandError if it has not responded yet."""
        if problem and is_first:
            raise CommandError(problem)
        if problem and not self._problem:
            note(f"{problem}; waiting until it responds")
        self._problem = problem

    def result(self) -> int | None:
        """The exit code, and a note about the way out; None while the end is open."""
        now = time.monotonic()
        if self._is_ready:
            return _IS_READY
        if self._degraded_since is not None and now >= self._degraded_since + self._grace:
            note(f"{self._name} is Degraded: kanary explain {self._status.reason}, kanary why {self._hint}")
            return _IS_DEGRADED
        if self._timeout and now >= self._began + self._timeout.total_seconds():
            where = self._stale or f"it is {self._status.phase} ({self._status.reason}): kanary why {self._hint}"
            note(f"{self._name} is not Ready after {duration_text(self._timeout)}: {where}")
            return _TIMED_OUT
        if self._stale and self._stale_since is not None and now >= self._stale_since + _PATIENCE:
            note(self._stale)
            self._stale_since = float("inf")
        return None

    @property
    def _hint(self) -> str:
        namespace, _, name = self._name.partition("/")
        return f"{name} -n {namespace}"

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            try:
                sys.stdout.write(one_line(line) + "\n")
                sys.stdout.flush()
            except BrokenPipeError:
                # As `grep -q` does: the exit code is still needed.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _pending_retry(kanary: Json, status: KanaryStatus) -> str:
    """That the operator has not carried out `kanary retry` yet, which changes no generation; empty if it has."""
    rollout = status.rollout
    is_pending = (
        rollout is not None
        and rollout.state is RolloutState.ROLLED_BACK
        and command_for(kanary, RETRY, rollout.number) is not None
        and not _is_frozen(kanary)
    )
    return f"the operator has not begun the retry of rollout {rollout.number} yet" if rollout and is_pending else ""


def _is_frozen(kanary: Json) -> bool:
    with suppress(InvalidSpecError):
        return frozen(read_spec(kanary).freeze, datetime.now(UTC)) is not None
    return False


def _defect(status: KanaryStatus) -> Condition | None:
    """The condition that reports that reconciles fail: phase and message are those from before."""
    found: Iterator[Condition] = (c for c in status.conditions if c.type == READY and c.status == "Unknown")
    return next(found, None)
