"""Every interval and limit of the engine and the operator, each with its reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_ENDPOINTS_GRACE = timedelta(seconds=30)
"""How long a new Kanary waits for its slower backends before it starts with the ready ones.

Long enough for pods that were applied together, so that the first traffic is split as declared.
"""

SETTLE_LIMIT = timedelta(seconds=60)
"""How long a starting proxy may delay newer endpoints, or the replacement of proxies that do not load them.

About the time that a slow node takes to start a proxy.
"""

SETTLING_RECHECK = timedelta(seconds=1)
"""How often starting proxies are checked."""

SPACING_PER_PROCESS = timedelta(seconds=0.25)
SPACING_LIMIT = timedelta(seconds=5)
"""How long newer endpoints wait if they need a reload, for each HAProxy process that still drains, and at most.

Each reload leaves a process until its connections have ended. With long-lived connections they would accumulate.
"""

LOAD_LIMIT = timedelta(seconds=15)
"""How long running proxies may take to load a new configuration before they are replaced instead.

The operator sends it to the agents, which load it at once.
"""

ENDPOINTS_SETTLE = timedelta(seconds=5)
"""How long a stopping proxy keeps listening: nodes may send it connections until they learn about the stop."""

LISTEN_MARGIN = timedelta(seconds=1)
"""Added to that time: the API server gives the time of the stop in whole seconds."""

UNREACHED_LIMIT = timedelta(seconds=10)
"""How long all servers of a route may fail their checks before the route counts as unreachable.

HAProxy takes a server for down after a stall of 10 s, or when it refuses a connection, as while its pod restarts. New
servers of a healthy route pass their first check within 2 s.
"""

EXHAUSTION_REPORTED = timedelta(minutes=10)
"""How long the status reports that a proxy ran out of memory, after its restart."""

HELD_PODS_RECHECK = timedelta(seconds=10)
"""How often the operator looks up pods that it serves although no Service selects them, and loops through Kanaries."""

REJECTED_RECHECK = timedelta(seconds=30)
"""How often the operator retries an object that the API server rejected."""

STATUS_INTERVAL = timedelta(seconds=1)
"""How long counts that changed, and a phase that may pass, wait until they are written to the status.

Otherwise every change of a pod and every report about it would cost a write, and each change of weights one more.
"""

ROLLOUT_RECHECK = timedelta(seconds=10)
"""How often a rollout is judged without news: the time of a step counts up to three times as much between two looks."""

ROLLOUT_STATUS_INTERVAL = timedelta(seconds=10)
"""How often the status is written because the time and the evidence of a step have grown."""

# The operator

ENDPOINTS_COALESCE = timedelta(seconds=0.5)
"""Endpoints change in bursts during a rollout of a backend; one rendering serves half a second of them."""

STALE_COPY_RETRY = timedelta(seconds=0.2)
"""When a write with a stale copy is retried: the watch delivers the newer copy about then."""

RENEWAL_PAUSE = timedelta(minutes=1)
"""Least time between two replacements of proxies for their former processes: an agent may report anything."""

WATCH_CHECK_INTERVAL = timedelta(seconds=5)
"""How often the operator looks whether its watches receive anything."""

COPY_FAILING_LIMIT = timedelta(seconds=30)
"""How long objects of a kind may be unreadable before that is reported: API servers restart within this time."""

COPY_REPORT_INTERVAL = timedelta(minutes=1)
"""How often another error of the same kind may be reported: that is a write of each status."""

AGENT_CONNECT_LIMIT = timedelta(seconds=3)
"""How long it may take to connect to an agent: a lost SYN is sent again after one second."""

SEND_LIMIT = timedelta(seconds=5)
"""How long it may take to send a configuration to an agent, before another attempt."""

AGENT_LOST_LIMIT = timedelta(seconds=60)
"""After this time without a sign of life from the host of an agent, the connection is lost.

Nothing depends on it sooner: agents report what changes, and the pods of a lost node become NotReady.
"""

AGENT_SIGN_INTERVAL = timedelta(seconds=3)
"""How often the operator signals to the agents of a rollout under way that it can act.

Without three signs in a row, agents roll back by themselves if their canary fails.
"""

FIRST_REPORT_LIMIT = timedelta(seconds=3)
"""How long a ready proxy may take to send its first report, from the first attempt to connect to it.

A process cannot judge a proxy before.
"""

NOT_NOW_PAUSE = timedelta(seconds=15)
NOT_NOW_LIMIT = timedelta(minutes=5)
"""When a webhook that has not decided is called again, and the longest time that its receiver may name instead."""

HELD_WEBHOOK_PAUSE = timedelta(minutes=1)
"""How often a webhook is called that holds its rollout because it gives no usable answer."""

LEADERSHIP_RECHECK = timedelta(seconds=1)
"""How often checks that wait because this process does not lead look whether it does."""

CONNECT_PAUSE = timedelta(seconds=2)
"""How often the operator retries a cluster that does not answer when it starts or reads the signing key."""

RECONCILE_STOP_LIMIT = timedelta(seconds=20)
"""How long running reconciles may take when the process stops: less than a pod's grace period."""

HISTORY_START_LIMIT = timedelta(seconds=2)
"""How long a new leader may wait for the database, so that HistoryRecorded is not False for a moment at each start."""

HISTORY_WRITE_LIMIT = timedelta(seconds=1)
"""How long new weights may wait for the database, which stores them before any proxy receives them.

If it has been busy for longer, or has a fault, nothing waits for it: a database that hangs delays changes once.
"""

HISTORY_STOP_LIMIT = timedelta(seconds=5)
"""How long pending entries of the history may delay the end of the process; the next leader records them again."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """When to reconcile again if nothing changes before, and why."""

    after: timedelta
    why: str


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a decision lasts at most if nothing changes, and what happens then."""

    after: timedelta
    then: str

    def end(self, now: datetime, former: datetime | None) -> datetime:
        """When that is; the former time if it differs by less than a second, because counted times are rounded."""
        end = now + max(self.after, timedelta())
        return former if former and abs(end - former) < timedelta(seconds=1) else end


def left(limit: timedelta, since: datetime | None, now: datetime) -> timedelta:
    """The part of the limit that is left since then; zero if `since` is None.

    A time in the future comes from a clock that is ahead. It counts as now if it is less than the limit away, and is
    ignored otherwise: with any clock skew, no wait is longer than twice its limit.
    """
    passed = now - since if since else limit
    return timedelta() if passed < -limit else min(max(limit - passed, timedelta()), limit)


def soonest(*requeues: Requeue | None) -> Requeue | None:
    """The earliest of them, or None if there is none."""
    return min((requeue for requeue in requeues if requeue), key=lambda requeue: requeue.after, default=None)


def duration_text(duration: timedelta) -> str:
    """The duration in whole seconds as users write it, such as `90s`, `10m` or `1h30m`."""
    seconds = round(duration.total_seconds())
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
