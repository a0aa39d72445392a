"""Writes the history in its own thread: no caller waits for a database that does not respond."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kanary.history.address import parse_address
from kanary.history.database import Database, Figures, FileId, file_id, open_database
from kanary.history.faults import Fault, FaultReason, HistoryError
from kanary.history.pending import Pending, Queue
from kanary.history.records import KnownKanary
from kanary.history.retention import AgeReference, Pruned, Retention, counts_text, prune_steps
from kanary.kube.backoff import Backoff

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(base=1.0, cap=60.0)
_BATCH = 100
"""Maximum Kanaries per transaction: each transaction waits for the disk, however little it writes."""
_FIGURES_SECONDS = 60.0
_PRUNE_SECONDS = 3600.0
_LATE_SECONDS = 30.0
"""A change that has waited for so long is a problem, whatever the database is doing meanwhile."""
_ANNOUNCE_SECONDS = 1.0


@dataclass(frozen=True)
class Hooks:
    """Callbacks of the writer, mostly from its thread. It logs and ignores their exceptions."""

    on_change: Callable[[], None] = lambda: None
    """`fault()` or `notice` has changed. The callee must record everything again: the database may be a new one."""
    on_refused: Callable[[str, str], None] = lambda _namespace, _name: None
    """The fault of this Kanary alone has changed."""
    on_rows: Callable[[str, int], None] = lambda _table, _count: None
    """Rows were written: the table and their number."""
    on_failure: Callable[[str], None] = lambda _reason: None
    """Writing failed for this reason; the writer retries, except with a refused entry."""
    on_dropped: Callable[[], None] = lambda: None
    """The queued entries of a Kanary were lost: the queue is full, or it was deleted and `stop` timed out."""


def _call(hook: Callable[..., None], *args: object) -> None:
    try:
        hook(*args)
    except Exception:  # a defect of a hook must not stop the history
        _log.exception("a hook of the history failed")


class HistoryWriter:
    """Writes to the database between `start()` and `stop()`. Any thread may call the other methods.

    Only `wait` and `flush` wait.

    Only the writer's thread sets the public attributes, each to an immutable value.
    """

    notice: Fault | None = None
    """A fault reported until the operator restarts: a corrupt file was moved aside."""
    figures: Figures | None = None
    """Size and oldest entry of the database, updated once a minute while it can be read."""

    def __init__(
        self,
        url: str,
        *,
        retention: Retention | None = None,
        hooks: Hooks | None = None,
        is_deleted: Callable[[KnownKanary], bool | None] = lambda _kanary: False,
        backoff: Backoff = _BACKOFF,
        prune_seconds: float = _PRUNE_SECONDS,
        late_seconds: float = _LATE_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises BadAddressError for an invalid URL.

        After each opening of the database, the writer's thread calls `is_deleted` for each Kanary that is not marked as
        deleted; None means that the state is unknown at the moment.
        """
        self._address = parse_address(url)
        self._retention = retention or Retention()
        self._hooks = hooks or Hooks()
        self._is_deleted = is_deleted
        self._backoff = backoff
        self._prune_seconds = prune_seconds
        self._late_seconds = late_seconds
        self._now = now
        self._queue = Queue()
        self._fault: Fault | None = None
        self._refused: dict[str, Fault] = {}
        self._confirmed: dict[str, int] = {}
        self._busy_since: float | None = None
        self._is_tried = threading.Event()
        self._reporting = threading.Lock()
        self._reported: tuple[Fault | None, Fault | None] = None, None
        self._has_stopped = threading.Event()
        # Used by the thread only:
        self._database: Database | None = None
        self._corrupt: FileId | None = None
        self._failures = 0
        self._newest: tuple[datetime | None, float] | None = None
        self._has_doubted = False
        self._chores: dict[Iterator[float], float] = {}
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        # A call that the disk does not answer cannot be cancelled: another thread has to report it.
        self._watch = threading.Thread(target=self._keep_announcing, name="history-watch", daemon=True)

    def start(self, wait: float = 0.0) -> None:
        """Start the thread, and wait up to `wait` seconds for its first attempt to open the database."""
        opening = Fault(FaultReason.OPENING, f"the history database {self._address} is being opened")
        self._fault, self._reported = opening, (opening, None)
        self._thread.start()
        self._watch.start()
        self._is_tried.wait(wait)

    def record(self, pending: Pending) -> None:
        """Queue this state for writing, merged with a queued one of the same Kanary."""
        for _ in range(self._queue.add(pending)):
            _call(self._hooks.on_dropped)

    def confirmed(self, uid: str) -> int:
        """The number of the last entry that is known to be in the database; 0 for none."""
        return self._confirmed.get(uid, 0)

    def fault(self, uid: str | None = None) -> Fault | None:
        """The fault that prevents writing the history, with `uid` also that of this Kanary alone; None without one."""
        found = self._fault
        if (found is None or found.reason is FaultReason.OPENING) and self._waits() >= self._late_seconds:
            message = (
                f"the history database {self._address} has not answered for {self._late_seconds:g} s, or is too slow: "
                "check its server or volume; Kanary retries"
            )
            found = Fault(FaultReason.UNAVAILABLE, message)
        return found or (self._refused.get(uid) if uid else None)

    def _waits(self) -> float:
        """For how many seconds the oldest entry has been waiting, or the thread for the database."""
        busy_since = self._busy_since
        return max(self._queue.lag(), time.monotonic() - busy_since if busy_since is not None else 0.0)

    def wait(self, uid: str, number: int, seconds: float) -> bool:
        """Wait until this queued entry is confirmed; returns whether it is.

        Not if there is a fault, nor beyond the moment at which the database has been busy for `seconds`.
        """
        left = seconds - self._waits()
        if self.fault(uid) is None and left > 0:
            self._queue.wait_until(lambda: self.confirmed(uid) >= number or self.fault(uid) is not None, left)
        return self.confirmed(uid) >= number

    def lag(self) -> float:
        """How long the oldest entry has been in the queue, in seconds; 0 if it is empty."""
        return self._queue.lag()

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the queue is written; returns whether it is."""
        return self._queue.wait_until_empty(timeout)

    def stop(self, timeout: float = 5.0) -> bool:
        """Write the queue for up to `timeout` seconds, then end the thread; returns whether all of it is written."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._has_stopped.set()
        for pending in self._queue.waiting():
            # No later operator can record these entries: the status of the Kanary is deleted as well.
            missing = sum(entry.number > self.confirmed(pending.uid) for entry in pending.entries)
            if pending.is_deleted and missing:
                name = f"{pending.namespace}/{pending.name} (uid {pending.uid})"
                _log.error("the history lacks %d entries of %s, which is deleted: not written in time", missing, name)
                _call(self._hooks.on_dropped)
        return self._queue.wait_until_empty(0)

    def _run(self) -> None:
        while self._queue.wait(self._seconds_until_due(), is_held=self._failures > 0):
            self._busy_since = time.monotonic()
            try:
                self._turn()
            except HistoryError as error:
                self._fail(error.fault)
            except Exception:  # a defect must not end the thread: nothing would be recorded until a restart
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
        """Write a batch of the queue, or, if it is empty, do one step of the most urgent chore."""
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
        # This may be another database, or the same with fewer entries.
        self._confirmed.clear()
        database = open_database(self._address, on_corrupt=self._on_corrupt, corrupt=self._corrupt)
        if self._newest is None or self._newest[0] is None:
            self._newest = database.newest(), time.monotonic()
        # That file was moved aside or replaced, and a later file may have the same inode number.
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
                # A refused entry fails the whole transaction: entries of other Kanaries must be written without it.
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
        self._queue.remove(batch)
        for pending in batch:
            if pending.uid in self._refused:
                self._refused = {uid: fault for uid, fault in self._refused.items() if uid != pending.uid}
                _call(self._hooks.on_refused, pending.namespace, pending.name)

    def _refuse(self, pending: Pending, why: str) -> None:
        fault = Fault(FaultReason.ENTRY_REFUSED, f"{pending.namespace}/{pending.name}: {why}")
        _log.error("%s", fault.message)
        is_new = self._refused.get(pending.uid) != fault
        self._refused = {**self._refused, pending.uid: fault}
        _call(self._hooks.on_failure, FaultReason.ENTRY_REFUSED)
        self._queue.remove([pending])
        if pending.is_deleted and pending.entries:
            # Its deletion was queued behind them, and can be recorded.
            self._queue.add(replace(pending, entries=(), configurations=()))
        if is_new:
            _call(self._hooks.on_refused, pending.namespace, pending.name)

    # Chores: each step yields the seconds until the next one.

    def _mark(self, database: Database) -> Iterator[float]:
        """Mark Kanaries as deleted whose deletion no operator observed."""
        for kanary in database.living():
            while (is_deleted := self._is_deleted(kanary)) is None:
                yield self._backoff.cap
            if is_deleted:
                self._queue.add(Pending(kanary.uid, kanary.namespace, kanary.name, self._now(), is_deleted=True))
            yield 0.0
        yield math.inf

    def _prune(self, database: Database) -> Iterator[float]:
        while True:
            pruned = Pruned()
            reference = self._age_reference()
            if (doubt := reference.doubt()) and not self._has_doubted:
                _log.warning("%s, until the operator restarts", doubt)
                self._has_doubted = True
            for step in prune_steps(database, self._retention, reference.time):
                pruned += step
                yield 0.0
            if pruned:
                _log.info("deleted from the history, beyond the retention limits: %s", counts_text(pruned))
            yield self._prune_seconds

    def _age_reference(self) -> AgeReference:
        # What this process wrote proves nothing: it has the time of the same clock.
        newest, read_at = self._newest or (None, 0.0)
        return AgeReference(self._now(), newest, timedelta(seconds=time.monotonic() - read_at))

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
        self._busy_since = None
        self._is_tried.set()
        self._announce()

    def _keep_announcing(self) -> None:
        while not self._has_stopped.wait(_ANNOUNCE_SECONDS):
            self._announce()

    def _announce(self) -> None:
        """Log and call the hook if the fault or the notice has changed."""
        with self._reporting:
            current = self.fault(), self.notice
            if current == self._reported:
                return
            self._reported = current
        self._queue.notify()
        if current[0]:
            _log.warning("%s: %s", current[0].reason, current[0].message)
        else:
            _log.info("the history is recorded in %s", self._address)
        _call(self._hooks.on_change)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
