"""Which changes may end open connections, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from engine.model.states import Applied
from engine.render.objects import TEMPLATE_ANNOTATION
from kanary.cli.forecast import Forecast
from kanary.cli.reloads import reload_reason
from kanary.kube.resources import Json
from states import UpdateStrategy
from states.timing import duration_text

NO_CUT = "weights, routes and endpoints are data, which the running proxies load without a reload"


@dataclass(frozen=True, slots=True)
class OpenConnections:
    """The connections that the proxies hold now."""

    open: int | None
    """None if unknown."""
    unread: str = ""
    """Why it is unknown."""


def cuts(planned: Forecast) -> Iterator[str]:
    """What may end open connections; nothing if no connection is ended."""
    before, after = planned.former.applied, planned.written.applied
    if before is None or after is None:
        return
    drain_time = duration_text(timedelta(seconds=before.spec.proxy.drain_seconds))
    until = f"until they end or drainSeconds ({drain_time}) have passed"
    if why := _why_replaced(planned, before, after):
        yield f"new proxies replace the running ones, because {why}: open connections continue {until}"
    else:
        if (fewer := before.spec.proxy.replicas - after.spec.proxy.replicas) > 0:
            yield f"{fewer} of {before.spec.proxy.replicas} proxies stop: their open connections continue {until}"
        if why := reload_reason(planned.former.latest, planned.written.latest):
            yield f"HAProxy reloads ({why}): open connections continue in the former process {until}"


def refusals(planned: Forecast) -> Iterator[str]:
    """Where clients cannot connect any more."""
    before, after = planned.former.applied, planned.written.applied
    if before is None or after is None:
        return
    if before.spec.destination != after.spec.destination:
        if any(change.action == "restored" for change in planned.objects):
            # An adopted Service, which leads to its former pods.
            return
        yield (
            f"Service {before.spec.destination} is deleted when the proxies serve {after.spec.destination}: "
            "clients have to connect to the new name"
        )
        kept = {port.name for port in after.spec.ports}
        for port in before.spec.ports:
            if port.name not in kept:
                yield (
                    f"port {port.port} ({port.name}) of Service {before.spec.destination} is closed before that, when "
                    "the proxies load the change: to keep it as long, remove it from spec.ports afterwards"
                )
        return
    now = {after.spec.port, *(port.port for port in after.spec.ports)}
    for number in (before.spec.port, *(port.port for port in before.spec.ports)):
        if number not in now:
            yield f"Service {after.spec.destination} has no port {number} any more"


def _why_replaced(planned: Forecast, before: Applied, after: Applied) -> str:
    if _template(planned.former_deployment) != _template(planned.deployment):
        return "their pod template changes"
    if after.strategy is UpdateStrategy.ROLLING and before.digest != after.digest:
        return "spec.updateStrategy is Rolling"
    return ""


def _template(deployment: Json | None) -> str:
    metadata = ((deployment or {}).get("spec") or {}).get("template", {}).get("metadata", {})
    return str((metadata.get("annotations") or {}).get(TEMPLATE_ANNOTATION))
