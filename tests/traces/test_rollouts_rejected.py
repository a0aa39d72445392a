"""A rollout goes on, and is rolled back, while the cluster rejects a change of the Service."""

import pytest

from engine.model.states import read_written
from tests.traces.rollouts import NEW, OLD, TENTH, declare, serve, serving_v1, weights
from tests.traces.world import World


@pytest.fixture
def rejected(world: World) -> World:
    """The spec with the new weights also has a setting of the Service that the cluster rejects."""
    serving = serving_v1(world)
    serving.rejections["Service"] = "provided port is already allocated"
    declare(serving, 0, 100, service={"type": "NodePort"})
    serving.run("a rollout begins, and the Service is rejected")
    assert serving.status()["reason"] == "RejectedByCluster"
    serve(serving, 20)
    assert (weights(serving), served(serving)) == (TENTH, TENTH)
    return serving


def served(world: World) -> str:
    """The weights that the proxies have."""
    applied = read_written(world.objects.get(("ConfigMap", "rule-haproxy"))).applied
    return " ".join(f"{route.backend}={route.weight}" for route in applied.spec.routes) if applied else ""


def test_a_rollout_goes_on_while_the_service_is_rejected(rejected: World) -> None:
    serve(rejected, 2000)
    assert (weights(rejected), served(rejected)) == (NEW, NEW)
    assert rejected.status()["reason"] == "RejectedByCluster"


def test_a_rollout_is_rolled_back_while_the_service_is_rejected(rejected: World) -> None:
    serve(rejected, 100, v2=0.5)
    assert (weights(rejected), served(rejected)) == (OLD, OLD)
