"""The HTTP server for probes and metrics, over real sockets on loopback."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kanary.web.server import Answer, Asked, HttpServer, Tree

WAIT = 10  # seconds that no test takes when it passes
TEXT = "text/plain; charset=utf-8"


def broken() -> Answer:
    raise RuntimeError("a defect")


@pytest.fixture
def serve() -> Iterator[Callable[..., HttpServer]]:
    started: list[HttpServer] = []

    def serve(**options: Any) -> HttpServer:
        routes = {
            "/healthz": lambda: (200, TEXT, b"ok\n"),
            "/readyz": lambda: (503, TEXT, b"not yet\n"),
            "/broken": broken,
        }
        server = HttpServer(0, options.pop("routes", routes), **{"host": "127.0.0.1", **options})
        started.append(server)
        server.start()
        return server

    yield serve
    for server in started:
        server.stop()


@pytest.fixture
def server(serve: Callable[..., HttpServer]) -> HttpServer:
    return serve()


def ask(server: HttpServer, method: str, path: str, host: str = "127.0.0.1") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(host, server.port, timeout=WAIT)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def dial(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=WAIT)


def test_a_route_answers_with_its_status_type_and_body(server: HttpServer) -> None:
    status, body, headers = ask(server, "GET", "/healthz")
    assert (status, body) == (200, b"ok\n")
    assert (headers["content-type"], headers["content-length"], headers["cache-control"]) == (TEXT, "3", "no-store")
    assert ask(server, "GET", "/readyz")[:2] == (503, b"not yet\n")


def test_a_query_does_not_change_the_route(server: HttpServer) -> None:
    assert ask(server, "GET", "/healthz?verbose=1")[0] == 200


def test_head_answers_without_the_body(server: HttpServer) -> None:
    status, body, headers = ask(server, "HEAD", "/healthz")
    assert (status, body, headers["content-length"]) == (200, b"", "3")


@pytest.mark.parametrize("path", ["/", "/healthz/", "/../etc/passwd", "//elsewhere/healthz"])
def test_an_unknown_path_is_not_found_and_the_known_ones_are_named(server: HttpServer, path: str) -> None:
    status, body, _ = ask(server, "GET", path)
    assert (status, body) == (404, b"not found; there is /broken, /healthz, /readyz\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_what_is_no_reading_is_not_allowed(server: HttpServer, method: str) -> None:
    status, _, headers = ask(server, method, "/healthz")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_a_route_that_fails_answers_500_tells_only_the_log_why_and_the_server_goes_on(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    status, body, _ = ask(server, "GET", "/broken")
    assert (status, b"a defect" in body) == (500, False)
    assert "a defect" in caplog.text
    assert ask(server, "GET", "/healthz")[0] == 200


def test_the_answer_does_not_tell_what_the_server_is_built_with(server: HttpServer) -> None:
    assert ask(server, "GET", "/healthz")[2]["server"] == "kanary"


def test_a_client_that_says_nothing_does_not_hold_up_another(server: HttpServer) -> None:
    with dial(server):
        assert ask(server, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: a"])
def test_a_client_that_does_not_finish_its_request_is_cut_off(serve: Callable[..., HttpServer], sent: bytes) -> None:
    server = serve(max_seconds=0.1)
    with dial(server) as client:
        client.sendall(sent)
        assert client.recv(1024) == b""


def test_a_client_beyond_the_limit_is_turned_away_until_another_one_leaves(serve: Callable[..., HttpServer]) -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    def slow() -> Answer:
        entered.release()
        release.wait(WAIT)
        return 200, TEXT, b"slow\n"

    server = serve(routes={"/slow": slow}, max_connections=2)
    answers: list[bytes] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(server, "GET", "/slow")[1])) for _ in range(2)]
    for client in clients:
        client.start()
    for _ in clients:
        assert entered.acquire(timeout=WAIT)
    with dial(server) as third:
        assert third.recv(1024) == b""
    release.set()
    for client in clients:
        client.join(WAIT)
    assert answers == [b"slow\n"] * 2
    assert ask(server, "GET", "/slow")[1] == b"slow\n"


# Trees


def told(asked: Asked) -> Answer:
    return 200, TEXT, f"{asked.path}|{asked.query}".encode()


BUSY: Answer = (503, TEXT, b"busy\n")


def ask_until_free(server: HttpServer, path: str) -> tuple[int, bytes]:
    """The answer of a tree, which counts a client a little longer than that one takes to read."""
    deadline = time.monotonic() + WAIT
    while (answer := ask(server, "GET", path)[:2]) == (503, BUSY[2]):
        assert time.monotonic() < deadline, "it stays busy"
    return answer


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tree/", b"|"),
        ("/tree/a", b"a|"),
        ("/tree/a/b/?c=d&e", b"a/b/|c=d&e"),
        ("/tree/%2e%2e/%00?%00=%ff", b"%2e%2e/%00|%00=%ff"),
        ("/tree/a?b?c", b"a|b?c"),
        ("/tree/../healthz", b"../healthz|"),
    ],
)
def test_a_tree_is_told_what_follows_its_path_as_it_came(
    serve: Callable[..., HttpServer], path: str, body: bytes
) -> None:
    server = serve(routes={"/tree/": Tree(told, BUSY), "/healthz": lambda: (200, TEXT, b"ok\n")})
    assert ask(server, "GET", path)[:2] == (200, body)


@pytest.mark.parametrize("path", ["/tree", "/tre/e", "/", "/%74ree/a"])
def test_a_tree_answers_for_nothing_that_is_not_below_it(serve: Callable[..., HttpServer], path: str) -> None:
    server = serve(routes={"/tree/": Tree(told, BUSY)})
    assert ask(server, "GET", path)[:2] == (404, b"not found; there is /tree/\n")


def test_a_path_that_stands_by_itself_comes_before_the_tree_around_it(serve: Callable[..., HttpServer]) -> None:
    server = serve(routes={"/tree/": Tree(told, BUSY), "/tree/leaf": lambda: (200, TEXT, b"a leaf")})
    assert ask(server, "GET", "/tree/leaf?a=b")[1] == b"a leaf"


def test_a_tree_that_fails_answers_500_and_goes_on(serve: Callable[..., HttpServer]) -> None:
    def fails(asked: Asked) -> Answer:
        return told(asked) if asked.path else broken()

    server = serve(routes={"/tree/": Tree(fails, BUSY, at_once=1)})
    assert [ask_until_free(server, path)[0] for path in ("/tree/", "/tree/", "/tree/a")] == [500, 500, 200]


def test_who_comes_to_a_busy_tree_is_told_so_at_once_and_the_other_paths_answer(
    serve: Callable[..., HttpServer],
) -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    def slow(asked: Asked) -> Answer:
        entered.release()
        release.wait(WAIT)
        return told(asked)

    server = serve(routes={"/tree/": Tree(slow, BUSY, at_once=2), "/healthz": lambda: (200, TEXT, b"ok\n")})
    answers: list[bytes] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(server, "GET", "/tree/a")[1])) for _ in range(2)]
    for client in clients:
        client.start()
        assert entered.acquire(timeout=WAIT)
    assert ask(server, "GET", "/tree/a")[:2] == (503, b"busy\n")
    assert ask(server, "GET", "/healthz")[0] == 200
    release.set()
    for client in clients:
        client.join(WAIT)
    assert answers == [b"a|"] * 2
    assert ask_until_free(server, "/tree/b")[1] == b"b|"


def test_a_client_that_does_not_read_its_answer_counts_until_it_is_cut_off(serve: Callable[..., HttpServer]) -> None:
    made = threading.Event()

    def large(asked: Asked) -> Answer:
        made.set()
        return 200, TEXT, b"x" * (1 if asked.path else 50_000_000)

    server = serve(routes={"/tree/": Tree(large, BUSY, at_once=1)}, max_seconds=2.0)
    with dial(server) as client:
        client.sendall(b"GET /tree/ HTTP/1.0\r\n\r\n")
        assert made.wait(WAIT)
        assert ask(server, "GET", "/tree/a")[0] == 503
        assert ask_until_free(server, "/tree/a") == (200, b"x")


def test_a_request_line_without_end_is_refused(server: HttpServer) -> None:
    with dial(server) as client:
        client.sendall(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n")
        assert b" 414 " in client.recv(1024)


def test_headers_without_number_are_refused(server: HttpServer) -> None:
    with dial(server) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 200 + b"\r\n")
        assert b" 431 " in client.recv(1024)


@pytest.mark.parametrize("sent", [b"\x16\x03\x01 hello", b"GET\r\n\r\n", b"\r\n\r\n"])
def test_what_is_no_http_does_no_harm(server: HttpServer, sent: bytes) -> None:
    with dial(server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        while client.recv(1024):
            pass
    assert ask(server, "GET", "/healthz")[0] == 200


def test_stop_frees_the_port_and_cuts_off_who_is_connected(serve: Callable[..., HttpServer]) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow() -> Answer:
        entered.set()
        release.wait(WAIT)
        return 200, TEXT, b"slow\n"

    server = serve(routes={"/slow": slow})
    with dial(server) as client:
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        assert entered.wait(WAIT)
        server.stop()
        assert client.recv(1024) == b""
    release.set()
    again = HttpServer(server.port, {}, "127.0.0.1")
    again.stop()


def test_a_taken_port_is_an_error(server: HttpServer) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpServer(server.port, {}, "127.0.0.1")


def test_an_empty_host_means_every_address(serve: Callable[..., HttpServer]) -> None:
    server = serve(host="")
    assert ask(server, "GET", "/healthz")[0] == 200
    try:
        over_ipv6 = ask(server, "GET", "/healthz", host="::1")[0]
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    assert over_ipv6 == 200


def test_without_ipv6_an_empty_host_means_every_address_of_ipv4(
    serve: Callable[..., HttpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert ask(serve(host=""), "GET", "/healthz")[0] == 200
