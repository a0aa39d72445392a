"""The history's API on loopback, its clients, and an operator to which the tests' API server forwards ports."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from kanary.history.database import open_database
from kanary.history.pending import Pending
from kanary.history.reader import Reader
from kanary.history.wire import ROOT
from kanary.web.history import history_api
from kanary.web.server import HttpServer, listen_on_loopback
from tests.apiserver import ApiServer
from tests.history.entries import deleted, seen
from tests.waiting import PATIENCE


@contextmanager
def running(app: Any) -> Iterator[HttpServer]:
    """An application on a free port of the loopback interface."""
    server = HttpServer(app, listen_on_loopback(0))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving(url: str) -> Iterator[HttpServer]:
    """Serves the history of a database as the operator does."""
    reader = Reader(url)
    with running(history_api(reader)) as server:
        yield server
    reader.close()


def put_operator(
    cluster: ApiServer, port: int, namespace: str = "kanary-system", *, name: str = "kanary-1", is_ready: bool = True
) -> None:
    """Create a pod of the operator that serves the history on this port."""
    metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": "kanary"}}
    ports = [{"name": "http", "containerPort": 8080}, {"name": "history", "containerPort": port}]
    spec = {"containers": [{"name": "kanary", "image": "kanary", "ports": ports}]}
    status = {"conditions": [{"type": "Ready", "status": str(is_ready)}]}
    cluster.store.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})


def record(url: str, *batches: Sequence[Pending]) -> None:
    database = open_database(url)
    try:
        for batch in batches:
            database.write(batch)
    finally:
        database.close()


def record_shop(url: str) -> None:
    """Two existing Kanaries with 25 and 3 changes, and a deleted one with 4 that had the name of the first."""
    record(url, [seen("u-0", last=4)], [deleted("u-0", 10_000)])
    record(url, [seen("u-1", last=25, phase_changes=1), seen("u-2", namespace="bank", name="vault", phase_changes=1)])


class Client:
    """Reads from a server on loopback."""

    def __init__(self, port: int) -> None:
        self.port = port

    def raw(self, path: str, method: str = "GET", host: str = "localhost") -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def ask(self, path: str, **query: object) -> tuple[int, Any]:
        """Status and body of the response for a path below the API's root."""
        status, body, headers = self.raw(f"{ROOT}/{path}" + (f"?{urlencode(query)}" if query else ""))
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
