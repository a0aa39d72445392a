"""A way to the API server that can be cut in every manner."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from tests.haproxy.proxies import free_port

_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Gateway:
    """Relays connections to a server. With `tls`, clients speak TLS with it."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self._target = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._answers_503 = False
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.port = free_port()
        self._listener = self._listen(self.port)

    def close(self) -> None:
        self.refuse()
        self._open.set()

    def refuse(self) -> None:
        """Refuse connections, and reset those that are open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def hang(self) -> None:
        """Accept connections and relay nothing, as a server does that is stopped."""
        self._open.clear()

    def lose(self) -> None:
        """Relay nothing, and never again what is open now, as a network does that is cut in two."""
        lost, self._open = self._open, threading.Event()
        lost.clear()

    def unavailable(self) -> None:
        """Respond with 503."""
        self._answers_503 = True
        self.reset()

    def back(self) -> None:
        """Relay everything."""
        self._answers_503 = False
        if self._listener.fileno() < 0:
            self._listener = self._listen(self.port)
        self._open.set()

    def reset(self) -> None:
        """End all connections."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client, self._open), daemon=True).start()

    def _serve(self, client: socket.socket, is_open: threading.Event) -> None:
        with suppress(OSError), client:
            is_open.wait()
            if self.tls:
                client = self.tls.wrap_socket(client, server_side=True)
            if self._answers_503:
                client.recv(65_536)
                client.sendall(_UNAVAILABLE)
                return
            with client, socket.create_connection(self._target) as server:
                with self._lock:
                    self._connections |= {client, server}
                back = threading.Thread(target=_relay, args=(server, client, is_open), daemon=True)
                back.start()
                _relay(client, server, is_open)
                back.join()
                with self._lock:
                    self._connections -= {client, server}


def _relay(source: socket.socket, target: socket.socket, is_open: threading.Event) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            is_open.wait()
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
