"""Records what it is handed, from a thread of its own, and is never in the way of who hands it over."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec

from kanary.history.address import parse_address
from kanary.history.faults import RefusedEntryError
from kanary.history.model import Entry
from kanary.history.opening import move_corrupt_aside, open_store
from kanary.history.pending import Queue
from kanary.history.problems import HistoryError, Problem, Reason
from kanary.history.retention import Pruned, Retention, prune_steps
from kanary.history.rows import Pending
from kanary.history.store import Figures, Store
from kanary.kube.backoff import Backoff

P = ParamSpec("P")

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(base=1.0, cap=60.0)
_BATCH = 100
_FIGURES_SECONDS = 60.0
_PRUNE_SECONDS = 3600.0


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Hooks:
    """Who hears of what, in the writer's thread; what they raise is logged and left."""

    on_change: Callable[[], None] = _ignore
    """`problem()` or `notice()` is another now. Every Kanary's entry is then to be recorded again: the database may be
    a new one."""
    on_rows: Callable[[str, int], None] = _ignore
    """So many rows of this table were written that had not been there."""
    on_failure: Callable[[str], None] = _ignore
    """Writing failed for this reason; it will be tried again."""
    on_dropped: Callable[[], None] = _ignore
    """An entry was given up: too many wait, and its Kanary's next one has the same and more; or its Kanary is gone, and
    it was not written before the end."""


def _tell(hook: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        hook(*args, **kwargs)
    except Exception:  # the record does not depend on who hears of it
        _log.exception("telling what became of the history failed")


class HistoryWriter:
    """Writes to the database between `start()` and `stop()`; what it tells is true at any time, in any thread."""

    def __init__(
        self,
        url: str,
        *,
        retention: Retention | None = None,
        hooks: Hooks | None = None,
        backoff: Backoff = _BACKOFF,
        prune_seconds: float = _PRUNE_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises BadAddressError for a URL that is none."""
        self._address = parse_address(url)
        self._retention = retention or Retention()
        self._hooks = hooks or Hooks()
        self._backoff = backoff
        self._prune_seconds = prune_seconds
        self._now = now
        self._queue = Queue()
        self._lock = threading.Lock()
        self._problem: Problem | None = None
        self._refused: dict[str, Problem] = {}
        self._notice: Problem | None = None
        self._figures: Figures | None = None
        # Of the thread alone:
        self._store: Store | None = None
        self._told: tuple[Problem | None, Problem | None] = None, None
        self._failures = 0
        self._pruning: Iterator[Pruned] | None = None
        self._prune_at = 0.0
        self._figures_at = 0.0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Open the database and write what is recorded."""
        self._thread.start()

    def record(self, entry: Entry) -> None:
        """Have an entry written soon, in place of an earlier one of the same Kanary. Never blocks, never raises."""
        for _ in range(self._queue.record(entry)):
            _tell(self._hooks.on_dropped)

    def deleted(self, uid: str, at: datetime) -> None:
        """Have it written that this Kanary is gone. Never blocks, never raises."""
        self._queue.add(Pending(uid, deleted_at=at))

    def present(self, uids: frozenset[str], at: datetime, namespace: str | None = None) -> None:
        """Have every other Kanary that the record takes for living marked as deleted.

        For the start: these are all that there were at that time, of the namespace or of all.
        """
        self._queue.present(uids, at, namespace)

    def confirmed(self, uid: str) -> tuple[int, int]:
        """The last revision and the last transition's number that are in the database for sure; 0 for none."""
        return self._queue.confirmed(uid)

    def problem(self) -> Problem | None:
        """What keeps the record from taking what happens now, or None."""
        with self._lock:
            return self._problem or next(iter(self._refused.values()), None)

    def notice(self) -> Problem | None:
        """What has befallen the record since the start and does not pass: a corrupt file that was moved aside."""
        with self._lock:
            return self._notice

    def figures(self) -> Figures | None:
        """The database's size and its oldest change, as of a minute ago at most while it can be asked."""
        with self._lock:
            return self._figures

    def flush(self, timeout: float) -> bool:
        """Wait so many seconds until all that was recorded is written, and return whether it is."""
        return self._queue.wait_until_empty(timeout)

    def stop(self, timeout: float = 5.0) -> bool:
        """Write what is recorded for so many seconds at most, then end; return whether all of it is written."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout)
        for entry, changes in self._queue.lost():
            _log.error(
                "the history lacks %d changes of %s/%s (uid %s), which is deleted: they could not be written before "
                "the end",
                *(changes, entry.namespace, entry.name, entry.uid),
            )
            _tell(self._hooks.on_dropped)
        return self._queue.wait_until_empty(0)

    def _run(self) -> None:
        while self._queue.wait(self._seconds_until_due(), is_held=self._failures > 0):
            try:
                self._turn()
            except HistoryError as error:
                self._fail(error.problem)
            except Exception:  # the thread has to outlive a defect, or nothing would ever be recorded again
                text = self._address.scrub(traceback.format_exc())
                _log.error("recording the history failed: %s", text)
                self._fail(Problem(Reason.UNAVAILABLE, f"a defect of Kanary's: {text.strip().splitlines()[-1]}"))
            else:
                self._failures = 0
                self._set_problem(None)
            if self._failures and self._queue.is_closed():
                break
        self._close()

    def _seconds_until_due(self) -> float:
        if self._failures:
            return self._backoff.delay(self._failures)
        if self._store is None or self._pruning is not None:
            return 0.0
        return max(0.0, min(self._prune_at, self._figures_at) - time.monotonic())

    def _turn(self) -> None:
        """Do the next thing: what waits comes first, and the chores get along a step at a time."""
        store = self._store or self._open()
        if asked := self._queue.take_present():
            self._queue.mark_absent(asked, store.living(asked.namespace, asked.at))
        elif batch := self._queue.take(_BATCH):
            try:
                self._write(store, batch)
            finally:
                self._queue.settle()
        else:
            self._chore(store)

    def _open(self) -> Store:
        # Another database may be there now, or the same with less in it.
        self._queue.forget_confirmed()
        store = open_store(self._address)
        self._store = store
        if store.moved_aside:
            _tell(self._hooks.on_failure, Reason.CORRUPT)
            self._set_problem(None, self._moved(store.moved_aside))
        now = time.monotonic()
        self._figures_at, self._prune_at = now, now
        _log.info("recording the history in %s", self._address)
        return store

    def _write(self, store: Store, batch: list[Pending]) -> None:
        try:
            rows = store.write(batch)
        except RefusedEntryError as error:
            if len(batch) > 1:
                # One that is refused takes its transaction with it, and is not to take the others' too.
                for pending in batch:
                    self._write(store, [pending])
            else:
                self._refuse(batch[0], str(error))
            return
        for table, count in rows.items():
            if count:
                _tell(self._hooks.on_rows, table, count)
        self._queue.confirm(batch)
        with self._lock:
            for pending in batch:
                self._refused.pop(pending.uid, None)

    def _refuse(self, pending: Pending, why: str) -> None:
        name = f"{pending.entry.namespace}/{pending.entry.name}" if pending.entry else pending.uid
        message = f"the history database does not take what is to be recorded of {name} ({why})"
        _log.error("%s", message)
        self._queue.confirm([Pending(pending.uid)])
        with self._lock:
            self._refused[pending.uid] = Problem(Reason.ENTRY_REFUSED, message)
        _tell(self._hooks.on_failure, Reason.ENTRY_REFUSED)

    def _chore(self, store: Store) -> None:
        now = time.monotonic()
        if self._pruning is None and now >= self._prune_at:
            self._pruning = prune_steps(store, self._retention, self._now())
        if self._pruning is not None and next(self._pruning, None) is None:
            self._pruning, self._prune_at = None, now + self._prune_seconds
        if now >= self._figures_at:
            figures = store.figures()
            self._figures_at = now + _FIGURES_SECONDS
            with self._lock:
                self._figures = figures

    def _fail(self, problem: Problem) -> None:
        self._failures += 1
        _tell(self._hooks.on_failure, problem.reason)
        was_open = self._store is not None
        if problem.reason is not Reason.LOCKED:
            self._close()
        self._pruning = None
        if problem.reason is Reason.CORRUPT and was_open:
            try:
                aside = move_corrupt_aside(self._address)
            except HistoryError as error:
                problem = error.problem
            else:
                if aside:
                    problem = self._moved(aside)
                    self._set_problem(problem, problem)
                    return
        self._set_problem(problem)

    def _moved(self, aside: Path) -> Problem:
        message = (
            f"the history database {self._address} was corrupt: it is kept as {aside}, and a new one is begun "
            "(said until the operator starts anew)"
        )
        return Problem(Reason.CORRUPT, message)

    def _set_problem(self, problem: Problem | None, notice: Problem | None = None) -> None:
        """Tell of another problem, and of something that does not pass."""
        with self._lock:
            self._problem = problem
            self._notice = notice or self._notice
        current = self.problem(), self.notice()
        if current == self._told:
            return
        if told := current[0] or notice:
            _log.warning("%s: %s", told.reason, told.message)
        else:
            _log.info("the history is recorded again in %s", self._address)
        self._told = current
        _tell(self._hooks.on_change)

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
