"""The operator takes up its work, is cut off from it, and leaves it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from kanary.kube.lease import Elector
from kanary.kube.reflector import Reflector
from kanary.operator import process
from tests.apiserver import ApiServer, Fault
from tests.integration.scene import Scene, routes

HOUR = 3600


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cluster with a Kanary of two versions; no operator runs yet."""
    with ApiServer(controllers=True) as server:
        scene = Scene(server, server.kubeconfig(tmp_path / "kubeconfig"))
        scene.backend("app-v1", "10.0.0.1")
        scene.backend("app-v2", "10.0.0.2")
        scene.declare(destination="app", routes=routes(app_v1=80, app_v2=20))
        yield scene
        scene.stop()


def hold_lease(scene: Scene, holder: str) -> None:
    """As a process leaves it that was killed just now."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": HOUR, "leaseTransitions": 0}
    scene.put("coordination.k8s.io/v1", "Lease", "kanary", spec=spec)


def test_an_operator_takes_over_from_the_killed_process_of_its_own_pod_at_once(scene: Scene) -> None:
    hold_lease(scene, "test_uid-1_killed")
    scene.start_operator(leader_election=True, pod_uid="uid-1")
    scene.wait_for_phase("Ready")
    lease = scene.get("leases", "kanary")
    assert lease
    assert lease["spec"]["leaseTransitions"] == 1
    assert lease["spec"]["holderIdentity"].startswith("test_uid-1_")


@pytest.mark.parametrize("pod_uid", ["uid-2", ""])
def test_an_operator_waits_for_the_lease_of_any_other_process(scene: Scene, pod_uid: str) -> None:
    hold_lease(scene, "test_uid-1_killed")
    scene.start_operator(leader_election=True, pod_uid=pod_uid)
    scene.server.requests.wait_for("GET", "/leases/kanary", 200, count=2)
    assert scene.status() == {}


def test_an_outage_that_outlasts_the_deadline_ends_no_operator(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"lease_seconds": 2.0, "renew_seconds": 1.2, "retry_seconds": 0.1}
    monkeypatch.setattr(process, "Elector", partial(Elector, **times))
    running = scene.start_operator(leader_election=True)
    scene.wait_for_phase("Ready")
    away = scene.server.faults.add(Fault.drop())
    scene.server.drop_watches()
    scene.wait_for(lambda: not running.operator._may_write())
    scene.declare(destination="app", routes=routes(app_v1=50, app_v2=50))
    scene.server.faults.remove(away)
    scene.wait_for_phase("Ready", revision=2)
    assert running.exit_code is None


@pytest.mark.parametrize("leader_election", [True, False])
def test_an_operator_that_is_stopped_before_it_has_seen_the_cluster_does_nothing(
    scene: Scene, tmp_path: Path, leader_election: bool
) -> None:
    """It would take all Kanaries for deleted."""
    history = tmp_path / "history.db"
    scene.history_url = f"sqlite:///{history}"
    refusal = scene.server.faults.add(Fault.status(500, "GET", "/services"))
    running = scene.start_operator(leader_election=leader_election)
    refusal.wait_for_hits()
    running.stop()
    assert running.exit_code == 0
    assert not history.exists()
    assert scene.get("leases", "kanary") is None
    assert [r for r in scene.server.requests.find() if r.method != "GET"] == []


def test_an_operator_that_is_stopped_while_it_takes_the_lease_does_nothing_but_release_it(
    scene: Scene, tmp_path: Path
) -> None:
    history = tmp_path / "history.db"
    scene.history_url = f"sqlite:///{history}"
    slow = scene.server.faults.add(Fault.slow("POST", "leases"))
    running = scene.start_operator(leader_election=True)
    slow.wait_for_hits()
    running.operator.stop()
    slow.release()
    running.join()
    assert running.exit_code == 0
    assert not history.exists()
    assert {r.path.rpartition("/")[2] for r in scene.server.requests.find() if r.method != "GET"} == {
        "leases",
        "kanary",
    }
    lease = scene.get("leases", "kanary")
    assert lease
    assert lease["spec"]["holderIdentity"] == ""


def test_when_the_api_server_is_back_no_watch_takes_an_idle_connection_from_before(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be dead, and the watch would wait for its time-out."""
    operator = scene.start_operator(leader_election=True).operator
    scene.wait_for_phase("Ready")
    steps: list[str] = []
    monkeypatch.setattr(operator._client, "reset_connections", lambda: steps.append("reset"))
    monkeypatch.setattr(Reflector, "reconnect", lambda _: steps.append("watch"))
    away = scene.server.faults.add(Fault.status(503, path="/leases/"))
    away.wait_for_hits()
    scene.server.faults.remove(away)
    scene.wait_for(lambda: "watch" in steps)
    assert steps[0] == "reset"
