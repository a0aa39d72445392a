"""The last failed connections of each route, from HAProxy's records.

A connection fails if no server accepts it, or if its server breaks it off: HAProxy counts it in `econ` or `eresp`
(docs/evidence.md). A client that leaves, a time-out of an idle connection, and a connection that the second pod accepts
are no failures.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from kanary_agent.records import Pipe, Record
from kanary_agent.revisions import Revisions
from kanary_agent.slots import Slots

KEPT = 5
"""How many failures of a route are kept."""
ROUTES = 200
"""Of how many routes; a Kanary has 100 at most, but they may be others after a change."""
STEP_FAILURES = 20
"""Of how many failures of one step the causes are read: of a storm, the last ones."""


class Failure(NamedTuple):
    """A connection that failed."""

    ended: float
    """When it ended, by `time.monotonic`."""
    server: str
    """Address and port of the last pod that was tried; empty if there was none."""
    client: str
    """Address and port."""
    cause: str


class Failures:
    """Reads the records in the pipe, once the backends of the slots are known, and counts them by revision."""

    def __init__(self, pipe: Pipe, slots: Slots, revisions: Revisions) -> None:
        self._pipe = pipe
        self._slots = slots
        self._revisions = revisions
        self._failures: dict[str, deque[Failure]] = {}
        """By route; the route with the last failure is the last one."""

    def step(self) -> None:
        """Take the records that have arrived."""
        if not self._slots.are_known:
            return
        now = time.monotonic()
        found = []
        for record in self._pipe.step():
            backend = self._slots.backend_of(record.slot, now - record.milliseconds / _SECOND)
            if backend and (record.is_unaccepted or record.is_reset):
                self._revisions.record(record, backend, now)
                found.append((backend, record))
        for backend, record in found[-STEP_FAILURES:]:
            self._add(backend, Failure(now, record.server, record.client, cause_of(record)))
        if self._pipe.is_empty:
            self._revisions.settle(now)

    def of(self, routes: Mapping[str, object]) -> dict[str, list[dict[str, object]]]:
        """The last failures of those of these routes that have any, newest first."""
        now = time.monotonic()
        found = {name: reversed(self._failures[name]) for name in routes if name in self._failures}
        return {name: [_as_reported(failure, now) for failure in failures] for name, failures in found.items()}

    def _add(self, route: str, failure: Failure) -> None:
        failures = self._failures.pop(route, None) or deque(maxlen=KEPT)
        failures.append(failure)
        self._failures[route] = failures
        if len(self._failures) > ROUTES:
            del self._failures[next(iter(self._failures))]


def _as_reported(failure: Failure, now: float) -> dict[str, object]:
    return {
        "secondsAgo": round(now - failure.ended, 3),
        "server": failure.server,
        "client": failure.client,
        "cause": failure.cause,
    }


def cause_of(record: Record) -> str:
    """Why a connection failed."""
    passed = _time_text(record.milliseconds)
    if record.is_reset:
        how = "lost" if record.is_lost else "reset"
        return f"{how} after {passed}, {record.sent} bytes sent to the client"
    if record.state in _CAUSES:
        return _CAUSES[record.state]
    if record.state[1] == "Q":
        return f"no pod had a free connection within {passed}"
    if not record.server:
        return "no pod was up"
    attempts = f"{record.attempts} attempts" if record.attempts > 1 else "1 attempt"
    if "source ports" in record.error:
        how = "no free source port"
    else:
        how = "refused or unreachable" if record.state[0] == "S" else "not accepted"
    return f"{how}: {attempts} within {passed}"


_CAUSES = {
    "IC": "closed by an internal error of HAProxy",
    "RC": "the proxy has no free file descriptor or memory",
}
"""By HAProxy's code."""

_SECOND = 1000


def _time_text(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < _SECOND else f"{milliseconds / 1000:.1f} s"
