"""A list that omits objects which exist, as from a proxy in front of the API server, changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kanary.history.queries import KanaryQuery
from kanary.history.reader import Reader
from kanary.kube.reflector import Reflector
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Running, Scene, moves, routes

KINDS = ("kanaries", "services", "endpointslices", "configmaps", "deployments", "pods", "poddisruptionbudgets")
OURS = ("configmaps", "deployments", "services", "poddisruptionbudgets")


@pytest.fixture
def serving(scene: Scene, tmp_path: Path) -> Scene:
    scene.history_url = f"sqlite:///{tmp_path / 'history.db'}"
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    return scene


def objects(scene: Scene) -> dict[str, Any]:
    """All that the operator has written, except for the status."""
    found = [obj for kind in OURS for obj in scene.server.store.list(kind, NAMESPACE)]
    return {f"{obj['kind']} {obj['metadata']['name']}": obj["metadata"]["resourceVersion"] for obj in found}


def deletion_of(scene: Scene) -> object:
    """When the Kanary was deleted, by the history."""
    reader = Reader(scene.history_url)
    found = reader.kanaries(KanaryQuery(namespace=NAMESPACE, name="rule", deleted=True)).items
    reader.close()
    return [kanary.deleted_at for kanary in found]


def is_recorded(scene: Scene) -> bool:
    conditions = scene.status()["conditions"]
    return any((each["type"], each["status"]) == ("HistoryRecorded", "True") for each in conditions)


def servers_of(scene: Scene) -> list[str]:
    return [line for line in scene.config().splitlines() if line.strip().startswith("server ")]


def reflectors(running: Running, plurals: tuple[str, ...]) -> list[Reflector]:
    watches = running.operator._watches
    assert watches
    return [each for each in watches.all if each.resource.plural in plurals]


@pytest.mark.parametrize("plurals", [*((kind,) for kind in KINDS), KINDS], ids="+".join)
def test_a_list_that_is_empty_once_changes_nothing(
    serving: Scene, plurals: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kanary.kube.reflector._STEADY", 0.1)
    running = serving.start_operator()
    serving.wait_for_phase("Ready", revision=1)
    # A busy machine may open the history late.
    serving.wait_for(lambda: is_recorded(serving))
    status = serving.status()
    written = objects(serving)
    faults = [serving.server.faults.add(Fault.empty(kind, times=1)) for kind in plurals]
    serving.expire_watches()
    for fault in faults:
        fault.wait_for_hits()
    # The second list is right, and is followed by a watch.
    serving.wait_for(lambda: all(not each.problem() and each._opened_at for each in reflectors(running, plurals)))
    assert objects(serving) == written
    assert deletion_of(serving) == [None]
    assert serving.status()["conditions"] == status["conditions"]
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.wait_for_phase("Ready", revision=2)
    assert deletion_of(serving) == [None]
    assert "Degraded" not in {entry["to"] for entry in moves(serving.status())}


@pytest.mark.parametrize("plural", ["kanaries", "services", "endpointslices", "configmaps", "pods"])
def test_a_first_list_that_is_empty_takes_no_route_away_and_is_mended(
    serving: Scene, plural: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving.operating():
        serving.wait_for_phase("Ready", revision=1)
    monkeypatch.setattr("kanary.kube.list_schedule._FIRST_REVIEW", 2.0)
    monkeypatch.setattr("kanary.kube.reflector._STEADY", 1.0)
    servers = servers_of(serving)
    fault = serving.server.faults.add(Fault.empty(plural, times=1))
    running = serving.start_operator()
    fault.wait_for_hits()
    serving.wait_for(lambda: running.operator._watches and running.operator._watches.are_synced())
    (reflector,) = reflectors(running, (plural,))
    serving.wait_for(lambda: reflector.all_keys() or servers_of(serving) != servers)
    assert servers_of(serving) == servers
    serving.wait_for_phase("Ready", revision=1)
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.wait_for_phase("Ready", revision=2)
    assert deletion_of(serving) == [None]
