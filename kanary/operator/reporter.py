"""Reports changes of a Kanary as Events, metrics and log lines."""

import logging
from collections.abc import Iterator
from typing import Any

from engine.announce import Announcement
from engine.last_status import read_status
from engine.model.entries import ChangeResult, Entry, Result, RolloutChange
from engine.model.spec import KanarySpec
from engine.model.status import KanaryStatus
from kanary.kube.events import EventType, Recorder
from kanary.operator.metrics import Metrics

Json = dict[str, Any]

_log = logging.getLogger(__name__)

_ACTION = "Reconcile"


class EventReporter:
    """Implements `engine.ports.Reporter`."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._counted: dict[tuple[str, str], int] = {}
        """Of each Kanary, the number of the last entry that is counted."""

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        """Count the transition and log it."""
        level = logging.WARNING if is_warning else logging.INFO
        _log.log(level, "%s: %s: %s", _name(kanary), reason, message)
        if trigger:
            self._metrics.transition(trigger)

    def announce(self, kanary: Json, announcement: Announcement) -> None:
        """Emit an Event."""
        kind: EventType = "Warning" if announcement.is_warning else "Normal"
        self._recorder.emit(kanary, announcement.reason, announcement.message, action=_ACTION, type=kind)

    def observed(self, kanary: Json, status: KanaryStatus, spec: KanarySpec | None) -> None:
        """Set the metrics of the Kanary, and count its new entries of the history."""
        metadata = kanary["metadata"]
        key = metadata["namespace"], metadata["name"]
        self._metrics.kanaries.set(*key, status, spec)
        for entry in self._new_entries(key, kanary, status):
            if isinstance(entry, ChangeResult) and entry.result == Result.READY:
                self._metrics.served(entry.seconds)
            elif isinstance(entry, RolloutChange):
                self._metrics.rollout_transition(entry.trigger)

    def gone(self, namespace: str, name: str) -> None:
        """Delete the metrics of the Kanary."""
        self._metrics.kanaries.forget(namespace, name)
        self._counted.pop((namespace, name), None)

    def _new_entries(self, key: tuple[str, str], kanary: Json, status: KanaryStatus) -> Iterator[Entry]:
        """The entries that the status in the cluster did not have, and that have not been counted yet."""
        last, counted = status.history.last if status.history else 0, self._counted.get(key, 0)
        if last == counted:
            return
        self._counted[key] = last
        stored = read_status(kanary).history
        known = stored.last if stored else 0
        # Another client may have replaced the status by an older one.
        if last > counted:
            known = max(known, counted)
        yield from (entry for entry in (status.history.entries if status.history else ()) if entry.number > known)


def _name(kanary: Json) -> str:
    return f"{kanary['metadata']['namespace']}/{kanary['metadata']['name']}"
