"""Connections are split by weight, and continue during changes."""

import pytest

from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, deployment, kanary, route, service

pytestmark = pytest.mark.cluster


def test_ports_go_by_name_or_number_and_a_route_of_weight_0_gets_nothing(scene: Scene) -> None:
    scene.apply(
        *backend("app-named", "named"),
        deployment("app-numbered", "numbered"),
        # Nothing listens on the other port: a connection that goes there is an error.
        service(
            "app-numbered",
            {"name": "other", "port": 9091, "targetPort": 9001},
            {"name": "main", "port": 9090, "targetPort": 9000},
        ),
        deployment("app-unnamed", "unnamed"),
        service("app-unnamed", {"port": 7000, "targetPort": "echo"}),
        *backend("app-none", "none"),
        kanary(
            "app",
            "app",
            route("app-named", 50, "http"),
            route("app-numbered", 30, 9090),
            route("app-unnamed", 20, 7000),
            route("app-none", 0, "http"),
        ),
    )
    scene.wait_until_ready("app")

    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(named=50, numbered=30, unnamed=20), counted


def test_changed_weights_change_the_split_and_no_connection_fails(scene: Scene) -> None:
    scene.apply(
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"replicas": 2}),
    )
    scene.wait_until_ready("app")
    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=80, v2=20), counted

    with scene.client.keep_counting(scene.service_address("app"), 80) as counting:
        scene.change("app", routes=[route("app-v1", 50), route("app-v2", 50)])
        status = scene.wait_until_ready("app")
        counted = counting.stop_counting()

    assert status["revision"] == 2
    assert not counted.errors
    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=50, v2=50), counted
    assert scene.columns("app").startswith("app Ready app-v1:http=50 app-v2:http=50 2/2 ")


def test_the_actual_shares_are_measured_since_the_last_change(scene: Scene) -> None:
    scene.apply(
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"replicas": 2}),
    )
    assert "actual" not in scene.wait_until_ready("app")["weights"][0]
    assert scene.count_at_one_proxy("app", 1000).is_split(v1=80, v2=20)
    scene.wait(lambda: measured(scene, 1000) == [80, 20], "80 and 20 % of the connections are measured")
    scene.change("app", routes=[route("app-v1", 50), route("app-v2", 50)])
    scene.wait_until_ready("app")
    assert scene.count_at_one_proxy("app", 200).is_split(v1=50, v2=50)
    scene.wait(lambda: measured(scene, 200) == [50, 50], "50 and 50 % of the connections are measured")
    assert " app-v1:http=50 app-v2:http=50 " in scene.columns("app", "-o", "wide").partition(" Serving ")[2]


def measured(scene: Scene, connections: int) -> list[float] | None:
    """The actual shares of the status, once it has at least so many connections, of which each proxy has counted."""
    routes = scene.status("app")["weights"]
    known = sum(route.get("sinceChange") or 0 for route in routes)
    return [round(route["actual"]) for route in routes] if known >= connections / 8 else None


def test_an_established_connection_outlives_the_replacement_of_its_proxy_until_the_drain_ends(scene: Scene) -> None:
    scene.apply(
        *backend("app-v1", "v1", HOLD="1"),
        *backend("app-v2", "v2", HOLD="1"),
        kanary(
            "app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"drainSeconds": 30}, updateStrategy="Rolling"
        ),
    )
    scene.wait_until_ready("app")
    old_proxy = scene.proxy_address("app")

    with scene.client.hold(scene.service_address("app"), 80) as held:
        scene.change("app", routes=[route("app-v1", 0), route("app-v2", 100)])
        scene.wait_until_ready("app")
        assert scene.proxy_address("app") != old_proxy
        assert held.is_running(), held.stop()

        scene.wait(lambda: not held.is_running(), "the end of the connection that was held")
        ended = held.stop()
    assert ended["end"] != "stopped"
    assert ended["echoes"] > 0


def test_a_destination_port_other_than_80_is_listened_on(scene: Scene) -> None:
    scene.apply(*backend("app-v1", "v1"), kanary("app", "app", route("app-v1", 100), port=5432))
    scene.wait_until_ready("app")

    scene.wait_for_split("app", port=5432, v1=100)
