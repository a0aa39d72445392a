"""The proxies of others: however they behave, a Kanary of another namespace is served as fast as without them."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest

from tests.integration import agents
from tests.integration.scene import Scene, routes

Json = dict[str, object]

NEIGHBOURS = 20
"""Kanaries with two proxies each."""
ROUNDS = 3
CHANGES = 8
NOISE = 1.0
"""Seconds by which a busy machine may delay a change. With reports requested in the workers it was 30 s."""


@pytest.fixture
def serving(scene: Scene) -> Scene:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    scene.start_operator()
    scene.wait_for_phase("Ready")
    return scene


def add_neighbours(scene: Scene) -> None:
    """Kanaries of one other namespace, whose proxies behave in every bad way."""
    ways = (agents.never, agents.slowly, agents.in_a_flood, agents.with_garbage, agents.byte_by_byte)
    backend = scene.get("services", "myapp-v1"), scene.get("endpointslices", "myapp-v1-1")
    for obj in backend:
        scene.server.store.put({**obj, "metadata": {**obj["metadata"], "namespace": "bad"}})
    for number, way in zip(range(NEIGHBOURS), itertools.cycle(ways), strict=False):
        name = f"bad-{number}"
        scene.agents.hostile[name] = way
        spec = {"destination": name, "routes": routes(myapp_v1=100)}
        metadata = {"namespace": "bad", "name": name}
        scene.server.store.put({"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": spec})
    scene.wait_for(lambda: len(scene.agents.deceived) >= 2 * NEIGHBOURS)


def seconds_of_changes(scene: Scene) -> float:
    """The seconds from a change of weights to Ready: the median of the round in which the machine was least busy."""
    return min(statistics.median(seconds_of_change(scene, n) for n in range(CHANGES)) for _ in range(ROUNDS))


def seconds_of_change(scene: Scene, number: int) -> float:
    began = time.monotonic()
    weight = 30 + number % 2 * 40
    scene.declare(destination="myapp", routes=routes(myapp_v1=weight, myapp_v2=100 - weight))
    scene.wait_for_phase("Ready")
    return time.monotonic() - began


def test_proxies_of_others_that_behave_badly_delay_a_change_by_a_factor_of_two_at_most(serving: Scene) -> None:
    alone = seconds_of_changes(serving)
    add_neighbours(serving)
    together = seconds_of_changes(serving)
    print(f"a change takes {alone:.3f} s alone, {together:.3f} s beside {2 * NEIGHBOURS} bad proxies")
    assert together <= 2 * alone + NOISE
