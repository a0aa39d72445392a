"""Ports of pods, forwarded by an API server over TLS, with the credentials of a kubeconfig."""

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kanary.kube.client import ApiError, ClusterClient, Forbidden, Timeouts, Unreachable
from kanary.kube.errors import NotForwarded
from kanary.web.probes import probes
from kanary.web.server import HttpServer, listen_on_loopback
from tests.apiserver.forwarding import forward
from tests.unit.responder import Drop, Hang, Reply, Responder, responding, status, write_kubeconfig
from tests.waiting import PATIENCE, await_that

PAGE = b"page " * 100_000
"""Larger than a frame, and than what a socket takes at once."""


@pytest.fixture
def pod() -> Iterator[HttpServer]:
    server = HttpServer(probes(list, lambda: PAGE, "text/plain"), listen_on_loopback(0))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def api_server(certificate: Path) -> Iterator[ThreadingHTTPServer]:
    """An API server that takes clients with the certificate, and keeps their requests' headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path.partition("?")[0], dict(self.headers)))
            forward(self, "kanary-1", int(self.path.rpartition("=")[2]))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        asked: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 -- one server at a time

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients that break off are what these tests are about."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(("127.0.0.1", 0), Handler)
    server.asked.clear()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def connect(api_server: ThreadingHTTPServer, certificate: Path, tmp_path: Path) -> Callable[..., ClusterClient]:
    def connect(**cluster: str) -> ClusterClient:
        path = tmp_path / "kubeconfig"
        user = {"client-certificate": str(certificate), "client-key": str(certificate.with_suffix(".key"))}
        write_kubeconfig(path, f"https://127.0.0.1:{api_server.server_port}", user={**user, "token": "secret"})
        config = json.loads(path.read_text())
        known = {"certificate-authority": str(certificate), "tls-server-name": "kubernetes"}
        config["clusters"][0]["cluster"] |= known | cluster
        path.write_text(json.dumps(config))
        return ClusterClient.connect(kubeconfig=str(path), user_agent="kanary-cli/1")

    return connect


def read(client: ClusterClient, port: int) -> bytes:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = client.forward("kanary-system", "kanary-1", port)  # type: ignore[assignment]
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_port_is_read_with_the_users_certificate_and_token(
    connect: Callable[..., ClusterClient], api_server: Any, pod: HttpServer
) -> None:
    client = connect()
    assert read(client, pod.port) == PAGE
    ((path, headers),) = api_server.asked
    assert path == "/api/v1/namespaces/kanary-system/pods/kanary-1/portforward"
    assert headers["authorization"] == "Bearer secret"
    assert headers["User-Agent"] == "kanary-cli/1"


def test_a_response_is_read_that_its_server_ends_with_the_connection(connect: Callable[..., ClusterClient]) -> None:
    """`http.client` closes its socket before it reads such a response."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        assert read(connect(), server.server_port) == PAGE
        server.shutdown()


@pytest.mark.parametrize("cluster", [{"tls-server-name": "elsewhere"}, {"certificate-authority": "/etc/hostname"}])
def test_a_server_that_cannot_be_trusted_gets_no_credentials(
    connect: Callable[..., ClusterClient], api_server: Any, pod: HttpServer, cluster: dict[str, str]
) -> None:
    with pytest.raises(Unreachable):
        read(connect(**cluster), pod.port)
    assert api_server.asked == []


def test_a_server_that_is_not_to_be_verified_is_not(connect: Callable[..., ClusterClient], pod: HttpServer) -> None:
    kubeconfig: Any = {"insecure-skip-tls-verify": True, "tls-server-name": "elsewhere"}
    assert read(connect(**kubeconfig), pod.port) == PAGE


def test_a_port_that_refuses_connections_is_not_forwarded(
    connect: Callable[..., ClusterClient], pod: HttpServer
) -> None:
    pod.stop()
    client = connect()
    with pytest.raises(NotForwarded, match=r"^pod kanary-1: error forwarding port .* refused$"):
        read(client, 1)


@pytest.fixture
def responder() -> Iterator[Responder]:
    with responding() as made:
        yield made


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(403, "Forbidden", 'pods "kanary-1" is forbidden'), Forbidden),
        (Reply(b"no", 502), ApiError),
        (Reply(b"", 200), ApiError),
        (Reply(b"", 302, {"Location": "http://localhost:1/"}), Unreachable),
        (Drop(), Unreachable),
        (Hang(), Unreachable),
    ],
)
def test_an_api_server_that_does_not_forward_is_an_error(
    responder: Responder, tmp_path: Path, answer: Any, error: type[Exception]
) -> None:
    responder.say(answer)
    client = ClusterClient.connect(kubeconfig=write_kubeconfig(tmp_path / "k", responder.url))
    read = 0.2 if isinstance(answer, Hang) else PATIENCE
    with pytest.raises(error):
        client.with_timeouts(Timeouts(read=read)).forward("kanary-system", "kanary-1", 8081)
    await_that(lambda: responder.asked)
    assert len(responder.asked) == 1
