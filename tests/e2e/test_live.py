"""Running proxies load changes, are replaced if necessary, and no connection fails."""

import json

import pytest

from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, kanary, route

pytestmark = pytest.mark.cluster


@pytest.fixture
def served(scene: Scene) -> Scene:
    """A Kanary of two versions and two proxies, Ready."""
    scene.apply(
        *backend("app-v1", "v1", HOLD="1"),
        *backend("app-v2", "v2", HOLD="1"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"replicas": 2, "drainSeconds": 300}),
    )
    scene.wait_until_ready("app")
    return scene


def names(scene: Scene) -> set[str]:
    return {pod["metadata"]["name"] for pod in scene.proxy_pods("app")}


def shift(scene: Scene, v1: int, v2: int, **spec: object) -> dict:
    scene.change("app", routes=[route("app-v1", v1), route("app-v2", v2)], **spec)
    return scene.wait_until_ready("app")


def restarts(scene: Scene, container: str) -> int:
    statuses = [status for pod in scene.proxy_pods("app") for status in pod["status"]["containerStatuses"]]
    return sum(status["restartCount"] for status in statuses if status["name"] == container)


def test_new_weights_reach_the_proxies_that_run_and_no_connection_fails_or_is_cut(served: Scene) -> None:
    before, address = names(served), served.service_address("app")
    with served.client.hold(address, 80) as held, served.client.keep_counting(address, 80) as counting:
        for v1 in (50, 0, 100, 30):
            shift(served, v1, 100 - v1)
            # In addition to the continuous connections, which take turns as well.
            counted = served.count_at_one_proxy("app", 200)
            assert counted.is_split(20, **{f"v{n}": w for n, w in ((1, v1), (2, 100 - v1)) if w}), counted
        counted, ended = counting.stop_counting(), held.stop()
    assert not counted.errors, counted
    assert ended["end"] == "stopped", ended
    counted = served.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=30, v2=70), counted
    assert names(served) == before
    assert restarts(served, "haproxy") == 0
    assert served.status("app")["proxies"]["strategy"] == "Live"


def test_a_connection_from_before_a_reload_is_served_until_the_drain_time_is_over(served: Scene) -> None:
    shift(served, 80, 20, proxy={"drainSeconds": 20})
    with served.client.hold(served.service_address("app"), 80) as held:
        shift(served, 0, 100)
        # A change of weights is no reload. Another idle time is one.
        shift(served, 0, 100, proxy={"idleSeconds": 3600})
        assert held.is_running()
        served.wait(lambda: not held.is_running(), "the end of the connection that was held")
        ended = held.stop()
    assert ended["end"] != "stopped"
    assert ended["echoes"] > 0


def workers(scene: Scene) -> int:
    """How many worker processes the masters of all proxies have had."""
    return sum(scene.kubectl("logs", name, "-c", "haproxy").count("New worker") for name in names(scene))


def test_pods_that_come_and_go_are_taken_and_left_without_a_reload(served: Scene) -> None:
    before = workers(served)
    with served.client.hold(served.service_address("app"), 80) as held:
        for replicas in (3, 1):
            served.kubectl("scale", "deployment", "app-v2", f"--replicas={replicas}")
            served.wait_until_ready("app", {"app-v1": 1, "app-v2": replicas})
            counted = served.count_at_one_proxy("app", 1000)
            assert counted.is_split(v1=80, v2=20), counted
        ended = held.stop()
    assert ended["end"] == "stopped", ended
    assert workers(served) == before == 2
    shift(served, 60, 40)
    assert workers(served) == 2
    shift(served, 60, 40, proxy={"idleSeconds": 3600})
    assert workers(served) == 4


def test_an_agent_that_dies_is_started_again_and_takes_the_next_change(served: Scene) -> None:
    before = names(served)
    for name in before:
        served.kubectl("exec", name, "-c", "agent", "--", "sh", "-c", "kill -TERM 1")
    served.wait(lambda: restarts(served, "agent") == len(before), "agents that were started again")
    shift(served, 40, 60)
    counted = served.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=40, v2=60), counted
    assert names(served) == before


def test_manual_changes_of_the_configuration_reach_no_running_proxy(served: Scene) -> None:
    before = names(served)
    with served.client.keep_counting(served.service_address("app"), 80) as counting:
        nonsense = {"data": {"haproxy.cfg": "global\n  no such keyword\n"}}
        served.kubectl("patch", "configmap", "app-haproxy", "--type=merge", "-p", json.dumps(nonsense))
        served.wait(lambda: "no such keyword" not in served.configuration("app"), "the configuration as it was")
        served.wait_until_ready("app")
        counted = counting.stop_counting()
    assert not counted.errors, counted
    assert names(served) == before
    assert restarts(served, "haproxy") == 0
    counted = served.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=80, v2=20), counted


def test_proxies_that_are_scaled_replaced_and_deleted_cost_no_connection(served: Scene) -> None:
    address = served.service_address("app")
    with served.client.hold(address, 80) as held, served.client.keep_counting(address, 80) as counting:
        served.change("app", proxy={"replicas": 3})
        served.wait_until_ready("app")
        served.change("app", proxy={"replicas": 2})
        served.wait_until_ready("app")
        served.kubectl("delete", "pod", sorted(names(served))[0], "--wait=false")
        served.wait_until_ready("app")
        before = names(served)
        served.change("app", proxy={"resources": {"requests": {"cpu": "20m"}}})
        served.wait_until_ready("app")
        assert not names(served) & before
        counted, ended = counting.stop_counting(), held.stop()
    assert not counted.errors, counted
    assert ended["end"] == "stopped", ended


def test_rolling_replaces_the_proxies_at_each_change(served: Scene) -> None:
    shift(served, 80, 20, updateStrategy="Rolling")
    before, address = names(served), served.service_address("app")
    with served.client.hold(address, 80) as held, served.client.keep_counting(address, 80) as counting:
        shift(served, 30, 70)
        counted, ended = counting.stop_counting(), held.stop()
    assert not names(served) & before
    assert not counted.errors, counted
    assert ended["end"] == "stopped", ended
    counted = served.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=30, v2=70), counted


def test_proxies_without_enough_memory_show_in_the_kanary_and_the_others_go_on(served: Scene) -> None:
    with served.client.keep_counting(served.service_address("app"), 80) as counting:
        served.change("app", proxy={"resources": {"requests": {"memory": "8Mi"}, "limits": {"memory": "8Mi"}}})
        served.wait(lambda: "OOMKilled" in served.status("app").get("message", ""), "the cause in the message")
        assert served.columns("app").startswith("app Rolling app-v1:http=80 app-v2:http=20 ")
        counted = counting.stop_counting()
    assert not counted.errors, counted
