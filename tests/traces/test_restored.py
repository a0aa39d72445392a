"""Deleted objects are restored as they were, whether the spec can be applied or not."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from engine.model.entries import WeightChange
from tests.traces.test_live import declare, proxies
from tests.traces.world import World, routes

OBJECTS = ["ConfigMap", "Deployment", "Service", "PodDisruptionBudget"]
STRATEGIES = ["Live", "Rolling"]


def serving(strategy: str) -> World:
    world = World()
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20, updateStrategy=strategy)
    world.settle()
    return world


def kept(world: World) -> dict[str, object]:
    """What the declared spec says beside its weights."""
    return {"updateStrategy": world.objects["Kanary", "rule"]["spec"]["updateStrategy"]}


def paused(world: World) -> None:
    declare(world, 80, 20, paused=True, **kept(world))


def paused_with_a_change(world: World) -> None:
    declare(world, 50, 50, paused=True, **kept(world))


def without_a_service(world: World) -> None:
    world.remove("Service", "myapp-v2")


def with_bad_weights(world: World) -> None:
    declare(world, 80, 30, **kept(world))


def without_pods(world: World) -> None:
    world.scale("myapp-v2", 0)
    declare(world, 80, 20, onEmptyRoute="Hold", **kept(world))


STANDSTILLS = [paused, paused_with_a_change, without_a_service, with_bad_weights, without_pods]
"""What keeps a Kanary from applying its spec."""


def own_objects(world: World) -> dict[tuple[str, str], object]:
    """What Kanary applies, without what the API server and controllers add."""
    found = {
        key: deepcopy(obj) for key, obj in world.objects.items() if obj["metadata"].get("ownerReferences") is not None
    }
    for obj in found.values():
        obj.pop("status", None)
        for name in ("uid", "resourceVersion", "generation", "creationTimestamp"):
            obj["metadata"].pop(name, None)
    return dict(found)


@pytest.mark.parametrize("kind", OBJECTS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stand_still", STANDSTILLS)
def test_what_is_deleted_is_restored_while_the_spec_waits(
    stand_still: Callable[[World], None], strategy: str, kind: str
) -> None:
    world = serving(strategy)
    stand_still(world)
    world.settle()
    before, pods, status = own_objects(world), proxies(world), world.status()
    changes = [entry for entry in world.entries.values() if isinstance(entry, WeightChange)]
    for key in [key for key in before if key[0] == kind]:
        world.remove(*key)
    world.settle()
    assert own_objects(world) == before
    assert proxies(world) == pods
    assert world.status()["display"] == status["display"]
    assert (world.status()["phase"], world.status()["reason"]) == (status["phase"], status["reason"])
    assert [entry for entry in world.entries.values() if isinstance(entry, WeightChange)] == changes


@pytest.mark.parametrize(
    "data", [{}, {"applied.json": "{}"}, {"haproxy.cfg": "broken"}], ids=["no data", "JSON", "text"]
)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stand_still", STANDSTILLS)
def test_a_damaged_config_map_is_restored_while_the_spec_waits(
    stand_still: Callable[[World], None], strategy: str, data: dict[str, str]
) -> None:
    world = serving(strategy)
    stand_still(world)
    world.settle()
    before, pods, status = own_objects(world), proxies(world), world.status()
    config_map = world.objects["ConfigMap", "rule-haproxy"]
    config_map["data"] = {**config_map["data"], **data} if data else {}
    world.settle()
    assert own_objects(world) == before
    assert proxies(world) == pods
    assert (world.status()["display"], world.status()["reason"]) == (status["display"], status["reason"])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stand_still", [paused_with_a_change, without_a_service, with_bad_weights])
def test_a_record_that_is_deleted_while_no_operator_runs_is_reported(
    stand_still: Callable[[World], None], strategy: str
) -> None:
    world = serving(strategy)
    stand_still(world)
    world.settle()
    reason, deployment, pods = (
        world.status()["reason"],
        own_objects(world)["Deployment", "rule-haproxy"],
        proxies(world),
    )
    world.restart_operator()
    world.remove("ConfigMap", "rule-haproxy")
    world.settle()
    world.live_through(1.1)
    assert world.status()["phase"] == "Degraded"
    assert world.status()["reason"] == reason
    assert "ConfigMap rule-haproxy" in world.status()["message"]
    assert own_objects(world)["Deployment", "rule-haproxy"] == deployment
    assert proxies(world) == pods
    world.create_service("myapp-v2", 1)
    declare(world, 50, 50, **kept(world))
    world.settle()
    assert world.status()["phase"] == "Ready"
    assert ("ConfigMap", "rule-haproxy") in world.objects


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cluster_restored_from_a_backup_counts_more_than_what_the_operator_wrote(strategy: str) -> None:
    world = World()
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20, updateStrategy=strategy)
    backup = deepcopy(world.objects["Kanary", "rule"])
    world.settle()
    declare(world, 50, 50, updateStrategy=strategy)
    world.settle()
    for key in own_objects(world):
        world.remove(*key)
    world.objects["Kanary", "rule"] = backup
    world.settle()
    assert (world.status()["phase"], world.status()["display"]["weights"]) == (
        "Ready",
        "myapp-v1:http=80 myapp-v2:http=20",
    )


def test_a_replaced_key_is_written_once_and_a_lost_one_stays() -> None:
    world = World()

    def written() -> tuple[str, str]:
        data = world.objects["ConfigMap", "rule-haproxy"]["data"]
        return data["public-key.pem"], data["haproxy.cfg"]

    world.create_service("myapp-v1", 2)
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100), updateStrategy="Live")
    world.settle()
    config = world.config()
    world.key = "another key"
    world.restart_operator()
    world.settle()
    assert written() == ("another key", config)
    world.key = ""
    world.restart_operator()
    writes = world.writes
    world.settle()
    assert (written(), world.writes) == (("another key", config), writes)
