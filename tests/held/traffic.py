"""Clients of a proxy or a Service, in processes of their own, and what they saw."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.render.config import Server
from tests.held.service import ADDRESS, PORT
from tests.waiting import await_that

PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Visit:
    """One connection that came and went. Times are of the clock that never goes back."""

    began: float
    took: float
    outcome: str
    pod: Server | None

    @property
    def failed(self) -> bool:
        return self.outcome != "ok"

    @property
    def ended(self) -> float:
        return self.began + self.took


@dataclass(frozen=True, slots=True)
class Held:
    """One connection that was held to the end, or cut."""

    pod: Server | None
    cut_at: float | None
    cut_by: str
    echoes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What all clients saw: their visits, in the order in which they began, and their held connections."""

    visits: tuple[Visit, ...]
    held: tuple[Held, ...]

    @property
    def failures(self) -> Counter[str]:
        return Counter(visit.outcome for visit in self.visits if visit.failed)

    @property
    def cuts(self) -> Counter[str]:
        return Counter(held.cut_by for held in self.held if held.cut_at is not None)


class Traffic:
    """Runs while its context lasts."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def hold(self, count: int) -> None:
        """Holds as many more connections, each of which has been echoed once on return."""
        share, rest = divmod(count, len(self._processes))
        self._ask(*(f"hold {share + (number < rest)}" for number in range(len(self._processes))))

    def await_visits(self, more: int) -> None:
        """Returns when as many visits have ended of those that begin from now on."""
        count = f"count {time.monotonic()}"
        await_that(
            lambda: sum(self._ask(*[count] * len(self._processes))) >= more,
            f"{more} more connections have come and gone",
        )

    def stop(self) -> Seen:
        """Ends all visits and has each held connection echoed once more. To be called once."""
        reports = self._ask(*["report"] * len(self._processes))
        visits = [
            Visit(began, took, outcome, _server(pod))
            for report in reports
            for began, took, outcome, pod in report["visits"]
        ]
        held = [Held(**{**facts, "pod": _server(facts["pod"])}) for report in reports for facts in report["held"]]
        return Seen(tuple(sorted(visits, key=lambda visit: visit.began)), tuple(held))

    def _ask(self, *commands: str) -> list[Any]:
        for process, command in zip(self._processes, commands, strict=True):
            assert process.stdin
            process.stdin.write(command + "\n")
            process.stdin.flush()
        return [json.loads(process.stdout.readline()) for process in self._processes if process.stdout]


@contextlib.contextmanager
def traffic(rate: float, held: int = 0, address: str = ADDRESS, port: int = PORT) -> Iterator[Traffic]:
    """As many new connections per second and as many held ones, all of which are there when the context begins."""
    command = [sys.executable, "-m", "tests.held.client", address, str(port), str(rate / PROCESSES)]
    with contextlib.ExitStack() as running:
        processes = [running.enter_context(_process(command)) for _ in range(PROCESSES)]
        clients = Traffic(processes)
        clients.hold(held)
        clients.await_visits(PROCESSES)
        yield clients


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _server(text: str) -> Server | None:
    if not text:
        return None
    address, port = text.split()
    return Server(address, int(port))
