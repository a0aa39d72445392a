"""What was changed can be read with the user's own kubeconfig, outlives the operator, and can be gone back to."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.command import output, run
from tests.e2e.kubectl import Kubectl
from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, kanary, route

pytestmark = pytest.mark.cluster


def changes(scene: Scene) -> list[dict]:
    found: list[dict] = json.loads(output(scene, "history", "app", "-o", "json"))
    return found


@pytest.fixture
def shifted(scene: Scene) -> Scene:
    """A Kanary that went from 100/0 by 80/20 to 50/50."""
    scene.apply(
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 100), route("app-v2", 0)),
    )
    scene.wait_until_ready("app")
    scene.change("app", routes=[route("app-v1", 80), route("app-v2", 20)])
    scene.wait_until_ready("app")
    scene.kubectl("annotate", "kanary", "app", "kubernetes.io/change-cause=raise to half (JIRA-12)")
    scene.change("app", routes=[route("app-v1", 50), route("app-v2", 50)])
    scene.wait_until_ready("app")
    scene.wait(
        lambda: [c["result"] and c["result"]["result"] for c in changes(scene)] == ["Ready"] * 3,
        "three changes in the history",
    )
    return scene


def test_every_change_is_reported_with_its_cause_author_and_result(shifted: Scene) -> None:
    lines = output(shifted, "history", "app").splitlines()
    assert lines[0].split() == ["REVISION", "WHEN", "WEIGHTS", "CAUSE", "BY", "RESULT", "TOOK"]
    assert "app-v1:http=50 app-v2:http=50" in lines[1]
    assert "raise to half (JIRA-12)" in lines[1]
    assert "kubectl" in lines[1]
    assert "Ready" in lines[1]
    assert len(lines) == 4
    moves = output(shifted, "history", "app", "--transitions")
    assert "ConfigurationChanged" in moves
    conditions = {c["type"]: c["status"] for c in shifted.status("app")["conditions"]}
    assert conditions["HistoryRecorded"] == "True"


def test_two_revisions_are_compared(shifted: Scene) -> None:
    text = output(shifted, "diff", "app", "2", "3")
    assert "app-v1" in text
    assert "haproxy.cfg" in text or "@@" in text


def test_undo_brings_the_weights_back_as_a_revision_of_its_own(shifted: Scene) -> None:
    output(shifted, "undo", "app", "--to-revision", "2")
    status = shifted.wait_until_ready("app")
    assert status["revision"] == 4
    counted = shifted.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=80, v2=20), counted
    shifted.wait(lambda: len(changes(shifted)) == 4, "the change in the history")
    assert changes(shifted)[0]["change"]["cause"] == "undo to revision 2"

    shifted.kubectl("delete", "service", "app-v1")
    refused = run(shifted, "undo", "app", "--to-revision", "3")
    assert refused.returncode == 1
    assert "app-v1" in refused.stderr


def test_the_history_outlives_the_operator_and_the_kanary(shifted: Scene, system: Kubectl) -> None:
    before = changes(shifted)
    system("delete", "pods", "-l", "app.kubernetes.io/name=kanary")
    system("rollout", "status", "deployment/kanary", "--timeout=120s", timeout=130)
    shifted.wait(lambda: run(shifted, "history", "app").returncode == 0, "an operator that answers")
    assert changes(shifted) == before

    shifted.kubectl("delete", "kanary", "app")
    shifted.wait(lambda: run(shifted, "history", "app").returncode == 1, "a history with the deletion")
    assert "app-v1:http=50 app-v2:http=50" in output(shifted, "history", "app", "--deleted")


def test_a_viewer_reads_the_history_with_no_other_right(shifted: Scene, system: Kubectl, tmp_path: Path) -> None:
    """With the Role that the README names."""
    shifted.kubectl("create", "serviceaccount", "viewer")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(kubeconfig_of(shifted, "viewer")))
    arguments = ("history", "app", "--kubeconfig", str(kubeconfig))
    assert "ask for the Role kanary-viewer in namespace kanary-system" in run(shifted, *arguments).stderr
    account = f"{shifted.namespace}:viewer"
    system("create", "rolebinding", shifted.namespace, "--role=kanary-viewer", f"--serviceaccount={account}")
    try:
        assert output(shifted, *arguments) == output(shifted, "history", "app")
    finally:
        system("delete", "rolebinding", shifted.namespace)


def kubeconfig_of(scene: Scene, account: str) -> dict[str, Any]:
    """The way to the cluster with the rights of a service account, whatever the version of Kubernetes."""
    path = f"/api/v1/namespaces/{scene.namespace}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = json.loads(scene.cluster("create", "--raw", path, "-f", "-", given=json.dumps(request)))
    config: dict[str, Any] = yaml.safe_load(Path(scene.cluster.kubeconfig).read_text())
    config["users"] = [{**user, "user": {"token": answer["status"]["token"]}} for user in config["users"]]
    return config
