"""The transport: HTTP/1.1 with keep-alive, one thread per connection, watches as chunked streams."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .app import App, Response, failure
from .errors import ApiError
from .faults import Fault, Faults, Kind
from .forwarding import forward
from .requestlog import LoggedRequest, RequestLog
from .requests import RawRequest
from .watching import Idle, Watch

# Closing with this makes the kernel send a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class Dropped(Exception):  # noqa: N818 - it is how a handler leaves a connection, not an error
    """The connection is to be reset without an answer."""


class Transport(ThreadingHTTPServer):
    """Listens on a free port of the loopback address."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, app: App, faults: Faults, log: RequestLog) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.app = app
        self.faults = faults
        self.log = log
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._watches: dict[Watch, socket.socket] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def joined(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def left(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def watch_began(self, watch: Watch, connection: socket.socket) -> None:
        with self._lock:
            self._watches[watch] = connection

    def watch_ended(self, watch: Watch) -> None:
        with self._lock:
            self._watches.pop(watch, None)

    def watches(self) -> list[Watch]:
        with self._lock:
            return list(self._watches)

    def drop_watches(self) -> None:
        """Cuts the connections of all watches."""
        with self._lock:
            connections = list(self._watches.values())
        for connection in connections:
            _shut(connection)

    def stop(self) -> None:
        """Answers nothing any more and ends every connection."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        self.faults.clear()
        for watch in self.watches():
            watch.stop()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing when a client went away or was sent away; anything else is printed."""
        if not isinstance(sys.exception(), ConnectionError | Dropped):
            super().handle_error(request, client_address)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # It may be closed already.
        connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Transport
    connection: socket.socket
    _headers_buffer: list[bytes]

    def setup(self) -> None:
        super().setup()
        self.server.joined(self.connection)

    def finish(self) -> None:
        self.server.left(self.connection)
        with contextlib.suppress(OSError):  # The client may be gone before the last bytes are.
            super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, Dropped):
            self._reset()

    def log_message(self, format: str, *args: object) -> None:
        """The request log is kept in memory instead."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        raw = self._read()
        entry = LoggedRequest(raw.method, raw.path, raw.query)
        self.server.log.add(entry)
        refused = self._before(raw)
        if refused is None and raw.path.endswith("/portforward"):
            refused = self._forward(raw)
            if refused is None:
                return
        answer = refused or self._respond(raw)
        if isinstance(answer, Watch):
            self._stream(answer, entry)
            return
        if fault := self._takes(Kind.DROP, Kind.HANG, after_write=True):
            if fault.kind is Kind.HANG:
                fault.hold()
            raise Dropped
        if answer.code == 200 and self._takes(Kind.EMPTY):
            answer = _emptied(answer)
        self.server.log.answered(entry, answer.code)
        self._send(answer)

    def _forward(self, raw: RawRequest) -> Response | None:
        """Forwards a port of a pod until that is over, or says why there is no such pod."""
        found = self._respond(raw)
        if isinstance(found, Response) and found.code == 200:
            forward(self, raw.path.split("/")[-2], int(raw.query["ports"]))
            return None
        assert isinstance(found, Response)
        return found

    def _respond(self, raw: RawRequest) -> Response | Watch:
        try:
            return self.server.app.respond(raw)
        except Exception as error:
            self.server.app.cluster.defects.append(error)
            trace = traceback.format_exc()
            return failure(ApiError(500, "InternalError", f"the in-process API server failed: {trace}"))

    def _read(self) -> RawRequest:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        content_type = self.headers.get("Content-Type", "").partition(";")[0].strip()
        agent = self.headers.get("User-Agent", "")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return RawRequest(self.command, unquote(url.path), query, self._body(), content_type, agent, token)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _before(self, raw: RawRequest) -> Response | None:
        """What faults make of a request before anything is done: nothing, an answer, or the connection's end."""
        if self._takes(Kind.DROP, after_write=False):
            raise Dropped
        if fault := self._takes(Kind.HANG, Kind.SLOW):
            fault.hold()
            if fault.kind is Kind.HANG or self.server.closing.is_set():
                raise Dropped
        if fault := self._takes(Kind.STATUS):
            return _refusal(fault)
        return None

    def _takes(self, *kinds: Kind, after_write: bool = False) -> Fault | None:
        return self.server.faults.take(kinds, self.command, self.path, after_write=after_write)

    def _send(self, response: Response) -> None:
        self.send_response(response.code)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers:
            self.send_header(name, value)
        self._flush_with(response.body)

    def _flush_with(self, body: bytes) -> None:
        """Sends the head and the first bytes of the body in one piece."""
        self.send_header("Cache-Control", "no-cache, private")
        # end_headers would send the head by itself.
        head = b"".join(self._headers_buffer) + b"\r\n"
        self._headers_buffer = []
        self.wfile.write(head + body)

    def _stream(self, watch: Watch, entry: LoggedRequest) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self._flush_with(b"")
        self.server.watch_began(watch, self.connection)
        self.server.log.answered(entry, 200)
        try:
            self._send_lines(watch)
        finally:
            self.server.watch_ended(watch)
            watch.close()

    def _send_lines(self, watch: Watch) -> None:
        for line in watch:
            if self.server.closing.is_set() or (isinstance(line, Idle) and self._is_abandoned()):
                raise Dropped
            if isinstance(line, bytes):
                self._send_line(line)
        self.wfile.write(b"0\r\n\r\n")

    def _send_line(self, line: bytes) -> None:
        if fault := self._takes(Kind.MUTE):
            fault.hold()
        if self._takes(Kind.CUT):
            self._send_chunk(line[: len(line) // 2])
            raise Dropped
        self._send_chunk(line)

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _is_abandoned(self) -> bool:
        """Whether the client closed the connection of a running watch."""
        # Not select(), which takes no descriptor above 1,023.
        readable = select.poll()
        readable.register(self.connection, select.POLLIN)
        return bool(readable.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)

    def _reset(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # It may be closed already.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            self.connection.close()


def _refusal(fault: Fault) -> Response:
    if fault.text:
        return Response(fault.code, fault.text.encode(), "text/html")
    reasons = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
    details = None if fault.retry_after is None else {"retryAfterSeconds": fault.retry_after}
    message = f"a fault that the test asked for: {fault.code}"
    return failure(ApiError(fault.code, reasons.get(fault.code, ""), message, details))


def _emptied(answer: Response) -> Response:
    listed = json.loads(answer.body)
    metadata = {"resourceVersion": listed["metadata"]["resourceVersion"]}
    return Response.of(200, {**listed, "items": [], "metadata": metadata})
