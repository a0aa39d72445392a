"""An HTTP server with bounded memory and time: no client can block it.

A page is one response. `/report` has addresses of clients and is served on loopback only: to read it, users need the
right to forward a port of the pod. `GET /reports` keeps its connection and sends lines: that page at once, and every
news; on it, the operator sends signs that it is there. `PUT /configuration` receives a configuration; its head is
checked before the content, for which the client waits (`Expect: 100-continue`).
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable

from kanary_agent.contact import Contact
from kanary_agent.inbox import CONTINUE, Inbox, Offer, read_offer

REQUEST_BYTES = 4096
REQUEST_SECONDS = 2
CONNECTIONS = 16
STREAMS = 16
UPLOADS = 4
UPLOAD_SECONDS = 5
UPLOAD_BYTES = 2**16
"""How much of an upload is read at a time."""
PROBE_SECONDS = 30
"""After this time without a byte, the kernel probes whether the other host is still there."""
LOST_SECONDS = 60
"""A host that acknowledges nothing for this time is gone."""
FRESH_PAGES = 4
"""How many pages are rendered in one call of `serve`."""

Page = Callable[[], str]

_STREAM = "/reports"
_LOCAL = "/report"
_UPLOAD = "/configuration"
_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


REQUEST, STREAM, UPLOAD = "request", "stream", "upload"


class _Client:
    def __init__(self, connection: socket.socket, host: str, now: float) -> None:
        self.connection = connection
        self.host = host
        self.kind = REQUEST
        self.received = b""
        """Of a request, its head; of an upload, its content; of a stream, the last incomplete line."""
        self.offer: Offer | None = None
        self.due = now + REQUEST_SECONDS
        """When its request must be complete."""

    def send(self, content: bytes) -> None:
        """Raises OSError unless all of it fits into the send buffer: nothing is stored for a client that is slow."""
        if self.connection.send(content) < len(content):
            raise BlockingIOError


class ReportServer:
    """Serves the given pages, by their paths, and the stream of `news`, which returns "" if there is none.

    The `inbox` receives configurations; then `serve` returns early. The `contact` takes what the operator sends on its
    stream.

    Each request renders the page anew, up to FRESH_PAGES in one call of `serve` and while its time lasts; further
    requests get the page of the request before. Rendering sends commands to HAProxy, which may respond slowly.
    """

    def __init__(self, port: int, pages: dict[str, Page], news: Page, inbox: Inbox, contact: Contact) -> None:
        self._pages = pages
        self._news = news
        self._inbox = inbox
        self._contact = contact
        self._rendered: dict[str, str] = {}
        self._fresh = 0
        self._end = 0.0
        self._clients: list[_Client] = []
        self._listener = _listener(port)
        self._listener.setblocking(False)
        # Inherited by the connections.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_SECONDS)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_SECONDS * 1000)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self, seconds: float) -> None:
        """Send what is new, and answer the requests that arrive within that time."""
        self._rendered.clear()
        self._fresh = FRESH_PAGES
        self._publish()
        self._end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            # Also if its time is over: on a busy node, no request might be answered otherwise.
            for key, _ in self._selector.select(max(0.0, self._end - now)):
                if key.data is None:
                    self._accept(now)
                else:
                    self._read(key.data)
            for client in [client for client in self._clients if client.due < now and client.kind != STREAM]:
                self._close(client)
            if time.monotonic() >= self._end:
                return

    def _publish(self) -> None:
        streams = [client for client in self._clients if client.kind == STREAM]
        if not streams or not (news := self._news()):
            return
        for client in streams:
            try:
                client.send(f"{news}\n".encode())
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
        """Close a client of the same kind if there are too many: the oldest one of the host that has the most.

        The operator, once it has sent an authentic configuration, does not make room for others.
        """
        former = [client for client in self._clients if client is not new and client.kind == new.kind]
        if len(former) >= limit:
            hosts = Counter(client.host for client in [*former, new])
            others = [client for client in former if client.host != self._inbox.proven_host]
            self._close(max(others or former, key=lambda client: hosts[client.host]))

    def _read(self, client: _Client) -> None:
        if client not in self._clients:
            # It was closed for another client after `select` returned.
            return
        try:
            more = client.connection.recv(UPLOAD_BYTES if client.kind == UPLOAD else REQUEST_BYTES)
            client.received += more
            if not more:
                self._close(client)
            elif client.kind == STREAM:
                self._take_signs(client)
            elif answer := self._answer(client):
                client.send(answer)
                if client.kind == REQUEST:
                    self._close(client)
        except OSError:
            self._close(client)

    def _take_signs(self, client: _Client) -> None:
        rest = self._contact.take(client.received)
        if rest is None:
            # It has sent something else.
            self._close(client)
        else:
            client.received = rest

    def _close(self, client: _Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()

    def _answer(self, client: _Client) -> bytes:
        """The answer, empty while the request is incomplete; of a stream, its head and its first line."""
        if client.kind == UPLOAD:
            return self._receive(client)
        head, end, content = client.received.partition(b"\r\n\r\n")
        if not end:
            return _response(431, "") if len(client.received) >= REQUEST_BYTES else b""
        method, _, rest = head.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if refusal := self._refusal(method, path, client.host):
            return refusal
        if path == _UPLOAD:
            return self._admit(client, rest, content)
        return self._start_stream(client) if path == _STREAM else _response(200, self._page(path))

    def _refusal(self, method: str, path: str, host: str) -> bytes:
        """The answer to a request that this host may not make; empty if it may."""
        if path not in (*self._pages, _UPLOAD):
            return _response(404, "")
        if method != _method_of(path):
            return _response(405, "", f"Allow: {_method_of(path)}")
        return _response(403, "") if path == _LOCAL and not _is_loopback(host) else b""

    def _start_stream(self, client: _Client) -> bytes:
        client.kind, client.received = STREAM, b""
        self._make_room(client, STREAMS)
        return _head(200, "application/x-ndjson") + f"{self._page(_STREAM)}\n".encode()

    def _admit(self, client: _Client, head: str, content: bytes) -> bytes:
        """The answer to the head of an upload."""
        now = time.monotonic()
        offer = read_offer(_headers(head))
        status = self._inbox.status_of(offer, client.host, now)
        if offer is None or status != CONTINUE:
            return _response(status, "")
        client.kind, client.offer, client.received, client.due = UPLOAD, offer, content, now + UPLOAD_SECONDS
        self._make_room(client, UPLOADS)
        return self._receive(client) or f"HTTP/1.1 {CONTINUE} Continue\r\n\r\n".encode()

    def _receive(self, client: _Client) -> bytes:
        """The answer to an upload, empty while its content is incomplete."""
        offer, content = client.offer, client.received
        if offer is None or len(content) < offer.length:
            return b""
        client.kind = REQUEST
        status = self._inbox.receive(offer, content[: offer.length], client.host, time.monotonic())
        self._end = 0.0
        return _response(status, "")

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


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.removeprefix("::ffff:").startswith("127.")


def _method_of(path: str) -> str:
    return "PUT" if path == _UPLOAD else "GET"


def _headers(head: str) -> dict[str, str]:
    """The fields of a request, by their names in lower case."""
    pairs = (line.partition(":") for line in head.split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _response(status: int, body: str, *more: str) -> bytes:
    content = body.encode()
    kind = "application/json" if body.startswith("{") else "text/plain"
    return _head(status, kind, f"Content-Length: {len(content)}", *more) + content


def _head(status: int, kind: str, *more: str) -> bytes:
    lines = (f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Type: {kind}", "Connection: close", *more)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()
