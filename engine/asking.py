"""When proxies' pods are asked to serve a configuration, and when they have had time enough.

A pod's annotation says since when it has been asked, and when last, so that the next leader finds it there. It is only
written once the configuration is: a pod that nobody could ask is not late.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine.model.times import exact_time_text, read_time
from engine.podstate import annotations, ready_since
from engine.render.objects import REFRESH_ANNOTATION

Json = Mapping[str, Any]

REPORT_LIMIT = timedelta(seconds=15)
"""How long running proxies may take to serve a new configuration before they are replaced instead.

A kubelet renews a mounted ConfigMap within about a second of a change of the pod; HAProxy then reloads at once.
"""
REFRESH_INTERVAL = timedelta(seconds=4)
"""How often the kubelet of a proxy that does not serve the latest configuration is asked again to renew it."""
REFRESH_INTERVAL_LIMIT = timedelta(seconds=60)
"""How often in the end, of one that has not served it in time and is not replaced."""

_SURE_AFTER = timedelta(seconds=3)
"""How long after the last request a proxy is late: one that fails to answer a new leader once is not."""
_HEEDED = 2 * REFRESH_INTERVAL
"""How long after a request was due somebody may still be waiting for what came of the last one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Since when a pod has been asked for one configuration, without a break, and when it was asked last."""

    first: datetime
    last: datetime

    @property
    def interval(self) -> timedelta:
        """How long after the last request the next one is due."""
        passed = self.last - self.first
        return min(passed, REFRESH_INTERVAL_LIMIT) if passed >= REPORT_LIMIT else REFRESH_INTERVAL


def asked(pod: Json, digest: str, now: datetime) -> Asked | None:
    """How the pod has been asked for this configuration; None if it was not, or by nobody who is still waiting.

    One who was ended has not waited, and one whose clock is ahead of this one has not done so yet.
    """
    told, first, last, *_ = *(annotations(pod).get(REFRESH_ANNOTATION) or "").split(), "", "", ""
    since, latest = read_time(first), read_time(last)
    if told != digest or since is None or latest is None or not since <= latest <= now:
        return None
    found = Asked(since, latest)
    return found if now - latest <= found.interval + _HEEDED else None


def request(pod: Json, digest: str, now: datetime) -> str:
    """What the annotation is to say now: what it says already, or that the pod is asked at this moment."""
    before = asked(pod, digest, now)
    if before and now - before.last < before.interval:
        return str(annotations(pod)[REFRESH_ANNOTATION])
    return f"{digest} {exact_time_text(before.first if before else now)} {exact_time_text(now)}"


def is_in_time(pod: Json, digest: str, now: datetime) -> bool:
    """Whether a pod that does not serve this configuration yet may be about to."""
    found = asked(pod, digest, now)
    return found is None or now - found.first < REPORT_LIMIT


def is_late(pod: Json, digest: str, now: datetime) -> bool:
    """Whether a pod that does not serve this configuration has been asked, and ready, for long enough to serve it."""
    found = asked(pod, digest, now)
    if found is None:
        return False
    since = max(found.first, ready_since(pod) or found.first)
    return now - since >= REPORT_LIMIT and _SURE_AFTER <= now - found.last <= _HEEDED
