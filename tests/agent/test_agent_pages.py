"""The cost of the agent's pages is bounded for any number of clients."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kanary_agent import reports
from kanary_agent.contact import Contact
from kanary_agent.reports import CONNECTIONS, FRESH_PAGES, ReportServer

from tests.agent.configs import no_inbox
from tests.agent.live import POD
from tests.haproxy.proxies import free_port
from tests.waiting import PATIENCE

STEP_SECONDS = 20
"""Enough for all clients on a busy machine: the step ends as soon as it has answered the last one."""


def answers(port: int, server: ReportServer, clients: int, path: str = "/report") -> list[bytes]:
    """The responses to so many clients in one step."""
    with contextlib.ExitStack() as stack:
        asking = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) for _ in range(clients)
        ]
        for client in asking:
            client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        serve_until(server, lambda: all(select.select([client], [], [], 0)[0] for client in asking))
        return [client.recv(4096) for client in asking]


def serve_until(server: ReportServer, is_done: Callable[[], bool]) -> None:
    """One step, which ends when this is so."""
    read, accept = server._read, server._accept

    def ending(act: Callable[..., None]) -> Callable[..., None]:
        def acting(*arguments: Any) -> None:
            act(*arguments)
            if is_done():
                server._end = 0.0

        return acting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_read", ending(read))
        patch.setattr(server, "_accept", ending(accept))
        server.serve(STEP_SECONDS)
    assert is_done()


def nothing() -> str:
    """No news."""
    return ""


def number_of(answer: bytes) -> int:
    return int(answer.rpartition(b"\r\nnumber ")[2])


def test_a_page_is_rendered_at_most_four_times_in_one_step_for_any_number_of_clients() -> None:
    port, made = free_port(), itertools.count(1)
    server = ReportServer(
        port, {"/report": lambda: f"number {next(made)}", "/healthz": lambda: "ok"}, nothing, no_inbox(), Contact(POD)
    )
    first, second = (answers(port, server, CONNECTIONS) for _ in range(2))
    assert sorted(map(number_of, first)) == [1, 2, 3, *[FRESH_PAGES] * (CONNECTIONS - 3)]
    assert min(map(number_of, second)) == FRESH_PAGES + 1
    (healthy,) = answers(port, server, 1, "/healthz")
    assert healthy.endswith(b"\r\nok")


def test_a_slow_page_is_rendered_once_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """HAProxy hangs: each question takes two seconds, and the agent has other things to do."""
    port, clock = free_port(), [0.0]

    def hang() -> str:
        clock[0] += 2
        return "silence"

    server = ReportServer(port, {"/report": hang}, nothing, no_inbox(), Contact(POD))
    with contextlib.ExitStack() as stack:
        asking = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            for _ in range(CONNECTIONS)
        ]
        serve_until(server, lambda: len(server._clients) == CONNECTIONS)
        # All ask at the same moment.
        for client in asking:
            client.sendall(b"GET /report HTTP/1.1\r\n\r\n")
        monkeypatch.setattr(reports, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        server.serve(0.1)
        assert [client.recv(4096).endswith(b"silence") for client in asking] == [True] * CONNECTIONS
    assert clock == [2]


def test_a_step_that_has_no_time_left_answers_nevertheless() -> None:
    """The machine may run the agent for moments only."""
    port = free_port()
    server = ReportServer(port, {"/healthz": lambda: "ok"}, nothing, no_inbox(), Contact(POD))
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        for _ in range(2):
            server.serve(-1)
        assert client.recv(4096).endswith(b"\r\nok")


def test_only_clients_on_loopback_read_the_page_with_the_addresses_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    server = ReportServer(port, {"/report": lambda: "{}", "/reports": lambda: "{}"}, nothing, no_inbox(), Contact(POD))
    assert answers(port, server, 1)[0].startswith(b"HTTP/1.1 200")
    accept = socket.socket.accept
    monkeypatch.setattr(socket.socket, "accept", lambda listener: (accept(listener)[0], ("::ffff:10.0.0.1", 1, 0, 0)))
    assert answers(port, server, 1)[0].startswith(b"HTTP/1.1 403")
    assert answers(port, server, 1, "/reports")[0].startswith(b"HTTP/1.1 200")
