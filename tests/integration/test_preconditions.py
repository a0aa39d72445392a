"""An object is written only as it was read: nothing of others is taken over, and nothing newer is overwritten."""

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from engine.model.states import APPLIED_KEY
from kanary.kube.http import Response
from kanary.kube.lease import Elector
from kanary.kube.verbs import Request
from kanary.operator import process
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Running, Scene, routes
from tests.waiting import PATIENCE

Json = dict[str, Any]

SELECTOR = {"kanary.k8s.io/name": "rule"}
POD = {"metadata": {"labels": SELECTOR}, "spec": {"containers": [{"name": "haproxy", "image": "theirs"}]}}
FOREIGN: dict[str, tuple[str, str, str, Json]] = {
    "configmaps": ("v1", "ConfigMap", "rule-haproxy", {"data": {"their": "data"}}),
    "deployments": (
        "apps/v1",
        "Deployment",
        "rule-haproxy",
        {"spec": {"replicas": 1, "selector": {"matchLabels": SELECTOR}, "template": POD}},
    ),
    "poddisruptionbudgets": (
        "policy/v1",
        "PodDisruptionBudget",
        "rule-haproxy",
        {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": SELECTOR}}},
    ),
    "services": ("v1", "Service", "shop", {"spec": {"ports": [{"port": 80}]}}),
}
"""What others may have under the name of an object of ours, as similar to it as possible."""


def declare(scene: Scene, weight: int = 80, destination: str = "shop", replicas: int = 2, **spec: Any) -> None:
    split = routes(myapp_v1=weight, myapp_v2=100 - weight)
    scene.declare(destination=destination, routes=split, proxy={"replicas": replicas}, **spec)


def restore_budget(scene: Scene) -> None:
    scene.server.store.change(
        "poddisruptionbudgets", "rule-haproxy", lambda budget: budget["spec"].update(maxUnavailable=2), NAMESPACE
    )


CHANGES: dict[str, Callable[[Scene], None]] = {
    "configmaps": partial(declare, weight=50),
    "deployments": partial(declare, replicas=3),
    "poddisruptionbudgets": restore_budget,
    "services": partial(declare, port=81),
}
"""What leads to a write of an object of the kind."""


@pytest.fixture
def prepared(scene: Scene) -> Scene:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    declare(scene)
    return scene


def hold(scene: Scene, method: str, path: str) -> Fault:
    return scene.server.faults.add(Fault.slow(method, path, times=1))


def put_foreign(scene: Scene, kind: str) -> Json:
    api_version, name, key, body = FOREIGN[kind]
    scene.put(api_version, name, key, **body)
    found = scene.get(kind, key)
    assert found
    return found


def is_named(scene: Scene) -> bool:
    """The proxies run for a destination of others, once the operator has seen it."""
    message = scene.status().get("message", "")
    return "does not belong to this Kanary" in message or "is a Service that Kanary did not create" in message


def is_untouched(scene: Scene, kind: str, foreign: Json) -> bool:
    """Its controller may write the status."""
    found = scene.get(kind, foreign["metadata"]["name"])
    assert found
    changing = ("resourceVersion", "managedFields", "generation")
    before, now = ({k: v for k, v in o["metadata"].items() if k not in changing} for o in (foreign, found))
    return before == now and all(found.get(part) == foreign.get(part) for part in ("spec", "data"))


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_object_that_appears_before_ours_is_created_is_not_taken_over(prepared: Scene, kind: str) -> None:
    creation = hold(prepared, "POST", f"/{kind}")
    prepared.start_operator()
    creation.wait_for_hits()
    foreign = put_foreign(prepared, kind)
    creation.release()
    prepared.wait_for(lambda: is_named(prepared))
    assert is_untouched(prepared, kind, foreign)


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_object_that_replaces_ours_before_it_is_written_is_not_taken_over(prepared: Scene, kind: str) -> None:
    prepared.start_operator()
    prepared.wait_for_phase("Ready")
    write = hold(prepared, "PATCH", f"/{kind}/")
    CHANGES[kind](prepared)
    write.wait_for_hits()
    prepared.server.store.delete(kind, FOREIGN[kind][2], NAMESPACE)
    foreign = put_foreign(prepared, kind)
    write.release()
    prepared.server.requests.wait_for("PATCH", f"/{kind}/", 409)
    prepared.wait_for(lambda: is_named(prepared))
    assert is_untouched(prepared, kind, foreign)


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_changes_before_it_is_written_is_read_again(prepared: Scene, kind: str) -> None:
    name = FOREIGN[kind][2]
    prepared.start_operator()
    prepared.wait_for_phase("Ready")
    write = hold(prepared, "PATCH", f"/{kind}/")
    CHANGES[kind](prepared)
    write.wait_for_hits()
    change = {"theirs": "kept"}
    prepared.server.store.change(kind, name, lambda obj: obj["metadata"]["annotations"].update(change), NAMESPACE)
    write.release()
    prepared.server.requests.wait_for("PATCH", f"/{kind}/", 409)
    prepared.server.requests.wait_for("PATCH", f"/{kind}/", 200)
    prepared.wait_for_phase("Ready")
    found = prepared.get(kind, name)
    assert found
    assert found["metadata"]["annotations"]["theirs"] == "kept"


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_an_old_destination_that_changes_before_it_is_deleted_is_read_again(prepared: Scene, method: str) -> None:
    prepared.start_operator()
    prepared.wait_for_phase("Ready")
    write = hold(prepared, method, "/services/shop")
    declare(prepared, destination="other")
    write.wait_for_hits()
    change = {"theirs": "kept"}
    prepared.server.store.change("services", "shop", lambda obj: obj["metadata"]["labels"].update(change), NAMESPACE)
    write.release()
    prepared.server.requests.wait_for(method, "/services/shop", 409)
    prepared.wait_for(lambda: prepared.get("services", "shop") is None)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_an_object_that_replaces_an_old_destination_is_not_deleted(prepared: Scene, method: str) -> None:
    prepared.start_operator()
    prepared.wait_for_phase("Ready")
    write = hold(prepared, method, "/services/shop")
    declare(prepared, destination="other")
    write.wait_for_hits()
    prepared.server.store.delete("services", "shop", NAMESPACE)
    foreign = put_foreign(prepared, "services")
    write.release()
    prepared.server.requests.wait_for(method, "/services/shop", 409)
    prepared.wait_for_phase("Ready")
    assert is_untouched(prepared, "services", foreign)


def test_what_the_proxies_were_created_with_is_removed_with_the_setting(prepared: Scene) -> None:
    """The API server keeps what a create has set when an apply omits it."""
    split = routes(myapp_v1=80, myapp_v2=20)
    prepared.declare(destination="shop", routes=split, proxy={"resources": {"limits": {"memory": "256Mi"}}})
    prepared.start_operator()
    prepared.wait_for_phase("Ready")
    assert limits(prepared) == {"memory": "256Mi"}
    theirs = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}

    def restart(obj: Json) -> None:
        obj["spec"]["template"]["metadata"]["annotations"].update(theirs)

    prepared.server.store.change("deployments", "rule-haproxy", restart, NAMESPACE)
    prepared.declare(destination="shop", routes=split)
    prepared.wait_for_phase("Ready")
    assert not limits(prepared)
    template = (prepared.get("deployments", "rule-haproxy") or {})["spec"]["template"]
    assert theirs.items() <= template["metadata"]["annotations"].items()


def limits(scene: Scene) -> Json | None:
    containers = (scene.get("deployments", "rule-haproxy") or {})["spec"]["template"]["spec"]["containers"]
    found: Json | None = next(each for each in containers if each["name"] == "haproxy")["resources"].get("limits")
    return found


class Frozen:
    """An operator whose requests are held back on its side, from its next write but so many on: as if it were stopped
    between its check for leadership and the write."""

    def __init__(self, running: Running, writes: int) -> None:
        self.late: list[tuple[str, str, int]] = []
        """The writes after the thaw, with their answers."""
        self._left = writes
        self._session = running.operator._client._session
        self._send = self._session.send
        self._lock = threading.Lock()
        self.is_frozen = threading.Event()
        self._thawed = threading.Event()
        self._session.send = self._held  # type: ignore[method-assign]

    def _held(self, request: Request, timeout: tuple[float, float]) -> Response:
        is_write = request.method != "GET" and "/events" not in request.path and "/leases" not in request.path
        with self._lock:
            if is_write and self._left == 0:
                self.is_frozen.set()
            self._left -= is_write
        if not self.is_frozen.is_set():
            return self._send(request, timeout)
        self._thawed.wait(PATIENCE)
        response = self._send(request, timeout)
        if is_write:
            self.late.append((request.method, request.path, response.status))
        return response

    def thaw(self) -> None:
        self._thawed.set()


WRITES = 8
"""Of the change: two statuses, a ConfigMap, a Deployment (three requests), a Service, and one that is deleted (two)."""
HARMLESS = (("POST", "services"), ("PATCH", "shop"))
"""A create replaces nothing, and the mark of an old destination is removed by the leader that needs it."""


@pytest.mark.parametrize("writes", range(WRITES))
def test_a_leader_that_was_frozen_before_a_write_overwrites_nothing(
    prepared: Scene, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    times = {"lease_seconds": 2.0, "renew_seconds": 1.2, "retry_seconds": 0.1}
    monkeypatch.setattr(process, "Elector", partial(Elector, **times))
    first = prepared.start_operator(leader_election=True)
    prepared.wait_for_phase("Ready")
    frozen = Frozen(first, writes)
    declare(prepared, weight=50, destination="other", replicas=3)
    assert frozen.is_frozen.wait(PATIENCE)
    # The old destination is needed again, as it is.
    declare(prepared, weight=30, replicas=4)
    prepared.start_operator(leader_election=True)
    prepared.wait_for_phase("Ready")
    prepared.wait_for(lambda: prepared.get("services", "other") is None)
    before = contents(prepared)
    frozen.thaw()
    first.join()
    assert first.exit_code == 1
    assert frozen.late
    answers = {(method, path.rpartition("/")[2]): status for method, path, status in frozen.late}
    assert {write for write, status in answers.items() if status != 409} <= {*HARMLESS}
    prepared.wait_for(lambda: contents(prepared) == before, lambda: f"{before} again: {contents(prepared)}")


def contents(scene: Scene) -> Json:
    """What two leaders might write differently."""
    kinds = ("configmaps", "deployments", "poddisruptionbudgets", "services")
    objects = [obj for kind in kinds for obj in scene.server.store.list(kind, NAMESPACE)]
    found: Json = {
        f"{obj['kind']} {obj['metadata']['name']}": (
            obj["metadata"]["uid"],
            obj["metadata"].get("annotations"),
            obj.get("spec"),
            obj.get("data"),
        )
        for obj in objects
    }
    status = scene.status()
    return {**found, "revision": status["revision"], "weights": status["display"]["weights"]}


def test_a_generation_that_the_kanary_has_not_reached_stops_nothing(prepared: Scene) -> None:
    """Someone has written it; the API server says that the copy of the Kanary is not an old one."""
    prepared.start_operator()
    prepared.wait_for_phase("Ready")

    def damage(config_map: Json) -> None:
        applied = json.loads(config_map["data"][APPLIED_KEY])
        config_map["data"][APPLIED_KEY] = json.dumps({**applied, "generation": 9999})

    prepared.server.store.change("configmaps", "rule-haproxy", damage, NAMESPACE)
    declare(prepared, 50)
    prepared.wait_for_phase("Ready", revision=2)
    found = prepared.get("configmaps", "rule-haproxy")
    assert found
    assert json.loads(found["data"][APPLIED_KEY])["generation"] == 2
