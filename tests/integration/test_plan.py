"""`kanary plan` against what the operator then does."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.model.states import read_applied
from kanary.cli.main import main
from tests.integration.scene import NAMESPACE, Scene, routes

Json = dict[str, Any]

BEFORE: Json = {"destination": "myapp", "routes": routes(myapp_v1=90, myapp_v2=10)}
STEPS = {"steps": [{"to": 10, "for": "1h"}, {"to": 100}]}
CHANGES: dict[str, Json] = {
    "weights": {"routes": routes(myapp_v1=50, myapp_v2=50)},
    "a new route, timeouts and replicas": {
        "routes": routes(myapp_v1=50, myapp_v3=50),
        "proxy": {"idleSeconds": 60, "replicas": 3},
    },
    "another destination and port": {"destination": "other", "port": 8080},
    "another image": {"proxy": {"image": "mine:2"}},
    "Rolling": {"updateStrategy": "Rolling"},
    "a rollout": {"routes": routes(myapp_v1=0, myapp_v3=100), "rollout": STEPS},
    "paused": {"paused": True, "routes": routes(myapp_v1=50, myapp_v2=50)},
    "nothing": {},
}


class Plans:
    """Runs `kanary plan` for the Kanary of a scene."""

    def __init__(self, scene: Scene, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.scene = scene
        self._path = path / "rule.yaml"
        self._capsys = capsys
        self.err = ""

    def run(self, spec: Json, *arguments: str, code: int = 0, beside: Sequence[Json] = (), **metadata: Any) -> str:
        manifest = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": {"name": "rule"} | metadata}
        self._path.write_text(yaml.safe_dump_all([*beside, manifest | {"spec": spec}]))
        named = ["-f", str(self._path), "-n", NAMESPACE, "--kubeconfig", self.scene.kubeconfig]
        found = main(["plan", *named, *arguments])
        captured = self._capsys.readouterr()
        self.err = captured.err
        assert found == code, captured.err
        return captured.out

    def of(self, spec: Json, **options: Any) -> Json:
        (document,) = json.loads(self.run(spec, "-o", "json", **options))
        found: Json = document
        return found


@pytest.fixture
def plans(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Plans:
    for number in (1, 2, 3):
        scene.backend(f"myapp-v{number}", f"10.0.{number}.1", f"10.0.{number}.2")
    return Plans(scene, tmp_path, capsys)


def objects_of(scene: Scene) -> dict[tuple[str, str], Json]:
    """Everything that the operator writes, by plural and name."""
    kinds = ("kanaries", "configmaps", "deployments", "services", "poddisruptionbudgets")
    found = {(kind, obj["metadata"]["name"]): obj for kind in kinds for obj in scene.server.store.list(kind, NAMESPACE)}
    return {key: obj for key, obj in found.items() if key[0] == "kanaries" or obj["metadata"].get("ownerReferences")}


def written(config_map: Json) -> Json:
    """What a ConfigMap of the proxies says, apart from the time."""
    applied = read_applied(config_map["data"]["applied.json"])
    assert applied
    return {**config_map["data"], "applied.json": applied.model_dump(exclude={"written_at", "entry", "rollout"})}


def assert_as_planned(scene: Scene, planned: Json) -> None:
    after = objects_of(scene)
    for each in planned["objects"]:
        wanted = each["object"]
        key = f"{wanted['kind'].lower()}s", wanted["metadata"]["name"]
        if each["action"] == "deleted":
            assert key not in after
            continue
        assert key in after
        if "applied.json" in wanted.get("data", {}):
            expected, found = written(wanted), written(after[key])
            # Which configuration a proxy has accepted before depends on its report.
            assert expected | {"accepted.cfg": ""} == found | {"accepted.cfg": ""}
            continue
        hashes = [obj["metadata"]["annotations"]["kanary.k8s.io/hash"] for obj in (wanted, after[key])]
        assert hashes[0] == hashes[1]


@pytest.mark.parametrize("what", CHANGES)
def test_the_operator_does_what_was_planned(scene: Scene, plans: Plans, what: str) -> None:
    running = scene.start_operator()
    scene.declare(**BEFORE)
    scene.wait_for_phase("Ready", revision=1)
    running.stop()
    before, after = objects_of(scene), BEFORE | CHANGES[what]
    planned = plans.of(after)
    assert objects_of(scene) == before
    assert planned["change"] == (after != BEFORE)
    scene.declare(**after)
    scene.start_operator()
    if "rollout" in after:
        scene.wait_for(lambda: scene.status().get("rollout", {}).get("reason") == "StepWatched")
    elif what == "paused":
        scene.wait_for_phase("Rendering", reason="Paused")
    else:
        scene.wait_for_phase("Ready", reason="Serving")
        scene.wait_for(lambda: after["destination"] == "myapp" or not scene.get("services", "myapp"))
    assert_as_planned(scene, planned)
    new = {key for key in objects_of(scene).keys() - before.keys() if key[0] != "kanaries"}
    created = {
        (f"{each['object']['kind'].lower()}s", each["object"]["metadata"]["name"])
        for each in planned["objects"]
        if each["action"] == "created"
    }
    assert new == created
    applied = read_applied((scene.get("configmaps", "rule-haproxy") or {})["data"]["applied.json"])
    assert applied
    in_force = {
        each["backend"]: each["inForce"]["to"] for each in planned["weights"] if each["inForce"]["to"] is not None
    }
    assert in_force == {str(route.backend): route.weight for route in applied.spec.routes}


def test_a_new_kanary_is_planned_with_the_endpoints_of_the_cluster(scene: Scene, plans: Plans) -> None:
    planned = plans.of(BEFORE)
    assert scene.kanary() is None
    created = [each["object"] for each in planned["objects"] if each["action"] == "created"]
    with scene.operating():
        scene.declare(**BEFORE)
        scene.wait_for_phase("Ready")
    found = objects_of(scene)
    assert {(f"{each['kind'].lower()}s", each["metadata"]["name"]) for each in created} == found.keys() - {
        ("kanaries", "rule")
    }
    servers = {
        name: [line for line in text.splitlines() if line.startswith("  server ")]
        for name, text in (("planned", created[0]["data"]["haproxy.cfg"]), ("written", scene.config()))
    }
    assert len(servers["planned"]) == 4
    assert servers["planned"] == servers["written"]


def test_steps_of_a_rollout_have_the_weights_that_will_be_in_force(scene: Scene, plans: Plans) -> None:
    with scene.operating():
        scene.declare(**BEFORE)
        scene.wait_for_phase("Ready")
    planned = plans.of(BEFORE | CHANGES["a rollout"])
    assert [(each["step"], each["to"], each["weights"]) for each in planned["rollout"]["steps"]] == [
        (1, 10, {"myapp-v3:http": 10, "myapp-v1:http": 81, "myapp-v2:http": 9}),
        (2, 100, {"myapp-v3:http": 100}),
    ]
    assert planned["connections"]["mayClose"] == []


def test_what_the_operator_has_not_written_yet_is_no_change_of_the_file(scene: Scene, plans: Plans) -> None:
    with scene.operating():
        scene.declare(**BEFORE)
        scene.wait_for_phase("Ready")
    scene.endpoints("myapp-v1", "10.0.1.1", "10.0.1.9")
    assert "no change" in plans.run(BEFORE, "--exit-code")
    assert "ConfigMap rule-haproxy" in plans.err
    (endpoints,) = plans.of(BEFORE | {"proxy": {"idleSeconds": 60}})["endpoints"]
    assert endpoints == {"backend": "myapp-v1:http", "removed": ["10.0.1.2:9000"], "added": ["10.0.1.9:9000"]}


def pod(scene: Scene, name: str, address: str, version: str) -> None:
    status = {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}
    containers = [{"name": "app", "image": "app"}]
    scene.put("v1", "Pod", name, labels={"version": version}, spec={"containers": containers}, status=status)


@pytest.mark.parametrize(
    ("change", "removed", "added"),
    [
        ({"selector": {"version": "v2"}}, ["10.0.1.1:9000"], ["10.0.2.1:9000"]),
        ({"selector": {"version": "nowhere"}}, ["10.0.1.1:9000"], []),
        ({"ports": [{"name": "http", "port": 80, "targetPort": 9001}]}, ["10.0.1.1:9000"], ["10.0.1.1:9001"]),
        ({"ports": [{"name": "http", "port": 8080, "targetPort": 9000, "protocol": "TCP"}]}, [], []),
        ({"sessionAffinity": "ClientIP"}, [], []),
    ],
)
def test_a_changed_service_of_the_file_leads_to_the_pods_that_it_selects(
    scene: Scene, plans: Plans, change: Json, removed: list[str], added: list[str]
) -> None:
    spec = {"selector": {"version": "v1"}, "ports": [{"name": "http", "port": 80, "targetPort": 9000}]}
    scene.put("v1", "Service", "myapp-v1", spec=spec)
    scene.endpoints("myapp-v1", "10.0.1.1")
    pod(scene, "one", "10.0.1.1", "v1")
    pod(scene, "two", "10.0.2.1", "v2")
    with scene.operating():
        scene.declare(**BEFORE)
        scene.wait_for_phase("Ready")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "myapp-v1"}, "spec": spec | change}
    changes = {"backend": "myapp-v1:http", "removed": removed, "added": added}
    assert plans.of(BEFORE, beside=[service])["endpoints"] == ([changes] if removed or added else [])


def test_of_an_object_only_what_the_operator_has_set_is_removed(scene: Scene, plans: Plans) -> None:
    """And not what the cluster or others have."""
    settings = {"type": "NodePort", "externalTrafficPolicy": "Local", "labels": {"team": "web"}}
    with scene.operating():
        scene.declare(**BEFORE, service=settings)
        scene.wait_for_phase("Ready")
    added = {"labels": {"theirs": "1"}, "spec": {"healthCheckNodePort": 32000, "clusterIP": "10.1.2.3"}}

    def add(service: Json) -> None:
        service["metadata"]["labels"] |= added["labels"]
        service["spec"] |= added["spec"]

    scene.server.store.change("services", "myapp", add, NAMESPACE)
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"spec": {"service": settings}})}
    scene.server.store.change("kanaries", "rule", lambda obj: obj["metadata"].update(annotations=applied), NAMESPACE)
    planned = plans.of(BEFORE | {"service": {"type": "NodePort"}})
    (service,) = [each for each in planned["objects"] if each["object"]["kind"] == "Service"]
    changed = {each["path"]: (each["from"], each["to"]) for each in service["fields"]}
    assert changed == {"spec.externalTrafficPolicy": ("Local", None), "metadata.labels.team": ("web", None)}


def test_a_kanary_that_is_being_deleted_is_planned_when_it_is_gone(scene: Scene, plans: Plans) -> None:
    """As after `kubectl delete --cascade=foreground`."""
    with scene.operating():
        scene.declare(**BEFORE)
        scene.wait_for_phase("Ready")
    scene.server.store.change("kanaries", "rule", lambda obj: obj["metadata"].update(finalizers=["a.b/c"]), NAMESPACE)
    scene.server.store.delete("kanaries", "rule", NAMESPACE)
    plans.run(BEFORE, code=1)
    assert "Kanary rule is being deleted: plan again when it is gone" in plans.err


def test_exit_codes_say_whether_there_is_a_change_or_a_problem(scene: Scene, plans: Plans) -> None:
    with scene.operating():
        scene.declare(**BEFORE)
        scene.wait_for_phase("Ready")
    plans.run(BEFORE, "--exit-code")
    assert "no change" in plans.run(BEFORE)
    plans.run(BEFORE | CHANGES["weights"], "--exit-code", code=3)
    missing = BEFORE | {"routes": routes(nowhere=100)}
    (problem,) = plans.of(missing, code=1)["problems"]
    assert problem["reason"] == "BackendNotFound"
    plans.run(BEFORE | {"routes": []}, code=1)
    assert "spec.routes is empty" in plans.err
