"""The HTTP servers and the probes, over real sockets on loopback."""

import asyncio
import http.client
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kanary.web.probes import SharedPage, probes
from kanary.web.server import MAX_CONNECTIONS, HttpServer, listen, listen_on_loopback
from tests.haproxy.proxies import free_port
from tests.waiting import PATIENCE, await_that

IDLE = 300
"""Connections of a client that means no good: many more than the server holds."""


@pytest.fixture
def serve() -> Iterator[Callable[..., HttpServer]]:
    started: list[HttpServer] = []

    def serve(app: Starlette, sockets: list[socket.socket] | None = None) -> HttpServer:
        server = HttpServer(app, sockets or listen_on_loopback(0))
        started.append(server)
        server.start()
        return server

    yield serve
    for server in started:
        server.stop()


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def server(serve: Callable[..., HttpServer], problems: list[str]) -> HttpServer:
    return serve(probes(lambda: problems, lambda: b"kanary_leader 1\n", "text/plain; version=0.0.4"))


def ask(server: HttpServer, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, server.port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def dial(server: HttpServer, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    client.sendall(sent)
    return client


# Probes


def test_health_readiness_and_metrics_are_served(server: HttpServer, problems: list[str]) -> None:
    assert ask(server, "/healthz") == (200, b"ok\n")
    assert ask(server, "/readyz") == (200, b"ok\n")
    assert ask(server, "/metrics") == (200, b"kanary_leader 1\n")
    problems += ["pods: not listed", "services: not listed"]
    assert ask(server, "/readyz") == (503, b"pods: not listed\nservices: not listed\n")
    assert ask(server, "/healthz", "HEAD") == (200, b"")


@pytest.mark.parametrize("path", ["/", "/healthz/x", "/../etc/passwd", "//elsewhere/healthz"])
def test_there_is_nothing_else(server: HttpServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(server: HttpServer, method: str) -> None:
    assert ask(server, "/healthz", method)[0] == 405


def test_a_page_is_made_once_for_all_who_wait_for_it() -> None:
    """Requests during a rendering share the next one, which is newer than they are."""
    entered, release, made = threading.Event(), threading.Event(), []

    def make() -> bytes:
        made.append(len(made) + 1)
        entered.set()
        assert release.wait(PATIENCE)
        return str(made[-1]).encode()

    async def read() -> list[bytes]:
        page = SharedPage(make)
        first = asyncio.create_task(page.read())
        await asyncio.to_thread(entered.wait, PATIENCE)
        others = [asyncio.create_task(page.read()) for _ in range(8)]
        await asyncio.sleep(0)  # in which each of them comes to wait
        release.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(read()) == [b"1", *[b"2"] * 8]


def test_a_page_takes_no_memory_after_it_was_read() -> None:
    """That of 3,000 Kanaries has 9 MB."""
    page, size = SharedPage(lambda: b"x" * 10_000_000), []
    tracemalloc.start()
    try:
        size.append(len(asyncio.run(page.read())))
        assert size == [10_000_000]
        # The thread that has rendered it may hold it for a moment more.
        await_that(lambda: tracemalloc.get_traced_memory()[0] < size[0] / 2)
    finally:
        tracemalloc.stop()


def test_failing_metrics_are_a_server_error_and_the_next_page_is_rendered(
    serve: Callable[..., HttpServer], caplog: pytest.LogCaptureFixture
) -> None:
    pages = [b"", b"page"]

    def expose() -> bytes:
        page = pages.pop(0)
        if not page:
            raise RuntimeError("a defect")
        return page

    server = serve(probes(list, expose, "text/plain"))
    status, body = ask(server, "/metrics")
    assert (status, b"a defect" in body) == (500, False)
    await_that(lambda: "a defect" in caplog.text)  # which is written after the answer
    assert ask(server, "/metrics") == (200, b"page")


# Whatever clients do


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nX-Slow: a",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20,
        b"\x16\x03\x01 hello",
    ],
    ids=["silent", "slow", "kept alive", "unfinished body", "unread answers", "no HTTP"],
)
def test_probes_are_answered_however_many_connections_a_client_holds(server: HttpServer, sent: bytes) -> None:
    idle = []
    for number in range(IDLE):
        idle.append(dial(server, sent))
        if number % 30 == 0:
            assert ask(server, "/healthz") == (200, b"ok\n")
    assert [ask(server, path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    for client in idle:
        client.close()


def test_the_connection_that_was_silent_for_the_longest_makes_room(server: HttpServer) -> None:
    first, second, *_, last = clients = [dial(server) for _ in range(MAX_CONNECTIONS)]
    # Once the last one is answered, the server has accepted all: a busy one may take the request of the first before.
    for client in (last, first):
        assert ask_on(client).startswith(b"HTTP/1.1 200")
    newest = dial(server)
    assert second.recv(1) == b""
    assert ask_on(newest).startswith(b"HTTP/1.1 200")
    assert ask_on(first).startswith(b"HTTP/1.1 200")
    for client in (*clients, newest):
        client.close()


def test_a_host_with_many_connections_makes_room_for_itself(server: HttpServer) -> None:
    """However long others have been silent: a probe's connection is new, and its request may take a moment."""
    other = dial(server)
    many = []
    for _ in range(2 * MAX_CONNECTIONS):
        many.append(socket.create_connection(("127.0.0.1", server.port), PATIENCE, ("127.0.0.66", 0)))
    assert ask_on(many[-1]).startswith(b"HTTP/1.1 200")
    assert ask_on(other).startswith(b"HTTP/1.1 200")
    for client in (other, *many):
        client.close()


def ask_on(client: socket.socket) -> bytes:
    """The whole answer on a connection that stays."""
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\nok\n"):
        more = client.recv(4096)
        assert more, answer
        answer += more
    return answer


def test_clients_that_read_nothing_cost_no_more_than_their_answers(serve: Callable[..., HttpServer]) -> None:
    page = b"x" * 1_000_000
    server = serve(probes(list, lambda: page, "text/plain"))
    idle = [dial(server, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50) for _ in range(MAX_CONNECTIONS)]
    assert ask(server, "/healthz")[0] == 200
    assert ask(server, "/metrics") == (200, page)
    for client in idle:
        client.close()


@pytest.mark.parametrize(
    "sent", [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 20_000]
)
def test_a_head_without_end_is_refused(server: HttpServer, sent: bytes) -> None:
    with dial(server) as client:
        try:
            client.sendall(sent)
            answer = client.recv(1024)
        except ConnectionError:  # it was refused before all of it was sent
            answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert ask(server, "/healthz")[0] == 200


def test_a_client_says_nothing_in_the_log(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    for sent in (
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ):
        with dial(server, sent) as client:
            assert client.recv(1024)
    assert caplog.text == ""


# The server


def test_a_route_that_takes_long_holds_up_no_other(serve: Callable[..., HttpServer]) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(_: Request) -> Response:
        entered.set()
        release.wait(PATIENCE)
        return PlainTextResponse("slow")

    async def quick(_: Request) -> Response:
        await asyncio.sleep(0)
        return PlainTextResponse("quick")

    server = serve(Starlette(routes=[Route("/slow", slow), Route("/quick", quick)]))
    with dial(server, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"):
        assert entered.wait(PATIENCE)
        assert ask(server, "/quick") == (200, b"quick")
        release.set()


def test_stop_frees_the_port_and_closes_open_connections(serve: Callable[..., HttpServer]) -> None:
    port = free_port()
    server = serve(probes(list, bytes, "text/plain"), listen_on_loopback(port))
    with dial(server) as client:
        assert ask(server, "/healthz")[0] == 200
        server.stop()
        assert client.recv(1024) == b""
    for each in listen_on_loopback(port):
        each.close()


def test_a_server_that_was_never_started_frees_its_port() -> None:
    port = free_port()
    HttpServer(Starlette(), listen(port)).stop()
    for each in listen(port):
        each.close()


@pytest.mark.parametrize("open_", [listen, listen_on_loopback])
def test_a_taken_port_is_an_error(open_: Callable[[int], list[socket.socket]]) -> None:
    taken = open_(0)
    with pytest.raises(OSError, match="in use"):
        open_(taken[0].getsockname()[1])
    for each in taken:
        each.close()


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")
@pytest.mark.parametrize("open_", [listen, listen_on_loopback])
def test_both_families_are_listened_on(serve: Callable[..., HttpServer], open_: Any) -> None:
    server = serve(probes(list, bytes, "text/plain"), open_(0))
    assert [ask(server, "/healthz", host=host)[0] for host in ("127.0.0.1", "::1")] == [200, 200]


def test_without_ipv6_the_server_listens_on_ipv4(
    serve: Callable[..., HttpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert ask(serve(probes(list, bytes, "text/plain"), listen(0)), "/healthz")[0] == 200


def test_a_loopback_server_does_not_listen_on_other_addresses() -> None:
    sockets = listen_on_loopback(0)
    assert {each.getsockname()[0] for each in sockets} <= {"127.0.0.1", "::1"}
    for each in sockets:
        each.close()
