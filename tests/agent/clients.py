"""Clients of a proxy while its configuration changes: some hold connections, others connect all the time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from engine.render.config import Server
from tests.haproxy.proxies import Proxy, greeted_by


class Stream:
    """One connection after the other, and the pod that answered each; None for each that failed."""

    def __init__(self, proxy: Proxy) -> None:
        self.answers: list[Server | None] = []
        self._proxy = proxy
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._connect, daemon=True)

    @property
    def served(self) -> int:
        return len(self.answers) - self.failed

    @property
    def failed(self) -> int:
        return self.answers.count(None)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _connect(self) -> None:
        while not self._ended.is_set():
            self.answers.append(self._answer())

    def _answer(self) -> Server | None:
        with contextlib.suppress(OSError):
            return self._proxy.ask()
        return None


@contextlib.contextmanager
def stream(proxy: Proxy) -> Iterator[Stream]:
    """Runs while the context does; its counts are final afterwards."""
    running = Stream(proxy)
    running.start()
    try:
        yield running
    finally:
        running.end()


@contextlib.contextmanager
def held(proxy: Proxy, count: int) -> Iterator[list[socket.socket]]:
    """As many connections, each served by a pod."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(proxy.connect()) for _ in range(count)]
        assert all(greeted_by(connection) for connection in connections)
        yield connections


def is_alive(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        connection.sendall(b"ping")
        return connection.recv(4) == b"ping"
    return False
