"""Records what it is given, from a thread of its own: no caller ever waits for the database."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ParamSpec

from kanary.history.address import parse_address
from kanary.history.database import Database, Figures
from kanary.history.driver_errors import RefusedEntryError
from kanary.history.faults import Fault, FaultReason, HistoryError
from kanary.history.opening import open_database
from kanary.history.pending import Pending, Queue
from kanary.history.records import KnownKanary
from kanary.history.retention import Pruned, Retention, prune_steps
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
    """What the writer's thread calls; what they raise is logged and ignored."""

    on_change: Callable[[], None] = _ignore
    """`fault()` or `notice()` has changed. Everything is then to be recorded again: the database may be a new one."""
    on_rows: Callable[[str, int], None] = _ignore
    """So many rows were written to this table."""
    on_failure: Callable[[str], None] = _ignore
    """Writing failed for this reason; it will be tried again."""
    on_dropped: Callable[[], None] = _ignore
    """What was to be recorded of a Kanary is dropped: too many wait, and its next state includes it; or the Kanary is
    deleted, and it was not written before the end."""


def _call(hook: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    try:
        hook(*args, **kwargs)
    except Exception:  # the record does not depend on its observers
        _log.exception("a hook of the history failed")


@dataclass(frozen=True, slots=True)
class RollCall:
    """Finds the Kanaries that the record takes for living and that are deleted."""

    uids: Set[str]
    """Of the Kanaries that exist for sure."""
    namespace: str | None
    """Where they were looked for; None is everywhere."""
    is_deleted: Callable[[KnownKanary], bool | None]
    """Asked about each other one, in the writer's thread; None where that cannot be found out now."""


class HistoryWriter:
    """Writes to the database between `start()` and `stop()`; its other methods serve any thread and never wait."""

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
        """Raises BadAddressError for an invalid URL."""
        self._address = parse_address(url)
        self._retention = retention or Retention()
        self._hooks = hooks or Hooks()
        self._backoff = backoff
        self._prune_seconds = prune_seconds
        self._now = now
        self._queue = Queue()
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._refused: dict[str, Fault] = {}
        self._notice: Fault | None = None
        self._figures: Figures | None = None
        # Of the thread alone:
        self._database: Database | None = None
        self._reported: tuple[Fault | None, Fault | None] = None, None
        self._failures = 0
        self._is_corrupt = False
        self._roll_call: RollCall | None = None
        self._missing: deque[KnownKanary] | None = None
        self._pruning: Iterator[Pruned] | None = None
        self._due = {"prune": 0.0, "figures": 0.0, "roll call": math.inf}
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self, roll_call: RollCall | None = None) -> None:
        """Open the database, write what is recorded, and mark as deleted what is found to be."""
        if roll_call:
            self._roll_call, self._due["roll call"] = roll_call, 0.0
        self._thread.start()

    def record(self, pending: Pending) -> None:
        """Have this written soon, in place of what waits of the same Kanary."""
        for _ in range(self._queue.add(pending)):
            _call(self._hooks.on_dropped)

    def confirmed(self, uid: str) -> int:
        """The number of the last entry that is in the database for sure; 0 for none."""
        return self._queue.confirmed(uid)

    def fault(self, uid: str | None = None) -> Fault | None:
        """What keeps the record, or with `uid` that of one Kanary, from being written now, or None."""
        with self._lock:
            return self._fault or (self._refused.get(uid) if uid else next(iter(self._refused.values()), None))

    def notice(self) -> Fault | None:
        """What happened to the record since the start and does not pass: a corrupt file that was moved aside."""
        with self._lock:
            return self._notice

    def figures(self) -> Figures | None:
        """The database's size and its oldest entry, a minute old at most while it can be read."""
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
        for pending, entries in self._queue.lost():
            _log.error(
                "the history lacks %d entries of %s/%s (uid %s), which is deleted: they could not be written in time",
                *(entries, pending.namespace, pending.name, pending.uid),
            )
            _call(self._hooks.on_dropped)
        return self._queue.wait_until_empty(0)

    def _run(self) -> None:
        while self._queue.wait(self._seconds_until_due(), is_held=self._failures > 0):
            try:
                self._turn()
            except HistoryError as error:
                self._fail(error.fault)
            except Exception:  # the thread has to outlive a defect, or nothing would ever be recorded again
                text = self._address.scrub(traceback.format_exc())
                _log.error("recording the history failed: %s", text)
                self._fail(Fault(FaultReason.UNAVAILABLE, f"internal error: {text.strip().splitlines()[-1]}"))
            else:
                self._failures = 0
                self._set_fault(None)
            if self._failures and self._queue.is_closed():
                break
        self._close()

    def _seconds_until_due(self) -> float:
        if self._failures:
            return self._backoff.delay(self._failures)
        if self._database is None or self._pruning is not None:
            return 0.0
        return max(0.0, min(self._due.values()) - time.monotonic())

    def _turn(self) -> None:
        """Do the next thing: what waits comes first, and the chores are done a step at a time."""
        database = self._database or self._open()
        if batch := self._queue.first(_BATCH):
            self._write(database, batch)
        else:
            self._chore(database)

    def _open(self) -> Database:
        # Another database may be there now, or the same with less in it.
        self._queue.forget_confirmed()
        database = self._database = open_database(self._address, is_corrupt=self._is_corrupt)
        if database.moved_aside:
            if not self._is_corrupt:
                _call(self._hooks.on_failure, FaultReason.CORRUPT)
            message = (
                f"the history database {self._address} was corrupt: it is kept as {database.moved_aside}, and a new "
                "one was created (reported until the operator restarts)"
            )
            self._set_fault(None, Fault(FaultReason.CORRUPT, message))
        self._is_corrupt = False
        self._due |= {"prune": 0.0, "figures": 0.0}
        _log.info("recording the history in %s", self._address)
        return database

    def _write(self, database: Database, batch: list[Pending]) -> None:
        try:
            rows = database.write(batch)
        except RefusedEntryError as error:
            if len(batch) > 1:
                # One that is refused takes its transaction with it, and must not take the others' too.
                for pending in batch:
                    self._write(database, [pending])
            else:
                self._refuse(batch[0], str(error))
            return
        for table, count in rows.items():
            if count:
                _call(self._hooks.on_rows, table, count)
        self._queue.confirm(batch)
        with self._lock:
            for pending in batch:
                self._refused.pop(pending.uid, None)

    def _refuse(self, pending: Pending, why: str) -> None:
        message = f"the history database refused the entries of {pending.namespace}/{pending.name} ({why})"
        _log.error("%s", message)
        self._queue.give_up([pending])
        with self._lock:
            self._refused[pending.uid] = Fault(FaultReason.ENTRY_REFUSED, message)
        _call(self._hooks.on_failure, FaultReason.ENTRY_REFUSED)

    def _chore(self, database: Database) -> None:
        now = time.monotonic()
        if self._roll_call and now >= self._due["roll call"]:
            self._call_one(self._roll_call, database)
        if self._pruning is None and now >= self._due["prune"]:
            self._pruning = prune_steps(database, self._retention, self._now())
        if self._pruning is not None and next(self._pruning, None) is None:
            self._pruning, self._due["prune"] = None, now + self._prune_seconds
        if now >= self._due["figures"]:
            figures = database.figures()
            self._due["figures"] = now + _FIGURES_SECONDS
            with self._lock:
                self._figures = figures

    def _call_one(self, roll_call: RollCall, database: Database) -> None:
        """Mark the next of the missing Kanaries as deleted, where it is; without an answer, ask again later."""
        if self._missing is None:
            living = database.living(roll_call.namespace)
            self._missing = deque(kanary for kanary in living if kanary.uid not in roll_call.uids)
        if not self._missing:
            self._due["roll call"] = math.inf
            return
        kanary = self._missing[0]
        is_deleted = roll_call.is_deleted(kanary)
        if is_deleted is None:
            self._due["roll call"] = time.monotonic() + self._backoff.cap
            return
        if is_deleted:
            self._queue.add(Pending(kanary.uid, kanary.namespace, kanary.name, self._now(), is_deleted=True))
        self._missing.popleft()

    def _fail(self, fault: Fault) -> None:
        self._failures += 1
        _call(self._hooks.on_failure, fault.reason)
        # A file that is corrupt at the start is moved aside by opening it.
        self._is_corrupt |= fault.reason is FaultReason.CORRUPT and self._database is not None
        if fault.reason is not FaultReason.LOCKED:
            self._close()
        self._pruning = None
        self._set_fault(fault)

    def _set_fault(self, fault: Fault | None, notice: Fault | None = None) -> None:
        """Report another fault, and a notice that does not pass."""
        with self._lock:
            self._fault = fault
            self._notice = notice or self._notice
        current = self.fault(), self.notice()
        if current == self._reported:
            return
        if reported := current[0] or notice:
            _log.warning("%s: %s", reported.reason, reported.message)
        else:
            _log.info("the history is recorded again in %s", self._address)
        self._reported = current
        _call(self._hooks.on_change)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
