"""HTTP servers, each with an event loop in its own thread. No client can block another."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import Counter
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
"""Maximum of one server. Each needs about 20 kB, plus a response that its client does not read."""
_KEEP_ALIVE_SECONDS = 60
_STOP_SECONDS = 1
"""Time for responses in progress when the server stops."""


class HttpServer:
    """Serves an application on these listening sockets, between `start()` and `stop()`.

    If more than MAX_CONNECTIONS are open, the server closes one of the host that has the most: the one that has been
    idle for the longest time. A new client is always served, and a host that floods the server makes room for itself.
    """

    def __init__(self, app: ASGIApp, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        for each in sockets:
            # Connections inherit it. asyncio does not set it for sockets with protocol number 0.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            app,
            http=_bounded(MAX_CONNECTIONS),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,  # clients can cause warnings
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets)), name=f"http-{self.port}", daemon=True
        )

    @property
    def port(self) -> int:
        """The port on which the server listens."""
        return int(self._sockets[0].getsockname()[1])

    def start(self) -> None:
        """Start the thread. Earlier connections wait in the backlog."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and close all connections."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2.0 * _STOP_SECONDS)
        for each in self._sockets:
            each.close()


def listen(port: int) -> list[socket.socket]:
    """Listen on all addresses, IPv6 included if available; port 0 selects a free one.

    Raises OSError if the port is in use.
    """
    if socket.has_dualstack_ipv6():
        with suppress(OSError):  # IPv6 may be disabled
            return [socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)]
    return [socket.create_server(("", port))]


def listen_on_loopback(port: int) -> list[socket.socket]:
    """Listen on 127.0.0.1, and on ::1 if available. Raises OSError if the port is in use."""
    sockets = [socket.create_server(("127.0.0.1", port))]
    with suppress(OSError):
        sockets.append(socket.create_server(("::1", sockets[0].getsockname()[1]), family=socket.AF_INET6))
    return sockets


def _bounded(limit: int) -> type[H11Protocol]:
    """HTTP on at most `limit` connections. A time-out is no limit: clients can open any number within it."""
    connections: dict[H11Protocol, str] = {}
    """Each with its host; the longest idle one is the first."""

    class Bounded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
            super().connection_made(transport)
            connections[self] = str((transport.get_extra_info("peername") or ("",))[0])
            if len(connections) > limit:
                ((busiest, _),) = Counter(connections.values()).most_common(1)
                idle = next(each for each, host in connections.items() if host == busiest)
                del connections[idle]
                idle.transport.abort()

        def data_received(self, data: bytes) -> None:
            # One that is closed to make room may still have data.
            if self in connections:
                connections[self] = connections.pop(self)
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self, None)
            super().connection_lost(exc)

    return Bounded
