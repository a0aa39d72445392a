"""The history for the engine: each entry is recorded once, and only observed deletions are recorded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.model.entries import ChangeResult
from kanary.history.database import open_database
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery
from kanary.history.reader import Reader
from kanary.history.writer import HistoryWriter, Hooks
from kanary.kube.backoff import Backoff
from kanary.kube.client import ClusterClient
from kanary.kube.clock import ClusterClock
from kanary.operator import history_recorder
from kanary.operator.history_recorder import HistoryRecorder
from kanary.operator.metrics import Metrics
from kanary.operator.record_feed import RecordFeed
from kanary.operator.settings import Settings
from kanary.operator.watches import Watches
from tests.apiserver import ApiServer, Fault
from tests.history.entries import change, configuration, phase_change, result, seen
from tests.integration.scene import CRD
from tests.waiting import PATIENCE, await_that

ALL = {"deleted": True}


def kanary(uid: str = "u-1", name: str = "web") -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, "uid": uid}}


@pytest.fixture
def reader(sqlite_url: str) -> Iterator[Reader]:
    made = Reader(sqlite_url)
    yield made
    made.close()


def deletions(reader: Reader) -> dict[str, bool]:
    return {known.uid: known.deleted_at is not None for known in reader.kanaries(KanaryQuery(**ALL)).items}


# HistoryRecorder


class Written:
    """A history that counts its rows."""

    def __init__(self, url: str) -> None:
        self.rows = 0
        hooks = Hooks(on_rows=self._count)
        self.writer = HistoryWriter(url, hooks=hooks, backoff=Backoff(base=0.01, cap=0.01))
        self.recorder = HistoryRecorder(self.writer)
        self.writer.start(PATIENCE)

    def _count(self, _table: str, count: int) -> None:
        self.rows += count


@pytest.fixture
def written(sqlite_url: str) -> Iterator[Written]:
    made = Written(sqlite_url)
    yield made
    made.writer.stop()


def test_entries_are_recorded_and_confirmed_by_their_last_number(written: Written, reader: Reader) -> None:
    recorder = written.recorder
    assert recorder.recorded("u-1").number == 0
    entries = [change(1), phase_change(1), result(1)]
    recorder.record(kanary(), entries, configuration(f"{1:016x}"))
    assert written.writer.flush(PATIENCE)
    assert recorder.recorded("u-1").number == entries[-1].number
    assert recorder.recorded("u-1").recording.is_recorded
    assert [item.entry for item in reader.entries(EntryQuery(**ALL)).items] == entries[::-1]
    assert reader.configuration(f"{1:016x}") == configuration(f"{1:016x}")


def test_what_is_handed_over_again_is_not_written_again(written: Written) -> None:
    for _ in range(3):
        written.recorder.record(kanary(), [change(1)], configuration(f"{1:016x}"))
        assert written.writer.flush(PATIENCE)
    assert written.rows == 3
    written.recorder.record(kanary(), [change(1), result(1)], configuration(f"{1:016x}"))
    assert written.writer.flush(PATIENCE)
    assert written.rows == 4


def test_what_is_to_be_served_is_stored_before(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it has been passed already, and without writing it twice."""
    monkeypatch.setattr(history_recorder, "HISTORY_WRITE_LIMIT", timedelta(seconds=PATIENCE))
    written.recorder.store(kanary(), [])
    for number in range(1, 11):
        if number % 2:
            written.recorder.record(kanary(), [change(number)], configuration(f"{number:016x}"))
        written.recorder.store(kanary(), [change(number)])
        assert written.recorder.recorded("u-1").number == change(number).number
    assert written.rows == 1 + 10 + 5


def test_a_kanary_without_entries_is_not_in_the_history(written: Written, reader: Reader) -> None:
    written.recorder.record(kanary(), [], None)
    written.recorder.record(kanary("u-2", "other"), [change(1)], None)
    assert written.writer.flush(PATIENCE)
    assert deletions(reader) == {"u-2": False}


def test_a_result_of_a_newer_version_is_recorded_like_any_other(written: Written, reader: Reader) -> None:
    written.recorder.record(kanary(), [change(1), result(1, "RolledBack")], None)
    assert written.writer.flush(PATIENCE)
    found = reader.changes(ChangeQuery(**ALL)).items[0].result
    assert isinstance(found, ChangeResult)
    assert found.result == "RolledBack"
    assert written.recorder.recorded("u-1").recording.is_recorded


def test_one_that_has_the_name_of_another_says_that_that_one_is_deleted(written: Written, reader: Reader) -> None:
    for uid in ("u-1", "u-2"):
        written.recorder.record(kanary(uid), [change(1)], None)
    assert written.writer.flush(PATIENCE)
    assert deletions(reader) == {"u-1": True, "u-2": False}


def test_one_that_is_seen_again_after_its_deletion_is_recorded_as_existing(written: Written, reader: Reader) -> None:
    """As after a stale list from the API server."""
    for is_there in (True, False, True):
        if is_there:
            written.recorder.record(kanary(), [change(1)], None)
        else:
            written.recorder.deleted("shop", "web")
        assert written.writer.flush(PATIENCE)
        assert deletions(reader) == {"u-1": not is_there}
    assert written.recorder.recorded("u-1").number == change(1).number


def test_a_deletion_of_one_that_was_never_seen_is_nothing(written: Written, reader: Reader) -> None:
    written.recorder.record(kanary(), [change(1)], None)
    written.recorder.deleted("shop", "another")
    assert written.writer.flush(PATIENCE)
    assert deletions(reader) == {"u-1": False}


def test_one_that_exists_at_the_start_and_is_deleted_before_anything_of_it_is_recorded_is_marked(
    sqlite_url: str, reader: Reader
) -> None:
    database = open_database(sqlite_url)
    database.write([seen()])
    database.close()
    written = Written(sqlite_url)
    written.recorder.observe([kanary()])
    written.recorder.deleted("shop", "web")
    assert written.writer.stop(PATIENCE)
    assert deletions(reader) == {"u-1": True}


def test_nothing_counts_as_recorded_before_the_database_is_open(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = threading.Event()
    waiting = open_database(sqlite_url)
    monkeypatch.setattr("kanary.history.writer.open_database", lambda *_, **__: opening.wait(PATIENCE) and waiting)
    writer = HistoryWriter(sqlite_url)
    recorder = HistoryRecorder(writer)
    writer.start()
    recording = recorder.recorded("u-1").recording
    assert (recording.is_recorded, recording.reason) == (False, "DatabaseOpening")
    opening.set()
    await_that(lambda: recorder.recorded("u-1").recording.is_recorded)
    writer.stop()


def test_what_is_wrong_is_the_condition_s_reason(tmp_path: Path) -> None:
    written = Written(f"{tmp_path}/volume/history.db")
    await_that(written.writer.fault)
    recording = written.recorder.recorded("u-1").recording
    assert (recording.is_recorded, recording.reason) == (False, "DatabaseUnavailable")
    assert f"the folder {tmp_path}/volume" in recording.message
    written.writer.stop()


# The start: a Kanary missing in the cache is deleted only if the API server confirms it


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        running.install_crd(CRD)
        yield running


NOTHING_CACHED = cast(
    Watches, SimpleNamespace(kanaries=SimpleNamespace(values=list, get=lambda *_: None), enqueue_all=lambda: None)
)


def connected(server: ApiServer, tmp_path: Path, url: str) -> RecordFeed:
    client = ClusterClient.connect(kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig")), field_manager="kanary")
    return RecordFeed(client, Settings(history_url=url, namespace="shop"), Metrics())


def started(server: ApiServer, tmp_path: Path, url: str) -> RecordFeed:
    """The feed of a new leader with an empty cache."""
    feed = connected(server, tmp_path, url)
    feed.start(NOTHING_CACHED)
    return feed


def put(server: ApiServer, name: str) -> str:
    """Create a Kanary in the cluster; returns its uid."""
    routes = [{"backend": {"serviceName": "v1", "servicePort": "http"}, "weight": 100}]
    metadata = {"name": name, "namespace": "shop"}
    body = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata}
    made = server.store.put({**body, "spec": {"destination": name, "routes": routes}})
    return str(made["metadata"]["uid"])


def test_what_a_cache_lacks_is_marked_only_if_the_cluster_lacks_it_too(
    server: ApiServer, tmp_path: Path, sqlite_url: str, reader: Reader
) -> None:
    """Three cases: not cached yet, deleted, deleted and re-created."""
    there = put(server, "there")
    put(server, "again")
    database = open_database(sqlite_url)
    database.write([seen(there, name="there"), seen("u-gone", name="gone"), seen("u-before", name="again")])
    database.close()
    feed = started(server, tmp_path, sqlite_url)
    expected = {there: False, "u-gone": True, "u-before": True}
    await_that(lambda: deletions(reader) == expected)
    await_that(lambda: len(server.requests.find("GET", "/kanaries/")) == 3)
    feed.stop()
    assert deletions(reader) == expected


@pytest.mark.parametrize("fault", [Fault.status(500, "GET", "/kanaries/"), Fault.status(404, "GET", "/kanaries/")])
def test_nothing_is_marked_while_the_api_server_does_not_say(
    server: ApiServer, tmp_path: Path, sqlite_url: str, reader: Reader, fault: Fault
) -> None:
    """A 404 for the object differs from a 404 for the path."""
    database = open_database(sqlite_url)
    database.write([seen("u-gone", name="gone")])
    database.close()
    server.faults.add(fault)
    feed = started(server, tmp_path, sqlite_url)
    await_that(lambda: fault.hits)
    feed.stop()
    assert deletions(reader) == {"u-gone": False}


def test_a_deletion_has_the_time_of_the_cluster_as_entries_have(
    server: ApiServer, tmp_path: Path, sqlite_url: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the time of a machine whose clock is behind, the deletion would precede the last change."""
    database = open_database(sqlite_url)
    database.write([seen("u-gone", name="gone")])
    database.close()
    cluster_time = datetime(2040, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(ClusterClock, "now", lambda _clock: cluster_time)
    feed = connected(server, tmp_path, sqlite_url)
    history = feed.start(NOTHING_CACHED)
    history.record(kanary(), [change(1)], None)
    history.deleted("shop", "web")
    await_that(lambda: deletions(reader) == {"u-gone": True, "u-1": True})
    feed.stop()
    assert {known.deleted_at for known in reader.kanaries(KanaryQuery(**ALL)).items} == {cluster_time}
