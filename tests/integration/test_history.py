"""The operator keeps every change of weights, once, whatever happens to it and to the database."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.model.entries import Result
from kanary.history import database as databases
from kanary.history.faults import HistoryError
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery
from kanary.history.reader import Reader
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, routes

RULE = {"namespace": NAMESPACE, "name": "rule", "deleted": True}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def serving(scene: Scene, database: Path) -> Scene:
    """Two backends, and operators that keep their history in a file."""
    scene.history_url = f"sqlite:///{database}"
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    return scene


@pytest.fixture
def reader(database: Path) -> Iterator[Reader]:
    reading = Reader(f"sqlite:///{database}")
    yield reading
    reading.close()


def shift(scene: Scene, v1: int, revision: int) -> None:
    scene.declare(destination="myapp", routes=routes(myapp_v1=v1, myapp_v2=100 - v1))
    scene.wait_for_phase("Ready", revision=revision)


def recorded(scene: Scene, reader: Reader, count: int) -> list[Any]:
    """So many changes with what became of them, oldest first, once they are there."""

    def found() -> list[Any] | None:
        try:
            changes = reader.changes(ChangeQuery(**RULE)).items
        except HistoryError:  # the database may not be there yet
            return None
        return list(changes) if len(changes) == count and all(c.result for c in changes) else None

    changes: list[Any] = scene.wait_for(found, lambda: f"{count} changes")
    return changes[::-1]


def test_every_change_is_kept_with_what_became_of_it(serving: Scene, reader: Reader) -> None:
    serving.start_operator()
    for revision, v1 in enumerate((80, 50, 0), start=1):
        shift(serving, v1, revision)
    changes = recorded(serving, reader, 3)
    assert [[share.weight for share in c.change.after] for c in changes] == [[80, 20], [50, 50], [0, 100]]
    assert [[share.weight for share in c.change.before] for c in changes] == [[], [80, 20], [50, 50]]
    assert [c.change.cause for c in changes] == ["created", "spec changed", "spec changed"]
    assert {c.result.result for c in changes} == {Result.READY}
    configuration = reader.configuration(changes[0].change.digest)
    assert configuration is not None
    assert configuration.endpoints == {
        "myapp-v1:http": ("10.0.0.1:9000", "10.0.0.2:9000"),
        "myapp-v2:http": ("10.0.1.1:9000",),
    }
    assert "10.0.1.1:9000" in configuration.text
    assert numbers(reader) == list(range(1, len(numbers(reader)) + 1))


def numbers(reader: Reader) -> list[int]:
    """Of all entries, oldest first."""
    return [found.entry.number for found in reader.entries(EntryQuery(**RULE)).items][::-1]


def test_a_deleted_kanary_stays_in_the_history(serving: Scene, reader: Reader) -> None:
    serving.start_operator()
    shift(serving, 80, 1)
    recorded(serving, reader, 1)
    serving.server.store.delete("kanaries", "rule", NAMESPACE)
    gone = serving.wait_for(lambda: [k for k in reader.kanaries(KanaryQuery(**RULE)).items if k.deleted_at])
    assert gone[0].name == "rule"
    assert len(reader.changes(ChangeQuery(**RULE)).items) == 1


def test_one_that_is_deleted_while_no_operator_runs_is_marked_by_the_next(serving: Scene, reader: Reader) -> None:
    operator = serving.start_operator()
    shift(serving, 80, 1)
    recorded(serving, reader, 1)
    operator.stop()
    serving.server.store.delete("kanaries", "rule", NAMESPACE)
    serving.start_operator()
    serving.wait_for(lambda: [k for k in reader.kanaries(KanaryQuery(**RULE)).items if k.deleted_at])


def test_an_operator_that_is_stopped_before_it_has_listed_everything_marks_nothing(
    serving: Scene, reader: Reader
) -> None:
    operator = serving.start_operator()
    shift(serving, 80, 1)
    recorded(serving, reader, 1)
    operator.stop()
    fault = serving.server.faults.add(Fault.status(500, "GET", "/kanaries"))
    stopped = serving.start_operator(leader_election=True)
    serving.wait_for(lambda: fault.hits)
    stopped.stop()
    assert [kanary.deleted_at for kanary in reader.kanaries(KanaryQuery(**RULE)).items] == [None]


def test_changes_that_the_database_could_not_take_are_kept_later(
    serving: Scene, reader: Reader, database: Path
) -> None:
    serving.start_operator()
    shift(serving, 80, 1)
    recorded(serving, reader, 1)
    with sqlite3.connect(database, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        for revision, v1 in enumerate((70, 60, 50), start=2):
            shift(serving, v1, revision)
        condition = serving.wait_for(lambda: not_recorded(serving))
        assert condition["reason"] == "DatabaseLocked"
        assert str(database) in condition["message"]
        other.execute("ROLLBACK")
    changes = recorded(serving, reader, 4)
    assert [c.change.revision for c in changes] == [1, 2, 3, 4]
    serving.wait_for(lambda: not not_recorded(serving))


def not_recorded(scene: Scene) -> dict[str, Any]:
    conditions = scene.status().get("conditions", [])
    return next((c for c in conditions if c["type"] == "HistoryRecorded" and c["status"] == "False"), {})


def test_a_database_that_cannot_be_had_is_in_the_way_of_nothing(serving: Scene, database: Path) -> None:
    database.mkdir()
    serving.start_operator()
    shift(serving, 80, 1)
    shift(serving, 20, 2)
    assert serving.wait_for(lambda: not_recorded(serving))["reason"] == "DatabaseUnavailable"
    changes = [entry for entry in serving.status()["history"]["entries"] if entry["kind"] == "WeightChange"]
    assert [change["revision"] for change in changes] == [1, 2]


def test_a_corrupt_database_is_reported_until_the_operator_restarts(
    serving: Scene, reader: Reader, database: Path
) -> None:
    database.write_bytes(b"no database" * 1000)
    operator = serving.start_operator()
    shift(serving, 80, 1)
    recorded(serving, reader, 1)
    shift(serving, 50, 2)
    recorded(serving, reader, 2)
    condition = serving.wait_for(lambda: not_recorded(serving))
    (kept,) = database.parent.glob("history.db.corrupt-*")
    assert condition["reason"] == "DatabaseCorrupt"
    assert str(kept) in condition["message"]
    operator.stop()
    serving.start_operator()
    serving.wait_for(lambda: not not_recorded(serving))


def test_of_two_operators_the_one_that_leads_keeps_the_history_and_hands_it_on(serving: Scene, reader: Reader) -> None:
    first = serving.start_operator(leader_election=True)
    shift(serving, 80, 1)
    serving.start_operator(leader_election=True)
    shift(serving, 50, 2)
    first.stop()
    shift(serving, 20, 3)
    changes = recorded(serving, reader, 3)
    assert [c.change.revision for c in changes] == [1, 2, 3]


def condition(scene: Scene, name: str = "rule") -> dict[str, Any]:
    conditions = scene.status(name).get("conditions", [])
    return next((c for c in conditions if c["type"] == "HistoryRecorded"), {})


def test_lost_entries_are_reported_until_someone_acknowledges_them(serving: Scene) -> None:
    serving.start_operator()
    shift(serving, 80, 1)
    serving.wait_for(lambda: condition(serving).get("status") == "True")
    client = ClusterClient.connect(kubeconfig=serving.kubeconfig, user_agent="test")

    def set_lost(count: int) -> None:
        client.merge_patch(KANARIES, NAMESPACE, "rule", {"status": {"history": {"lost": count}}}, subresource="status")

    set_lost(7)
    lost = serving.wait_for(lambda: not_recorded(serving))
    assert lost["reason"] == "EntriesLost"
    assert lost["message"].startswith("7 entries were dropped before the history recorded them; ")
    shift(serving, 50, 2)
    assert condition(serving)["reason"] == "EntriesLost"
    set_lost(0)
    serving.wait_for(lambda: condition(serving)["status"] == "True")


def test_the_trouble_of_one_kanary_is_reported_on_no_other(
    serving: Scene, monkeypatch: pytest.MonkeyPatch, reader: Reader
) -> None:
    """Not in its condition, nor in the metrics, nor to those who read the history."""
    original = databases.entry_row

    def entry_row(uid: str, entry: Any) -> Any:
        if uid == (serving.kanary("odd") or {})["metadata"]["uid"]:
            raise OverflowError("a number that no database takes")
        return original(uid, entry)

    serving.declare(name="odd", destination="odd", routes=routes(myapp_v1=100))
    monkeypatch.setattr(databases, "entry_row", entry_row)
    operator = serving.start_operator().operator
    shift(serving, 80, 1)
    recorded(serving, reader, 1)
    odd = serving.wait_for(lambda: condition(serving, "odd").get("status") == "False" and condition(serving, "odd"))
    assert (odd["reason"], "shop/odd" in odd["message"]) == ("EntryRefused", True)
    shift(serving, 50, 2)
    recorded(serving, reader, 2)
    serving.wait_for(lambda: condition(serving).get("status") == "True")
    assert operator._history.fault() is None
    assert b"kanary_history_recorded 1.0" in operator._metrics.expose()
    refused = b'kanary_history_incomplete{namespace="shop",name="odd",reason="EntryRefused"} 1'
    serving.wait_for(lambda: refused in operator._metrics.expose())
