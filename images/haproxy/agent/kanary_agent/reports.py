"""A read-only HTTP server with bounded memory and time: no client can block it."""

import selectors
import socket
import time
from collections.abc import Callable

REQUEST_BYTES = 4096
REQUEST_SECONDS = 2
CONNECTIONS = 16
FRESH_PAGES = 4
"""How many pages are rendered in one call of `serve`."""

Page = Callable[[], str]

_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 431: "Request Header Fields Too Large"}


class _Client:
    def __init__(self, connection: socket.socket, now: float) -> None:
        self.connection = connection
        self.request = b""
        self.end = now + REQUEST_SECONDS


class ReportServer:
    """Serves the given pages, by their paths.

    Each request renders the page anew, up to FRESH_PAGES in one call of `serve` and while its time lasts; further
    requests get the page of the request before. Rendering sends commands to HAProxy, which may respond slowly.
    """

    def __init__(self, port: int, pages: dict[str, Page]) -> None:
        self._pages = pages
        self._rendered: dict[str, bytes] = {}
        self._fresh = 0
        self._end = 0.0
        self._clients: list[_Client] = []
        self._listener = _listener(port)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self, seconds: float) -> None:
        """Answer the requests that arrive within that time."""
        self._rendered.clear()
        self._fresh = FRESH_PAGES
        self._end = time.monotonic() + seconds
        while (now := time.monotonic()) < self._end:
            for key, _ in self._selector.select(self._end - now):
                if key.data is None:
                    self._accept(now)
                else:
                    self._read(key.data)
            for client in [client for client in self._clients if client.end < now]:
                self._close(client)

    def _accept(self, now: float) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # The client has closed it already.
            return
        connection.setblocking(False)
        client = _Client(connection, now)
        if len(self._clients) == CONNECTIONS:
            self._close(self._clients[0])
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, client: _Client) -> None:
        if client not in self._clients:
            # It was closed for another client after `select` returned.
            return
        try:
            more = client.connection.recv(REQUEST_BYTES)
            client.request += more
            if answer := self._answer(client.request):
                # The answer fits into the empty send buffer, so this does not block.
                client.connection.send(answer)
            if answer or not more:
                self._close(client)
        except OSError:
            self._close(client)

    def _close(self, client: _Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()

    def _answer(self, request: bytes) -> bytes:
        """The answer, empty while the request is incomplete."""
        if b"\r\n\r\n" in request:
            method, _, rest = request.partition(b" ")
            return self._page(method.decode("latin-1"), rest.partition(b" ")[0].decode("latin-1"))
        return _response(431, "") if len(request) >= REQUEST_BYTES else b""

    def _page(self, method: str, path: str) -> bytes:
        name = path.partition("?")[0]
        if name not in self._pages:
            return _response(404, "")
        if method != "GET":
            return _response(405, "")
        if name not in self._rendered or (self._fresh > 0 and time.monotonic() < self._end):
            self._fresh -= 1
            self._rendered[name] = _response(200, self._pages[name]())
        return self._rendered[name]


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        # The host has no IPv6, or no dual-stack sockets.
        return socket.create_server(("", port))


def _response(status: int, body: str) -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "Content-Type: application/json" if body.startswith("{") else "Content-Type: text/plain",
        f"Content-Length: {len(content)}",
        # An answer 405 needs it.
        "Allow: GET",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*head, "")).encode() + content
