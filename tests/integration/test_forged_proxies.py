"""Pods that say of themselves that they are proxies: whoever may create pods can write any label, owner and report."""

from __future__ import annotations

import pytest

from tests.integration.scene import NAMESPACE, Json, Scene, routes

ADDRESS = "127.0.99.1"


@pytest.fixture
def serving(scene: Scene) -> Scene:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    scene.start_operator()
    scene.wait_for_phase("Ready")
    return scene


def reference(kind: str, owner: Json) -> Json:
    found = {"apiVersion": "apps/v1", "kind": kind, "controller": True}
    return found | {key: owner["metadata"][key] for key in ("name", "uid")}


def real_replica_set(scene: Scene) -> Json:
    found: list[Json] = scene.server.store.list("replicasets.apps", NAMESPACE)
    return next(each for each in found if each["metadata"]["name"].startswith("rule-haproxy-"))


def replica_set(scene: Scene, name: str, owners: list[Json]) -> Json:
    """A ReplicaSet with the labels of a real one."""
    real = real_replica_set(scene)
    metadata = {"name": name, "namespace": NAMESPACE, "labels": real["metadata"]["labels"], "ownerReferences": owners}
    return scene.server.store.put({**real, "metadata": metadata})


def owners(scene: Scene) -> dict[str, list[Json]]:
    """What the owner of a forged pod may be, by its description."""
    deployment, real = scene.get("deployments", "rule-haproxy"), real_replica_set(scene)
    assert deployment
    other = {**deployment, "metadata": {"name": "other", "namespace": NAMESPACE, "labels": real["metadata"]["labels"]}}
    other = scene.server.store.put(other)
    own, wrong = reference("Deployment", deployment), {"uid": "00000000-0000-0000-0000-000000000000"}
    return {
        "none": [],
        "not the controller": [reference("ReplicaSet", real) | {"controller": False}],
        "another uid": [reference("ReplicaSet", real) | wrong],
        "no such ReplicaSet": [reference("ReplicaSet", real) | {"name": "none"}],
        "the Deployment": [own],
        "a ReplicaSet alone": [reference("ReplicaSet", replica_set(scene, "alone", []))],
        "a ReplicaSet of another uid": [reference("ReplicaSet", replica_set(scene, "wrong", [own | wrong]))],
        "another Deployment's": [
            reference("ReplicaSet", replica_set(scene, "others", [reference("Deployment", other)]))
        ],
    }


def forge(scene: Scene, number: int, references: list[Json]) -> str:
    """A pod that equals a proxy in all but its owner; returns its uid."""
    pod = scene.get("pods", min(scene.proxies()))
    assert pod
    kept = {key: pod["metadata"][key] for key in ("namespace", "labels", "annotations")}
    metadata = {**kept, "name": f"forged-{number}", "ownerReferences": references}
    status = {**pod["status"], "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
    uid: str = scene.server.store.put({**pod, "metadata": metadata, "status": status})["metadata"]["uid"]
    return uid


def test_a_forged_pod_is_no_proxy_whatever_its_owner(serving: Scene) -> None:
    real = {serving.get("pods", name)["metadata"]["uid"] for name in serving.proxies()}  # type: ignore[index]  # exists
    found = owners(serving)
    forged = {forge(serving, number, references): name for number, (name, references) in enumerate(found.items())}
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    status = serving.wait_for_phase("Ready", revision=2)
    assert status["proxies"]["ready"] == len(real)
    assert {name for uid, name in forged.items() if uid in serving.agents.connected} == set()
