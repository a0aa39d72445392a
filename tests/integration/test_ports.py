"""Several ports of one destination, from the objects of the cluster to those of Kanary."""

from typing import Any

from tests.integration.scene import Scene, routes

Json = dict[str, Any]

METRICS: Json = {"name": "metrics", "port": 9100, "servicePort": "prometheus"}
SPLIT: Json = {"destination": "myapp", "routes": routes(myapp_v1=80, myapp_v2=20), "ports": [METRICS]}


def broker(scene: Scene, name: str, address: str, **ports: int) -> None:
    """A Service with these ports by name, and one ready endpoint."""
    scene.put("v1", "Service", name, spec={"ports": [{"name": port, "port": ports[port]} for port in ports]})
    found = [{"name": port, "port": ports[port] + 8000, "protocol": "TCP"} for port in ports]
    scene.put(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"{name}-1",
        labels={"kubernetes.io/service-name": name},
        addressType="IPv4",
        ports=found,
        endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
    )
    addresses = [{"ip": address}]
    subset_ports = [{"name": port["name"], "port": port["port"]} for port in found]
    scene.put("v1", "Endpoints", name, subsets=[{"addresses": addresses, "ports": subset_ports}])


def service(scene: Scene) -> dict[str, int]:
    found = scene.get("services", "myapp")
    return {port["name"]: port["port"] for port in (found or {"spec": {"ports": []}})["spec"]["ports"]}


def test_further_ports_are_served_changed_and_removed(scene: Scene) -> None:
    broker(scene, "myapp-v1", "10.0.0.1", http=80, prometheus=81)
    broker(scene, "myapp-v2", "10.0.0.2", http=80, prometheus=81)
    scene.declare(**SPLIT)
    scene.start_operator()
    status = scene.wait_for_phase("Ready")
    assert [each["backend"] for each in status["weights"]] == ["myapp-v1:http", "myapp-v2:http"]
    assert service(scene) == {"tcp": 80, "metrics": 9100}
    for server in ("10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.1:8081", "10.0.0.2:8081"):
        assert f"  server {server} " in scene.config()
    scene.declare(**{**SPLIT, "ports": [{**METRICS, "port": 9200}]})
    scene.wait_for(lambda: service(scene) == {"tcp": 80, "metrics": 9200})
    scene.declare(**{**SPLIT, "ports": []})
    scene.wait_for(lambda: service(scene) == {"tcp": 80})
    scene.wait_for_phase("Ready")
    assert "10.0.0.1:8081" not in scene.config()


def test_a_port_that_one_service_lacks_stops_the_change_and_no_traffic(scene: Scene) -> None:
    broker(scene, "myapp-v1", "10.0.0.1", http=80, prometheus=81)
    broker(scene, "myapp-v2", "10.0.0.2", http=80)
    scene.declare(**{**SPLIT, "ports": []})
    scene.start_operator()
    scene.wait_for_phase("Ready")
    scene.declare(**SPLIT)
    status = scene.wait_for_phase("Degraded", reason="BackendPortNotFound")
    assert 'spec.ports[0].servicePort: Service "myapp-v2" has no port prometheus' in status["message"]
    assert service(scene) == {"tcp": 80}
    broker(scene, "myapp-v2", "10.0.0.2", http=80, prometheus=81)
    scene.wait_for_phase("Ready")
    scene.wait_for(lambda: service(scene) == {"tcp": 80, "metrics": 9100})
