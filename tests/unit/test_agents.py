"""Agents that are asked over HTTP, and do not always answer."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from engine.fleet.reports import Report
from engine.ports import RetryLaterError
from kanary.operator import agents as module
from kanary.operator.agents import HttpAgents
from states.timing import FIRST_REPORT_LIMIT, SILENCE_PAUSES
from tests.unit.proxies import live_pod

Json = dict[str, Any]
REPORT = {"digest": "a" * 24, "refused": None, "draining": 1, "connections": 2, "maxConnections": 3, "problem": ""}
PATIENCE = 30
"""Seconds that nothing takes when the test passes."""
KNOWN = Report("a" * 24, "", "", 1, 2, 3, "")


def pod(name: str = "x-1", address: str = "127.0.0.1", *, ready: bool = False, uid: str = "") -> Json:
    """A proxy's pod, which is not ready: nobody waits for its agent."""
    found = live_pod(name, ready=ready)
    found["metadata"] |= {"namespace": "shop", "uid": uid or f"uid-{name}"}
    found["status"]["podIP"] = address
    return found


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[tuple[int, list[str]]]:
    """An agent that always says this; its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def test_every_pod_is_asked_and_told_by_its_name() -> None:
    with answering(json.dumps(REPORT).encode()) as (port, asked):
        reports = HttpAgents(port, PATIENCE).ask([pod("x-1"), pod("x-2")])
    assert reports == dict.fromkeys(["x-1", "x-2"], KNOWN)
    assert asked == ["/report", "/report"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 200), (b"[]", 200), (b"{", 200), (b"\xff", 200), (b"[" * 60_000, 200), (b"x" * 70_000, 200), (b"{}", 503)],
    ids=["nothing", "a list", "half", "no text", "too deep", "too much", "an error"],
)
def test_nonsense_is_silence(body: bytes, status: int) -> None:
    with answering(body, status) as (port, _):
        assert HttpAgents(port).ask([pod()]) == {}


def test_who_refuses_or_hangs_is_left_out_and_the_others_are_heard() -> None:
    with answering(json.dumps(REPORT).encode()) as (port, _), socket.create_server(("127.0.0.2", port)):
        reports = HttpAgents(port, timeout_seconds=2).ask(
            [pod("hangs", "127.0.0.2"), pod("refuses", "127.0.0.3"), pod("nonsense", "no address"), pod("answers")]
        )
    assert set(reports) == {"answers"}


def test_who_was_silent_is_left_alone_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with answering(b"{") as (port, asked):
        agents = HttpAgents(port, PATIENCE)
        for clock[0], times in ((0.0, 1), (0.1, 1), (SILENCE_PAUSES[0].total_seconds(), 2)):
            assert agents.ask([pod()]) == {}
            assert len(asked) == times


def test_a_proxy_that_falls_silent_is_known_by_its_last_report() -> None:
    """What it serves changes only with what it mounts."""
    with answering(json.dumps(REPORT).encode()) as (port, _):
        agents = HttpAgents(port, PATIENCE)
        assert agents.ask([pod(ready=True)]) == {"x-1": KNOWN}
    for _ in range(2):
        assert agents.ask([pod(ready=True)]) == {"x-1": KNOWN}
    assert agents.ask([pod(uid="of another pod of that name")]) == {}


def test_of_too_many_proxies_the_one_that_has_not_reported_for_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    with answering(json.dumps(REPORT).encode()) as (port, _):
        agents = HttpAgents(port, PATIENCE)
        for name in ("x-1", "x-2", "x-1", "x-3"):
            agents.ask([pod(name)])
    assert agents.ask([pod("x-1"), pod("x-2"), pod("x-3")]) == {"x-1": KNOWN, "x-3": KNOWN}


def test_a_proxy_that_stops_is_not_asked_and_known_by_its_last_report() -> None:
    """It listens for a while longer, and splits connections as it did."""
    with answering(json.dumps(REPORT).encode()) as (port, asked):
        agents = HttpAgents(port, PATIENCE)
        agents.ask([pod(ready=True)])
        stopping = pod(ready=True)
        stopping["metadata"]["deletionTimestamp"] = "2026-01-01T12:10:00Z"
        assert agents.ask([stopping]) == {"x-1": KNOWN}
    assert len(asked) == 1


def test_a_ready_proxy_has_some_time_to_answer_for_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new leader knows of no proxy what it serves: all would seem to be behind."""
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with answering(b"{") as (port, _):
        agents = HttpAgents(port, PATIENCE)
        for clock[0] in (0.0, FIRST_REPORT_LIMIT.total_seconds() - 0.1):
            with pytest.raises(RetryLaterError, match="pod x-1 has not reported yet") as raised:
                agents.ask([pod(ready=True)])
            assert raised.value.delay
        clock[0] = FIRST_REPORT_LIMIT.total_seconds()
        assert agents.ask([pod(ready=True)]) == {}


@contextmanager
def dripping(pause: float) -> Iterator[int]:
    """An agent that says a byte now and then, and never the last one; its port."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
            while not over.wait(pause):
                connection.sendall(b" ")

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


def test_agents_that_drip_have_one_time_limit_for_all_that_they_say() -> None:
    with dripping(0.05) as port:
        started = time.monotonic()
        reports = HttpAgents(port, timeout_seconds=0.3).ask([pod(f"x-{n}", f"127.0.0.{n}") for n in range(1, 101)])
    assert reports == {}
    # Each in its own time, they would take 30 s.
    assert 0.3 <= time.monotonic() - started < 15


def test_an_agent_that_drips_is_hung_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert HttpAgents(listener.getsockname()[1], timeout_seconds=0.1).ask([pod()]) == {}
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            asked = connection.recv(4096)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert asked.startswith(b"GET /report ")


def test_an_agent_that_says_more_and_more_is_not_heard_out() -> None:
    said = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b" " * 65_536)
                said.append(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        assert HttpAgents(listener.getsockname()[1], timeout_seconds=20).ask([pod()]) == {}
        thread.join(PATIENCE)
    # What the kernel's buffers hold is said to nobody.
    assert len(said) < 200
