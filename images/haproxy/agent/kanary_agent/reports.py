"""A read-only HTTP server with bounded memory and time: no client can block it.

A page is one response. `GET /reports` keeps its connection and sends lines: the page `/report` at once, every news, and
an empty line if there was nothing else for a while.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable

REQUEST_BYTES = 4096
REQUEST_SECONDS = 2
CONNECTIONS = 16
STREAMS = 16
HEARTBEAT_SECONDS = 30
LOST_SECONDS = 60
"""A host that acknowledges nothing for this time is gone."""
FRESH_PAGES = 4
"""How many pages are rendered in one call of `serve`."""

Page = Callable[[], str]

STREAM = "/reports"
_FIRST = "/report"
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 431: "Request Header Fields Too Large"}


class _Client:
    def __init__(self, connection: socket.socket, host: str, now: float) -> None:
        self.connection = connection
        self.host = host
        self.request = b""
        self.is_stream = False
        self.due = now + REQUEST_SECONDS
        """When its request must be complete; of a stream, when the next empty line is due."""

    def send(self, content: bytes) -> None:
        """Raises OSError unless all of it fits into the send buffer: nothing is stored for a client that is slow."""
        if self.connection.send(content) < len(content):
            raise BlockingIOError


class ReportServer:
    """Serves the given pages, by their paths, and the stream of `news`, which returns "" if there is none.

    Each request renders the page anew, up to FRESH_PAGES in one call of `serve` and while its time lasts; further
    requests get the page of the request before. Rendering sends commands to HAProxy, which may respond slowly.
    """

    def __init__(self, port: int, pages: dict[str, Page], news: Page) -> None:
        self._pages = pages
        self._news = news
        self._rendered: dict[str, str] = {}
        self._fresh = 0
        self._end = 0.0
        self._clients: list[_Client] = []
        self._listener = _listener(port)
        self._listener.setblocking(False)
        # Inherited by the connections.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_SECONDS * 1000)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self, seconds: float) -> None:
        """Send what is new, and answer the requests that arrive within that time."""
        self._rendered.clear()
        self._fresh = FRESH_PAGES
        self._publish()
        self._end = time.monotonic() + seconds
        while (now := time.monotonic()) < self._end:
            for key, _ in self._selector.select(self._end - now):
                if key.data is None:
                    self._accept(now)
                else:
                    self._read(key.data)
            for client in [client for client in self._clients if client.due < now and not client.is_stream]:
                self._close(client)

    def _publish(self) -> None:
        streams = [client for client in self._clients if client.is_stream]
        line = f"{self._news()}\n".encode() if streams else b""
        now = time.monotonic()
        for client in streams:
            if len(line) > 1 or client.due < now:
                self._send_line(client, line, now)

    def _send_line(self, client: _Client, line: bytes, now: float) -> None:
        client.due = now + HEARTBEAT_SECONDS
        try:
            client.send(line)
        except OSError:
            self._close(client)

    def _accept(self, now: float) -> None:
        try:
            connection, (host, *_) = self._listener.accept()
        except OSError:
            # The client has closed it already.
            return
        connection.setblocking(False)
        client = _Client(connection, host, now)
        self._make_room(client, CONNECTIONS)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _make_room(self, new: _Client, limit: int) -> None:
        """Close a client of the same kind if there are too many: the oldest one of the host that has the most."""
        former = [client for client in self._clients if client is not new and client.is_stream == new.is_stream]
        if len(former) >= limit:
            hosts = Counter(client.host for client in [*former, new])
            self._close(max(former, key=lambda client: hosts[client.host]))

    def _read(self, client: _Client) -> None:
        if client not in self._clients:
            # It was closed for another client after `select` returned.
            return
        try:
            more = client.connection.recv(REQUEST_BYTES)
            client.request += more
            if client.is_stream or not more:
                # It has ended, or sends what nobody reads.
                self._close(client)
            elif answer := self._answer(client):
                client.send(answer)
                if not client.is_stream:
                    self._close(client)
        except OSError:
            self._close(client)

    def _close(self, client: _Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()

    def _answer(self, client: _Client) -> bytes:
        """The answer, empty while the request is incomplete; of a stream, its head and its first line."""
        if b"\r\n\r\n" not in client.request:
            return _response(431, "") if len(client.request) >= REQUEST_BYTES else b""
        method, _, rest = client.request.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in (*self._pages, STREAM):
            return _response(404, "")
        if method != "GET":
            return _response(405, "")
        if path != STREAM:
            return _response(200, self._page(path))
        client.is_stream, client.due = True, time.monotonic() + HEARTBEAT_SECONDS
        self._make_room(client, STREAMS)
        return _head(200, "application/x-ndjson") + f"{self._page(_FIRST)}\n".encode()

    def _page(self, path: str) -> str:
        if path not in self._rendered or (self._fresh > 0 and time.monotonic() < self._end):
            self._fresh -= 1
            self._rendered[path] = self._pages[path]()
        return self._rendered[path]


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        # The host has no IPv6, or no dual-stack sockets.
        return socket.create_server(("", port))


def _response(status: int, body: str) -> bytes:
    content = body.encode()
    kind = "application/json" if body.startswith("{") else "text/plain"
    return _head(status, kind, f"Content-Length: {len(content)}") + content


def _head(status: int, kind: str, *more: str) -> bytes:
    # An answer 405 needs `Allow`.
    lines = (f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Type: {kind}", "Allow: GET", "Connection: close", *more)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()
