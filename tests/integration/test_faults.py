"""A fault of the API server, or of our own process, delays what was asked for and takes nothing down."""

import itertools
from typing import Any

import pytest

from kanary.kube.client import Timeouts
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, moves, routes

IMPATIENT = Timeouts(connect=2.0, read=1.0, watch=2.0)

WRITE = "PATCH|PUT|POST|DELETE"
NO_EVENT = "^(?!.*/events)"
"""Events are best effort, and written beside everything else."""

FAULTS = {
    "a write is dropped": lambda: Fault.drop("PATCH", times=3),
    "a write is carried out and its answer lost": lambda: Fault.drop("PATCH", times=3, after_write=True),
    "a status is written and its answer lost": lambda: Fault.drop("PUT", times=3, after_write=True),
    "writes are throttled": lambda: Fault.status(429, "PATCH", times=3, retry_after=1),
    "writes fail": lambda: Fault.status(500, "PATCH", times=3),
    "a status cannot be written": lambda: Fault.status(503, "PUT", times=3),
    "a write hangs": lambda: Fault.hang("PATCH", times=2),
    "watches are cut": lambda: Fault.cut(times=8),
    "watches fall silent": lambda: Fault.mute(times=8),
    "Events cannot be written": lambda: Fault.status(500, "POST", "/events"),
}


@pytest.fixture
def serving(scene: Scene) -> Scene:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    return scene


@pytest.mark.parametrize("what", FAULTS)
def test_a_change_arrives_in_spite_of_a_fault(serving: Scene, what: str) -> None:
    serving.start_operator(timeouts=IMPATIENT)
    serving.wait_for_phase("Ready")
    fault = serving.server.faults.add(FAULTS[what]())
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.endpoints("myapp-v1", "10.0.0.1", "10.0.0.2")
    serving.wait_for(lambda: "10.0.0.2:9000" in serving.config())
    status = serving.wait_for_phase("Ready", revision=2)
    assert fault.hits > 0
    assert status["display"]["weights"] == "myapp-v1:http=30 myapp-v2:http=70"
    numbers = [move["number"] for move in moves(status)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_an_operator_starts_in_spite_of_reads_that_fail(serving: Scene) -> None:
    fault = serving.server.faults.add(Fault.status(500, "GET", "limit=", times=10))
    serving.start_operator()
    serving.wait_for_phase("Ready")
    assert fault.hits == 10


def test_a_forgotten_history_makes_it_list_again(serving: Scene) -> None:
    serving.start_operator()
    serving.wait_for_phase("Ready")
    serving.server.compact()
    serving.server.drop_watches()
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.wait_for_phase("Ready", revision=2)


def test_an_operator_that_starts_before_the_crd_waits_for_it(serving: Scene) -> None:
    fault = serving.server.faults.add(Fault.status(404, "GET", "/apis/kanary.k8s.io/v1$", times=1))
    serving.start_operator()
    serving.wait_for_phase("Ready")
    assert fault.hits == 1


def test_a_refusal_is_told_and_tried_again_when_something_changes(serving: Scene) -> None:
    fault = serving.server.faults.add(Fault.status(403, "PATCH", "/deployments/"))
    serving.start_operator()
    status = serving.wait_for_phase("Degraded", reason="RefusedByCluster")
    assert "cannot apply Deployment rule-haproxy" in status["message"]
    serving.server.faults.remove(fault)
    serving.declare(destination="myapp", routes=routes(myapp_v1=70, myapp_v2=30))
    serving.wait_for_phase("Ready")
    assert len(serving.events("RefusedByCluster")) == 1


def test_without_the_right_to_see_who_mounts_a_configuration_all_else_is_done_and_the_refusal_is_told(
    serving: Scene,
) -> None:
    serving.server.faults.add(Fault.status(403, "GET", "/replicasets"))
    serving.declare(destination="myapp", routes=routes(myapp_v1=70, myapp_v2=30), updateStrategy="Rolling")
    serving.start_operator()
    serving.wait_for_phase("Ready")
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    status = serving.wait_for_phase("Degraded", reason="RefusedByCluster", revision=2)
    assert "cannot list the ReplicaSets" in status["message"]
    serving.wait_for(lambda: serving.status()["display"]["weights"] == "myapp-v1:http=30 myapp-v2:http=70")


def test_an_operator_that_is_killed_before_any_write_is_carried_on_by_the_next(serving: Scene) -> None:
    """Changes of weights and destination: the first is killed before its first write, and so on to the last write."""
    entries: dict[int, Any] = {}
    for revision in itertools.count(1):
        process = serving.start_process()
        serving.wait_for_phase("Ready", revision=revision)
        stopped = serving.server.faults.add(Fault.hang(WRITE, NO_EVENT, skip=revision - 1))
        declare_shop(serving, revision + 1)
        serving.wait_for(lambda: stopped.hits or is_served(serving, f"shop-{revision + 1}"))
        process.kill()
        process.join()
        serving.server.faults.remove(stopped)
        with serving.operating():
            serving.wait_for(lambda: is_served(serving, f"shop-{revision + 1}"))
        for entry in serving.status()["history"]["entries"]:
            assert entries.setdefault(entry["number"], entry) == entry
        if not stopped.hits:
            break
    assert sorted(entries) == list(range(1, len(entries) + 1))
    changes = [entry for entry in entries.values() if entry["kind"] == "WeightChange"]
    assert [change["revision"] for change in changes] == list(range(1, revision + 2))
    assert [change.get("before") for change in changes[1:]] == [change["after"] for change in changes[:-1]]
    assert revision > 6


def declare_shop(scene: Scene, revision: int) -> None:
    weights = routes(myapp_v1=100 - revision, myapp_v2=revision)
    scene.declare(destination=f"shop-{revision}", routes=weights)


def is_served(scene: Scene, destination: str) -> bool:
    """Whether the present spec is, and its destination is the only one that is left."""
    kanary = scene.kanary() or {}
    status = kanary["status"]
    services = scene.server.store.list("services", NAMESPACE)
    ours = [service["metadata"]["name"] for service in services if service["metadata"].get("ownerReferences")]
    is_ready = status["phase"] == "Ready" and status["observedGeneration"] == kanary["metadata"]["generation"]
    return is_ready and ours == [destination]


def test_one_of_two_operators_leads_and_the_other_takes_over(serving: Scene) -> None:
    first = serving.start_operator(leader_election=True)
    serving.wait_for_phase("Ready")
    second = serving.start_operator(leader_election=True)
    serving.wait_for(lambda: second.operator._watches and second.operator._watches.are_synced())
    assert not second.operator._may_write()
    first.stop()
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.wait_for_phase("Ready", revision=2)
    assert first.exit_code == 0


def test_an_operator_whose_lease_is_taken_ends_and_writes_nothing_more(serving: Scene) -> None:
    running = serving.start_operator(leader_election=True)
    serving.wait_for_phase("Ready")

    def take(lease: dict) -> None:
        lease["spec"]["holderIdentity"] = "somebody-else"

    serving.server.store.change("leases", "kanary", take, NAMESPACE)
    running.join()
    assert running.exit_code == 1
