"""The pods behind a backend come and go, and connections follow."""

import pytest

from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, deployment, kanary, route, service

pytestmark = pytest.mark.cluster


def test_every_pod_of_a_scaled_backend_gets_its_share_and_no_removed_one_stays(scene: Scene) -> None:
    scene.apply(
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 70), route("app-v2", 30)),
    )
    scene.wait_until_ready("app", {"app-v1": 1, "app-v2": 1})

    for replicas in (5, 2):
        scene.kubectl("scale", "deployment", "app-v2", f"--replicas={replicas}")
        scene.wait_until_ready("app", {"app-v1": 1, "app-v2": replicas})

        counted = scene.count_at_one_proxy("app", 1000)
        assert counted.is_split(v1=70, v2=30), counted
        shares = [number for pod, number in counted.pods.items() if pod.startswith("app-v2-")]
        assert len(shares) == replicas
        # One that has just come takes its first turn wherever the round of the pods is.
        assert max(shares) - min(shares) <= 2
        pods = scene.pod_addresses("app-v1") | scene.pod_addresses("app-v2")
        assert scene.configured_addresses("app") == pods


def test_no_connection_fails_while_a_backend_is_rolled(scene: Scene) -> None:
    scene.apply(
        # Every route into a cluster takes a moment to learn of a change, so pods that matter linger.
        *backend("app-v1", "v1", replicas=2, lingers=15),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"replicas": 2}),
    )
    scene.wait_until_ready("app", {"app-v1": 2, "app-v2": 1})
    old = scene.pod_addresses("app-v1")

    def serves_the_new_pods() -> bool:
        new = scene.pod_addresses("app-v1")
        is_served = scene.configured_addresses("app") == new | scene.pod_addresses("app-v2")
        return not (new & old) and is_served and scene.status("app").get("phase") == "Ready"

    with scene.client.keep_counting(scene.service_address("app"), 80) as counting:
        scene.kubectl("rollout", "restart", "deployment", "app-v1")
        scene.kubectl("rollout", "status", "deployment", "app-v1", "--timeout=120s", timeout=130)
        scene.wait(serves_the_new_pods, "Kanary app Ready with the new pods alone")
        counted = counting.stop_counting()

    assert not counted.errors, counted
    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=80, v2=20), counted


def test_a_backend_with_the_wrong_port_is_not_ready_until_the_port_is_right(scene: Scene) -> None:
    wrong, right = ({"name": "http", "port": 80, "targetPort": port} for port in (9, "echo"))
    scene.apply(
        *backend("app-v1", "v1"),
        deployment("app-v2", "v2", replicas=2),
        service("app-v2", wrong),
        kanary("app", "app", route("app-v1", 50), route("app-v2", 50)),
    )
    status = scene.wait_for_phase("app", "Degraded", "RouteUnreachable")
    assert "app-v2:http (weight 50): pod app-v2-" in status["message"]
    assert "L4CON" in status["message"]
    assert [(route["ready"], route["up"], route["down"]) for route in status["weights"]] == [(1, 1, 0), (2, 0, 2)]
    assert " app-v2:http=2 " in scene.columns("app", "-o", "wide")
    counted = scene.count_at_one_proxy("app", 100)
    assert counted.is_split(v1=100), counted

    scene.apply(service("app-v2", right))
    scene.wait_until_ready("app", {"app-v1": 1, "app-v2": 2})
    counted = scene.count_at_one_proxy("app", 100)
    assert counted.is_split(v1=50, v2=50), counted


def test_a_backend_that_does_not_exist_yet_is_waited_for(scene: Scene) -> None:
    scene.apply(*backend("app-v1", "v1"), kanary("app", "app", route("app-v1", 60), route("app-v2", 40)))
    status = scene.wait_for_phase("app", "Pending", "BackendNotFound")
    assert 'Service "app-v2" does not exist' in status["message"]
    assert "app" not in {service["metadata"]["name"] for service in scene.kubectl.get("services")["items"]}

    scene.apply(*backend("app-v2", "v2"))
    scene.wait_until_ready("app")
    counted = scene.count_at_one_proxy("app", 100)
    assert counted.is_split(v1=60, v2=40), counted


def test_a_version_that_loses_its_pods_leaves_its_share_to_the_others_until_it_is_back(scene: Scene) -> None:
    scene.apply(
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20)),
    )
    scene.wait_until_ready("app")

    scene.kubectl("scale", "deployment", "app-v2", "--replicas=0")
    status = scene.wait_for_phase("app", "Degraded", "RouteWithoutEndpoints")
    assert "app-v2:http (weight 20) has no ready endpoint" in status["message"]
    scene.wait(lambda: len(scene.configured_addresses("app")) == 1, "one address in the configuration")
    scene.kubectl("rollout", "status", "deployment", "app-haproxy", "--timeout=110s")
    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=100), counted

    scene.kubectl("scale", "deployment", "app-v2", "--replicas=1")
    scene.wait_until_ready("app", {"app-v1": 1, "app-v2": 1})
    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=80, v2=20), counted
