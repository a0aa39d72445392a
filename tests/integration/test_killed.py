"""An operator that is killed leaves nothing undone, and nothing unrecorded, that its successor does not complete."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.model.entries import entry_json
from kanary.history.queries import EntryQuery
from kanary.history.reader import Reader
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, routes

RULE = {"namespace": NAMESPACE, "name": "rule"}
WRITE = "PATCH|PUT|POST|DELETE"
NO_EVENT = "^(?!.*/events)"
"""Events are best effort, and written beside everything else."""


@pytest.fixture
def recorded(scene: Scene, tmp_path: Path) -> Callable[[], list[Any]]:
    """What the history database has, the oldest entry first."""
    scene.history_url = f"sqlite:///{tmp_path / 'history.db'}"

    def read() -> list[Any]:
        reader = Reader(scene.history_url)
        found = reader.entries(EntryQuery(**RULE, limit=1000)).items
        reader.close()
        return [entry_json(item.entry) for item in reversed(found)]

    return read


def test_an_operator_that_is_killed_before_any_write_is_carried_on_by_the_next(
    scene: Scene, recorded: Callable[[], list[Any]]
) -> None:
    """Changes of weights and destination: the first is killed before its first write, and so on to the last write."""
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    declare(scene, revision=1)
    entries: dict[int, Any] = {}
    for writes in count():
        was_killed = is_killed(scene, writes, partial(declare, scene, revision=writes + 2))
        with scene.operating():
            scene.wait_for(partial(is_served, scene))
        for entry in scene.status()["history"]["entries"]:
            assert entries.setdefault(entry["number"], entry) == entry
        if not was_killed:
            break
    # Two statuses, the ConfigMap, and a Service instead of another one; nothing for the pods.
    assert writes >= 5
    with scene.operating():
        scene.wait_for(lambda: len(recorded()) >= len(entries))
    changes = [entry for entry in recorded() if entry["kind"] == "WeightChange"]
    assert [change["revision"] for change in changes] == list(range(1, writes + 3))
    assert [change.get("before") for change in changes[1:]] == [change["after"] for change in changes[:-1]]
    assert recorded() == [entries[number] for number in range(1, len(entries) + 1)]


def is_killed(scene: Scene, writes: int, change: Callable[[], None]) -> bool:
    """Whether the change takes more writes than these, after which its operator is killed."""
    process = scene.start_process()
    scene.wait_for(partial(is_served, scene))
    stopped = scene.server.faults.add(Fault.hang(WRITE, NO_EVENT, skip=writes))
    change()
    scene.wait_for(lambda: stopped.hits or is_served(scene))
    process.kill()
    process.join()
    scene.server.faults.remove(stopped)
    return stopped.hits > 0


def declare(scene: Scene, revision: int) -> None:
    scene.declare(destination=f"shop-{revision}", routes=routes(myapp_v1=100 - revision, myapp_v2=revision))


def is_served(scene: Scene) -> bool:
    """Whether the present spec is, and no other destination is left."""
    kanary = scene.kanary()
    assert kanary
    status = kanary.get("status") or {}
    is_ready = status.get("phase") == "Ready" and status["observedGeneration"] == kanary["metadata"]["generation"]
    services = scene.server.store.list("services", NAMESPACE)
    ours = [service["metadata"]["name"] for service in services if service["metadata"].get("ownerReferences")]
    return is_ready and ours == [kanary["spec"]["destination"]]
