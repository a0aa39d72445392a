"""Reports changes of a Kanary as Events, metrics and log lines."""

import logging
from typing import Any

from engine.announce import Announcement
from engine.last_status import read_phase
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

    def observed(self, kanary: Json, status: KanaryStatus) -> None:
        """Set the metrics of the Kanary."""
        self._metrics.set_kanary(
            kanary["metadata"]["namespace"],
            kanary["metadata"]["name"],
            phase=read_phase(status),
            weights={route.backend: route.weight for route in status.weights},
        )

    def gone(self, namespace: str, name: str) -> None:
        """Delete the metrics of the Kanary."""
        self._metrics.forget_kanary(namespace, name)


def _name(kanary: Json) -> str:
    return f"{kanary['metadata']['namespace']}/{kanary['metadata']['name']}"
