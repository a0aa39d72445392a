"""The history as the engine sees it: entries go to the writer, and what it has recorded comes back."""

import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from engine.conditions import DISABLED, RECORDED, Recording
from engine.model.entries import Configuration, Entry, WeightChange
from engine.ports import Recorded
from kanary.history.pending import Pending
from kanary.history.writer import HistoryWriter

Json = dict[str, Any]

_REMEMBERED = 20_000
"""Kanaries of which it is remembered what was handed on; forgetting them costs one needless write each."""


class NoHistory:
    """Implements `engine.ports.History` where history is disabled."""

    def recorded(self, uid: str) -> Recorded:  # noqa: ARG002  the protocol's form
        """As if it had everything: nothing waits for it."""
        return Recorded(2**62, DISABLED)

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Record nothing."""

    def deleted(self, namespace: str, name: str) -> None:
        """Record nothing."""


class Historian:
    """Implements `engine.ports.History` by a writer's thread."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._handed: dict[str, tuple[tuple[Entry, ...], tuple[str, ...]]] = {}
        self._uids: dict[tuple[str, str], str] = {}

    def recorded(self, uid: str) -> Recorded:
        """What the history has for sure, and what is wrong with it, now or since the start."""
        fault = self._writer.fault(uid) or self._writer.notice
        recording = Recording(False, fault.reason.value, fault.message) if fault else RECORDED
        return Recorded(self._writer.confirmed(uid), recording)

    def record(self, kanary: Json, entries: Sequence[Entry], configuration: Configuration | None) -> None:
        """Hand on what is not known to have been handed on."""
        metadata = kanary["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        named = {entry.digest for entry in entries if isinstance(entry, WeightChange)}
        # The others are not kept, and would be in memory while the database is away.
        configurations = (configuration,) if configuration and configuration.digest in named else ()
        pending = Pending(uid, namespace, name, datetime.now(UTC), tuple(entries), configurations)
        state = pending.entries[-1:], tuple(each.digest for each in configurations)
        with self._lock:
            former = self._uids.get((namespace, name), uid)
            self._uids[namespace, name] = uid
            is_handed = self._handed.get(uid) == state
            if len(self._handed) >= _REMEMBERED:
                self._handed.clear()
            self._handed[uid] = state
        # One that was deleted and created again may not have been seen to be missing in between.
        if former != uid:
            self._deleted(namespace, name, former)
        if entries and not is_handed:
            self._writer.record(pending)

    def deleted(self, namespace: str, name: str) -> None:
        """The Kanary of that name was seen to be deleted."""
        with self._lock:
            uid = self._uids.pop((namespace, name), None)
        if uid:
            self._deleted(namespace, name, uid)

    def _deleted(self, namespace: str, name: str, uid: str) -> None:
        with self._lock:
            self._handed.pop(uid, None)
        self._writer.record(Pending(uid, namespace, name, datetime.now(UTC), is_deleted=True))

    def observe(self, kanaries: Iterable[Json]) -> None:
        """These exist: the deletion of one is recorded even if it is deleted before anything of it was recorded."""
        with self._lock:
            for metadata in (kanary["metadata"] for kanary in kanaries):
                self._uids[metadata["namespace"], metadata["name"]] = metadata["uid"]

    def forget(self) -> None:
        """Have everything handed on again: the database may be another one."""
        with self._lock:
            self._handed.clear()
