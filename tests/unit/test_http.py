"""HTTP on connections that stay open, with a server that sends what a test says, byte by byte."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from urllib3 import PoolManager, ProxyManager
from urllib3.connection import HTTPConnection
from urllib3.util.ssltransport import SSLTransport

from kanary.kube.http import Connections, Response, _shut_down
from tests.waiting import PATIENCE

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Sends the given responses, one for each request. With a certificate it is a TLS server behind its own proxy."""

    def __init__(self, certificate: Path | None = None) -> None:
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self._tls.load_verify_locations(certificate)
            self._tls.verify_mode = ssl.CERT_REQUIRED
        self.responses: queue.SimpleQueue[tuple[bytes, bool]] = queue.SimpleQueue()
        """Each with whether the connection ends with it."""
        self.requests: list[bytes] = []
        """Their heads."""
        self.connections = 0
        self.ended = 0
        """Of the connections."""
        # An address of its own: clients that other tests have left may still try ports of servers that are gone.
        self._listener = socket.create_server(("127.0.0.33", 0))
        self.url = f"http://127.0.0.33:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def say(self, response: bytes, *, and_end: bool = False) -> None:
        """Send this next."""
        self.responses.put((response, and_end))

    def close(self) -> None:
        """End."""
        # Else the thread waits on, and may accept a connection to a later listener with the same file descriptor.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._follow, args=(connection,), daemon=True).start()

    def _follow(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._serve(connection)
        self.ended += 1

    def _serve(self, connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            while b"\r\n\r\n" not in data:
                data += connection.recv(65_536)
            self.requests.append(data.partition(b"\r\n\r\n")[0])
            if self._tls and data.startswith(b"CONNECT "):
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                connection = self._tls.wrap_socket(connection, server_side=True)
                continue
            response, is_end = self.responses.get()
            for number in range(len(response)):
                connection.sendall(response[number : number + 1])
            if is_end:
                return


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.fixture
def connections(server: Server) -> Connections:
    return Connections(PoolManager(), server.url)


def get(connections: Connections, path: str = "/a") -> Response:
    return connections.send("GET", path, {"Accept": "application/json"}, None, (PATIENCE, PATIENCE))


def test_requests_follow_each_other_on_one_connection(server: Server, connections: Connections) -> None:
    for _ in range(3):
        server.say(OK)
        assert get(connections).data == b"ok"
    assert server.connections == 1


def test_a_reset_ends_idle_connections_and_those_that_wait_for_long(server: Server, connections: Connections) -> None:
    """They may be dead: a request on one of them would end only with its time-out."""
    server.say(OK)
    assert get(connections).data == b"ok"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(get, connections)
        while len(server.requests) < 2:
            time.sleep(0.01)
        connections.reset(PATIENCE)
        assert not waiting.done()
        connections.reset(0.0)
        assert isinstance(waiting.exception(PATIENCE), ConnectionError)
    server.say(b"", and_end=True)
    while not server.responses.empty():
        time.sleep(0.01)  # the server still answers the request that was given up
    for count in (2, 3):
        server.say(OK)
        assert get(connections).data == b"ok"
        assert server.connections == count
        connections.reset(PATIENCE)


def test_a_reset_ends_the_connection_below_tls_which_the_waiting_thread_uses(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS, that thread would get any error, or send what is secret as plain text."""
    ended: list[socket.socket] = []
    monkeypatch.setattr(ssl.SSLSocket, "shutdown", lambda self, _: ended.append(self))
    key = str(certificate.with_suffix(".key"))
    trusting = {"ca_certs": str(certificate), "cert_file": str(certificate), "key_file": key}
    with closing(Server(certificate)) as server, ThreadPoolExecutor() as pool:
        connections = Connections(ProxyManager(server.url, **trusting), "https://kubernetes:6443")
        waiting = pool.submit(get, connections)
        while len(server.requests) < 2:
            time.sleep(0.01)
        connections.reset(0.0)
        server.say(b"", and_end=True)
        assert isinstance(waiting.exception(PATIENCE), ConnectionError)
    assert ended == []


def test_a_connection_to_a_proxy_with_tls_can_be_shut_down() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # Without the handshake.
        transport = object.__new__(SSLTransport)
        transport.socket = ours
        _shut_down(transport)
        assert theirs.recv(1) == b""


def test_a_reset_passes_over_a_connection_that_has_just_ended(connections: Connections) -> None:
    connections._waiting[HTTPConnection("127.0.0.1")] = 0.0
    connections.reset(0.0)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
)
def test_a_connection_that_ends_with_its_response_is_not_used_again(
    server: Server, connections: Connections, response: bytes
) -> None:
    server.say(response, and_end=True)
    assert get(connections).data == b"ok"
    server.say(OK)
    assert get(connections).data == b"ok"
    assert server.connections == 2


def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used_again(
    server: Server, connections: Connections
) -> None:
    server.say(OK, and_end=True)
    assert get(connections).data == b"ok"
    while not server.ended:
        time.sleep(0.01)
    server.say(OK)
    assert get(connections).data == b"ok"
    assert server.connections == 2


def test_a_response_that_is_announced_or_has_no_content_is_complete(server: Server, connections: Connections) -> None:
    server.say(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    assert get(connections).data == b"ok"
    server.say(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert get(connections).data == b""
    server.say(OK)
    assert get(connections).data == b"ok"
    assert server.connections == 1


def test_chunks_have_any_size_and_may_have_extensions_and_trailers(server: Server, connections: Connections) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.say(head + b"3;x=y\r\nfir\r\n0A\r\nst\nsecond\n\r\n1\r\nx\r\n0\r\nTrailer: x\r\n\r\n")
    assert get(connections).data == b"first\nsecond\nx"
    server.say(head + b"3;x=y\r\nfir\r\n0A\r\nst\nsecond\n\r\n1\r\nx\r\n0\r\n\r\n")
    assert [*get(connections).lines()] == [b"first", b"second"]


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 ok\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_an_incomplete_or_invalid_response_is_an_error_and_ends_its_connection(
    server: Server, connections: Connections, response: bytes
) -> None:
    server.say(response, and_end=True)
    with pytest.raises(ConnectionError):
        _ = get(connections).data
    server.say(OK)
    assert get(connections).data == b"ok"
    assert server.connections == 2


def test_a_line_break_in_a_header_begins_no_other_header(server: Server, connections: Connections) -> None:
    server.say(OK)
    connections.send("GET", "/a", {"authorization": "Bearer x\nX-Other: y\n"}, None, (PATIENCE, PATIENCE)).close()
    assert b"authorization: Bearer x X-Other: y" in server.requests[0].split(b"\r\n")


def test_a_server_may_be_below_a_path(server: Server) -> None:
    server.say(OK)
    get(Connections(PoolManager(), f"{server.url}/k8s/clusters/c-1/"), "/api/v1").close()
    assert server.requests[0].startswith(b"GET /k8s/clusters/c-1/api/v1 HTTP/1.1\r\n")


def test_a_proxy_receives_whole_urls_and_for_tls_the_request_for_a_tunnel(server: Server) -> None:
    proxy = ProxyManager(server.url, proxy_headers={"proxy-authorization": "secret"})
    server.say(OK)
    get(Connections(proxy, "http://api.example:8001")).close()
    first, *fields = server.requests[0].split(b"\r\n")
    assert first == b"GET http://api.example:8001/a HTTP/1.1"
    assert {b"Host: api.example:8001", b"proxy-authorization: secret"} <= {*fields}
    server.say(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", and_end=True)
    with pytest.raises(OSError, match="503"):
        get(Connections(proxy, "https://api.example:6443"))
    assert server.requests[1].startswith(b"CONNECT api.example:6443 HTTP/1.")


def test_requests_follow_each_other_through_a_tunnel_with_the_certificates_of_both_sides(certificate: Path) -> None:
    key = certificate.with_suffix(".key")
    with closing(Server(certificate)) as server:
        trusting = {"ca_certs": str(certificate), "cert_file": str(certificate), "key_file": str(key)}
        connections = Connections(ProxyManager(server.url, **trusting), "https://kubernetes:6443")
        for _ in range(2):
            server.say(OK)
            assert get(connections).data == b"ok"
        assert [request.split()[0] for request in server.requests] == [b"CONNECT", b"GET", b"GET"]
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            get(Connections(ProxyManager(server.url), "https://kubernetes:6443"))
        with pytest.raises(OSError, match="Hostname mismatch"):
            get(Connections(ProxyManager(server.url, **trusting), "https://other:6443"))
