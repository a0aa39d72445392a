"""Reports changes of a Kanary as Events, metrics and log lines."""

from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from engine.announce import Announcement
from engine.last_status import read_status
from engine.model.entries import ChangeResult, Entry, PhaseChange, Result, RolloutChange, WeightChange
from engine.model.spec import KanarySpec
from engine.model.status import KanaryStatus
from kanary.kube.events import EventType, Recorder
from kanary.kube.resources import Key
from kanary.operator.metrics import Metrics
from kanary.operator.transition_log import log_entry, log_reason
from states.rollouts import RolloutState, RolloutTrigger

Json = dict[str, Any]

_ACTION = "Reconcile"


class EventReporter:
    """Implements `engine.ports.Reporter`."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._counted: dict[Key, int] = {}
        """Of each Kanary, the number of the last entry that is counted."""
        self._other_reason: dict[Key, tuple[str, str, bool]] = {}
        """Another reason and message without a move, until it is logged, and whether it is a warning."""

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        """Count the transition; `observed` logs it."""
        if trigger:
            self._metrics.transition(trigger)
        else:
            self._other_reason[Key.of(kanary)] = reason, message, is_warning

    def announce(self, kanary: Json, announcement: Announcement) -> None:
        """Emit an Event."""
        kind: EventType = "Warning" if announcement.is_warning else "Normal"
        self._recorder.emit(kanary, announcement.reason, announcement.message, action=_ACTION, type=kind)

    def observed(self, kanary: Json, status: KanaryStatus, spec: KanarySpec | None, *, is_stored: bool) -> None:
        """Set the metrics of the Kanary, and count and log its new entries of the history."""
        key = Key.of(kanary)
        # To make them takes a tenth of a look that changes nothing.
        content = hash((kanary["metadata"].get("generation"), to_json(kanary.get("status")))) if is_stored else None
        if content is None or self._metrics.kanaries.content(*key) != content:
            self._metrics.kanaries.set(*key, status, spec, content=content)
        other_reason = self._other_reason.pop(key, None)
        for entry in self._new_entries(key, kanary, status):
            log_entry(key, entry, status)
            if isinstance(entry, PhaseChange | RolloutChange):
                other_reason = None
            if isinstance(entry, RolloutChange):
                self._metrics.rollout_transition(entry.trigger)
            if (seconds := _seconds_until_served(entry, status)) is not None:
                self._metrics.served(seconds)
        if other_reason:
            log_reason(key, status.phase, *other_reason)

    def gone(self, namespace: str, name: str) -> None:
        """Delete the metrics of the Kanary."""
        self._metrics.kanaries.forget(namespace, name)
        self._counted.pop(Key(namespace, name), None)
        self._other_reason.pop(Key(namespace, name), None)

    def _new_entries(self, key: Key, kanary: Json, status: KanaryStatus) -> Iterator[Entry]:
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


def _seconds_until_served(entry: Entry, status: KanaryStatus) -> float | None:
    """How long a change of weights took until every proxy serves it, if this entry says that it is served."""
    if isinstance(entry, ChangeResult) and entry.result == Result.READY:
        # The result of the last step of a rollout follows only when its time has passed.
        changes = status.history.entries if status.history else ()
        is_step = any(isinstance(e, WeightChange) and e.revision == entry.revision and e.step for e in changes)
        return None if is_step else entry.seconds
    if isinstance(entry, RolloutChange) and status.split:
        is_step_served = (entry.source, entry.trigger) == (RolloutState.SHIFTING, RolloutTrigger.WATCH)
        return max((entry.at - status.split.at).total_seconds(), 0.0) if is_step_served else None
    return None
