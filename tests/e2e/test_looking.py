"""Each question about a Kanary has a command, whose answer is that of the cluster."""

import json
from typing import Any

import pytest
import yaml

from tests.e2e.command import output, run
from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, kanary, route, service

pytestmark = pytest.mark.cluster


def test_a_route_that_fails_is_explained_by_every_command(scene: Scene) -> None:
    declared = kanary("app", "app", route("app-v1", 50), route("app-v2", 50), proxy={"replicas": 2})
    scene.apply(*backend("app-v1", "v1"), *backend("app-v2", "v2"), declared)
    good = run(scene, "status", "app", "--timeout", "5m")
    assert (good.returncode, good.stdout.splitlines()[-1].partition(" - ")[0]) == (0, "Ready"), good
    as_json, as_yaml = (documents(scene, "why", "app", output_format=name) for name in ("json", "yaml"))
    assert as_json["phase"]["rule"] == as_yaml["phase"]["rule"] == "everything_is_served"

    # Nothing listens on this port.
    scene.apply(service("app-v2", {"name": "http", "port": 80, "targetPort": 9}))
    scene.wait_for_phase("app", "Degraded", "RouteUnreachable")
    bad = run(scene, "status", "app", "--timeout", "5m")
    assert bad.returncode == 1
    assert bad.stdout.startswith("Degraded - ")
    tree = output(scene, "get", "app")
    assert "✘ app-v2:http" in tree
    assert "Connection refused" in tree
    (listed,) = documents(scene, "list")
    assert (listed["name"], listed["reason"]) == ("app", "RouteUnreachable")
    assert "kanary explain RouteUnreachable" in output(scene, "why", "app")
    reasons = [event["reason"] for event in documents(scene, "events", "app")]
    assert reasons.index("Serving") < reasons.index("RouteUnreachable")


def test_a_plan_is_what_the_operator_then_does(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    scene.apply(
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"replicas": 2}),
    )
    scene.wait_until_ready("app")
    changed = tmp_path_factory.mktemp("plan") / "app.yaml"
    changed.write_text(yaml.safe_dump(kanary("app", "app", route("app-v1", 50), route("app-v2", 50))))
    before = scene.configuration("app")
    (forecast,) = documents(scene, "plan", "-f", str(changed))
    assert run(scene, "plan", "-f", str(changed), "--exit-code").returncode == 3
    assert scene.configuration("app") == before
    scene.kubectl("apply", "-f", str(changed))
    scene.wait_until_ready("app")
    # But for the digest and the number, which each of them chooses.
    passing = ("# Kanary ", "  set-var proc.digest ")
    written = [line for line in scene.configuration("app").splitlines() if not line.startswith(passing)]
    (config_map,) = (each["object"] for each in forecast["objects"] if each["object"]["kind"] == "ConfigMap")
    planned_lines = config_map["data"]["haproxy.cfg"].splitlines()
    assert [line for line in planned_lines if not line.startswith(passing)] == written
    assert run(scene, "plan", "-f", str(changed), "--exit-code").returncode == 0


def documents(scene: Scene, *arguments: str, output_format: str = "json") -> Any:
    return (json.loads if output_format == "json" else yaml.safe_load)(output(scene, *arguments, "-o", output_format))
