"""An HTTP server on loopback that answers as a test tells it to, faults included."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """An ordinary answer; a body that is no bytes is sent as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """A chunked answer, which ends as a watch does, is cut off in the middle, or hangs."""

    chunks: tuple[bytes, ...]
    then: str = "end"


class Drop:
    """Close the connection without an answer."""


class Hang:
    """Take the request and say nothing."""


Answer = Reply | Stream | Drop | Hang


def status(code: int, reason: str, message: str = "", **more: Any) -> Reply:
    """Return a failure as the API server words it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return Reply({**body, "message": message, **more}, code)


class Responder:
    """Answers each request with what `answer` makes of it, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.clock_error = 0.0
        """Seconds that its clock is ahead."""
        self.answer: Callable[[Asked], Answer] = lambda asked: status(404, "NotFound")
        self._over = threading.Event()
        responder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                responder._serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 -- http.server's naming

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(time.time() + responder.clock_error)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that break off are what these tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def say(self, *answers: Answer) -> None:
        """Answer one after the other; the last one is repeated."""
        left = list(answers)
        self.answer = lambda asked: left.pop(0) if len(left) > 1 else left[0]

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length", 0))
        body = json.loads(handler.rfile.read(length)) if length else None
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.command, url.path, dict(parse_qsl(url.query)), headers, body)
        self.asked.append(asked)
        answer = self.answer(asked)
        match answer:
            case Reply():
                self._reply(handler, answer)
            case Stream():
                self._stream(handler, answer)
            case Drop():
                self._drop(handler)
            case Hang():
                self._over.wait()
                handler.close_connection = True

    def _reply(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _stream(self, handler: BaseHTTPRequestHandler, stream: Stream) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in stream.chunks:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if stream.then == "end":
            handler.wfile.write(b"0\r\n\r\n")
        elif stream.then == "drop":
            self._drop(handler)
        else:
            self._over.wait()
            handler.close_connection = True

    def _drop(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        with suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def responding() -> Iterator[Responder]:
    """A responder for the time of a test."""
    responder = Responder()
    try:
        yield responder
    finally:
        responder.close()


@contextmanager
def refusing() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and stays reserved until the context ends."""
    with socket.socket() as reserved:  # bound and not listening
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def write_kubeconfig(path: Path, server: str, *, user: Mapping[str, str] | None = None, namespace: str = "") -> str:
    """Write a kubeconfig with one context, "test", and return its path as text."""
    context = {"cluster": "test", "user": "test"} | ({"namespace": namespace} if namespace else {})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "contexts": [{"name": "test", "context": context}],
        "users": [{"name": "test", "user": dict(user or {})}],
    }
    path.write_text(json.dumps(config))
    return str(path)
