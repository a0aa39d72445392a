"""Readers of a database that hangs get an error in time, and do not delay others afterwards."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.requests import Request

from kanary.history import read_timeout
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery
from kanary.history.read_timeout import TimedReader
from kanary.history.reader import Reader
from kanary.history.wire import ROOT
from kanary.web import history as web
from kanary.web.history import history_api
from tests.history.serving import Client, record_shop, running
from tests.waiting import PATIENCE, await_that


class HungReader(Reader):
    """Each read begins only when the disk answers."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.answers = threading.Event()
        self.reads = 0

    def connection(self) -> Any:
        self.reads += 1
        self.answers.wait()
        return super().connection()


@pytest.fixture
def hung(sqlite_url: str) -> Iterator[HungReader]:
    record_shop(sqlite_url)
    reader = HungReader(sqlite_url)
    yield reader
    reader.answers.set()
    reader.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READ_TIMEOUT_SECONDS", 0.5)


def test_each_command_gets_an_error_that_says_what_to_do(hung: HungReader) -> None:
    source = TimedReader(hung, seconds=0.1)
    reads = (
        lambda: source.kanaries(KanaryQuery()),
        lambda: source.changes(ChangeQuery()),
        lambda: source.entries(EntryQuery()),
        lambda: source.configuration("d"),
    )
    for read in reads:
        with pytest.raises(HistoryError, match=r"has not answered for 0\.1 s: check its server or volume") as caught:
            read()
        assert caught.value.fault.reason is FaultReason.UNAVAILABLE
    hung.answers.set()
    in_time = TimedReader(hung)
    assert len(in_time.kanaries(KanaryQuery()).items) == 2
    assert in_time.changes(ChangeQuery()).items
    assert in_time.entries(EntryQuery()).items
    assert in_time.configuration("d") is None


def test_errors_of_the_database_are_passed_on(tmp_path: Any) -> None:
    with pytest.raises(HistoryError, match="there is no history database"):
        TimedReader(Reader(f"sqlite:///{tmp_path}/none.db")).kanaries(KanaryQuery())


def test_the_read_timeout_is_longer_than_what_a_server_may_take_and_shorter_than_that_of_the_command_line() -> None:
    from kanary.history import connecting  # noqa: PLC0415 -- for its private limits
    from kanary.kube.client import Timeouts  # noqa: PLC0415

    statement = connecting._READER_SECONDS + connecting._GRACE_SECONDS
    connect = float(connecting._POSTGRESQL_ARGUMENTS["connect_timeout"])
    assert statement + connect < read_timeout.READ_TIMEOUT_SECONDS < Timeouts().read


def test_any_number_of_clients_get_an_error_in_time_and_answers_when_the_disk_does(
    hung: HungReader, impatient: None
) -> None:
    with running(history_api(hung)) as server:
        client = Client(server.port)
        with ThreadPoolExecutor(30) as clients:
            answers = list(clients.map(lambda _: client.ask("changes"), range(30)))
        for status, body in answers:
            assert (status, body["reason"]) == (503, "DatabaseUnavailable")
            assert "has not answered for 0.5 s" in body["message"]
        # Each of these threads waits for the disk; no others are made. On a busy machine a read may not begin in time.
        await_that(lambda: client.ask("changes")[0] == 503 and hung.reads >= web._READS)
        client.ask("changes")
        assert hung.reads == web._READS
        hung.answers.set()
        await_that(lambda: client.ask("changes")[0] == 200)


def test_a_server_stops_while_the_disk_hangs(hung: HungReader) -> None:
    with running(history_api(hung)) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"GET {ROOT}/changes HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await_that(lambda: hung.reads)
        server.stop()
        await_that(lambda: not server._thread.is_alive())


def test_requests_of_clients_that_have_left_are_not_read(hung: HungReader) -> None:
    """200 clients ask, and leave or are closed for others before it is their turn."""
    with running(history_api(hung)) as server:
        with ExitStack() as clients:
            for _ in range(200):
                client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE))
                client.sendall(f"GET {ROOT}/changes HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await_that(lambda: hung.reads == web._READS)
        hung.answers.set()
        assert Client(server.port).get("changes")["items"]
        assert hung.reads < 80


class Ready(Request):
    """Of a client that is there."""

    def __init__(self) -> None:
        super().__init__({"type": "http"})

    async def is_disconnected(self) -> bool:
        return False


class Stalled(Ready):
    """Whether the client is there is not known in time."""

    async def is_disconnected(self) -> bool:
        await asyncio.sleep(3600)
        return False


def test_reads_that_do_not_begin_take_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a free thread, or when the time is over before the read: later clients are served."""

    def no_thread(_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    async def ask() -> bytes:
        reads = web.Reads()
        for _ in range(web._READS):
            with monkeypatch.context() as patched:
                patched.setattr(web, "in_thread", no_thread)
                with pytest.raises(RuntimeError, match="new thread"):
                    await reads.answer(Ready(), lambda: b"")
                patched.setattr(web, "READ_TIMEOUT_SECONDS", 0.01)
                with pytest.raises(HistoryError):
                    await reads.answer(Stalled(), lambda: b"")
        return await reads.answer(Ready(), lambda: b"page")

    assert asyncio.run(ask()) == b"page"
