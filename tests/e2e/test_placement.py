"""Where and as what the proxies run, and what a namespace refuses."""

import pytest
import yaml

from tests.e2e.scene import Scene
from tests.e2e.stacks import EXAMPLES, backend, kanary, route

pytestmark = pytest.mark.cluster

USER = "1000650000"
LIMITS = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "limits"},
    "spec": {"hard": {"limits.cpu": "4", "limits.memory": "1Gi"}},
}
MINIMUM = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "minimum"},
    "spec": {"limits": [{"type": "Container", "min": {"memory": "30Mi"}}]},
}


def users(scene: Scene, name: str, container: str) -> str:
    """The user ids of this container's processes, in a proxy."""
    pod = scene.proxy_pods(name)[0]["metadata"]["name"]
    return scene.kubectl("exec", pod, "-c", container, "--", "id", "-u").strip()


def test_the_example_runs_as_it_says(scene: Scene) -> None:
    scene.apply(*yaml.safe_load_all((EXAMPLES / "simple-stack.yml").read_text()))
    scene.apply(*yaml.safe_load_all((EXAMPLES / "placement.yml").read_text()))
    scene.wait_until_ready("simple-kanary-rule", {"myapp-v1": 2, "myapp-v2": 1})

    pods = scene.proxy_pods("simple-kanary-rule")
    assert {pod["metadata"]["labels"]["team"] for pod in pods} == {"edge"}
    assert [users(scene, "simple-kanary-rule", container) for container in ("haproxy", "agent")] == [USER, USER]
    scene.wait_for_split("myapp", proxies=2, v1=80, v2=20)


@pytest.mark.parametrize(
    ("refusing", "refusal"),
    [pytest.param(QUOTA, "must specify limits", id="quota"), pytest.param(MINIMUM, "minimum memory", id="minimum")],
)
def test_a_namespace_that_refuses_the_proxies_is_reported_with_the_way_out(
    scene: Scene, refusing: dict[str, object], refusal: str
) -> None:
    scene.apply(*backend("app-v1", "v1"), *backend("app-v2", "v2"))
    # The client as well, which the namespace refuses later.
    scene.wait_for_split("app-v1", v1=100)
    scene.wait_for_split("app-v2", v2=100)
    scene.apply(refusing, kanary("app", "app", route("app-v1", 80), route("app-v2", 20)))

    def message() -> str:
        return str(scene.status("app").get("message", ""))

    scene.wait(lambda: refusal in message(), f"a status with {refusal!r}")
    assert "set requests and limits in spec.proxy.resources and spec.proxy.agentResources" in message()
    scene.change("app", proxy={"resources": LIMITS, "agentResources": LIMITS})
    scene.wait_until_ready("app", {"app-v1": 1, "app-v2": 1})
    scene.wait_for_split("app", v1=80, v2=20)
