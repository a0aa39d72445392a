"""Measures how long a change of one namespace takes, alone and beside hostile proxies of another one."""

from __future__ import annotations

import itertools
import math
import statistics
import time

from kanary.outbound import peers
from tests.integration import agents
from tests.integration.scene import Scene, routes, run_operator

NEIGHBOURS = 20
"""Kanaries with two proxies each."""
ROUNDS = 3
MOST_ROUNDS = 12
CHANGES = 8
NOISE = 0.3
"""Seconds by which a busy machine may delay a change. With reports requested in the workers it was 30 s."""


def run_operator_that_calls_loopback(kubeconfig: str, agent_port: int, history_url: str) -> None:
    """The main function of an operator's process whose checks may use the addresses of tests."""
    peers.why_forbidden = lambda *_: ""
    run_operator(kubeconfig, agent_port, history_url)


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


def seconds_of_changes(scene: Scene, most: float = math.inf) -> float:
    """The seconds from a change of weights to Ready: the median of the round in which the machine was least busy.

    As long as that exceeds `most`, further rounds follow: the machine may be busier than at the former measurement.
    """
    found: list[float] = []
    while len(found) < ROUNDS or (min(found) > most and len(found) < MOST_ROUNDS):
        found.append(statistics.median(seconds_of_change(scene, n) for n in range(CHANGES)))
    return min(found)


def seconds_of_change(scene: Scene, number: int) -> float:
    began = time.monotonic()
    weight = 30 + number % 2 * 40
    scene.declare(destination="myapp", routes=routes(myapp_v1=weight, myapp_v2=100 - weight))
    scene.wait_for_phase("Ready")
    return time.monotonic() - began
