"""Pods that say of themselves that they are proxies: whoever may create pods can write any label, owner and report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.model.states import APPLIED_KEY
from engine.render.objects import KANARY_LABEL, MANAGED_BY, MANAGER
from tests.integration.scene import NAMESPACE, Json, Scene, routes

ADDRESS = "127.0.99.1"


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


def attack(scene: Scene, forged: str, address: str) -> None:
    """In another namespace, claim this address for proxies that send all connections to those of the victim."""
    real, pod = scene.get("configmaps", "rule-haproxy"), scene.get("pods", min(scene.proxies()))
    assert real
    assert pod
    applied = json.loads(real["data"][APPLIED_KEY])
    applied["endpoints"] = {backend: [[pod["status"]["podIP"], 80, ""]] for backend in applied["endpoints"]}
    labels = {MANAGED_BY: MANAGER, KANARY_LABEL: "none"}
    store = scene.server.store

    def put(api_version: str, kind: str, name: str, **body: Any) -> Json:
        metadata = {"name": name, "namespace": "evil", "labels": labels}
        return store.put({"apiVersion": api_version, "kind": kind, "metadata": metadata, **body})

    put("v1", "ConfigMap", "none-haproxy", data={APPLIED_KEY: json.dumps(applied)})
    status = {**pod["status"], "podIP": address, "podIPs": [{"ip": address}]}
    if forged == "a label":
        put("v1", "Pod", "taken", spec=pod["spec"], status=status)
        return
    spec = {**pod["spec"], "hostNetwork": forged == "the address of a node"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    put("apps/v1", "Deployment", "none-haproxy", spec={"selector": {"matchLabels": labels}, "template": template})
    scene.wait_for(lambda: store.list("pods", "evil"))
    if forged == "an external address":
        spec = {"externalIPs": [address], "ports": [{"port": 80}], "selector": labels}
        put("v1", "Service", "taken", spec=spec)
        scene.wait_for(lambda: [piece for piece in store.list("endpointslices", "evil") if piece["endpoints"]])
    else:
        name = store.list("pods", "evil")[0]["metadata"]["name"]
        store.change("pods", name, lambda found: found.update(status=status), "evil")


@pytest.mark.parametrize("forged", ["an external address", "a label", "the address of a node"])
def test_no_object_of_another_namespace_takes_an_endpoint_away(serving: Scene, forged: str) -> None:
    attack(serving, forged, "10.0.1.1")
    serving.endpoints("myapp-v2", "10.0.1.1", "10.0.1.2")
    serving.wait_for(lambda: "10.0.1.2:9000" in serving.config())
    assert "10.0.1.1:9000" in serving.config()
    assert "sends connections back" not in serving.status()["message"]


def test_real_proxies_of_another_namespace_that_lead_back_get_no_connections(serving: Scene) -> None:
    attack(serving, "an external address", "10.0.2.1")
    proxy = serving.server.store.list("pods", "evil")[0]["status"]["podIP"]
    serving.endpoints("myapp-v2", "10.0.1.2", proxy)
    serving.wait_for(lambda: "1 proxy of Kanary evil/none as endpoints" in serving.status()["message"])
    assert f"{proxy}:9000" not in serving.config()
