"""Whatever is edited, and whatever fails meanwhile: each revision that was served is in the history once."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import ClusterError
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.promises.crashes import Onlooker, history_of

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


def is_recorded(scene: Scene) -> bool:
    """Whether the history has all entries of the status."""
    found = history_of(scene.history_url)
    return [len(entries) for entries in found.values()] == [scene.status()["history"]["last"]]


def is_current(scene: Scene) -> bool:
    """Whether the last edit is served."""
    kanary, status = scene.kanary() or {}, scene.status()
    return status["phase"] == "Ready" and status["observedGeneration"] == kanary["metadata"]["generation"]


@pytest.mark.parametrize("seed", range(2))
def test_every_revision_that_was_served_is_in_the_history_once_with_what_was_before(
    scene: Scene, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    scene.history_url = f"sqlite:///{tmp_path / 'history.db'}"
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    client = ClusterClient.connect(kubeconfig=str(scene.kubeconfig), user_agent="test")
    onlooker = Onlooker(scene)
    scene.declare(destination="myapp", routes=routes(myapp_v1=100, myapp_v2=0), updateStrategy="Rolling")
    process = scene.start_process()
    scene.wait_for_phase("Ready")
    served = onlooker.revisions
    for number in range(EDITS):
        edit(client, chance.randrange(101))
        if chance.random() < 0.1:
            scene.server.faults.add(chance.choice(FAULTS)())
        time.sleep(chance.uniform(0.01, LONGEST))  # it is when edits come that is tried
        if number % 20 == 13:
            # A busy machine may take longer to start it than all these edits.
            scene.wait_for(lambda: onlooker.revisions > served or is_current(scene))  # noqa: B023
            served = onlooker.revisions
            process.kill()
            process.join()
            # The user goes on editing while there is no operator.
            edit(client, number % 101)
            process = scene.start_process()
    scene.server.faults.clear()
    scene.wait_for_phase("Ready")
    scene.wait_for(lambda: is_recorded(scene))
    onlooker.stop()
    found = onlooker.account(scene.history_url)
    assert found.served > EDITS / 40
    assert (found.missing, found.twice, found.wrong) == ([], 0, [])
    print(json.dumps({"seed": seed, "edits": EDITS, "noted": found.recorded, "served": found.served}))
