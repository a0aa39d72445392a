"""Records what it is given, from a thread of its own: no caller ever waits for the database."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kanary.history.address import parse_address
from kanary.history.database import Database, Figures, FileId, file_id, open_database
from kanary.history.faults import Fault, FaultReason, HistoryError
from kanary.history.pending import Pending, Queue
from kanary.history.records import KnownKanary
from kanary.history.retention import Retention, prune_steps
from kanary.kube.backoff import Backoff

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(base=1.0, cap=60.0)
_BATCH = 100
"""Kanaries of one transaction: a transaction waits for the disk, however little it writes."""
_FIGURES_SECONDS = 60.0
_PRUNE_SECONDS = 3600.0


@dataclass(frozen=True)
class Hooks:
    """What the writer calls, mostly in its thread; what they raise is logged and ignored."""

    on_change: Callable[[], None] = lambda: None
    """`fault()` or `notice` has changed. Everything is then to be recorded again: the database may be a new one."""
    on_rows: Callable[[str, int], None] = lambda _table, _count: None
    """So many rows were written to this table."""
    on_failure: Callable[[str], None] = lambda _reason: None
    """Writing failed for this reason; it will be tried again."""
    on_dropped: Callable[[], None] = lambda: None
    """What waited of a Kanary was dropped: too many wait, or it is deleted and could not be written before the end."""


def _call(hook: Callable[..., None], *args: object) -> None:
    try:
        hook(*args)
    except Exception:  # the record does not depend on its observers
        _log.exception("a hook of the history failed")


class HistoryWriter:
    """Writes to the database between `start()` and `stop()`; its other methods serve any thread and never wait.

    Its public attributes are set by its thread alone, each to an immutable value.
    """

    notice: Fault | None = None
    """What happened to the record since the start and does not pass: a corrupt file that was moved aside."""
    figures: Figures | None = None
    """The database's size and its oldest entry, a minute old at most while it can be read."""

    def __init__(
        self,
        url: str,
        *,
        retention: Retention | None = None,
        hooks: Hooks | None = None,
        is_deleted: Callable[[KnownKanary], bool | None] = lambda _kanary: False,
        backoff: Backoff = _BACKOFF,
        prune_seconds: float = _PRUNE_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises BadAddressError for an invalid URL.

        `is_deleted` is called in the writer's thread for each Kanary that the database takes for living, whenever it
        was opened; None says that this cannot be found out now.
        """
        self._address = parse_address(url)
        self._retention = retention or Retention()
        self._hooks = hooks or Hooks()
        self._is_deleted = is_deleted
        self._backoff = backoff
        self._prune_seconds = prune_seconds
        self._now = now
        self._queue = Queue()
        self._fault: Fault | None = None
        self._refused: dict[str, Fault] = {}
        self._confirmed: dict[str, int] = {}
        self._is_tried = threading.Event()
        # Of the thread alone:
        self._database: Database | None = None
        self._corrupt: FileId | None = None
        self._reported: tuple[Fault | None, Fault | None] = None, None
        self._failures = 0
        self._chores: dict[Iterator[float], float] = {}
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self, wait: float = 0.0) -> None:
        """Begin to write what is recorded, and wait so many seconds at most for the database to be opened."""
        opening = Fault(FaultReason.OPENING, f"the history database {self._address} is being opened")
        self._fault, self._reported = opening, (opening, None)
        self._thread.start()
        self._is_tried.wait(wait)

    def record(self, pending: Pending) -> None:
        """Have this written soon, in place of what waits of the same Kanary."""
        for _ in range(self._queue.add(pending)):
            _call(self._hooks.on_dropped)

    def confirmed(self, uid: str) -> int:
        """The number of the last entry that is in the database for sure; 0 for none."""
        return self._confirmed.get(uid, 0)

    def fault(self, uid: str | None = None) -> Fault | None:
        """What keeps the record, or with `uid` that of one Kanary, from being written now, or None."""
        return self._fault or (self._refused.get(uid) if uid else next(iter(self._refused.values()), None))

    def flush(self, timeout: float) -> bool:
        """Wait so many seconds until all that was recorded is written, and return whether it is."""
        return self._queue.wait_until_empty(timeout)

    def stop(self, timeout: float = 5.0) -> bool:
        """Write what is recorded for so many seconds at most, then end; return whether all of it is written."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout)
        for pending in self._queue.waiting():
            # No later operator records it: its status is deleted as well.
            missing = sum(entry.number > self.confirmed(pending.uid) for entry in pending.entries)
            if pending.is_deleted and missing:
                name = f"{pending.namespace}/{pending.name} (uid {pending.uid})"
                _log.error("the history lacks %d entries of %s, which is deleted: not written in time", missing, name)
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
                self._report(None)
            if self._failures and self._queue.is_closed:
                break
        self._close()

    def _seconds_until_due(self) -> float:
        if self._failures:
            return self._backoff.delay(self._failures)
        return max(0.0, min(self._chores.values()) - time.monotonic()) if self._chores else 0.0

    def _turn(self) -> None:
        """Do the next thing: what waits comes first, and the chores are done a step at a time."""
        database = self._database = self._database or self._open()
        if not self._chores:
            self._chores = dict.fromkeys((self._mark(database), self._prune(database), self._measure(database)), 0.0)
        if batch := self._queue.waiting(_BATCH):
            self._write(database, batch)
        else:
            chore = min(self._chores, key=self._chores.__getitem__)
            if self._chores[chore] <= time.monotonic():
                self._chores[chore] = time.monotonic() + next(chore)

    def _open(self) -> Database:
        # Another database may be there now, or the same with less in it.
        self._confirmed.clear()
        database = open_database(self._address, on_corrupt=self._on_corrupt, corrupt=self._corrupt)
        # It was moved aside or replaced, and another file may have its number later.
        self._corrupt = None
        return database

    def _on_corrupt(self, aside: Path) -> None:
        if file_id(aside) != self._corrupt:
            _call(self._hooks.on_failure, FaultReason.CORRUPT)
        message = f"the history database {self._address} was corrupt: it is kept as {aside}, and a new one was created"
        self.notice = Fault(FaultReason.CORRUPT, f"{message} (reported until the operator restarts)")

    def _write(self, database: Database, batch: list[Pending]) -> None:
        try:
            rows = database.write(batch)
        except HistoryError as error:
            if error.fault.reason is not FaultReason.ENTRY_REFUSED:
                raise
            if len(batch) == 1:
                self._refuse(batch[0], error.fault.message)
            else:
                # A refused entry takes its transaction with it, and must not take the other Kanaries' entries, too.
                for pending in batch:
                    self._write(database, [pending])
            return
        for table, count in rows.items():
            if count:
                _call(self._hooks.on_rows, table, count)
        for pending in batch:
            self._confirmed[pending.uid] = max(self.confirmed(pending.uid), pending.last())
            if pending.is_deleted:
                del self._confirmed[pending.uid]
        written = {pending.uid for pending in batch}
        self._refused = {uid: fault for uid, fault in self._refused.items() if uid not in written}
        self._queue.remove(batch)

    def _refuse(self, pending: Pending, why: str) -> None:
        message = f"{pending.namespace}/{pending.name}: {why}"
        _log.error("%s", message)
        self._refused = {**self._refused, pending.uid: Fault(FaultReason.ENTRY_REFUSED, message)}
        _call(self._hooks.on_failure, FaultReason.ENTRY_REFUSED)
        self._queue.remove([pending])

    # Chores: each step yields the seconds until the next one.

    def _mark(self, database: Database) -> Iterator[float]:
        """Mark Kanaries as deleted whose deletion no operator saw."""
        for kanary in database.living():
            while (is_deleted := self._is_deleted(kanary)) is None:
                yield self._backoff.cap
            if is_deleted:
                self._queue.add(Pending(kanary.uid, kanary.namespace, kanary.name, self._now(), is_deleted=True))
            yield 0.0
        yield math.inf

    def _prune(self, database: Database) -> Iterator[float]:
        while True:
            yield from (0.0 for _ in prune_steps(database, self._retention, self._now()))
            yield self._prune_seconds

    def _measure(self, database: Database) -> Iterator[float]:
        while True:
            self.figures = database.figures()
            yield _FIGURES_SECONDS

    def _fail(self, fault: Fault) -> None:
        self._failures += 1
        _call(self._hooks.on_failure, fault.reason)
        self._chores.clear()
        if fault.reason is FaultReason.CORRUPT:
            self._corrupt = file_id(self._address.path)
        if fault.reason is not FaultReason.LOCKED:
            self._close()
        self._report(fault)

    def _report(self, fault: Fault | None) -> None:
        self._fault = fault
        self._is_tried.set()
        current = self.fault(), self.notice
        if current == self._reported:
            return
        self._reported = current
        if current[0]:
            _log.warning("%s: %s", current[0].reason, current[0].message)
        else:
            _log.info("the history is recorded in %s", self._address)
        _call(self._hooks.on_change)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
