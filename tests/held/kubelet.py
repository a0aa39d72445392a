"""How the proxies' pods come and go: in the order in which a cluster does it, on one node that hears late.

Only the waits are shorter. A proxy goes on for SETTLE_SECONDS after it is told to stop, a quarter of what its pod in a
cluster does, and in any case until the slowest node has heard of it: in a cluster, that node has four seconds more.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.render.config import ProxyConfig
from tests.haproxy.proxies import Proxy, running
from tests.held.service import LAG_SECONDS, Service
from tests.waiting import await_that

SETTLE_SECONDS = 1.25 * LAG_SECONDS

Run = Callable[[ProxyConfig], contextlib.AbstractContextManager[Proxy]]
"""Starts a proxy's pod: `running` one with HAProxy alone, `live` one with the agent beside it."""


class Node:
    """Runs proxies, and gives the Service those that are to get connections, as a Deployment and a kubelet would."""

    def __init__(self, run: Run, service: Service, proxies: contextlib.ExitStack, workers: ThreadPoolExecutor) -> None:
        self._run = run
        self._service = service
        self._proxies = proxies
        self._workers = workers
        self._ready: list[Proxy] = []

    @property
    def ready(self) -> list[Proxy]:
        """The proxies that are ready and have not been told to stop."""
        return list(self._ready)

    def start(self, config: ProxyConfig, lag: float = 0) -> Proxy:
        """Returns when the new proxy is ready and the node has heard of it."""
        proxy = self._proxies.enter_context(self._run(config))
        self._ready.append(proxy)
        self._tell(lag).join()
        return proxy

    def roll(self, config: ProxyConfig, lag: float, settle: float = SETTLE_SECONDS) -> Proxy:
        """A new proxy, then the end of all others: no Deployment waits until the nodes have heard of the new one."""
        old = self.ready
        new = self._proxies.enter_context(self._run(config))
        self._ready = [new]
        self._end(old, lag, settle)
        return new

    def delete(self, *proxies: Proxy, lag: float, settle: float = SETTLE_SECONDS) -> None:
        """Returns when the node has heard of it and the proxies no longer listen."""
        self._ready = [proxy for proxy in self._ready if proxy not in proxies]
        self._end(proxies, lag, settle)

    def _end(self, proxies: Sequence[Proxy], lag: float, settle: float) -> None:
        heard = self._tell(lag)
        stopping = [self._workers.submit(stop_as_pod, proxy, settle, heard) for proxy in proxies]
        heard.join()
        for stop in stopping:
            stop.result()

    def _tell(self, lag: float) -> threading.Timer:
        return self._service.hear_late([proxy.config.split_port for proxy in self._ready], lag)


def stop_as_pod(proxy: Proxy, settle: float, heard: threading.Timer) -> None:
    """The preStop hook, a sleep, and then the image's stop signal. Returns when the proxy no longer listens."""
    time.sleep(settle)
    if settle >= SETTLE_SECONDS:
        heard.join()
    proxy.process.send_signal(signal.SIGUSR1)
    await_that(lambda: not is_listening(proxy.config.split_port), "a stopping proxy no longer listens")


def is_listening(port: int) -> bool:
    """Asked of the kernel: a connection that comes as the proxy closes its socket would be reset."""
    rows = [row.split() for row in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]]
    return any(local.endswith(f":{port:04X}") and state == "0A" for _, local, _, state, *_ in rows)


@contextlib.contextmanager
def node(service: Service, run: Run = running) -> Iterator[Node]:
    with contextlib.ExitStack() as proxies, ThreadPoolExecutor() as workers:
        yield Node(run, service, proxies, workers)
