"""An HTTP server on loopback with faults that a test selects: it writes given bytes, or nothing."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.waiting import PATIENCE


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[socket.socket], None]


def reply(status: int, body: Any = b"", **headers: str) -> Behaviour:
    """An ordinary answer; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Some Reason", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("".join(f"{line}\r\n" for line in (*lines, "")).encode() + content)


def raw(content: bytes) -> Behaviour:
    """These bytes, and then the end of the connection."""
    return lambda connection: connection.sendall(content)


def drip(content: bytes) -> Behaviour:
    """One byte every 50 ms, again and again."""

    def behave(connection: socket.socket) -> None:
        for _ in range(int(PATIENCE)):
            for byte in content:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

    return behave


def endless(head: bytes, chunk: bytes) -> Behaviour:
    """A head, and then the same chunk for ever."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(chunk)

    return behave


def hang(connection: socket.socket) -> None:
    """Nothing, until the client closes the connection."""
    connection.settimeout(PATIENCE)
    connection.recv(1)


class Receiver:
    """Handles each request by the next of `behaviours`; the last one repeats."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.behaviours = list(behaviours)
        self.requests: list[Received] = []
        self.reads_requests = True
        """Otherwise the behaviours do: of TLS, for example."""
        self.open = 0
        """Connections that are being served."""
        self.most_open = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            received = [_read(connection)] if self.reads_requests else []
            with self._lock:
                self.requests += received
                behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
                self.open += 1
                self.most_open = max(self.open, self.most_open)
            try:
                behave(connection)
            finally:
                with self._lock:
                    self.open -= 1


def _read(connection: socket.socket) -> Received:
    stream = connection.makefile("rb")
    line = stream.readline().decode().strip()
    headers = {}
    while text := stream.readline().decode().strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return Received(line, headers, stream.read(int(headers.get("content-length", 0))))


@contextmanager
def receiving(*behaviours: Behaviour) -> Iterator[Receiver]:
    """A receiver for the time of a test."""
    receiver = Receiver(*behaviours)
    try:
        yield receiver
    finally:
        receiver.close()
