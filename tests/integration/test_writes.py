"""What a change costs in requests."""

import time
from datetime import timedelta

import pytest

from engine import held
from tests.integration.scene import Scene, routes

METHODS = ("PATCH", "PUT", "GET", "POST")


def made(scene: Scene) -> list[tuple[str, str]]:
    """The requests since the last change, by method."""
    requests = scene.server.requests
    return [(method, r.path.split("/namespaces/shop/")[-1]) for method in METHODS for r in requests.find(method)]


def wait_for_rest(scene: Scene) -> None:
    """All that follows a start has been written."""
    scene.wait_until_written()
    scene.wait_for(lambda: scene.events("Serving"))
    time.sleep(2)
    scene.server.requests.clear()


def test_a_change_of_endpoints_is_one_config_map_and_one_status(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine may need longer than usual until both proxies have loaded it: each has its own count otherwise.
    monkeypatch.setattr(held, "STATUS_INTERVAL", timedelta(seconds=5))
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.declare(destination="myapp", routes=routes(myapp_v1=100))
    scene.start_operator()
    wait_for_rest(scene)
    scene.endpoints("myapp-v1", "10.0.0.1", "10.0.0.3")
    scene.wait_for(lambda: len(made(scene)) >= 2)
    time.sleep(2)
    assert made(scene) == [("PATCH", "configmaps/rule-haproxy"), ("PUT", "kanaries/rule/status")]


def test_a_change_of_weights_is_one_config_map_two_statuses_and_one_event(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is: a change that takes longer than that has one more status, and more Events.
    monkeypatch.setattr(held, "STATUS_INTERVAL", timedelta(minutes=1))
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    scene.start_operator()
    wait_for_rest(scene)
    scene.declare(destination="myapp", routes=routes(myapp_v1=50, myapp_v2=50))
    scene.wait_for_phase("Ready", revision=2)
    scene.wait_for(lambda: scene.events("WeightsChanged"))
    assert made(scene) == [
        ("PATCH", "configmaps/rule-haproxy"),
        ("PUT", "kanaries/rule/status"),
        ("PUT", "kanaries/rule/status"),
        ("POST", "events"),
    ]
