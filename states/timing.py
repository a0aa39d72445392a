"""Every interval and limit of the engine and the operator, each with its reason, and how they are counted."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_ENDPOINTS_GRACE = timedelta(seconds=30)
"""How long a new Kanary waits for the slower of its backends before it starts with those that are there.

Long enough for pods that were applied together, so that the first traffic is already split as declared.
"""

SETTLE_LIMIT = timedelta(seconds=60)
"""How long a proxy that is starting may hold up newer endpoints, or the replacement of proxies that load nothing.

About the time that a slow node takes to start a proxy.
"""

SETTLING_RECHECK = timedelta(seconds=1)
"""How often proxies that are starting are looked at."""

SPACING_PER_PROCESS = timedelta(seconds=0.25)
SPACING_LIMIT = timedelta(seconds=5)
"""How long newer endpoints wait where a reload is needed, by the number of HAProxy processes that still drain.

Each reload leaves a process until its connections have ended. With long-lived connections these would pile up.
"""

LOAD_LIMIT = timedelta(seconds=15)
"""How long running proxies may take to load a new configuration before they are replaced instead.

A kubelet renews a mounted ConfigMap within about a second of a change of the pod; HAProxy then reloads at once.
"""

REFRESH_INTERVAL = timedelta(seconds=4)
"""How often the kubelet of a proxy that has not loaded the latest configuration is requested to renew it."""

REFRESH_INTERVAL_LIMIT = timedelta(seconds=60)
"""How often in the end, of a proxy that missed the limit and is not replaced."""

ANSWER_TIME = timedelta(seconds=3)
"""How long after the last request a proxy is late: one that fails to answer a new leader once is not."""

REQUEST_LIFETIME = 2 * REFRESH_INTERVAL
"""How long after a request was due the leader that made it may still be waiting for the result."""

REPORT_INTERVAL = timedelta(seconds=0.2)
"""How often proxies that are about to load a configuration are asked what they serve."""

IDLE_REPORT_INTERVAL = timedelta(seconds=30)
"""How often proxies that serve what they should are asked how they are."""

ENDPOINTS_SETTLE = timedelta(seconds=5)
"""How long a proxy that is to stop goes on listening: a node may send it connections until it learns of the stop."""

LISTEN_MARGIN = timedelta(seconds=1)
"""How much longer it is taken to listen: the API server notes the time of the stop in whole seconds."""

EXHAUSTION_REPORTED = timedelta(minutes=10)
"""How long it is reported that a proxy ran out of memory, once it is back."""

HELD_PODS_RECHECK = timedelta(seconds=10)
"""How often pods that are served without a Service that names them are looked for in the cluster."""

REFUSED_RECHECK = timedelta(seconds=30)
"""How often something that the API server rejected is sent again."""

STATUS_INTERVAL = timedelta(seconds=1)
"""How often a status is written where only counts have changed: pods that come and go would cost a write each."""

# The operator

ENDPOINTS_COALESCE = timedelta(seconds=0.5)
"""Endpoints change in bursts while a backend rolls; one rendering serves those of half a second."""

STALE_COPY_RETRY = timedelta(seconds=0.2)
"""When a write that was refused as too early is tried again: the watch delivers what is missing about now."""

REPORT_TIMEOUT = timedelta(seconds=1)
"""How long all agents of a Kanary have to answer: meanwhile one of the operator's workers does nothing else."""

SILENCE_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0.2, 0.5, 1.0, 2.0, 5.0))
"""How long an agent that does not answer is left alone, by how often it did not: each try holds a worker."""

FIRST_REPORT_LIMIT = timedelta(seconds=3)
"""How long a ready proxy may take to answer a process for the first time: before, what it serves is not known."""

CONNECT_PAUSE = timedelta(seconds=2)
"""How often an operator that starts asks a cluster that does not answer."""

RECONCILE_STOP_LIMIT = timedelta(seconds=20)
"""How long reconciles that are under way may take to end when the process stops: less than a pod's grace period."""

HISTORY_STOP_LIMIT = timedelta(seconds=5)
"""How long what waits to be recorded may delay the end of the process; the next leader records it again."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """When to look again though nothing is observed to change, and why."""

    after: timedelta
    why: str


def left(limit: timedelta, since: datetime | None, now: datetime) -> timedelta:
    """How much of the limit is left since then; none where it is not known since when.

    A time in the future comes from a clock that is ahead of this one. It counts as now if it is that near, and not at
    all otherwise: whatever clocks say, no wait is longer than twice its limit.
    """
    passed = now - since if since else limit
    return timedelta() if passed < -limit else min(max(limit - passed, timedelta()), limit)


def soonest(*requeues: Requeue | None) -> Requeue | None:
    """The first of them, or None where there is none."""
    return min((requeue for requeue in requeues if requeue), key=lambda requeue: requeue.after, default=None)
