"""A rollout to another Service, if the destination has several ports."""

from typing import Any

from engine.model.states import read_written
from tests.traces.rollouts import declare_routes, serve, weights
from tests.traces.world import World


def ports(*services: str) -> list[dict[str, Any]]:
    """A further port that is another one of these Services than of others."""
    backends = [{"serviceName": service, "servicePort": 80} for service in services]
    return [{"name": "more", "port": 81, "servicePort": "admin", "backends": backends}]


def pods(world: World) -> dict[str, int]:
    """How many pods the proxies have, by backend."""
    applied = read_written(world.objects["ConfigMap", "rule-haproxy"]).applied
    assert applied
    return {str(route.backend): len(applied.endpoints_of(route.backend)) for route in applied.spec.all_routes}


def test_the_port_of_a_former_service_is_needed_until_the_rollout_has_ended(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare_routes(world, {"myapp_v1": 100}, ports=ports("myapp-v1"))
    world.run("v1 has all connections")
    before = pods(world)

    declare_routes(world, {"myapp_v2": 100}, ports=ports("myapp-v2"))
    world.run("v2 is to have them, and the port of v1 is left out")
    assert world.status()["reason"] == "InvalidSpec"
    assert "add {serviceName: myapp-v1, servicePort: 80}" in world.status()["message"]
    assert pods(world) == before

    declare_routes(world, {"myapp_v2": 100}, ports=ports("myapp-v1", "myapp-v2"))
    world.run("it is there")
    assert all(pods(world).values())
    serve(world, 1200)
    assert weights(world) == "myapp-v2:http=100"
    declare_routes(world, {"myapp_v2": 100}, ports=ports("myapp-v2"))
    world.run("the rollout has ended")
    assert world.status()["phase"] == "Ready"


def test_a_freeze_keeps_the_port_of_a_former_service() -> None:
    """The weights of a freeze are the former ones, and the ports those of the declared spec."""
    world = World()
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare_routes(world, {"myapp_v1": 100}, rollout=None, ports=ports("myapp-v1"))
    world.settle()
    before = pods(world)
    frozen: dict[str, Any] = {"rollout": None, "freeze": {"reason": "holidays"}}

    declare_routes(world, {"myapp_v2": 100}, ports=ports("myapp-v2"), **frozen)
    world.settle()
    assert world.status()["reason"] == "InvalidSpec"
    message = world.status()["message"]
    assert "until the rollout or the freeze has ended" in message
    assert "add {serviceName: myapp-v1, servicePort: 80}" in message
    assert pods(world) == before

    declare_routes(world, {"myapp_v2": 100}, ports=ports("myapp-v1", "myapp-v2"), **frozen)
    world.settle()
    assert world.status()["phase"] != "Degraded"
    assert all(pods(world).values())

    declare_routes(world, {"myapp_v2": 100}, rollout=None, ports=ports("myapp-v2"))
    world.settle()
    assert world.status()["phase"] == "Ready"
    assert set(pods(world)) == {"myapp-v2:http", "myapp-v2:80"}


def test_a_port_that_comes_with_a_rollout_leads_to_both_versions_at_once(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare_routes(world, {"myapp_v1": 100})
    world.run("v1 has all connections")
    declare_routes(world, {"myapp_v2": 100}, ports=[{"name": "more", "port": 81, "servicePort": 80}])
    while "myapp-v1:80" not in pods(world):
        world.step()
    assert all(pods(world).values())
