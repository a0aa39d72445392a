"""Promise 7: installed by manifests/one-namespace/, the operator needs no right outside of its namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from scripts.manifests import YOUR_NAMESPACE
from tests.apiserver.authorization import granted_to
from tests.integration.scene import NAMESPACE, OPERATOR, Scene, operators_rights, routes
from tests.promises.test_least_privilege import RIGHTS, kinds_of, words
from tests.tables import Tell

Json = dict[str, Any]

FILE = Path("manifests/one-namespace/kanary.yml")


def installed() -> list[Json]:
    """What a cluster admin applies, for the namespace of the scene."""
    return list(yaml.safe_load_all(FILE.read_text(encoding="utf-8").replace(YOUR_NAMESPACE, NAMESPACE)))


def test_nothing_of_it_is_outside_of_the_namespace() -> None:
    assert {each["metadata"]["namespace"] for each in installed()} == {NAMESPACE}
    assert {each["kind"] for each in installed()} == {
        *("ServiceAccount", "Role", "RoleBinding", "PersistentVolumeClaim", "Deployment", "Service")
    }


def test_the_operator_serves_its_namespace_with_rights_in_no_other(scene: Scene, tmp_path: Path, tell: Tell) -> None:
    granted = granted_to((NAMESPACE, "kanary"), installed())
    assert {right.namespace for right in granted} == {NAMESPACE}
    assert kinds_of(granted) == kinds_of(operators_rights())
    (deployment,) = (each for each in installed() if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each for each in container["env"]}
    assert env["KANARY_NAMESPACE"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}

    scene.server.authorizer.let(OPERATOR, f"system:serviceaccount:{NAMESPACE}:kanary", granted)
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    elsewhere = {"namespace": "elsewhere", "name": "rule"}
    spec = {"destination": "theirs", "routes": routes(myapp_v1=100)}
    scene.server.store.put({"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": elsewhere, "spec": spec})
    history = f"sqlite:///{tmp_path}/history.db"
    scene.start_operator(namespace=NAMESPACE, leader_election=True, history_url=history)
    scene.wait_for_phase("Ready")
    scene.declare(destination="store", routes=routes(myapp_v1=50, myapp_v2=50), updateStrategy="Rolling")
    scene.wait_for(lambda: not scene.get("services", "myapp"))
    scene.wait_for_phase("Ready")
    scene.wait_for(lambda: condition(scene, "HistoryRecorded") == "True")
    assert "status" not in (scene.server.store.get("kanaries", "rule", "elsewhere") or {})

    used, refused = (
        kinds_of(found(OPERATOR)) for found in (scene.server.authorizer.used, scene.server.authorizer.refused)
    )
    unused = len(kinds_of(granted) - used)
    tell(RIGHTS, "the operator of one namespace", len(kinds_of(granted)), len(used), unused, words(refused))
    assert refused == set()


def condition(scene: Scene, kind: str) -> str:
    return next((each["status"] for each in scene.status().get("conditions", ()) if each["type"] == kind), "")
