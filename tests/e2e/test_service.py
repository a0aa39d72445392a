"""The Service that clients connect to, with the settings of `spec.service`."""

from typing import Any

import pytest
import yaml

from tests.e2e.scene import Scene
from tests.e2e.stacks import EXAMPLES, backend, kanary, route

pytestmark = pytest.mark.cluster

Json = dict[str, Any]


def spec(scene: Scene) -> Json:
    return dict(scene.kubectl.get("service", "app")["spec"])


def node_address(scene: Scene) -> str:
    (node, *_) = scene.kubectl.get("nodes")["items"]
    return next(str(each["address"]) for each in node["status"]["addresses"] if each["type"] == "InternalIP")


def test_the_example_is_what_it_says(scene: Scene) -> None:
    scene.apply(*yaml.safe_load_all((EXAMPLES / "simple-stack.yml").read_text()))
    manifest = yaml.safe_load((EXAMPLES / "service.yml").read_text())
    # A node port is of one Service in the cluster.
    port = manifest["spec"]["service"]["port"].pop("nodePort")
    assert port in range(30_000, 32_768)
    scene.apply(manifest)
    scene.wait_until_ready("simple-kanary-rule", {"myapp-v1": 2, "myapp-v2": 1})
    made = scene.kubectl.get("service", "myapp")
    assert made["spec"]["type"] == "NodePort"
    assert made["metadata"]["labels"]["team"] == made["metadata"]["annotations"]["example.com/owner"] == "edge"
    assert made["spec"]["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 600}}


def test_the_type_changes_under_clients_without_a_failed_connection(scene: Scene) -> None:
    scene.apply(*backend("app-v1", "v1", 2, HOLD="1"), *backend("app-v2", "v2", HOLD="1"))
    scene.apply(kanary("app", "app", route("app-v1", 80), route("app-v2", 20)))
    scene.wait_until_ready("app")
    scene.wait_for_split("app", v1=80, v2=20)
    before = scene.kubectl.get("service", "app")
    address = scene.service_address("app")

    with scene.client.keep_counting(address, 80) as counting, scene.client.hold(address, 80) as held:
        scene.change("app", service={"type": "NodePort", "labels": {"team": "edge"}})
        scene.wait(lambda: spec(scene)["type"] == "NodePort", "the type NodePort")
        (port,) = spec(scene)["ports"]
        node, number = node_address(scene), port["nodePort"]
        scene.wait(
            lambda: scene.client.count(node, number, 1000).is_split(20, v1=80, v2=20), "the node port to split 80 to 20"
        )
        scene.change("app", service={"type": "LoadBalancer", "externalTrafficPolicy": "Local"})
        scene.wait(lambda: spec(scene)["type"] == "LoadBalancer", "the type LoadBalancer")
        assert spec(scene)["ports"] == [port]
        scene.change("app", service=None)
        scene.wait(lambda: spec(scene)["type"] == "ClusterIP", "the type ClusterIP")
        scene.wait_until_ready("app")
        scene.wait_for_split("app", v1=80, v2=20)
        assert held.is_running()
        held.stop()
        counted = counting.stop_counting()

    assert not counted.errors, counted
    after = scene.kubectl.get("service", "app")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert "team" not in after["metadata"]["labels"]


def test_a_setting_that_this_release_lacks_is_named_and_traffic_goes_on(scene: Scene) -> None:
    if scene.kubectl.server_minor > 20:
        pytest.skip("this release knows the field")
    scene.apply(*backend("app-v1", "v1"), *backend("app-v2", "v2"))
    for service in ({"internalTrafficPolicy": "Local"}, {}, {"internalTrafficPolicy": "Local"}):
        scene.apply(kanary("app", "app", route("app-v1", 80), route("app-v2", 20), service=service))
        if not service:
            scene.wait_until_ready("app")
            continue
        status = scene.wait_for_phase("app", "Degraded", "RejectedByCluster")
        assert "spec.service.internalTrafficPolicy" in status["message"]
        scene.wait_for_split("app", v1=80, v2=20)
