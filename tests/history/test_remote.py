"""The history as the operator tells it, through an API server's proxy: the same as from the database itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kanary.history.model import KnownKanary
from kanary.history.problems import HistoryError, Reason

from kanary.history.reader import Reader
from kanary.history.remote import HttpSource
from kanary.history.selection import BadCursorError, Selection, every
from kanary.history.source import Source
from kanary.kube.client import ClusterClient, Timeouts
from kanary.web.server import HttpServer
from tests.apiserver import ApiServer, Fault
from tests.history.entries import START, at, entry
from tests.history.serving import record, record_shop, serving
from tests.unit.responder import Drop, Reply, Responder, responding, status, write_kubeconfig

ROOT = Path(__file__).parents[2]
WEB = Selection("shop", "web")
EVERYTHING = Selection(include_deleted=True)
SELECTIONS = [
    Selection(),
    EVERYTHING,
    Selection("shop"),
    Selection("bank", include_deleted=True),
    WEB,
    Selection("shop", "web", include_deleted=True),
    Selection("shop", "web", since=at(3.5), until=at(9)),
    Selection(since=at(20)),
    Selection("shop", "nothing"),
    Selection("nobody"),
    Selection("shop", "No_Name/of ours"),
    Selection("../.."),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def put_service(cluster: ApiServer, *ports: int) -> None:
    """The operator's Service, and where it leads."""
    metadata = {"name": "kanary", "namespace": "kanary-system"}
    spec = {"ports": [{"name": "http", "port": 8080}]}
    cluster.store.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "http", "port": port}]} for port in ports]
    cluster.store.put({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets})


def connect(kubeconfig: Path | str) -> ClusterClient:
    client = ClusterClient.connect(kubeconfig=str(kubeconfig))
    return client.with_timeouts(Timeouts(connect=5.0, read=30.0), attempts=1)


@pytest.fixture
def source(url: str, cluster: ApiServer, tmp_path: Path) -> Iterator[Source]:
    record_shop(url)
    with serving(url) as server:
        put_service(cluster, server.port)
        yield HttpSource(connect(cluster.kubeconfig(tmp_path / "kubeconfig")), "kanary-system")


@pytest.fixture
def reader(url: str) -> Iterator[Source]:
    made = Reader(url)
    yield made
    made.close()


# The same as from the database


@pytest.mark.parametrize("selection", SELECTIONS)
def test_all_that_a_database_tells_the_operator_tells_as_well(
    source: Source, reader: Source, selection: Selection
) -> None:
    def told(by: Source, limit: int) -> list[Any]:
        return [
            list(every(lambda after: by.kanaries(selection, after, limit))),
            list(every(lambda after: by.changes(selection, after, limit))),
            list(every(lambda after: by.transitions(selection, after, limit))),
            list(every(lambda after: by.in_force(selection, at(7.5), after, limit))),
        ]

    assert told(source, 7) == told(source, 5_000) == told(reader, 500)


def test_pages_and_places_are_those_of_the_database(source: Source, reader: Source) -> None:
    first = source.changes(EVERYTHING, None, 10)
    assert first == reader.changes(EVERYTHING, None, 10)
    assert source.changes(EVERYTHING, first.next, 10) == reader.changes(EVERYTHING, first.next, 10)


def test_each_revision_is_that_of_the_kanary_which_is_named(source: Source, reader: Source) -> None:
    for kanary in reader.kanaries(EVERYTHING).items:
        assert source.revisions(kanary) == reader.revisions(kanary)
        for revision in (1, 3, 25, 26):
            assert source.revision(kanary, revision) == reader.revision(kanary, revision)


def test_what_the_record_does_not_have_is_none(source: Source) -> None:
    nobody = KnownKanary("u-9", "shop", "web", START)
    assert (source.revisions(nobody), source.revision(nobody, 1)) == (None, None)
    for unknown in ("beef", "", "a/b", "../kanaries", "ä", "a" * 1000):
        assert source.configuration(unknown) is None


def test_a_configuration_is_the_text_that_was_recorded(source: Source, reader: Source) -> None:
    known = f"{25:016x}"
    assert source.configuration(known) == reader.configuration(known) == "# configuration 25\n" * 10


@pytest.mark.parametrize("after", ["nothing", "\0", "", '["\\u0000"]', "a" * 5000, "[1,2,3]"])
def test_a_place_that_is_none_is_refused(source: Source, reader: Source, after: str) -> None:
    for each in (source, reader):
        with pytest.raises(BadCursorError, match="is no place to read on from"):
            each.changes(WEB, after)
        with pytest.raises(BadCursorError, match="is no place to read on from"):
            each.kanaries(Selection(), after)


def test_a_long_history_is_read_page_by_page(sqlite_url: str, cluster: ApiServer, tmp_path: Path) -> None:
    record(sqlite_url, [entry(last=5_000)])
    with serving(sqlite_url) as server:
        put_service(cluster, server.port)
        source = HttpSource(connect(cluster.kubeconfig(tmp_path / "kubeconfig")), "kanary-system")
        assert [item.change.revision for item in every(lambda after: source.changes(WEB, after))] == [
            *range(5000, 0, -1)
        ]
    asked = cluster.requests.find("GET", "services/kanary:http/proxy/history/v1/namespaces/shop/kanaries/web/changes")
    assert len(asked) == 10


def test_asking_the_operator_needs_no_database_library() -> None:
    script = "import sys, kanary.history.remote; sys.exit('sqlalchemy' in sys.modules or 'kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


# What is in the way


@pytest.fixture
def api() -> Iterator[Responder]:
    with responding() as responder:
        yield responder


@pytest.fixture
def asking(api: Responder, tmp_path: Path) -> HttpSource:
    client = connect(write_kubeconfig(tmp_path / "kubeconfig", api.url))
    return HttpSource(client, "kanary-system", pause=lambda _seconds: None)


def problem(source: Source) -> tuple[Reason, str]:
    with pytest.raises(HistoryError) as caught:
        source.changes(WEB)
    message = caught.value.problem.message
    assert "\n" not in message
    return caught.value.problem.reason, message


def test_how_it_was_tried_and_the_way_without_the_operator_are_told(api: Responder, asking: HttpSource) -> None:
    api.say(status(403, "Forbidden", 'services "kanary:http" is forbidden: User "jane" cannot get services/proxy'))
    assert problem(asking) == (
        Reason.UNAVAILABLE,
        f"no history from the operator (asked for Service kanary in namespace kanary-system through the API server at "
        f'{api.url}): you may not: services "kanary:http" is forbidden: User "jane" cannot get services/proxy '
        "(403 Forbidden); have the ClusterRole kanary-viewer bound to you; or read the database itself: --db URL",
    )
    assert api.asked[0].path == (
        "/api/v1/namespaces/kanary-system/services/kanary:http/proxy/history/v1/namespaces/shop/kanaries/web/changes"
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(401, "Unauthorized", "Unauthorized"), ["credentials", "(401 Unauthorized)", "log in again"]),
        (status(404, "NotFound", 'services "kanary" not found'), ["there is none", "install the operator"]),
        (
            Reply(b"not found; there is /healthz\n", 404),
            ["it serves no such history", "use the kanary of the operator"],
        ),
        (
            Reply({"reason": "UnknownPath", "message": "nothing here"}, 404),
            ["it serves no such history", "nothing here"],
        ),
        (
            status(503, "ServiceUnavailable", 'no endpoints available for service "kanary"'),
            ["none of its pods takes connections", "see kubectl -n kanary-system get pods"],
        ),
        (
            Reply(b"Error trying to reach service: 'dial tcp: connection refused'", 503),
            ["none of its pods", "connection refused"],
        ),
        (Reply(b"internal error; the log has the reason\n", 500), ["(500 Internal Server Error)", "get pods"]),
        (status(429, "TooManyRequests", "slow down"), ["slow down"]),
        (Reply(b"<html>" + b"a\n" * 1000, 502), ["502"]),
        (Reply(b"<html>", 200), ["no JSON object"]),
        (Reply({"items": [{"revision": "x"}], "next": None}), ["another ChangeList than this program knows"]),
        (Reply({}), ["another ChangeList", "use the kanary of the operator's version"]),
        (Drop(), ["no answer from the API server"]),
    ],
)
def test_each_thing_in_the_way_is_told_with_what_to_do(
    api: Responder, asking: HttpSource, answer: Any, words: list[str]
) -> None:
    api.say(answer)
    reason, message = problem(asking)
    assert reason is Reason.UNAVAILABLE
    assert message.startswith("no history from the operator (asked for Service kanary in namespace kanary-system")
    assert message.endswith("or read the database itself: --db URL")
    assert [word for word in words if word not in message] == []
    assert len(message) < 1200


def test_what_the_operator_says_of_its_database_is_passed_on(api: Responder, asking: HttpSource) -> None:
    api.say(Reply({"reason": "DatabaseCorrupt", "message": "the history database /db is corrupt"}, 503))
    assert problem(asking) == (
        Reason.CORRUPT,
        "the operator cannot read the history: the history database /db is corrupt",
    )


def test_a_refused_parameter_is_passed_on(api: Responder, asking: HttpSource) -> None:
    api.say(Reply({"reason": "BadParameter", "message": "there is no parameter 'a' here"}, 400))
    assert problem(asking) == (Reason.REFUSED, "the operator refuses what was asked: there is no parameter 'a' here")


def test_while_others_read_it_is_asked_again_for_a_time(api: Responder, asking: HttpSource) -> None:
    busy = Reply({"reason": "Busy", "message": "others are reading the history"}, 503)
    api.say(busy, busy, Reply({"items": [], "next": None}))
    assert asking.changes(WEB).items == ()
    assert len(api.asked) == 3
    api.say(busy)
    assert "others are reading the history" in problem(asking)[1]
    assert len(api.asked) == 3 + 5


def test_fields_of_a_newer_operator_are_no_hindrance(api: Responder, asking: HttpSource) -> None:
    kanary = {"uid": "u", "namespace": "shop", "name": "web", "firstSeen": "2026-11-23T13:31:02Z", "deletedAt": None}
    api.say(Reply({"items": [{**kanary, "mood": "fine"}], "next": None, "total": 1}))
    assert asking.kanaries(WEB).items == (KnownKanary("u", "shop", "web", START.replace(microsecond=0)),)


def test_another_namespace_and_service_can_be_named(api: Responder, tmp_path: Path) -> None:
    api.say(status(404, "NotFound", "none"))
    client = connect(write_kubeconfig(tmp_path / "kubeconfig", api.url))
    _, message = problem(HttpSource(client, namespace="ops", service="canary", port="web"))
    assert "Service canary in namespace ops" in message
    assert api.asked[0].path.startswith("/api/v1/namespaces/ops/services/canary:web/proxy/history/v1/")


def test_no_operator_is_told_by_the_api_server(cluster: ApiServer, sqlite_url: str, tmp_path: Path) -> None:
    source = HttpSource(connect(cluster.kubeconfig(tmp_path / "kubeconfig")), "kanary-system")
    assert "install the operator" in problem(source)[1]
    put_service(cluster)
    assert "none of its pods takes connections" in problem(source)[1]
    with serving(sqlite_url) as server:
        put_service(cluster, server.port)
        assert problem(source)[1].startswith("the operator cannot read the history: there is no history database")
    assert "none of its pods takes connections" in problem(source)[1]


def test_an_operator_without_history_is_told_as_such(cluster: ApiServer, tmp_path: Path) -> None:
    server = HttpServer(0, {"/healthz": lambda: (200, "text/plain", b"ok\n")}, "127.0.0.1")
    server.start()
    try:
        put_service(cluster, server.port)
        message = problem(HttpSource(connect(cluster.kubeconfig(tmp_path / "kubeconfig")), "kanary-system"))[1]
    finally:
        server.stop()
    assert "it serves no such history: not found; there is /healthz (404 Not Found)" in message


def test_a_dropped_connection_is_told_with_the_api_server(cluster: ApiServer, tmp_path: Path) -> None:
    cluster.faults.add(Fault.drop(path="/proxy/"))
    message = problem(HttpSource(connect(cluster.kubeconfig(tmp_path / "kubeconfig")), "kanary-system"))[1]
    assert f"no answer from the API server at {cluster.url}" in message
