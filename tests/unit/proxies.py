"""Proxies' pods as the API's JSON, and what is read of them."""

from datetime import datetime, timedelta
from typing import Any

from engine.fleet.proxy import Proxy, read_proxy
from engine.fleet.reports import Report
from engine.fleet.sent import Sent
from engine.model.times import time_text
from engine.render.objects import (
    CONFIG_ANNOTATION,
    STRATEGY_ANNOTATION,
    TEMPLATE_ANNOTATION,
)
from tests.unit.kanaries import Json
from tests.unit.observations import DIGEST, OTHER
from tests.unit.snapshots import NOW

SECOND = timedelta(seconds=1)
LIVE = {STRATEGY_ANNOTATION: "Live"}
TEMPLATE = "0123456789abcdef"


def rolling_pod(name: str = "x-1", digest: str = DIGEST, **changes: Any) -> Json:
    """A ready proxy that serves the configuration of its template."""
    return _pod(name, {CONFIG_ANNOTATION: digest, TEMPLATE_ANNOTATION: TEMPLATE}, **changes)


def live_pod(name: str = "x-1", **changes: Any) -> Json:
    """A ready proxy with an agent."""
    return _pod(name, LIVE | {TEMPLATE_ANNOTATION: TEMPLATE}, **changes)


def _pod(
    name: str,
    annotations: Json,
    *,
    ready: bool = True,
    stopped: datetime | None = None,
    phase: str = "Running",
    waiting: Json | None = None,
    ended: Json | None = None,
    conditions: tuple[Json, ...] = (),
    node: str = "",
) -> Json:
    """A pod; one that stops since `stopped` has a grace period of ten minutes."""
    state = {"waiting": waiting} if waiting else {"running": {}}
    container = {"name": "haproxy", "state": state, "lastState": {"terminated": ended} if ended else {}}
    readiness = {"type": "Ready", "status": str(ready), "lastTransitionTime": time_text(NOW - 60 * SECOND)}
    stop = (
        {"deletionTimestamp": time_text(stopped + 600 * SECOND), "deletionGracePeriodSeconds": 600} if stopped else {}
    )
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "annotations": annotations, **stop},
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [readiness, *conditions],
            "containerStatuses": [container],
        },
    }


def rolling(name: str = "x-1", digest: str = DIGEST, **changes: Any) -> Proxy:
    """The same, read."""
    return read_proxy(rolling_pod(name, digest, **changes), None)


def live(name: str = "x-1", report: Report | str | None = DIGEST, *, sent: Sent | None = None, **changes: Any) -> Proxy:
    """A proxy whose agent reports this, or that it serves the configuration of this digest."""
    return read_proxy(live_pod(name, **changes), Report(report) if isinstance(report, str) else report, sent)


def late(name: str = "x-1", report: Report | str | None = OTHER, after: timedelta = 15 * SECOND, **more: Any) -> Proxy:
    """A proxy as of NOW to which DIGEST has been sent for this time."""
    return live(name, report, sent=Sent(DIGEST, NOW - after, was_ready=True), **more)
