"""The operator says in each configuration which pods are in which zone, if the spec prefers the proxy's own."""

from collections.abc import Sequence
from typing import Any

from engine.model.states import Json
from tests.traces.world import World, routes


class ZonedWorld(World):
    """Each endpoint is in one of two zones."""

    def slices(self, namespace: str, service: str) -> Sequence[Json]:
        return [
            {**piece, "endpoints": [{**each, "zone": zone(each)} for each in piece["endpoints"]]}
            for piece in super().slices(namespace, service)
        ]


def zone(endpoint: Json) -> str:
    return "ab"[int(endpoint["addresses"][0].rpartition(".")[2]) % 2]


def served(**spec: Any) -> ZonedWorld:
    world = ZonedWorld()
    world.create_service("myapp-v1", 4)
    world.create_service("myapp-v2", 2)
    apply(world, **spec)
    return world


def apply(world: World, **spec: Any) -> None:
    split = routes(myapp_v1=90, myapp_v2=10)
    world.apply_kanary(destination="myapp", updateStrategy="Live", routes=split, **spec)
    world.settle()
    assert world.phase() == "Ready", world.status()["message"]


def zones(world: World) -> dict[str, set[str]]:
    lines = [line.partition(": ") for line in world.config().splitlines() if line.startswith("# zone ")]
    return {name.removeprefix("# zone "): set(members.split()) for name, _, members in lines}


def expected(world: World) -> dict[str, set[str]]:
    """Pods by their address, proxies by their uid."""
    uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in world.proxy_pods("default", "rule")}
    found: dict[str, set[str]] = {}
    for service in ("myapp", "myapp-v1", "myapp-v2"):
        for each in (each for piece in world.slices("default", service) for each in piece["endpoints"]):
            member = uids[each["targetRef"]["name"]] if service == "myapp" else each["addresses"][0]
            found.setdefault(zone(each), set()).add(member)
    return found


def test_zones_are_written_with_the_uids_of_the_proxies_and_only_on_request() -> None:
    world = served(proxy={"trafficDistribution": "PreferSameZone"})
    assert sum(map(len, expected(world).values())) == 8
    assert zones(world) == expected(world)
    assert world.config().count("option allbackups") >= 2
    apply(world)
    assert "zone" not in world.config()
    assert "allbackups" not in world.config()


def test_a_new_pod_and_a_new_proxy_have_their_zones_and_nothing_is_written_afterwards() -> None:
    world = served(proxy={"trafficDistribution": "PreferSameZone"})
    world.scale("myapp-v1", 5)
    apply(world, proxy={"trafficDistribution": "PreferSameZone", "replicas": 3})
    assert zones(world) == expected(world)
    assert sum(map(len, zones(world).values())) == 10
    former = world.config()
    world.live_through(60)
    assert world.config() == former


def test_the_zones_are_no_change_of_the_split() -> None:
    world = served(proxy={"trafficDistribution": "PreferSameZone"})
    moves = [move.to for move in world.moves()]
    assert moves.count("Ready") == 1
    assert zones(world)
