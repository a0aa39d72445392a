"""Faults of the API server and of the operator delay changes and interrupt no traffic."""

import pytest

from kanary.kube.client import Timeouts
from kanary.kube.resources import Key
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, routes

IMPATIENT = Timeouts(connect=2.0, read=1.0, watch=2.0)

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
    # Events are written later than the status.
    serving.wait_for(lambda: fault.hits > 0)
    assert status["display"]["weights"] == "myapp-v1:http=30 myapp-v2:http=70"
    numbers = [entry["number"] for entry in status["history"]["entries"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_an_operator_starts_in_spite_of_reads_that_fail(serving: Scene) -> None:
    fault = serving.server.faults.add(Fault.status(500, "GET", "limit=", times=10))
    serving.start_operator()
    serving.wait_for_phase("Ready")
    fault.wait_for_hits(10)


def test_without_an_answer_about_the_signing_key_pods_are_followed_and_changes_are_sent_later(serving: Scene) -> None:
    """API servers that cannot decrypt Secrets fail like that, for them alone."""
    first = serving.start_operator()
    serving.wait_for_phase("Ready")
    first.stop()
    fault = serving.server.faults.add(Fault.status(500, "GET", "/secrets/"))
    serving.start_operator()
    serving.endpoints("myapp-v1", "10.0.0.1", "10.0.0.2")
    serving.wait_for(lambda: "10.0.0.2:9000" in serving.config())
    assert fault.hits > 0
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.server.faults.remove(fault)
    serving.wait_for_phase("Ready", revision=2)


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


def test_a_rejection_is_reported_and_retried_after_a_change(serving: Scene) -> None:
    fault = serving.server.faults.add(Fault.status(403, "POST", "/deployments"))
    serving.start_operator()
    status = serving.wait_for_phase("Degraded", reason="RejectedByCluster")
    assert "cannot create Deployment rule-haproxy" in status["message"]
    serving.server.faults.remove(fault)
    serving.declare(destination="myapp", routes=routes(myapp_v1=70, myapp_v2=30))
    serving.wait_for_phase("Ready")
    assert len(serving.wait_for(lambda: serving.events("RejectedByCluster"))) == 1


def test_without_the_right_to_list_replica_sets_all_else_is_done_and_the_rejection_is_reported(
    serving: Scene,
) -> None:
    serving.server.faults.add(Fault.status(403, "GET", "/namespaces/.*/replicasets"))
    serving.declare(destination="myapp", routes=routes(myapp_v1=70, myapp_v2=30), updateStrategy="Rolling")
    serving.start_operator()
    serving.wait_for_phase("Ready")
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    status = serving.wait_for_phase("Degraded", reason="RejectedByCluster", revision=2)
    assert "cannot list the ReplicaSets" in status["message"]
    serving.wait_for(lambda: serving.status()["display"]["weights"] == "myapp-v1:http=30 myapp-v2:http=70")


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


@pytest.mark.parametrize(
    "fault", [Fault.status(503, "PUT"), Fault.drop("PUT"), Fault.hang("PUT")], ids=lambda fault: fault.kind.name
)
def test_an_operator_whose_decisions_are_not_written_does_not_signal_that_it_can_act(
    serving: Scene, fault: Fault
) -> None:
    """Agents may roll back without it."""
    operator, key = serving.start_operator(timeouts=IMPATIENT).operator, Key(NAMESPACE, "rule")
    serving.wait_for_phase("Ready")
    serving.wait_for(lambda: operator._can_act(key))
    serving.server.faults.add(fault)
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.wait_for(lambda: not operator._can_act(key))
    serving.server.faults.remove(fault)
    serving.wait_for_phase("Ready", revision=2)
    serving.wait_for(lambda: operator._can_act(key))
