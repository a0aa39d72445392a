"""Whatever is edited, and whatever fails meanwhile: each revision that was served is in the history once."""

import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from engine.model.entries import Share, WeightChange
from engine.model.states import read_written
from kanary.history.faults import HistoryError
from kanary.history.queries import ChangeQuery, every
from kanary.history.reader import Reader
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import ClusterError
from kanary.kube.resources import CONFIG_MAPS
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, routes

RULE = {"namespace": NAMESPACE, "name": "rule", "deleted": True}
EDITS = int(os.environ.get("KANARY_EDITS", "80"))
"""Of each test. The longest pause between two follows from it: a thousand take up to 2 s each."""
LONGEST = min(0.15 * EDITS / 80, 2.0)
FAULTS = (
    lambda: Fault.status(409, "PUT", times=1),
    lambda: Fault.status(500, "PATCH", times=1),
    lambda: Fault.status(500, "PUT", times=1),
    lambda: Fault.drop("PATCH", times=1, after_write=True),
    lambda: Fault.drop("PUT", times=1, after_write=True),
)

Served = list[tuple[int, tuple[Share, ...]]]


class Onlooker:
    """Notes every configuration that is ever written for the proxies: one of them may have served it."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        _, self._version = client.list(CONFIG_MAPS, NAMESPACE)
        self.served: Served = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while True:
            try:
                opened = self._client.watch(CONFIG_MAPS, self._version, namespace=NAMESPACE, timeout_seconds=600)
                with opened as watch:
                    for _, obj in watch:
                        self._version = obj["metadata"]["resourceVersion"]
                        self._note(obj)
            except ClusterError:
                time.sleep(0.05)  # the server cut it off; it goes on where it was

    def _note(self, config_map: dict) -> None:
        applied = read_written(config_map).applied
        if applied and self.served[-1:] != [(applied.revision, applied.spec.shares)]:
            self.served.append((applied.revision, applied.spec.shares))


def edit(client: ClusterClient, v1: int) -> None:
    """As `kubectl patch` does: the status is not touched."""
    spec = {"routes": routes(myapp_v1=v1, myapp_v2=100 - v1)}
    for _ in range(10):
        try:
            client.merge_patch(KANARIES, NAMESPACE, "rule", {"spec": spec})
        except ClusterError:
            continue  # one of the faults that are meant for the operator
        return
    raise AssertionError("ten faults in a row")


def recorded_up_to(url: str, revision: int) -> list[WeightChange]:
    """All weight changes, oldest first, once there are that many."""
    reader = Reader(url)
    try:
        found = [recorded.change for recorded in every(reader.changes, ChangeQuery(**RULE))][::-1]
    except HistoryError:  # the database may not be there yet
        return []
    finally:
        reader.close()
    return found if found and found[-1].revision >= revision else []


@pytest.mark.parametrize("seed", range(2))
def test_every_revision_that_was_served_is_in_the_history_once_with_what_was_before(
    scene: Scene, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    scene.history_url = f"sqlite:///{tmp_path / 'history.db'}"
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    client = ClusterClient.connect(kubeconfig=str(scene.kubeconfig), user_agent="test")
    onlooker = Onlooker(client)
    scene.declare(destination="myapp", routes=routes(myapp_v1=100, myapp_v2=0), updateStrategy="Rolling")
    process = scene.start_process()
    scene.wait_for_phase("Ready")
    for number in range(EDITS):
        edit(client, chance.randrange(101))
        if chance.random() < 0.1:
            scene.server.faults.add(chance.choice(FAULTS)())
        time.sleep(chance.uniform(0.01, LONGEST))  # it is when edits come that is tried
        if number % 20 == 13:
            process.kill()
            process.join()
            # The user goes on editing while there is no operator.
            edit(client, number % 101)
            process = scene.start_process()
    scene.server.faults.clear()
    status = scene.wait_for_phase("Ready")
    changes = scene.wait_for(lambda: recorded_up_to(scene.history_url, status["split"]["revision"]))
    assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
    by_revision = {change.revision: change for change in changes}
    served = onlooker.served
    assert len(served) > EDITS / 20
    assert [revision for revision, _ in served] == sorted({revision for revision, _ in served})
    before: tuple[Share, ...] = ()
    for revision, shares in served:
        assert (by_revision[revision].before, by_revision[revision].after) == (before, shares)
        before = shares
    print(json.dumps({"seed": seed, "edits": EDITS, "noted": len(changes), "served": len(served)}))
