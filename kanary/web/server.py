"""A small read-only HTTP server for probes, metrics and the history, which no client can hold up for the others."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_log = logging.getLogger(__name__)

Answer = tuple[int, str, bytes]
"""Status, content type and body."""
Route = Callable[[], Answer]


@dataclass(frozen=True)
class Asked:
    """What is asked of a tree, as it came: percent-encoded, and of any length that fits into a request line."""

    path: str
    """What follows the path of the tree."""
    query: str = ""
    """What follows the question mark."""


@dataclass(frozen=True)
class Tree:
    """Answers for all paths below one that ends with a slash.

    Who asks when `at_once` others have not got their whole answer yet gets `busy` at once: what takes long must not
    take the connections that probes need.
    """

    answer: Callable[[Asked], Answer]
    busy: Answer
    at_once: int = 8


Routes = Mapping[str, Route | Tree]

_POLL_SECONDS = 0.1  # how often the server looks whether it is to stop, and which connections are overdue
_TEXT = "text/plain; charset=utf-8"


class HttpServer:
    """Answers GET and HEAD for a fixed set of paths and trees, from threads of its own, between `start()` and `stop()`.

    Port 0 takes a free one; `port` says which. An empty host means every address, of IPv6 as well where the machine
    has it. At most `max_connections` are served at a time, and none for longer than `max_seconds`. Raises OSError when
    the port is taken.
    """

    def __init__(
        self,
        port: int,
        routes: Routes,
        host: str = "",
        *,
        max_connections: int = 32,
        max_seconds: float = 30.0,
    ) -> None:
        self._server = _bind(host, port, dict(routes), max_connections, max_seconds)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="http", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to listen and end what is open."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._server.end_connections(older_than=0.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # server_close() must not wait for a client that holds its connection open.
    block_on_close = False

    def __init__(
        self, family: int, address: tuple[str, int], routes: Routes, max_connections: int, max_seconds: float
    ) -> None:
        self.address_family = family
        self.routes = routes
        self.trees = {path: tree for path, tree in routes.items() if isinstance(tree, Tree)}
        self.gates = {path: threading.BoundedSemaphore(tree.at_once) for path, tree in self.trees.items()}
        self._max_connections = max_connections
        self._max_seconds = max_seconds
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's own, which looks up the host's name and may wait for a name server.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 -- the signature is given
        with self._lock:
            if len(self._open) >= self._max_connections:
                return False
            self._open[request] = time.monotonic()
            return True

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called by serve_forever after each look for something to do."""
        self.end_connections(older_than=self._max_seconds)

    def end_connections(self, older_than: float) -> None:
        """Cut off the connections that have been open for more than so many seconds."""
        now = time.monotonic()
        with self._lock:
            overdue = [request for request, since in self._open.items() if now - since >= older_than]
        for request in overdue:
            # Its thread then reads the end of the stream and closes it; it may have done so just now.
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- the signature is given
        _log.debug("a client of the HTTP server went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10.0  # seconds of silence after which a client is given up

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        route = self.server.routes.get(path)
        if route is not None and not isinstance(route, Tree):
            self._answer(self._made(route))
            return
        for root, tree in self.server.trees.items():
            if path.startswith(root):
                self._descend(tree, self.server.gates[root], Asked(path.removeprefix(root), query))
                return
        known = ", ".join(sorted(self.server.routes))
        self._answer((HTTPStatus.NOT_FOUND, _TEXT, f"not found; there is {known}\n".encode()))

    do_HEAD = do_GET  # noqa: N815 -- http.server's naming

    def _descend(self, tree: Tree, gate: threading.Semaphore, asked: Asked) -> None:
        if not gate.acquire(blocking=False):
            self._answer(tree.busy)
            return
        try:
            self._answer(self._made(lambda: tree.answer(asked)))
        finally:
            gate.release()

    def _made(self, route: Route) -> Answer:
        try:
            return route()
        except Exception:  # whatever it is, the client gets an answer and the log the reason
            _log.exception("no answer for GET %.200r", self.path)
            return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"internal error; the log has the reason\n"

    def _refuse(self) -> None:
        self._answer((HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET and HEAD are allowed\n"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 -- http.server's naming

    def _answer(self, answer: Answer) -> None:
        status, content_type, body = answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "kanary"

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("%s " + format, self.client_address[0], *args)


def _bind(host: str, port: int, routes: Routes, max_connections: int, max_seconds: float) -> _Server:
    families = [socket.AF_INET6 if ":" in host else socket.AF_INET]
    if not host and socket.has_dualstack_ipv6():
        # One socket for both: a probe comes over IPv6 in a cluster that has nothing else.
        families.insert(0, socket.AF_INET6)
    for family in families[:-1]:
        with suppress(OSError):  # IPv6 may be built in and yet switched off
            return _Server(family, (host, port), routes, max_connections, max_seconds)
    return _Server(families[-1], (host, port), routes, max_connections, max_seconds)
