"""The course of a fault: what clients see of it until the proxy has found out, afterwards, and when it is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.render.config import Pool
from tests.haproxy.proxies import Proxy
from tests.held.report import kinds, milliseconds
from tests.held.traffic import Seen, Traffic, Visit, traffic

RATE = 200
AFTERWARDS = 200
"""How many connections are looked at once the proxy has found out."""


@dataclass(frozen=True, slots=True)
class Course:
    """Times are of the clock that never goes back. `back` is none where nothing was healed."""

    ill: Pool
    seen: Seen
    struck: float
    found: float
    judged: float
    back: float | None

    @property
    def failed(self) -> list[Visit]:
        return [visit for visit in self.seen.visits if visit.failed]

    @property
    def failed_once_found(self) -> list[Visit]:
        return [visit for visit in self.failed if visit.began > self.found]

    @property
    def share(self) -> float:
        """The percentage of connections that the route got once the fault was found, failed ones included."""
        between = [visit for visit in self.seen.visits if self.found < visit.began and visit.ended < self.judged]
        elsewhere = sum(visit.pod is not None and visit.pod not in self.ill.servers for visit in between)
        return 100 - 100 * elsewhere / len(between)

    def cells(self) -> tuple[str, ...]:
        last = max((visit.began for visit in self.failed), default=self.struck)
        until = sum(self.struck < visit.began <= last for visit in self.seen.visits)
        return (
            kinds(self.seen.failures),
            f"{until} connections, {max(last - self.struck, 0):.1f} s" if self.failed else "-",
            milliseconds(self.seen, 1),
            f"{self.found - self.struck:.1f} s" if self.found > self.struck else "never",
            f"{self.share:.0f} %",
            f"{self.back - self.judged:.1f} s" if self.back else "-",
        )


class Stage:
    """A proxy with two routes, the second of which has pods that are to go bad, and its clients."""

    def __init__(self, ill: Pool, bad: int, clients: Traffic) -> None:
        self._ill = ill
        self._clients = clients
        self.bad = ill.servers[:bad]
        self.good = len(ill.servers) - bad

    def strike(self, how: Callable[..., None]) -> None:
        how(*self.bad)
        self._struck = self._found = time.monotonic()

    def course(self, found: Callable[[], None] | None = None, heal: Callable[[], None] | None = None) -> Course:
        """`found` returns when the proxy knows of the fault, `heal` when it knows that the fault is over."""
        if found:
            found()
            self._found = time.monotonic()
        self._clients.await_visits(AFTERWARDS)
        judged, back = time.monotonic(), None
        if heal:
            heal()
            back = time.monotonic()
            self._clients.await_visits(AFTERWARDS)
        return Course(self._ill, self._clients.stop(), self._struck, self._found, judged, back)


@contextlib.contextmanager
def stage(proxy: Proxy, bad: int) -> Iterator[Stage]:
    with traffic(RATE, address="127.0.0.1", port=proxy.config.split_port) as clients:
        clients.await_visits(RATE // 2)
        yield Stage(proxy.config.routes[1], bad, clients)
