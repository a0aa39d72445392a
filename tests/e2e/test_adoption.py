"""A Service with traffic becomes the destination of a Kanary, and is itself again afterwards."""

import pytest
import yaml

from tests.e2e.command import output
from tests.e2e.scene import Scene
from tests.e2e.stacks import CONTAINER_PORT, backend, kanary, route, service

pytestmark = pytest.mark.cluster

PORTS = ("http", 80, "echo"), ("admin", 81, CONTAINER_PORT)


def test_a_service_with_traffic_is_adopted_and_given_back_without_a_failed_connection(scene: Scene) -> None:
    ports = [{"name": name, "port": port, "targetPort": target} for name, port, target in PORTS]
    scene.apply(*backend("app-v1", "v1", 2, HOLD="1"), service("app-v1", *ports))
    scene.apply(*backend("app-v2", "v2", HOLD="1"), service("app-v2", *ports))
    web = service("web", *ports)
    web["spec"]["selector"] = {"app": "app-v1"}
    scene.apply(web)
    scene.wait_for_split("web", v1=100)
    before = scene.kubectl.get("service", "web")["spec"]
    address = scene.service_address("web")

    with (
        scene.client.keep_counting(address, 80) as counting,
        scene.client.keep_counting(address, 81) as counting_admin,
        scene.client.hold(address, 80) as held,
    ):
        routes = route("app-v1", 50), route("app-v2", 50)
        further = [{"name": "admin", "port": 81, "servicePort": "admin"}]
        adopting = {"adoptDestination": True, "ports": further, "proxy": {"replicas": 2}}
        scene.apply(kanary("web", "web", *routes, **adopting))
        scene.wait_until_ready("web")
        switched = scene.kubectl.get("service", "web")
        scene.wait_for_split("web", proxies=2, v1=50, v2=50)
        scene.kubectl("delete", "kanary", "web", "--timeout=110s")
        scene.wait_for_split("web", v1=100)
        assert held.is_running()
        held.stop()
        of_ports = counting.stop_counting(), counting_admin.stop_counting()

    for counted in of_ports:
        assert not counted.errors, counted
        assert counted.versions["v2"], "no connection went through the proxies"
    assert switched["spec"]["clusterIP"] == before["clusterIP"]
    assert switched["spec"]["selector"] == {"kanary.k8s.io/name": "web"}
    after = scene.kubectl.get("service", "web")
    assert after["spec"] == before
    assert "kanary.k8s.io/adopted" not in (after["metadata"].get("annotations") or {})


def test_the_steps_of_kanary_adopt_leave_a_service_with_its_proxies_alone(scene: Scene) -> None:
    scene.apply(*backend("app-v1", "v1"))
    web = service("web")
    web["spec"]["selector"] = {"app": "app-v1"}
    scene.apply(web)
    scene.wait_for_split("web", v1=100)
    *versions, adopting = yaml.safe_load_all(output(scene, "adopt", "web"))
    scene.apply(*versions, adopting)
    scene.wait_until_ready("web")
    web["spec"] = {"ports": [{"name": "http", "port": 80}]}
    scene.apply(web)
    scene.apply(*backend("app-v2", "v2"))
    for each in adopting["spec"]["routes"]:
        each["weight"] = 50
    scene.apply(adopting)
    scene.wait_for_split("web", proxies=2, v1=50, v2=50)
    scene.kubectl("delete", "pods", "-l", "kanary.k8s.io/name=web")
    scene.wait_until_ready("web")
    scene.wait(lambda: addresses(scene, "web") == {pod["status"]["podIP"] for pod in scene.proxy_pods("web")}, "slices")
    scene.wait_for_split("web", proxies=2, v1=50, v2=50)


def addresses(scene: Scene, service: str) -> set[str]:
    """The addresses that kube-proxy uses: those of all EndpointSlices, whatever created them."""
    slices = scene.kubectl.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
    return {address for each in slices for endpoint in each["endpoints"] or () for address in endpoint["addresses"]}
