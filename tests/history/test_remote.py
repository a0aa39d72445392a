"""The history from the operator, over a port-forward: the same as from the database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kanary.history.faults import Fault as HistoryFault
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery, every
from kanary.history.reader import Reader
from kanary.history.remote import HttpSource
from kanary.history.source import Source
from kanary.kube.client import ClusterClient, Timeouts
from kanary.web.history import history_api
from kanary.web.probes import probes
from tests.apiserver import ApiServer, Fault
from tests.history.entries import at, seen
from tests.history.serving import put_operator, record, record_shop, running, serving
from tests.unit.responder import refusing

ROOT = Path(__file__).parents[2]
WEB = ChangeQuery(namespace="shop", name="web")
CHOSEN: list[dict[str, Any]] = [
    {},
    {"deleted": True},
    {"namespace": "shop"},
    {"namespace": "bank", "deleted": True},
    {"namespace": "shop", "name": "web"},
    {"namespace": "shop", "name": "web", "deleted": True},
    {"uid": "u-0"},
    {"namespace": "shop", "name": "nothing"},
    {"namespace": "nobody"},
    {"namespace": "shop", "name": "No_Name/of ours"},
    {"namespace": "../.."},
]


@pytest.fixture
def cluster() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def remote(cluster: ApiServer, tmp_path: Path) -> Iterator[HttpSource]:
    """A source that reads from the operator that the test creates in the cluster."""
    client = ClusterClient.connect(kubeconfig=str(cluster.kubeconfig(tmp_path / "kubeconfig")))
    source = HttpSource(client.with_timeouts(Timeouts(connect=5.0, read=30.0), attempts=1), "kanary-system")
    yield source
    source.close()


@pytest.fixture
def source(url: str, cluster: ApiServer, remote: HttpSource) -> Iterator[Source]:
    record_shop(url)
    with serving(url) as server:
        put_operator(cluster, server.port)
        yield remote


def forwards(cluster: ApiServer) -> int:
    return len(cluster.requests.find("GET", "/portforward"))


# The same as from the database


def test_all_that_a_database_has_the_operator_has_as_well(source: Source, reader: Reader) -> None:
    def read(by: Source, chosen: dict[str, Any], limit: int) -> list[Any]:
        span = {"since": at(3.5), "until": at(9)}
        return [
            list(every(by.kanaries, KanaryQuery(**chosen, limit=limit))),
            list(every(by.changes, ChangeQuery(**chosen, limit=limit))),
            list(every(by.changes, ChangeQuery(**chosen, limit=limit, **span))),
            list(every(by.changes, ChangeQuery(**chosen, limit=limit, at=at(7.5)))),
            list(every(by.changes, ChangeQuery(**chosen, limit=limit, revision=3))),
            list(every(by.entries, EntryQuery(**chosen, limit=limit))),
            list(every(by.entries, EntryQuery(**chosen, limit=limit, kinds="PhaseChange,ChangeResult", **span))),
        ]

    for chosen in CHOSEN:
        expected = read(reader, chosen, 500)
        assert read(source, chosen, 19) == read(source, chosen, 1000) == expected, chosen


def test_pages_and_places_are_those_of_the_database(source: Source, reader: Reader) -> None:
    query = ChangeQuery(deleted=True, limit=10)
    first = source.changes(query)
    assert first == reader.changes(query)
    second = query.model_copy(update={"after": first.next})
    assert source.changes(second) == reader.changes(second)


def test_what_the_record_does_not_have_is_none(source: Source) -> None:
    assert source.changes(ChangeQuery(uid="u-9", revision=1)).items == ()
    for unknown in ("beef", "", "a/b", "../kanaries", "ä"):
        assert source.configuration(unknown) is None


def test_a_configuration_is_what_was_recorded(source: Source, reader: Reader) -> None:
    found = source.configuration(f"{25:016x}")
    assert found is not None
    assert found == reader.configuration(f"{25:016x}")


def test_a_place_that_no_server_gives_is_refused_by_the_server(source: Source) -> None:
    with pytest.raises(HistoryError, match="the operator refuses the request: after 'nothing'") as caught:
        source.changes(WEB.model_copy(update={"after": "nothing"}))
    assert caught.value.fault.reason is FaultReason.REFUSED


def test_a_long_history_is_read_page_by_page_over_one_connection(
    sqlite_url: str, cluster: ApiServer, remote: HttpSource
) -> None:
    record(sqlite_url, [seen(last=700)])
    with serving(sqlite_url) as server:
        put_operator(cluster, server.port)
        found = [item.change.revision for item in every(remote.changes, WEB)]
    assert found == [*range(700, 0, -1)]
    assert forwards(cluster) == 1


def test_reading_from_the_operator_needs_no_database_library() -> None:
    heavy = "{'sqlalchemy', 'kubernetes', 'starlette', 'uvicorn'}"
    script = f"import sys, kanary.history.remote; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


# The connection


def test_a_connection_that_was_closed_meanwhile_is_made_again(
    sqlite_url: str, cluster: ApiServer, remote: HttpSource
) -> None:
    record_shop(sqlite_url)
    for count in (1, 2):
        with serving(sqlite_url) as server:
            put_operator(cluster, server.port)
            assert len(remote.changes(WEB).items) == 25
        assert forwards(cluster) == count


def test_a_replica_that_cannot_be_reached_is_passed_over(
    sqlite_url: str, cluster: ApiServer, remote: HttpSource
) -> None:
    record_shop(sqlite_url)
    cluster.faults.add(Fault.status(500, path="kanary-1/portforward"))
    with serving(sqlite_url) as server:
        put_operator(cluster, 1, name="kanary-0", is_ready=False)
        put_operator(cluster, 1, name="kanary-1")
        put_operator(cluster, server.port, name="kanary-2")
        assert len(remote.changes(WEB).items) == 25


# Obstacles


def fault(source: Source) -> tuple[FaultReason, str]:
    with pytest.raises(HistoryError) as caught:
        source.changes(WEB)
    message = caught.value.fault.message
    assert "\n" not in message
    assert len(message) < 1200
    return caught.value.fault.reason, message


def in_the_way(cluster: ApiServer, source: Source) -> str:
    """The cause in the message; checks that the message names the cluster and the alternative as well."""
    reason, message = fault(source)
    assert reason is FaultReason.UNAVAILABLE
    before = f"no history from the operator in namespace kanary-system of the cluster at {cluster.url}: "
    after = "; or read the database itself: --db URL"
    assert message.startswith(before)
    assert message.endswith(after)
    return message[len(before) : -len(after)]


def test_without_an_operator_its_namespace_is_asked_for(cluster: ApiServer, remote: HttpSource) -> None:
    put_operator(cluster, 1, "elsewhere")
    assert in_the_way(cluster, remote) == (
        "it has no pods; install the operator, or name the namespace that it is in: --operator-namespace"
    )


def test_pods_that_are_not_ready_are_counted(cluster: ApiServer, remote: HttpSource) -> None:
    for name in ("kanary-1", "kanary-2"):
        put_operator(cluster, 1, name=name, is_ready=False)
    assert in_the_way(cluster, remote) == "0 of 2 pods are ready; see kubectl -n kanary-system get pods"


@pytest.mark.parametrize("path", ["/pods", "/portforward"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (401, ["rejects your credentials", "(401", "log in again"]),
        (403, ["permission denied", "(403", "ask for the Role kanary-viewer in namespace kanary-system"]),
        (429, ["(429"]),
        (500, ["(500", "see kubectl -n kanary-system get pods"]),
        (503, ["(503"]),
    ],
)
def test_a_refusal_of_the_api_server_is_passed_on_with_what_to_do(
    cluster: ApiServer, remote: HttpSource, path: str, fault: int, words: list[str]
) -> None:
    put_operator(cluster, 1)
    cluster.faults.add(Fault.status(fault, path=path))
    message = in_the_way(cluster, remote)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("path", ["/pods", "/portforward"])
def test_a_connection_that_is_dropped_is_reported(cluster: ApiServer, remote: HttpSource, path: str) -> None:
    put_operator(cluster, 1)
    cluster.faults.add(Fault.drop(path=path))
    assert "the API server at" in in_the_way(cluster, remote)


def test_a_port_that_refuses_connections_is_reported_in_the_words_of_its_node(
    cluster: ApiServer, remote: HttpSource
) -> None:
    with refusing() as port:
        put_operator(cluster, port)
        assert in_the_way(cluster, remote) == (
            f"it does not take connections: pod kanary-1: error forwarding port {port} to pod kanary-1: dial tcp4 "
            f"127.0.0.1:{port}: connect: Connection refused; see kubectl -n kanary-system logs deployment/kanary"
        )


def test_an_operator_without_history_is_reported_as_such(cluster: ApiServer, remote: HttpSource) -> None:
    with running(history_api(None)) as server:
        put_operator(cluster, server.port)
        reason, message = fault(remote)
    assert reason is FaultReason.DISABLED
    assert message == "the operator cannot read the history: history is disabled (KANARY_HISTORY_URL is empty)"


def test_a_server_that_serves_something_else_is_of_another_version(cluster: ApiServer, remote: HttpSource) -> None:
    with running(probes(list, bytes, "text/plain")) as server:
        put_operator(cluster, server.port)
        message = in_the_way(cluster, remote)
    assert message == "its answer is no Page[RecordedChange] that this version can read; use the kanary of the " + (
        "operator's version"
    )


def answering(body: str, status: int = 200) -> Starlette:
    def answer(_: Request) -> Response:
        return Response(body, status, media_type="application/json")

    return Starlette(routes=[Route("/{path:path}", answer)])


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ('{"reason":"DatabaseCorrupt","message":"/db is corrupt"}', 503, FaultReason.CORRUPT),
        ('{"reason":"OfANewerVersion","message":"/db is corrupt"}', 503, FaultReason.UNAVAILABLE),
        ('{"reason":"BadParameter","message":"/db is corrupt"}', 400, FaultReason.REFUSED),
    ],
)
def test_the_operators_words_are_passed_on(
    cluster: ApiServer, remote: HttpSource, body: str, status: int, expected: FaultReason
) -> None:
    with running(answering(body, status)) as server:
        put_operator(cluster, server.port)
        reason, message = fault(remote)
    assert reason is expected
    assert message.endswith(": /db is corrupt")


@pytest.mark.parametrize(
    ("body", "status"), [("<html>", 200), ("{}", 200), ('{"items":[{"revision":"x"}]}', 200), ("<html>", 502)]
)
def test_an_answer_that_cannot_be_read_is_of_another_version(
    cluster: ApiServer, remote: HttpSource, body: str, status: int
) -> None:
    with running(answering(body, status)) as server:
        put_operator(cluster, server.port)
        assert "use the kanary of the operator's version" in in_the_way(cluster, remote)


def test_fields_and_kinds_of_a_newer_operator_are_passed_on(cluster: ApiServer, remote: HttpSource) -> None:
    kanary = '{"uid":"u","namespace":"shop","name":"web","firstSeen":"2026-11-23T13:31:02Z","mood":"fine"}'
    entry = '{"number":1,"at":"2026-11-23T13:31:02Z","kind":"Verdict","passed":true}'
    with running(answering(f'{{"items":[{{"kanary":{kanary},"entry":{entry}}}],"total":1}}')) as server:
        put_operator(cluster, server.port)
        (found,) = remote.entries(EntryQuery(namespace="shop", name="web")).items
    assert found.kanary.name == "web"
    assert (found.entry.kind, found.entry.model_extra) == ("Verdict", {"passed": True})


def test_what_keeps_the_operator_from_writing_is_said_where_nothing_can_be_read(
    cluster: ApiServer, remote: HttpSource, sqlite_url: str
) -> None:
    known = HistoryFault(FaultReason.READ_ONLY, "the volume is read-only")
    reader = Reader(sqlite_url)
    with running(history_api(reader, lambda: known)) as server:
        put_operator(cluster, server.port)
        assert fault(remote) == (FaultReason.READ_ONLY, f"the operator cannot read the history: {known.message}")
        record_shop(sqlite_url)
        assert len(remote.changes(WEB).items) == 25
    reader.close()
