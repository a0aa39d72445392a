"""Promise 7: each right that the manifests grant is used, and nothing is used that they do not grant.

All integration tests run with exactly the rights of `manifests/base/rbac.yaml`: what lacks one fails there. Here the
stories that need every right are told, and what they used is compared with what is granted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kanary.kanaries import FIELD_MANAGER
from kanary.kube.client import ClusterClient
from kanary.kube.events import Recorder
from tests.apiserver import Fault
from tests.apiserver.authorization import Right
from tests.integration.gate import add_gate, gated
from tests.integration.scene import NAMESPACE, OPERATOR, Scene, operators_rights, routes
from tests.tables import Table, Tell

Json = dict[str, Any]

RIGHTS = Table("Promise 7: rights", ("of", "granted", "used", "granted but not used", "used but not granted"))


LABELS = {"app": "theirs"}
THEIRS = {
    "selector": {"matchLabels": LABELS},
    "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "a", "image": "a"}]}},
}


def kinds_of(rights: set[Right] | frozenset[Right]) -> set[tuple[str, str]]:
    """Verb and resource; the namespaces and names are enforced with each request."""
    return {(right.verb, right.resource) for right in rights}


def words(rights: set[tuple[str, str]]) -> str:
    return ", ".join(f"{verb} {resource}" for verb, resource in sorted(rights)) or "none"


def content_of(scene: Scene, resource: str, name: str) -> Json:
    found = scene.get(resource, name) or {}
    return {key: value for key, value in found.items() if key in ("spec", "data")}


def add_a_container(deployment: Json) -> None:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    containers.append({"name": "mine", "image": "mine"})


def want_a_minimum(budget: Json) -> None:
    budget["spec"] = {"minAvailable": 1, "selector": budget["spec"]["selector"]}


# The stories


def serve_and_change(scene: Scene) -> None:
    """Weights, the destination, the budget and the strategy change, and others edit what Kanary has made."""
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    scene.wait_for_phase("Ready")
    for resource, name, edit in (
        ("services", "myapp", lambda each: each["spec"]["ports"].append({"name": "b", "port": 81, "protocol": "TCP"})),
        ("configmaps", "rule-haproxy", lambda each: each["data"].update(more="text")),
        ("deployments", "rule-haproxy", lambda each: each["spec"].update(replicas=7)),
        ("deployments", "rule-haproxy", add_a_container),
        ("poddisruptionbudgets", "rule-haproxy", lambda each: each["spec"].update(maxUnavailable=7)),
        ("poddisruptionbudgets", "rule-haproxy", want_a_minimum),
    ):
        before = content_of(scene, resource, name)
        scene.server.store.change(resource, name, edit, NAMESPACE)
        scene.wait_for(
            lambda is_=resource, of=name, before=before: content_of(scene, is_, of) == before,
            lambda of=resource: f"{of} as before",
        )
    scene.declare(destination="store", routes=routes(myapp_v1=50, myapp_v2=50))
    scene.wait_for(lambda: not scene.get("services", "myapp"))
    scene.declare(destination="store", routes=routes(myapp_v1=50, myapp_v2=50), proxy={"disruptionBudget": False})
    scene.wait_for(lambda: not scene.get("poddisruptionbudgets", "rule-haproxy"))
    for weight in (50, 60, 70):
        split = routes(myapp_v1=weight, myapp_v2=100 - weight)
        scene.declare(destination="store", routes=split, updateStrategy="Rolling")
        scene.wait_for_phase("Ready")
    scene.server.requests.wait_for("DELETE", "/configmaps/rule-haproxy-")


def adopt_a_service(scene: Scene) -> None:
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}
    scene.put("v1", "Service", "adopted", spec={"selector": {"app": "shop"}, "ports": [port]})
    scene.declare("adopter", destination="adopted", routes=routes(myapp_v1=100), adoptDestination=True)
    scene.wait_for_phase("Ready", "adopter")


def meet_foreign_objects(scene: Scene) -> None:
    """Objects of these names exist, which the operator's copies do not have yet."""
    for api_version, kind, plural, suffix in (
        ("v1", "Service", "services", ""),
        ("v1", "ConfigMap", "configmaps", "-haproxy"),
        ("apps/v1", "Deployment", "deployments", "-haproxy"),
        ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", "-haproxy"),
    ):
        kanary = f"beside-{kind.lower()}"
        name = f"{kanary}{suffix}"
        with hidden(scene, plural):
            scene.put(api_version, kind, name, spec=THEIRS if kind == "Deployment" else {})
            scene.declare(kanary, destination=kanary, routes=routes(myapp_v1=100))
            scene.server.requests.wait_for("GET", f"/{plural}/{name}$", 200)
        reason = "DestinationExists" if kind == "Service" else "ObjectExists"
        scene.wait_for_phase("Degraded", kanary, reason=reason)


@contextmanager
def hidden(scene: Scene, plural: str) -> Iterator[None]:
    """The operator's watch of this kind is silent."""
    fault = scene.server.faults.add(Fault.mute(path=rf"/{plural}\?.*watch="))
    try:
        yield
    finally:
        scene.server.faults.remove(fault)


def call_a_webhook(scene: Scene) -> None:
    """A webhook's receiver is a pod, which is compared with its status."""
    add_gate(scene)
    scene.declare("gated", destination="gated", routes=routes(myapp_v1=100, myapp_v2=0))
    scene.wait_for_phase("Ready", "gated")
    scene.declare("gated", destination="gated", routes=routes(myapp_v1=0, myapp_v2=100), rollout=gated("http://gate"))
    scene.server.requests.wait_for("GET", "/pods/gate-1$", 200)


def omit_from_a_list(scene: Scene, plural: str) -> None:
    """A list has no objects; those that the operator knows are requested."""
    scene.server.faults.add(Fault.empty(plural, times=1))
    scene.expire_watches()
    scene.server.requests.wait_for("GET", rf"/{plural}/", 200)


def repeat_an_event(scene: Scene) -> None:
    """An Event that occurs again is counted."""
    client = ClusterClient.connect(kubeconfig=scene.operators_kubeconfig, field_manager=FIELD_MANAGER)
    recorder = Recorder(client, "kanary.k8s.io/operator", "test")
    recorder.start()
    for _ in range(2):
        recorder.emit(scene.kanary(), "Serving", "a note", action="Reconcile")
    recorder.stop()
    scene.wait_for(lambda: [e["count"] for e in scene.events("Serving") if e["message"] == "a note"] == [2])


# What was used


def test_the_operator_uses_each_right_that_it_has_and_no_other(scene: Scene, tmp_path: Path, tell: Tell) -> None:
    history = {"history_url": f"sqlite:///{tmp_path}/history.db", "leader_election": True}
    running = scene.start_operator(**history)
    serve_and_change(scene)
    adopt_a_service(scene)
    meet_foreign_objects(scene)
    call_a_webhook(scene)
    omit_from_a_list(scene, "endpointslices")
    omit_from_a_list(scene, "replicasets")
    repeat_an_event(scene)
    running.stop()
    # A Kanary of the history that is missing in the cluster is looked up.
    scene.server.store.delete("kanaries", "rule", NAMESPACE)
    running = scene.start_operator(**history)
    scene.server.requests.wait_for("GET", "/kanaries/rule$", 404)
    running.stop()
    # An older cluster.
    scene.server.withdraw("discovery.k8s.io", "v1", "endpointslices")
    scene.start_operator(**history)
    scene.server.requests.wait_for("GET", "/endpoints$", 200, watch=True)
    omit_from_a_list(scene, "endpoints")
    compare(scene, tell, "the operator", kinds_of(operators_rights()))


def compare(scene: Scene, tell: Tell, who: str, granted: set[tuple[str, str]]) -> None:
    used = kinds_of(scene.server.authorizer.used(OPERATOR))
    refused = kinds_of(scene.server.authorizer.refused(OPERATOR))
    tell(RIGHTS, who, len(granted), len(used), words(granted - used), words(refused))
    assert (granted - used, refused) == (set(), set())
