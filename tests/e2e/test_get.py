"""A connection that failed is found: which version, which client, why."""

import json

import pytest

from tests.e2e.command import output
from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, deployment, kanary, route, service

pytestmark = pytest.mark.cluster


def test_a_failed_connection_is_found_with_its_version_client_and_cause(scene: Scene) -> None:
    scene.apply(
        *backend("app-v1", "v1"),
        deployment("app-v2", "v2"),
        # Nothing listens on this port.
        service("app-v2", {"name": "http", "port": 80, "targetPort": 9}),
        kanary("app", "app", route("app-v1", 50), route("app-v2", 50), onEmptyRoute="Fail", proxy={"replicas": 2}),
    )
    scene.wait_for_phase("app", "Degraded", "RouteUnreachable")
    counted = scene.count_at_one_proxy("app", 20)
    assert counted.errors, counted

    found = json.loads(output(scene, "get", "app", "-o", "json"))
    assert (found["phase"], found["reason"], found["unknown"]) == ("Degraded", "RouteUnreachable", [])
    served, failed = found["routes"]
    assert (served["backend"], served["failures"]) == ("app-v1:http", [])
    assert failed["failed"] >= 10
    assert {failure["cause"] for failure in failed["failures"]} == {"no pod was up"}
    assert {failure["proxy"] for failure in failed["failures"]} <= {proxy["name"] for proxy in found["proxies"]}
    assert len(found["proxies"]) == 2
    assert "no pod was up" in output(scene, "get", "app")
