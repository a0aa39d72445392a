"""Several ports of one destination, from the objects of the cluster to those of Kanary."""

from typing import Any

from tests.integration.scene import Scene, routes

Json = dict[str, Any]

BOTH = [{"name": "http", "port": 80}, {"name": "prometheus", "port": 81}]
METRICS: Json = {"name": "metrics", "port": 9100, "servicePort": "prometheus"}
SPLIT: Json = {"destination": "myapp", "routes": routes(myapp_v1=80, myapp_v2=20), "ports": [METRICS]}


def service(scene: Scene) -> dict[str, int]:
    found = scene.get("services", "myapp")
    return {port["name"]: port["port"] for port in (found or {"spec": {"ports": []}})["spec"]["ports"]}


def test_further_ports_are_served_changed_and_removed(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1", ports=BOTH)
    scene.backend("myapp-v2", "10.0.0.2", ports=BOTH)
    scene.declare(**SPLIT)
    scene.start_operator()
    status = scene.wait_for_phase("Ready")
    assert [each["backend"] for each in status["weights"]] == ["myapp-v1:http", "myapp-v2:http"]
    assert service(scene) == {"tcp": 80, "metrics": 9100}
    for server in ("10.0.0.1:9000", "10.0.0.2:9000", "10.0.0.1:9001", "10.0.0.2:9001"):
        assert f"  server {server} " in scene.config()
    scene.declare(**{**SPLIT, "ports": [{**METRICS, "port": 9200}]})
    scene.wait_for(lambda: service(scene) == {"tcp": 80, "metrics": 9200})
    scene.declare(**{**SPLIT, "ports": []})
    scene.wait_for(lambda: service(scene) == {"tcp": 80})
    scene.wait_for_phase("Ready")
    assert "10.0.0.1:9001" not in scene.config()


def test_a_port_that_one_service_lacks_stops_the_change_and_no_traffic(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1", ports=BOTH)
    scene.backend("myapp-v2", "10.0.0.2")
    scene.declare(**{**SPLIT, "ports": []})
    scene.start_operator()
    scene.wait_for_phase("Ready")
    scene.declare(**SPLIT)
    status = scene.wait_for_phase("Degraded", reason="BackendPortNotFound")
    assert 'spec.ports[0].servicePort: Service "myapp-v2" has no port prometheus' in status["message"]
    assert service(scene) == {"tcp": 80}
    scene.backend("myapp-v2", "10.0.0.2", ports=BOTH)
    scene.wait_for_phase("Ready")
    scene.wait_for(lambda: service(scene) == {"tcp": 80, "metrics": 9100})
