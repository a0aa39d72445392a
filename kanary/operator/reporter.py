"""Reports changes of a Kanary as Events, metrics and log lines."""

import logging
from typing import Any

from engine.last_status import read_phase
from engine.model.status import KanaryStatus
from kanary.kube.events import Recorder
from kanary.operator.metrics import Metrics, RouteFigures

Json = dict[str, Any]

_log = logging.getLogger(__name__)

_ACTION = "Reconcile"


class EventReporter:
    """Implements `engine.ports.Reporter`."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder = recorder
        self._metrics = metrics

    def transition(self, kanary: Json, *, trigger: str, reason: str, message: str, is_warning: bool) -> None:
        """Emit an Event, count the transition and log it."""
        level = logging.WARNING if is_warning else logging.INFO
        _log.log(level, "%s: %s: %s", _name(kanary), reason, message)
        self._recorder.emit(kanary, reason, message, action=_ACTION, type="Warning" if is_warning else "Normal")
        if trigger:
            self._metrics.transition(trigger)

    def weights_changed(self, kanary: Json, *, before: str, after: str, revision: int) -> None:
        """Emit an Event and log it."""
        note = f"weights changed from {before} to {after} (revision {revision})"
        _log.info("%s: %s", _name(kanary), note)
        self._recorder.emit(kanary, "WeightsChanged", note, action=_ACTION)

    def observed(self, kanary: Json, status: KanaryStatus) -> None:
        """Set the metrics of the Kanary."""
        self._metrics.set_kanary(
            kanary["metadata"]["namespace"],
            kanary["metadata"]["name"],
            phase=read_phase(status),
            routes=[RouteFigures(route.backend, route.weight, route.ready) for route in status.weights],
            proxies_ready=status.proxies.ready if status.proxies else 0,
        )

    def gone(self, namespace: str, name: str) -> None:
        """Delete the metrics of the Kanary."""
        self._metrics.forget_kanary(namespace, name)


def _name(kanary: Json) -> str:
    return f"{kanary['metadata']['namespace']}/{kanary['metadata']['name']}"
