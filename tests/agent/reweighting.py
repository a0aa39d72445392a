"""Many changes of weights in one running proxy while clients hold connections and open new ones.

Used by the tests, and by the benchmarks with more changes.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from kanary_agent import runtime
from kanary_agent.master import Master

from engine.render.config import ProxyConfig
from engine.render.haproxy import render
from tests.agent.clients import held, is_alive, stream
from tests.agent.configs import reweighted
from tests.agent.live import LiveProxy
from tests.haproxy.proxies import MASTER_SOCKET
from tests.waiting import await_that

HELD = 20
"""Connections that are held during the changes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the clients saw, and what became of HAProxy."""

    served: int
    """New connections."""
    failed: int
    cut: int
    """Held connections that did not survive."""
    windows: int
    """Stretches of successive connections between two changes that were counted."""
    inexact: int
    """Those that did not have exactly the weights."""
    processes: int
    """Workers that are there afterwards and were not before, those that drain included."""


def change_weights(proxy: LiveProxy, changes: int, window: int) -> Outcome:
    """Change the weights so many times, as the agent does, without the wait for its next look.

    After each change as many connections as `window` says are counted, 0 for none; whole weights need 100.
    """
    proxy.kill_agent()
    config = proxy.config
    routes = {server: number for number, route in enumerate(config.routes) for server in route.servers}
    master, before, inexact = Master(str(proxy.run / MASTER_SOCKET), str(proxy.run)), _workers(proxy), 0
    with held(proxy, HELD) as connections, stream(proxy) as clients:
        for weights in itertools.islice(mixes(len(config.routes)), changes):
            other = reweighted(config, *weights)
            if not runtime.update(master, render(config).text, render(other).text, count=lambda: None):
                raise RuntimeError(f"HAProxy did not take the weights {weights} without a reload")
            config = other
            if window:
                # The connection that is open now may have been counted before the change.
                first = len(clients.answers) + 1
                await_that(lambda first=first: len(clients.answers) >= first + window, "a window of connections")  # type: ignore[misc]
                answers = clients.answers[first : first + window]
                inexact += Counter(routes.get(server) for server in answers if server) != shares(config)
        cut = sum(not is_alive(connection) for connection in connections)
    proxy.config = config
    return Outcome(
        served=clients.served,
        failed=clients.failed,
        cut=cut,
        windows=changes if window else 0,
        inexact=inexact,
        processes=len(_workers(proxy) - before),
    )


def mixes(routes: int) -> Iterator[list[int]]:
    """Weights that sum to 100, without end: from 0, to 0, all to one, and any others."""
    for number in itertools.count():
        all_to_one = [100 * (number // 4 % 2)] * (routes - 1)
        cuts = sorted(random.choices(range(101), k=routes - 1)) if number % 4 else all_to_one
        yield [end - start for start, end in zip([0, *cuts], [*cuts, 100], strict=True)]


def shares(config: ProxyConfig) -> dict[int, int]:
    """How many of 100 connections each route gets."""
    return {number: int(route.weight) for number, route in enumerate(config.routes) if route.weight}


def _workers(proxy: LiveProxy) -> set[str]:
    """The process ids of all workers, those that drain included."""
    lines = (line.split() for line in proxy.command("show proc").splitlines())
    return {line[0] for line in lines if line[1:2] == ["worker"]}
