"""Agents that are asked over HTTP, and do not always answer."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from engine.reports import Report
from kanary.agents import HttpAgents

Json = dict[str, Any]
REPORT = {"digest": "a" * 16, "refused": None, "draining": 1, "connections": 2, "maxConnections": 3, "problem": ""}


def pod(name: str = "x-1", address: str = "127.0.0.1") -> Json:
    return {"metadata": {"namespace": "shop", "name": name, "uid": f"uid-{name}"}, "status": {"podIP": address}}


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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def test_every_pod_is_asked_and_told_by_its_name() -> None:
    with answering(json.dumps(REPORT).encode()) as (port, asked):
        reports = HttpAgents(port).ask([pod("x-1"), pod("x-2")])
    assert reports == dict.fromkeys(["x-1", "x-2"], Report("a" * 16, "", "", 1, 2, 3, ""))
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
        reports = HttpAgents(port, timeout_seconds=0.2).ask(
            [pod("hangs", "127.0.0.2"), pod("refuses", "127.0.0.3"), pod("nonsense", "no address"), pod("answers")]
        )
    assert set(reports) == {"answers"}


def test_who_was_silent_is_left_alone_for_a_moment() -> None:
    with answering(b"{") as (port, asked):
        agents = HttpAgents(port)
        assert agents.ask([pod()]) == {}
        assert agents.ask([pod()]) == {}
    assert len(asked) == 1
