"""Hands what a status tells of changes and moves to the history, and tells the engine what has become of it."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine.changes import Confirmed
from engine.record import Record

from engine.conditions import NOT_KEPT, Recording
from engine.model.spec import ChangedRoute, ChangeStatus, KanaryStatus, TransitionStatus
from engine.model.times import read_time
from engine.status import Kept, read_status
from kanary.history.model import Change, Configuration, Entry, Outcome, Result, Route, Transition, Weight
from kanary.history.writer import HistoryWriter

Json = dict[str, Any]

_log = logging.getLogger(__name__)

_RECORDED = Recording(True, "Recorded", "every change is in the history")
_REMEMBERED = 20_000
"""Kanaries of which it is remembered what was handed on; forgetting them costs one needless write each."""


class NoHistory:
    """Implements `engine.ports.History` where none is kept."""

    def kept(self, uid: str) -> Kept:  # noqa: ARG002  the protocol's form
        """As if it had everything: nothing waits for it."""
        return Kept(Confirmed(2**62, 2**62), NOT_KEPT)

    def record(self, kanary: Json, status: Json, served: Record | None, config: str) -> None:
        """Keep nothing."""

    def gone(self, namespace: str, name: str) -> None:
        """Keep nothing."""


class Historian:
    """Implements `engine.ports.History` by a writer's thread."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._handed: dict[str, Entry] = {}
        self._uids: dict[tuple[str, str], str] = {}

    def kept(self, uid: str) -> Kept:
        """What the history has for sure, and what is wrong with it, now or since the start."""
        revision, transition = self._writer.confirmed(uid)
        problem = self._writer.problem() or self._writer.notice()
        recording = Recording(False, problem.reason.value, problem.message) if problem else _RECORDED
        return Kept(Confirmed(revision, transition), recording)

    def record(self, kanary: Json, status: Json, served: Record | None, config: str) -> None:
        """Hand on what is not known to have been handed on. A status that cannot be read is told in the log."""
        try:
            entry = entry_of(kanary, read_status({"status": status}), served, config)
        except Exception:  # whatever somebody has written into a status, the reconcile goes on
            _log.exception("the status of %s cannot be kept in the history", kanary["metadata"].get("name"))
            return
        key = entry.namespace, entry.name
        with self._lock:
            former = self._uids.get(key)
            self._uids[key] = entry.uid
            before = self._handed.get(entry.uid)
            entry = _with_endpoints(entry, before)
            is_known = before == entry
            if len(self._handed) >= _REMEMBERED:
                self._handed.clear()
            self._handed[entry.uid] = entry
        # One that was deleted and made anew may not have been seen to be gone in between.
        if former not in (None, entry.uid):
            self._deleted(str(former))
        if not is_known:
            self._writer.record(entry)

    def gone(self, namespace: str, name: str) -> None:
        """The Kanary of that name has been deleted."""
        with self._lock:
            uid = self._uids.pop((namespace, name), None)
        if uid:
            self._deleted(uid)

    def _deleted(self, uid: str) -> None:
        with self._lock:
            self._handed.pop(uid, None)
        self._writer.deleted(uid, datetime.now(UTC))

    def forget(self) -> None:
        """Have everything handed on again: the database may be another one."""
        with self._lock:
            self._handed.clear()

    def present(self, kanaries: Sequence[Json], namespace: str | None) -> None:
        """These are all that there are (in the namespace, or at all); others that the history knows are gone."""
        uids = frozenset(str(kanary["metadata"]["uid"]) for kanary in kanaries)
        self._writer.present(uids, datetime.now(UTC), namespace)


def entry_of(kanary: Json, status: KanaryStatus, served: Record | None, config: str) -> Entry:
    """All that a status has for the history."""
    metadata = kanary["metadata"]
    return Entry(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        changes=tuple(_change(change, served) for change in status.changes),
        transitions=tuple(_transition(move) for move in status.transitions),
        outcomes=tuple(_outcome(change) for change in status.changes if change.result),
        configuration=Configuration(served.digest, config) if served and config else None,
    )


def _change(change: ChangeStatus, served: Record | None) -> Change:
    is_served = served is not None and served.revision == change.revision and served.digest == change.config_hash
    endpoints = served.endpoints if served and is_served else ()
    return Change(
        revision=change.revision,
        at=_time(change.at),
        generation=change.generation,
        before=tuple(Weight(route.backend, route.weight) for route in change.before),
        after=tuple(_route(route) for route in change.routes),
        cause=change.cause,
        manager=change.manager,
        config_hash=change.config_hash,
        endpoints=tuple(tuple(f"{e.address}:{e.port}" for e in found) for found in endpoints),
    )


def _with_endpoints(entry: Entry, before: Entry | None) -> Entry:
    """With the endpoints of earlier changes, which only their own record had: the database may not have them yet."""
    known = {change.revision: change.endpoints for change in before.changes} if before else {}
    changes = (replace(c, endpoints=c.endpoints or known.get(c.revision, ())) for c in entry.changes)
    return replace(entry, changes=tuple(changes))


def _route(route: ChangedRoute) -> Route:
    return Route(route.backend, route.weight, route.service_name, route.service_port)


def _outcome(change: ChangeStatus) -> Outcome:
    return Outcome(change.revision, Result(change.result), _time(change.ended_at), change.seconds or 0.0)


def _transition(move: TransitionStatus) -> Transition:
    return Transition(move.number, _time(move.at), move.source, move.to, move.trigger, move.reason, move.message)


def _time(text: str | None) -> datetime:
    time = read_time(text)
    if time is None:
        raise ValueError(f"{text!r} is no time")
    return time
