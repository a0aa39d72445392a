"""The engine's access to the history: passes new entries to the writer and returns what it has recorded."""

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from engine.conditions import DISABLED, RECORDED, Recording
from engine.model.entries import Configuration, Entry, WeightChange
from engine.ports import Recorded
from kanary.history.pending import Pending
from kanary.history.writer import HistoryWriter
from states.timing import HISTORY_WRITE_LIMIT

Json = dict[str, Any]

_STORED = 20_000
"""Maximum number of Kanaries with stored state; without it each causes one unnecessary write."""


class NoHistory:
    """Implements `engine.ports.History` where history is disabled."""

    def recorded(self, uid: str) -> Recorded:  # noqa: ARG002  the protocol's signature
        """All entries count as recorded, so that nothing waits for the history."""
        return Recorded(2**62, DISABLED)

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Record nothing."""

    def store(self, kanary: Json, entries: Sequence[Entry]) -> None:
        """Record nothing."""

    def deleted(self, namespace: str, name: str) -> None:
        """Record nothing."""


class HistoryRecorder:
    """Implements `engine.ports.History` with the thread of a writer. `now` is the clock of the entries."""

    def __init__(self, writer: HistoryWriter, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._writer = writer
        self._now = now
        self._lock = threading.Lock()
        self._passed: dict[str, tuple[tuple[Entry, ...], tuple[str, ...]]] = {}
        self._uids: dict[tuple[str, str], str] = {}

    def recorded(self, uid: str) -> Recorded:
        """The confirmed entries, and the present fault or a notice since the start."""
        fault = self._writer.fault(uid) or self._writer.notice
        recording = Recording(False, fault.reason.value, fault.message) if fault else RECORDED
        return Recorded(self._writer.confirmed(uid), recording)

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Pass the entries to the writer, unless it has received them already."""
        metadata = kanary["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        named = {entry.digest for entry in entries if isinstance(entry, WeightChange)}
        # Other configurations are not recorded, and would use memory while the database is unavailable.
        configurations = (configuration,) if configuration and configuration.digest in named else ()
        pending = Pending(uid, namespace, name, self._now(), tuple(entries), configurations)
        last, digests = pending.entries[-1:], tuple(each.digest for each in configurations)
        with self._lock:
            former = self._uids.get((namespace, name), uid)
            self._uids[namespace, name] = uid
            passed = self._passed.get(uid)
            is_passed = passed is not None and passed[0] == last and digests in ((), passed[1])
            if not is_passed:
                if len(self._passed) >= _STORED:
                    self._passed.clear()
                self._passed[uid] = last, digests
        # The Kanary was deleted and created again between two reconciles.
        if former != uid:
            self._deleted(namespace, name, former)
        if entries and not is_passed:
            self._writer.record(pending)

    def store(self, kanary: Json, entries: Sequence[Entry]) -> None:
        """As `record`, and wait for the writer as long as it can be expected to write."""
        self.record(kanary, entries, None)
        if entries:
            self._writer.wait(kanary["metadata"]["uid"], entries[-1].number, HISTORY_WRITE_LIMIT.total_seconds())

    def deleted(self, namespace: str, name: str) -> None:
        """Record the deletion of the Kanary of this name."""
        with self._lock:
            uid = self._uids.pop((namespace, name), None)
        if uid:
            self._deleted(namespace, name, uid)

    def _deleted(self, namespace: str, name: str, uid: str) -> None:
        with self._lock:
            self._passed.pop(uid, None)
        self._writer.record(Pending(uid, namespace, name, self._now(), is_deleted=True))

    def observe(self, kanaries: Iterable[Json]) -> None:
        """Store the UIDs of existing Kanaries, so that a deletion is recorded even before their first entry."""
        with self._lock:
            for metadata in (kanary["metadata"] for kanary in kanaries):
                self._uids[metadata["namespace"], metadata["name"]] = metadata["uid"]

    def forget(self) -> None:
        """Pass all entries again: the database may be another one."""
        with self._lock:
            self._passed.clear()
