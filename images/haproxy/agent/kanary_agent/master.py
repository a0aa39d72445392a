"""Commands to HAProxy's master process, over its socket.

One connection carries several commands. The agent closes its half at once: then the master closes the other half after
the last answer, instead of waiting for more commands.
"""

import hashlib
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kanary_agent import counters, texts
from kanary_agent.counters import Summary

ANSWER_SECONDS = 2
# A reload of 5,000 servers takes 0.2 s of a core. If a port cannot be bound, HAProxy tries for 2 s.
RELOAD_SECONDS = 60
# Far more than HAProxy reports about 5,000 servers that are down.
ANSWER_BYTES = 2**22

_STATE = (f"@1 get var {texts.DIGEST}", f"@1 get var {texts.SPLIT}")
_COUNTERS = "@1 show table counter"
_FIGURES = (*_STATE, *counters.SUMMARY, "show proc")
_STARTED = re.compile(r"^(proc\.start(\d*)): type=sint value=<(-?\d+)>", re.MULTILINE)
_TAKEN = re.compile(r" key=(\d+) .*\bgpc0=(\d+)")
_WORKER = re.compile(r"^(?P<process>\d+) +worker +(?P<reloads>\d+) ", re.MULTILINE)


class WorkerState(NamedTuple):
    """The variables of a worker that say what it serves; empty if it does not have them."""

    digest: str
    split: str


class Figures(NamedTuple):
    """What HAProxy reports about itself."""

    state: WorkerState
    draining: int
    """Number of former workers that still run."""
    former: list[Summary] | None
    """What they have counted; None if one of them does not respond."""
    current: Summary
    """What the current worker has counted."""
    lost: int = 0
    """Number of workers that have ended and stay in the master's list, each with a file descriptor (reloader.py)."""

    @property
    def split(self) -> str:
        """Changes with the turns of the routes; it was in force before the counters were read."""
        backends = "/".join(f"{slot}={name}" for slot, name in sorted(self.current.backends.items()))
        return hashlib.sha256(f"{texts.turns_of(self.state.split)} {backends}".encode()).hexdigest()


class SilentError(Exception):
    """HAProxy does not respond: it is starting, has ended, or has no worker."""


class Master:
    """The master process with its socket at `path` and its configuration in `folder`.

    Every method raises SilentError if HAProxy does not respond.
    """

    def __init__(self, path: str, folder: str) -> None:
        self._path = path
        self._folder = folder

    def state(self) -> WorkerState:
        """What the current worker serves."""
        return _state(self.execute(*_STATE))

    def slots(self) -> dict[str, str]:
        """The backend of each slot of the current worker that is not free."""
        return texts.backends_by_slot(texts.variables(self.execute(f"@1 get var {texts.SLOTS}")).get(texts.SLOTS, ""))

    def counts(self, starts: Sequence[str]) -> dict[str, int]:
        """How many connections of each port the current worker has distributed, by the variable of the start.

        Without those that it does not count.
        """
        answer = self.execute(*(f"@1 get var {name}" for name in starts), _COUNTERS)
        if "# table: counter," not in answer:
            return {}
        taken = {key: int(count) for key, count in _TAKEN.findall(answer)}
        found = {name: (key, int(start)) for name, key, start in _STARTED.findall(answer)}
        return {name: start + taken.get(key or "1", 0) for name, (key, start) in found.items()}

    def workers(self) -> tuple[str, list[str]]:
        """The process of the current worker, and those of the former ones in the master's list."""
        current, *former = _workers(self.execute("show proc")) or [""]
        return current, former

    def reload(self) -> str:
        """Start a new worker with the file on disk; returns HAProxy's errors, or ''."""
        answer = self.execute("reload", seconds=RELOAD_SECONDS)
        return "" if answer.startswith("Success=1") else texts.alerts(answer, self._folder)

    def set_variables(self, variables: Mapping[str, str]) -> None:
        """Set process variables of the current worker to these expressions, one after the other."""
        for name, expression in variables.items():
            # One at a time: HAProxy reads no more than 16 KB of a connection at once.
            self.execute("experimental-mode on", f"@1 set var {name} {expression}")

    def figures(self) -> Figures:
        """What the current worker serves, and how many connections are open and possible."""
        answer = self.execute(*_FIGURES)
        listed, former = self._former(answer)
        running = listed if former is None else len(former)
        return Figures(_state(answer), running, former, self._completed(counters.summary(answer)), listed - running)

    def summary(self) -> Summary:
        """What the current worker has counted; of an empty name if there is none."""
        return self._completed(counters.summary(self.execute(*counters.SUMMARY)))

    def _completed(self, summary: Summary) -> Summary:
        # Only the state of an outage is read.
        if not (summary.watched and summary.has_empty_slot):
            return summary
        is_redistributing = counters.is_redistributing(summary, self.execute(*counters.ROUND))
        return summary._replace(is_redistributing=is_redistributing)

    def _former(self, processes: str) -> tuple[int, list[Summary] | None]:
        """How many former workers the master lists, and what those that still run have counted."""
        numbers = _workers(processes)[1:]
        commands = (command.replace("@1", f"@!{number}") for number in numbers for command in counters.SUMMARY)
        try:
            found = counters.summaries(self.execute(*commands))
        except SilentError:
            # A worker that hangs still runs; the report about the current worker must not fail for it.
            return len(numbers), None
        return len(numbers), found

    def execute(self, *commands: str, seconds: float = ANSWER_SECONDS) -> str:
        """Run commands; returns all answers as one text."""
        if not commands:
            return ""
        try:
            return self._exchange("".join(f"{command}\n" for command in commands).encode(), seconds)
        except OSError as error:
            raise _silent(error) from error

    def stream(self, command: str) -> Iterator[str]:
        """Run one command; returns the lines of its answer, which may not fit into memory as a whole."""
        try:
            with self._connect(f"{command}\n".encode(), ANSWER_SECONDS) as connection, connection.makefile() as answer:
                yield from answer
        except (OSError, ValueError) as error:
            raise _silent(error) from error

    def _exchange(self, request: bytes, seconds: float) -> str:
        with self._connect(request, seconds) as connection:
            answer = bytearray()
            while len(answer) < ANSWER_BYTES and (more := connection.recv(2**16)):
                answer += more
        return answer.decode(errors="replace")

    def _connect(self, request: bytes, seconds: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(seconds)
            connection.connect(self._path)
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            raise
        return connection


def _silent(error: Exception) -> SilentError:
    # Without the number of the error, which the status would show.
    return SilentError(f"HAProxy does not respond on its master socket: {getattr(error, 'strerror', None) or error}")


def _state(answer: str) -> WorkerState:
    variables = texts.variables(answer)
    if texts.DIGEST not in variables and "Variable not found" not in answer:
        raise SilentError("no HAProxy worker responds")
    return WorkerState(variables.get(texts.DIGEST, ""), variables.get(texts.SPLIT, ""))


def _workers(processes: str) -> list[str]:
    """The workers in the answer to `show proc`, the current one first.

    HAProxy 3.2 lists it as an old one after a reload that failed, as long as no other reload succeeds.
    """
    found = sorted(_WORKER.finditer(processes), key=lambda worker: int(worker["reloads"]))
    return [worker["process"] for worker in found]
