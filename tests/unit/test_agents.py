"""Requests to agents that respond, and to agents that do not."""

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
REPORT = {"digest": "a" * 24, "rejected": None, "draining": 1, "connections": 2, "maxConnections": 3, "problem": ""}
PATIENCE = 30
"""Seconds that nothing takes when the test passes."""
KNOWN = Report("a" * 24, "", "", 1, 2, 3, "")


def pod(name: str = "x-1", address: str = "127.0.0.1", *, ready: bool = False, uid: str = "") -> Json:
    """A proxy pod; one that is not ready need not report."""
    found = live_pod(name, ready=ready)
    found["metadata"] |= {"namespace": "shop", "uid": uid or f"uid-{name}"}
    found["status"]["podIP"] = address
    return found


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[tuple[int, list[str]]]:
    """An agent with this response; its port, and the requested paths."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_port, requested
    finally:
        server.shutdown()
        server.server_close()


def test_the_reports_of_all_pods_are_returned_by_name() -> None:
    with answering(json.dumps(REPORT).encode()) as (port, requested):
        reports = HttpAgents(port, PATIENCE).reports([pod("x-1"), pod("x-2")])
    assert reports == dict.fromkeys(["x-1", "x-2"], KNOWN)
    assert requested == ["/report", "/report"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 200), (b"[]", 200), (b"{", 200), (b"\xff", 200), (b"[" * 60_000, 200), (b"x" * 70_000, 200), (b"{}", 503)],
    ids=["nothing", "a list", "half", "no text", "too deep", "too much", "an error"],
)
def test_an_invalid_response_counts_as_none(body: bytes, status: int) -> None:
    with answering(body, status) as (port, _):
        assert HttpAgents(port).reports([pod()]) == {}


def test_agents_that_refuse_or_hang_do_not_affect_the_others() -> None:
    with answering(json.dumps(REPORT).encode()) as (port, _), socket.create_server(("127.0.0.2", port)):
        reports = HttpAgents(port, timeout_seconds=2).reports(
            [pod("hangs", "127.0.0.2"), pod("refuses", "127.0.0.3"), pod("nonsense", "no address"), pod("answers")]
        )
    assert set(reports) == {"answers"}


def test_an_agent_that_did_not_respond_is_retried_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with answering(b"{") as (port, requested):
        agents = HttpAgents(port, PATIENCE)
        for clock[0], times in ((0.0, 1), (0.1, 1), (SILENCE_PAUSES[0].total_seconds(), 2)):
            assert agents.reports([pod()]) == {}
            assert len(requested) == times


def test_the_last_report_stands_when_an_agent_no_longer_responds() -> None:
    """A proxy serves the same without a new mount."""
    with answering(json.dumps(REPORT).encode()) as (port, _):
        agents = HttpAgents(port, PATIENCE)
        assert agents.reports([pod(ready=True)]) == {"x-1": KNOWN}
    for _ in range(2):
        assert agents.reports([pod(ready=True)]) == {"x-1": KNOWN}
    assert agents.reports([pod(uid="of another pod of that name")]) == {}


def test_beyond_the_limit_the_oldest_report_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_STORED", 2)
    with answering(json.dumps(REPORT).encode()) as (port, _):
        agents = HttpAgents(port, PATIENCE)
        for name in ("x-1", "x-2", "x-1", "x-3"):
            agents.reports([pod(name)])
    assert agents.reports([pod("x-1"), pod("x-2"), pod("x-3")]) == {"x-1": KNOWN, "x-3": KNOWN}


def test_a_terminating_proxy_gets_no_request_and_keeps_its_last_report() -> None:
    """It still listens, and splits connections as before."""
    with answering(json.dumps(REPORT).encode()) as (port, requested):
        agents = HttpAgents(port, PATIENCE)
        agents.reports([pod(ready=True)])
        stopping = pod(ready=True)
        stopping["metadata"]["deletionTimestamp"] = "2026-01-01T12:10:00Z"
        assert agents.reports([stopping]) == {"x-1": KNOWN}
    assert len(requested) == 1


def test_a_ready_proxy_has_a_time_limit_for_its_first_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new leader has no reports: without them all proxies would seem to be behind."""
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with answering(b"{") as (port, _):
        agents = HttpAgents(port, PATIENCE)
        for clock[0] in (0.0, FIRST_REPORT_LIMIT.total_seconds() - 0.1):
            with pytest.raises(RetryLaterError, match="pod x-1 has not reported yet") as raised:
                agents.reports([pod(ready=True)])
            assert raised.value.delay
        clock[0] = FIRST_REPORT_LIMIT.total_seconds()
        assert agents.reports([pod(ready=True)]) == {}


@contextmanager
def dripping(pause: float) -> Iterator[int]:
    """An agent that sends a byte at a time and never ends its response; its port."""
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


def test_slow_agents_share_one_time_limit_for_their_whole_responses() -> None:
    with dripping(0.05) as port:
        started = time.monotonic()
        reports = HttpAgents(port, timeout_seconds=0.3).reports([pod(f"x-{n}", f"127.0.0.{n}") for n in range(1, 101)])
    assert reports == {}
    # One after another, they would take 30 s.
    assert 0.3 <= time.monotonic() - started < 15


def test_the_connection_to_a_slow_agent_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert HttpAgents(listener.getsockname()[1], timeout_seconds=0.1).reports([pod()]) == {}
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            requested = connection.recv(4096)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert requested.startswith(b"GET /report ")


def test_an_endless_response_is_not_read_to_its_end() -> None:
    sent = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b" " * 65_536)
                sent.append(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        assert HttpAgents(listener.getsockname()[1], timeout_seconds=20).reports([pod()]) == {}
        thread.join(PATIENCE)
    # The rest is in the kernel's buffers.
    assert len(sent) < 200
