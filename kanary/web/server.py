"""HTTP servers, each with an event loop on a thread of its own, on which no client can hold up another."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64
"""Of one server. Each takes some 20 kB, and an answer that its client does not read."""
_KEEP_ALIVE_SECONDS = 60
_STOP_SECONDS = 1
"""How long answers that are under way may take when the server stops."""


class HttpServer:
    """Serves an application on these listening sockets, between `start()` and `stop()`.

    Where more than MAX_CONNECTIONS are open, the one that has been silent for the longest is closed: whatever clients
    do, a new one is served.
    """

    def __init__(self, app: Starlette, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        for each in sockets:
            # Inherited by connections. asyncio sets it only where the socket's protocol number is not left at 0.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            app,
            http=_bounded(MAX_CONNECTIONS),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,  # any client can cause the warnings
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
        """The port that is listened on."""
        return int(self._sockets[0].getsockname()[1])

    def start(self) -> None:
        """Start to answer. Connections that come before the loop runs wait for it."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and close what is open."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2.0 * _STOP_SECONDS)
        for each in self._sockets:
            each.close()


def listen(port: int) -> list[socket.socket]:
    """Listen on every address, of IPv6 as well where the machine has it; port 0 takes a free one.

    Raises OSError where the port is taken.
    """
    if socket.has_dualstack_ipv6():
        with suppress(OSError):  # IPv6 may be built in and yet disabled
            return [socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)]
    return [socket.create_server(("", port))]


def listen_on_loopback(port: int) -> list[socket.socket]:
    """Listen on 127.0.0.1, and on ::1 where the machine has it. Raises OSError where the port is taken."""
    sockets = [socket.create_server(("127.0.0.1", port))]
    with suppress(OSError):
        sockets.append(socket.create_server(("::1", sockets[0].getsockname()[1]), family=socket.AF_INET6))
    return sockets


def _bounded(limit: int) -> type[H11Protocol]:
    """HTTP on at most so many connections. Time-outs would not do: within them, any number may be opened."""
    connections: dict[H11Protocol, None] = {}
    """The one that has been silent for the longest is the first."""

    class Bounded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
            super().connection_made(transport)
            connections[self] = None
            if len(connections) > limit:
                silent = next(iter(connections))
                del connections[silent]
                silent.transport.abort()

        def data_received(self, data: bytes) -> None:
            connections.pop(self, None)
            connections[self] = None
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.pop(self, None)
            super().connection_lost(exc)

    return Bounded
