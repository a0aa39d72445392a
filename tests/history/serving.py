"""The history's API on loopback, and clients of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from kanary.history.api import history_routes
from kanary.history.model import Entry

from kanary.history.opening import open_store
from kanary.history.rows import Pending, pending_entry
from kanary.web.server import HttpServer
from tests.history.entries import at, entry
from tests.history.waiting import WAIT

ROOT = "/history/v1/"


@contextmanager
def serving(url: str, **options: Any) -> Iterator[HttpServer]:
    """The record of a database, served as the operator does."""
    server = HttpServer(0, history_routes(url), "127.0.0.1", **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def record(url: str, entries: Sequence[Entry], *, deleted: Sequence[str] = (), minutes: float = 10_000) -> None:
    store = open_store(url)
    try:
        store.write([pending_entry(each) for each in entries])
        store.write([Pending(uid, deleted_at=at(minutes)) for uid in deleted])
    finally:
        store.close()


def record_shop(url: str) -> None:
    """Two that live, of 25 and 3 changes, and one of 4 that had the name of the first before it."""
    record(url, [entry("u-0", first=1, last=4)], deleted=["u-0"])
    record(url, [entry("u-1", last=25, moves=12), entry("u-2", namespace="bank", name="vault", moves=2)])


class Client:
    """Asks a server on loopback."""

    def __init__(self, port: int) -> None:
        self.port = port

    def raw(self, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def ask(self, path: str, **query: object) -> tuple[int, Any]:
        """Status and body of what is at a path below the API's root."""
        asked = f"{ROOT}{path}" + (f"?{urlencode(query)}" if query else "")
        status, body, headers = self.raw(asked)
        assert headers["content-type"] == "application/json", (status, body)
        return status, json.loads(body)

    def get(self, path: str, **query: object) -> Any:
        status, body = self.ask(path, **query)
        assert status == 200, body
        return body

    def every(self, path: str, **query: object) -> list[Any]:
        """The items of all pages."""
        page = self.get(path, **query)
        items = list(page["items"])
        while page["next"] is not None:
            page = self.get(path, **query, after=page["next"])
            items += page["items"]
        return items
