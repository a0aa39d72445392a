"""A HorizontalPodAutoscaler moves the number of proxies, by the Kanary and by nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import external_metrics
from tests.e2e.external_metrics import METRIC, Metric
from tests.e2e.kubectl import Manifest
from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, kanary, route

pytestmark = pytest.mark.cluster


@pytest.fixture
def metric(scene: Scene) -> Iterator[Metric]:
    with external_metrics.served(scene.kubectl) as metric:
        yield metric


def autoscaler(scene: Scene, name: str, api_version: str, kind: str, target: str) -> Manifest:
    """One proxy for each 10 of the metric, 1 to 4, down at once."""
    wanted = {"type": "AverageValue", "averageValue": "10"}
    external = {"metric": {"name": METRIC}, "target": wanted}
    spec = {
        "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": target},
        "minReplicas": 1,
        "maxReplicas": 4,
        "metrics": [{"type": "External", "external": external}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    version = "v2" if scene.kubectl.server_minor >= 23 else "v2beta2"
    metadata = {"name": name}
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": spec,
    }


def events(scene: Scene) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scene.kubectl.get("events")["items"]
    return [event for event in found if event["reason"] == "ReplicasReverted"]


def test_an_autoscaler_moves_the_proxies_by_the_kanary_and_not_by_the_deployment(scene: Scene, metric: Metric) -> None:
    declared = kanary("app", "app", route("app-v1", 80), route("app-v2", 20))
    del declared["spec"]["proxy"]["replicas"]
    scene.apply(*backend("app-v1", "v1"), *backend("app-v2", "v2"), declared)
    scene.wait_until_ready("app", {"app-v1": 1, "app-v2": 1})
    metric.set(30)
    scene.apply(autoscaler(scene, "app", "kanary.k8s.io/v1", "Kanary", "app"))

    scene.wait(lambda: len(scene.proxy_pods("app")) == 3, "three proxies")
    scene.wait_until_ready("app")
    scene.wait_for_split("app", proxies=3, v1=80, v2=20)
    with scene.client.keep_counting(scene.service_address("app"), 80) as counting:
        metric.set(5)
        scene.wait(lambda: len(scene.proxy_pods("app")) == 1, "one proxy")
        scene.wait_until_ready("app")
        counted = counting.stop_counting()
    assert not counted.errors, counted
    assert not events(scene)

    metric.set(30)
    scene.kubectl("delete", "hpa", "app")
    scene.apply(autoscaler(scene, "wrong", "apps/v1", "Deployment", "app-haproxy"))
    scene.wait(lambda: events(scene), "an Event about the Deployment that was scaled")
    assert "ky/app" in events(scene)[0]["message"]
    assert scene.kanary("app")["spec"]["proxy"]["replicas"] == 1
