"""The last failed connections of each route, from HAProxy's log.

HAProxy sends a record of each connection that did not end normally. The kernel keeps 11 of them until the next step
(`net.unix.max_dgram_qlen`), and HAProxy drops the others without waiting. So a step reads a sample if more fail, and
costs the same however many that are.
"""

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from kanary_agent.slots import Slots

SOCKET = "failures.sock"
KEPT = 5
"""How many failures of a route are kept."""
ROUTES = 200
"""Of how many routes; a Kanary has 100 at most, but they may be others after a change."""
STEP_RECORDS = 20
"""How many records one step reads at most."""
RECORD_BYTES = 1024
_FIELDS = 10


class Failure(NamedTuple):
    """A connection that failed."""

    ended: float
    """When it ended, by `time.monotonic`."""
    server: str
    """Address and port of the last pod that was tried; empty if there was none."""
    client: str
    """Address and port."""
    cause: str


class Record(NamedTuple):
    """HAProxy's record of a connection (`_FAILURE_FORMAT` of `engine/render/haproxy.py`)."""

    client: str
    slot: str
    server: str
    state: str
    """HAProxy's code for what ended the connection, and in which phase: section 8.5 of its configuration manual."""
    attempts: int
    milliseconds: int
    received: int
    """Bytes from the client."""
    sent: int
    """Bytes to the client."""
    error: str
    """HAProxy's text about the connection to the server."""


class Failures:
    """Reads the records from the socket in `folder`, which HAProxy finds again when it was created anew.

    They have the slot of a connection, and `slots` its backend.
    """

    def __init__(self, folder: str, slots: Slots) -> None:
        self._slots = slots
        path = os.path.join(folder, SOCKET)
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.setblocking(False)
        self._failures: dict[str, deque[Failure]] = {}
        """By route; the route with the last failure is the last one."""

    def step(self) -> None:
        """Read the records that have arrived, once the backends of the slots are known."""
        for _ in range(STEP_RECORDS if self._slots.are_known else 0):
            try:
                line = self._socket.recv(RECORD_BYTES)
            except BlockingIOError:
                return
            if (record := read_record(line.decode(errors="replace"))) and (cause := cause_of(record)):
                backend = self._slots.backend_of(record.slot, time.monotonic() - record.milliseconds / _SECOND)
                if backend:
                    self._add(backend, Failure(time.monotonic(), record.server, record.client, cause))

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


def read_record(line: str) -> Record | None:
    """A record of HAProxy, or None if the line is none."""
    fields = line.rstrip("\n").split(" ", _FIELDS - 1)
    if len(fields) < _FIELDS:
        return None
    host, port, slot, server, state, retries, *numbers, error = fields
    try:
        milliseconds, received, sent = (int(number.lstrip("+")) for number in numbers)
        # A plus sign marks that HAProxy has tried another server.
        attempts = int(retries.lstrip("+")) + 1
    except ValueError:
        return None
    # The name of a server is its address and port, without brackets, and the header that it receives, if any.
    name = server.partition("_")[0]
    address = "" if server == "<NOSRV>" else _address(*name.rpartition(":")[::2])
    return Record(_address(host, port), slot, address, state, attempts, milliseconds, received, sent, error)


def cause_of(record: Record) -> str:
    """Why the connection failed; '' if it did not.

    A client that leaves, a connection that was idle for too long after an answer, and one that the second pod accepted
    are no failures.
    """
    by, phase = record.state[:1], record.state[1:2]
    if by == "C" or record.state == "--":
        return ""
    if by in _CAUSES:
        return _CAUSES[by]
    passed = _time_text(record.milliseconds)
    if phase == "Q":
        return f"no pod had a free connection within {passed}"
    if phase == "C":
        return _unaccepted(record, passed)
    if by == "S":
        how = "lost" if "ETIMEDOUT" in record.error else "reset"
        return f"{how} after {passed}, {record.sent} bytes sent to the client"
    # The time-out of either side: both are the same.
    return f"no answer within {passed}" if record.received and not record.sent else ""


def _unaccepted(record: Record, passed: str) -> str:
    if not record.server:
        return "no pod was up"
    attempts = f"{record.attempts} attempts" if record.attempts > 1 else "1 attempt"
    if "source ports" in record.error:
        how = "no free source port"
    else:
        how = "refused or unreachable" if record.state[0] == "S" else "not accepted"
    return f"{how}: {attempts} within {passed}"


def _address(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_CAUSES = {
    "D": "closed because the pod was marked down",
    "I": "closed by an internal error of HAProxy",
    "K": "closed by a command to HAProxy",
    "L": "rejected by HAProxy",
    "P": "rejected by HAProxy",
    "R": "the proxy has no free file descriptor or memory",
}
"""By HAProxy's code for what ended the connection."""


_SECOND = 1000


def _time_text(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < _SECOND else f"{milliseconds / 1000:.1f} s"
