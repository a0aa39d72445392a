"""Settings of the proxies' pods with a real operator: what it writes, what the cluster refuses, what is left out."""

import json
from typing import Any

import pytest

from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, routes

Json = dict[str, Any]

BUDGET = "poddisruptionbudgets", "rule-haproxy"
BAD = {"spec": {"affinity": {"podAfinity": {}}}}
SCHEMA = (
    "failed to create typed patch object (shop/rule-haproxy; apps/v1, Kind=Deployment): "
    ".spec.template.spec.affinity.podAfinity: field not declared in schema"
)
INVALID = 'Deployment.apps "rule-haproxy" is invalid: spec.template.spec.affinity.podAfinity: Invalid value: "x"'


def declare(scene: Scene, weight: int = 80, **proxy: Any) -> None:
    scene.declare(destination="shop", routes=routes(myapp_v1=weight, myapp_v2=100 - weight), proxy=proxy)


def pod(scene: Scene) -> Json:
    return dict((scene.get("deployments", "rule-haproxy") or {})["spec"]["template"]["spec"])


@pytest.fixture
def prepared(scene: Scene) -> Scene:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    return scene


@pytest.mark.parametrize(("code", "said"), [(500, SCHEMA), (422, INVALID)], ids=["not in the schema", "invalid"])
def test_a_template_that_the_cluster_refuses_is_reported_and_the_proxies_go_on(
    prepared: Scene, code: int, said: str
) -> None:
    prepared.start_operator()
    declare(prepared)
    prepared.wait_for_phase("Ready")
    before = pod(prepared)
    body = json.dumps({"kind": "Status", "code": code, "message": said, "reason": "Invalid" if code == 422 else ""})
    refused = Fault.status(code, "PATCH|PUT", "/deployments/rule-haproxy", text=body)
    prepared.server.faults.add(refused)
    declare(prepared, template=BAD)
    status = prepared.wait_for_phase("Degraded", reason="RejectedByCluster")
    assert "the API server rejected the change" in status["message"]
    assert "spec.proxy.template.spec.affinity.podAfinity: " in status["message"]
    # The proxies that run receive other endpoints as before.
    prepared.endpoints("myapp-v1", "10.0.0.7")
    prepared.wait_for(lambda: "10.0.0.7:9000" in prepared.config())
    # So they do other weights, which the agents of these tests get from the operator only, and from no kubelet.
    declare(prepared, 30, template=BAD)
    prepared.wait_for(lambda: [each["weight"] for each in prepared.status()["weights"]] == [30, 70])
    assert pod(prepared) == before
    prepared.server.faults.remove(refused)
    declare(prepared, template={"spec": {"nodeSelector": {"pool": "edge"}}})
    prepared.wait_for_phase("Ready")
    assert pod(prepared)["nodeSelector"] == {"pool": "edge"}
    declare(prepared)
    prepared.wait_for_phase("Ready")
    prepared.wait_for(lambda: not pod(prepared).get("nodeSelector"))


def test_a_budget_that_is_left_out_is_deleted_and_returns(prepared: Scene) -> None:
    prepared.start_operator()
    declare(prepared)
    prepared.wait_for_phase("Ready")
    assert prepared.get(*BUDGET)
    declare(prepared, disruptionBudget=False)
    prepared.wait_for(lambda: not prepared.get(*BUDGET))
    prepared.wait_for_phase("Ready")
    declare(prepared, disruptionBudget=True)
    prepared.wait_for(lambda: prepared.get(*BUDGET))
    prepared.wait_for_phase("Ready")


def test_a_budget_of_others_stays(prepared: Scene) -> None:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "theirs"}}}
    prepared.put("policy/v1", "PodDisruptionBudget", "rule-haproxy", spec=spec)
    theirs = prepared.get(*BUDGET)
    prepared.start_operator()
    declare(prepared, disruptionBudget=False)
    prepared.wait_for_phase("Ready")
    assert prepared.get(*BUDGET) == theirs


def test_the_operators_settings_are_those_of_kanaries_that_leave_them_out(prepared: Scene) -> None:
    defaults = "{disruptionBudget: false, template: {spec: {priorityClassName: high, nodeSelector: {pool: edge}}}}"
    running = prepared.start_operator(proxy_defaults=defaults)
    declare(prepared, template={"spec": {"nodeSelector": {"pool": "core"}}})
    prepared.wait_for_phase("Ready")
    assert prepared.get(*BUDGET) is None
    assert (pod(prepared)["priorityClassName"], pod(prepared)["nodeSelector"]) == ("high", {"pool": "core"})
    running.stop()
    prepared.start_operator()
    prepared.wait_for(lambda: "priorityClassName" not in pod(prepared))
    prepared.wait_for(lambda: prepared.get(*BUDGET))
    assert pod(prepared)["nodeSelector"] == {"pool": "core"}


@pytest.mark.parametrize("adds_container", [False, True])
def test_what_others_add_to_the_deployment_stays_and_what_they_change_of_ours_does_not(
    prepared: Scene, adds_container: bool
) -> None:
    """As docs/operations.md says it."""
    prepared.start_operator()
    declare(prepared)
    prepared.wait_for_phase("Ready")

    def edit(deployment: Json) -> None:
        deployment["metadata"]["labels"]["team"] = "theirs"
        deployment["metadata"]["annotations"]["note"] = "theirs"
        deployment["spec"]["template"]["metadata"]["annotations"]["note"] = "theirs"
        deployment["spec"]["template"]["spec"]["schedulerName"] = "theirs"
        if adds_container:
            deployment["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "theirs"})
        deployment["spec"]["replicas"] = 7

    prepared.server.store.change("deployments", "rule-haproxy", edit, NAMESPACE)

    def found() -> Json:
        return prepared.get("deployments", "rule-haproxy") or {}

    prepared.wait_for(lambda: found()["spec"]["replicas"] == 2)
    # Also after the next change of ours.
    declare(prepared, drainSeconds=7)
    prepared.wait_for(lambda: pod(prepared)["terminationGracePeriodSeconds"] < 60)
    prepared.wait_for_phase("Ready")
    assert [container["name"] for container in pod(prepared)["containers"]] == ["haproxy", "agent"]
    assert found()["metadata"]["labels"]["team"] == "theirs"
    assert found()["metadata"]["annotations"]["note"] == "theirs"
    assert pod(prepared)["schedulerName"] == ("default-scheduler" if adds_container else "theirs")
    annotations = found()["spec"]["template"]["metadata"]["annotations"]
    assert annotations.get("note") == (None if adds_container else "theirs")
