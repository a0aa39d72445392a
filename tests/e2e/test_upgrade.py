"""The operator is replaced by one with another image of the proxies, with connections arriving and one held."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e import operator
from tests.e2e.kind import Cluster
from tests.e2e.kubectl import Kubectl
from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, kanary, route

pytestmark = pytest.mark.cluster

VARIABLE = "KANARY_PROXY_IMAGE"
NEXT = "kanary-haproxy:next"


def proxy_image(system: Kubectl) -> str:
    environment = system.get(operator.DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["env"]
    return str(next(entry["value"] for entry in environment if entry["name"] == VARIABLE))


@pytest.fixture
def next_image(kind_cluster: Cluster, system: Kubectl) -> Iterator[str]:
    """The image of the proxies under another name, on the node; afterwards the operator uses the usual one again."""
    usual = proxy_image(system)
    images = ["docker", "exec", kind_cluster.node, "ctr", "--namespace=k8s.io", "images"]
    names = [f"docker.io/library/{name}" for name in (usual, NEXT)]
    subprocess.run([*images, "tag", "--force", *names], check=True, capture_output=True)
    yield NEXT
    operator.install(system)
    assert proxy_image(system) == usual


def test_an_upgrade_of_operator_and_proxies_fails_and_cuts_no_connection(
    scene: Scene, system: Kubectl, next_image: str
) -> None:
    scene.apply(
        *backend("app-v1", "v1", 2, HOLD="1"),
        *backend("app-v2", "v2", HOLD="1"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"replicas": 2, "drainSeconds": 60}),
    )
    scene.wait_until_ready("app")
    before = {pod["metadata"]["name"] for pod in scene.proxy_pods("app")}
    address = scene.service_address("app")

    def is_upgraded() -> bool:
        pods = scene.proxy_pods("app")
        images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
        return images == {next_image} and len(pods) == 2

    with scene.client.keep_counting(address, 80) as counting, scene.client.hold(address, 80) as held:
        system("set", "env", operator.DEPLOYMENT, f"{VARIABLE}={next_image}")
        system("rollout", "status", operator.DEPLOYMENT, "--timeout=180s", timeout=200)
        scene.wait(is_upgraded, "two proxies of the other image, and none of the former one")
        scene.wait_until_ready("app")
        assert held.is_running(), "the connection from before the upgrade was cut"
        held.stop()
        counted = counting.stop_counting()

    assert not counted.errors, counted
    assert counted.versions["v1"], counted
    assert counted.versions["v2"], counted
    assert before.isdisjoint(pod["metadata"]["name"] for pod in scene.proxy_pods("app"))
    scene.wait_for_split("app", proxies=2, v1=80, v2=20)
