"""`kubectl scale` and autoscalers: the scale of a Kanary over real HTTP, and what follows from a change of it."""

import pytest

from kanary.kanaries import KANARIES
from tests.conformance.api import MERGE, Api
from tests.conformance.collection import Collection
from tests.integration.scene import NAMESPACE, Json, Scene, routes

SCALE = f"/apis/kanary.k8s.io/v1/namespaces/{NAMESPACE}/{KANARIES.plural}/rule/scale"


@pytest.fixture
def kanaries(scene: Scene) -> Collection:
    """One that leaves out `spec.proxy`, and serves."""
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    found = Collection(Api(scene.server.url), NAMESPACE, "kanary.k8s.io/v1", "Kanary", KANARIES.plural)
    found.make("rule", spec={"destination": "myapp", "routes": routes(myapp_v1=80, myapp_v2=20)})
    scene.start_operator()
    scene.wait_for_phase("Ready")
    return found


def weight_changes(status: Json) -> list[Json]:
    return [entry for entry in status["history"]["entries"] if entry["kind"] == "WeightChange"]


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_scale_moves_the_proxies_and_no_weights(scene: Scene, kanaries: Collection, replicas: int) -> None:
    before, kept = scene.status(), scene.proxies()
    assert len(weight_changes(before)) == 1
    assert before["proxies"]["replicas"] == len(kept) == 2

    kanaries.merge("rule", {"spec": {"replicas": replicas}}, "scale").ok()

    status = scene.wait_for_phase("Ready", display=before["display"] | {"ready": f"{replicas}/{replicas}"})
    scene.wait_for(lambda: len(scene.proxies()) == replicas, lambda: str(scene.proxies()))
    assert kept <= scene.proxies() or scene.proxies() <= kept
    assert weight_changes(status) == weight_changes(before)
    assert status["revision"] == before["revision"]
    assert status["split"]["revision"] == before["split"]["revision"]


def test_a_scale_says_how_many_proxies_there_are_and_which_pods_they_are(scene: Scene, kanaries: Collection) -> None:
    scale = kanaries.api.get(SCALE).ok()

    assert scale["spec"] == {"replicas": 2}
    assert scale["status"]["replicas"] == 2
    selector = scale["status"]["selector"]
    pods = kanaries.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=selector).ok()["items"]
    assert {pod["metadata"]["name"] for pod in pods} == scene.proxies()


@pytest.mark.parametrize("replicas", [0, 101])
def test_a_number_out_of_bounds_is_refused_and_changes_nothing(
    scene: Scene, kanaries: Collection, replicas: int
) -> None:
    before = scene.kanary()

    reply = kanaries.api.request("PATCH", SCALE, {"spec": {"replicas": replicas}}, MERGE)

    reply.refused(422, "Invalid")
    assert reply.causes() == {"spec.proxy.replicas": "FieldValueInvalid"}
    assert (scene.kanary() or {})["spec"] == (before or {})["spec"]


def test_an_autoscaler_of_the_deployment_is_reverted_and_told_once(scene: Scene, kanaries: Collection) -> None:
    deployments = Collection(kanaries.api, NAMESPACE, "apps/v1", "Deployment", "deployments")
    events = f"/api/v1/namespaces/{NAMESPACE}/events"

    def told() -> list[Json]:
        found = kanaries.api.get(events).ok()["items"]
        return [event for event in found if event["reason"] == "ReplicasReverted"]

    for count in (1, 2, 3):
        deployments.merge("rule-haproxy", {"spec": {"replicas": 5}}, fieldManager="horizontal-pod-autoscaler").ok()
        scene.wait_for(lambda n=count: sum(each["count"] for each in told()) >= n, lambda: str(told()))
        assert deployments.read("rule-haproxy")["spec"]["replicas"] == 2

    (event,) = told()
    assert event["type"] == "Warning"
    assert "kubectl scale ky/rule" in event["message"]
    scene.wait_for_phase("Ready")
