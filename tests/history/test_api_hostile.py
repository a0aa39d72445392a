"""Clients of the history's API that mean no good, or know no better."""

from __future__ import annotations

import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from kanary.history.model import KnownKanary

from kanary.history import api
from kanary.history.selection import Page, Selection
from kanary.web.server import Asked, HttpServer, Tree
from tests.history.entries import START, entry
from tests.history.serving import ROOT, Client, record, record_shop, serving
from tests.history.waiting import WAIT

WEB = "namespaces/shop/kanaries/web"
NAME = "namespace={}: it is to be a name of Kubernetes, of at most 253 characters"


@pytest.fixture
def server(sqlite_url: str) -> Iterator[HttpServer]:
    record_shop(sqlite_url)
    with serving(sqlite_url) as server:
        yield server


@pytest.fixture
def client(server: HttpServer) -> Client:
    return Client(server.port)


def refusal(client: Client, path: str) -> tuple[int, str]:
    status, body, _ = client.raw(f"{ROOT}{path}")
    error = json.loads(body)
    assert error.keys() == {"reason", "message"}
    assert len(error["message"]) < 600
    assert "\n" not in error["message"]
    return status, error["reason"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1e3",
        "limit=%201",
        "limit=1_0",
        "limit=",
        "limit",
        "limit=" + "9" * 5000,
        "limit=%D9%A1",  # a digit one, in Arabic
        "limit=1&limit=2",
        "deleted=yes",
        "deleted=True",
        "since=yesterday",
        "since=2026-11-23",
        "since=2026-11-23T13:35:00",  # in which zone?
        "since=2026-11-23T13:35:00+00:00",  # the + is a space
        "since=2026-02-30T00:00:00Z",
        "since=2026-11-23T24:01:00Z",
        "since=2026-11-23T13:35:60Z",
        "since=0001-01-01T00:00:00%2B14:00",
        "until=9999-12-31T23:59:59-14:00",
        "until=2026-11-23T13:35:00Z%00",
        "until=2026-11-23T13:35:00Z%0A",
        "at=2026-W48-1T00:00:00Z",
        "at=2026-11-23T13:35:00Z&since=2026-11-23T13:35:00Z",
        "at=2026-11-23T13:35:00Z&until=2026-11-23T13:35:00Z",
        "after=%00",
        "after=",
        "after=" + "a" * 1025,
        "after=%FF",
        "after=%5B%22%5Cud800%22,%22a%22,%22b%22%5D",
        "colour=red",
        "uid=u-1",
        "%FF=1",
        "=",
        "&".join(f"a{number}=1" for number in range(100)),
        "limit=%ZZ",
        "LIMIT=1",
    ],
)
def test_a_parameter_that_is_none_or_bad_is_a_bad_request(client: Client, query: str) -> None:
    assert refusal(client, f"{WEB}/changes?{query}") == (400, "BadParameter")


@pytest.mark.parametrize(
    "after",
    [
        "nothing",
        "[",
        "[]",
        "{}",
        "null",
        "1",
        "[1,2]",
        "[1,2,3,4]",
        "[" * 1000,
        '["2026-11-23T13:31:02",1,2]',
        '["2026-11-23T13:31:02","u",1]',
        '["2026-11-23T13:31:02+00:00","u",1.5]',
        '["2026-11-23T13:31:02+00:00","u",true]',
        '["2026-11-23T13:31:02+00:00","u",1e999]',
        '["2026-11-23T13:31:02+00:00",["u"],1]',
        f'["2026-11-23T13:31:02+00:00","u",{2**63}]',
        '["0001-01-01T00:00:00+14:00","u",1]',
        '["9999-12-31T23:59:59-14:00","u",1]',
        '["shop","web","u-1"]',
    ],
)
def test_a_place_that_is_none_is_a_bad_request(client: Client, after: str) -> None:
    for path in ("changes", f"{WEB}/changes", f"{WEB}/transitions"):
        assert refusal(client, f"{path}?{urlencode({'after': after})}") == (400, "BadCursor")


def test_a_place_among_kanaries_is_read_as_such(client: Client) -> None:
    assert refusal(client, f"kanaries?{urlencode({'after': '[1,2,3]'})}") == (400, "BadCursor")
    assert refusal(client, f"changes?{urlencode({'after': '[1,2,3]', 'at': '2026-11-23T13:35:00Z'})}")[0] == 400


def test_a_place_that_nobody_has_told_reads_on_from_there(client: Client) -> None:
    page = client.get(f"{WEB}/changes", after='["2026-11-23T13:31:02+00:00","u-9",5]')
    assert page == {"next": None, "items": []}
    assert client.get("kanaries", after='["","",""]')["items"] != []


@pytest.mark.parametrize(
    "path",
    [
        "namespaces/%00/kanaries",
        "namespaces//kanaries",
        "namespaces/../kanaries",
        "namespaces/%2e%2e/kanaries",
        "namespaces/%2F/kanaries",
        "namespaces/shop%0A/kanaries",
        "namespaces/shop%20/kanaries",
        "namespaces/SHOP/kanaries",
        "namespaces/%FF/kanaries",
        "namespaces/%ED%A0%80/kanaries",
        "namespaces/%E2%80%AE/kanaries",
        "namespaces/" + "a" * 254 + "/kanaries",
        "namespaces/" + "a" * 60_000 + "/kanaries",
        "namespaces/shop'%20OR%201=1--/kanaries",
        "namespaces/shop/kanaries/web;a/changes",
        f"{WEB}/revisions/-1",
        f"{WEB}/revisions/1.0",
        f"{WEB}/revisions/0x1",
        f"{WEB}/revisions/{2**63}",
        f"{WEB}/revisions/" + "1" * 5000,
        f"{WEB}/revisions/%D9%A1",
        f"{WEB}/revisions/1?uid=%00",
        f"{WEB}/revisions/1?uid=",
        f"{WEB}/revisions/1?configuration=no",
        "configurations/..",
        "configurations/%2e%2e%2f",
        "configurations/a%00",
        "configurations/" + "a" * 129,
        "configurations/a?b=c",
    ],
)
def test_a_path_that_names_nothing_possible_is_a_bad_request(client: Client, path: str) -> None:
    assert refusal(client, path) == (400, "BadParameter")


@pytest.mark.parametrize(
    "path",
    ["%6Banaries", "kanaries/../kanaries", "./kanaries", "KANARIES", "namespaces/shop", "a" * 60_000, "/" * 1000],
)
def test_a_path_that_is_none_is_not_found(client: Client, path: str) -> None:
    assert refusal(client, path) == (404, "UnknownPath")


def test_a_name_may_be_percent_encoded(client: Client) -> None:
    assert len(client.get("namespaces/%73hop/kanaries/w%65b/changes")["items"]) == 25


def test_a_request_line_without_end_is_refused(client: Client) -> None:
    assert client.raw(f"{ROOT}kanaries?after=" + "a" * 70_000)[0] == 414


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(client: Client, method: str) -> None:
    status, _, headers = client.raw(f"{ROOT}{WEB}/changes", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "sent", [b"GET /history/v1/kan\xff\xfe HTTP/1.1\r\n\r\n", b"GET /history/v1/\x00 HTTP/1.1\r\n\r\n"]
)
def test_bytes_that_are_no_text_are_answered(server: HttpServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT) as raw:
        raw.sendall(sent)
        assert raw.recv(4096).startswith(b"HTTP/1.0 404 ")


def test_what_a_bad_value_was_is_said_and_cut_short(client: Client) -> None:
    status, error = client.ask("namespaces/" + quote("<b>" * 1000) + "/kanaries")
    assert status == 400
    assert error["message"].startswith("namespace='<b><b>")
    assert len(error["message"]) < 200
    _, error = client.ask("kanaries", colour="red")
    assert error["message"] == "there is no parameter 'colour' here; there is after, deleted, limit"


# Holding it up


class Stuck:
    """A record that is read for as long as the test likes."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.release = threading.Event()

    def kanaries(self, selection: Selection, after: str | None = None, limit: int = 1) -> Page[KnownKanary]:
        self.entered.release()
        self.release.wait(WAIT)
        return Page((KnownKanary("u-1", "shop", "web", START),), None)


def test_many_readers_leave_room_for_the_probes_and_the_next_is_told_to_come_again() -> None:
    stuck: Any = Stuck()
    routes = {"/healthz": lambda: (200, "text/plain", b"ok\n"), **api.routes(stuck)}
    server = HttpServer(0, routes, "127.0.0.1")
    server.start()
    client = Client(server.port)
    tree = routes[ROOT]
    assert isinstance(tree, Tree)
    answers: list[int] = []
    readers = [threading.Thread(target=lambda: answers.append(client.ask("kanaries")[0])) for _ in range(tree.at_once)]
    try:
        for reader in readers:
            reader.start()
            assert stuck.entered.acquire(timeout=WAIT)
        assert refusal(client, "kanaries") == (503, "Busy")
        assert client.raw("/healthz")[0] == 200
    finally:
        stuck.release.set()
        for reader in readers:
            reader.join(WAIT)
        server.stop()
    assert answers == [200] * tree.at_once


def test_slow_clients_are_cut_off_and_hold_up_nobody(sqlite_url: str) -> None:
    record_shop(sqlite_url)
    with serving(sqlite_url, max_seconds=2.0) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port), timeout=WAIT) for _ in range(10)]
        for connection in slow:
            connection.sendall(f"GET {ROOT}changes HTTP/1.0\r\nX-Slow: ".encode())
        assert len(Client(server.port).get("changes")["items"]) == 28
        for connection in slow:
            assert connection.recv(4096) == b""
            connection.close()


def test_a_defect_is_told_only_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = object()
    server = HttpServer(0, api.routes(broken), "127.0.0.1")
    server.start()
    try:
        status, body, _ = Client(server.port).raw(f"{ROOT}kanaries")
    finally:
        server.stop()
    assert (status, b"attribute" in body) == (500, False)
    assert "has no attribute 'kanaries'" in caplog.text


# Memory


def test_a_long_history_is_read_in_the_memory_of_a_page(sqlite_url: str) -> None:
    entries = [entry(f"u-{number}", name=f"web-{number}", last=2_000) for number in range(5)]
    for each in entries:
        record(sqlite_url, [each])
    [tree] = api.history_routes(sqlite_url).values()
    query, read, peaks = {"limit": "1000"}, 0, []
    while True:
        tracemalloc.start()
        status, _, body = tree.answer(Asked("changes", urlencode(query)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (status, len(body) < 1_200_000) == (200, True)
        page = json.loads(body)
        read += len(page["items"])
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert read == 10_000
    # The first call loads modules; of the others none takes more than another.
    assert max(peaks[1:]) < 1.5 * min(peaks[1:-1])
    assert max(peaks[1:]) < 20_000_000
