"""What a change costs in requests."""

from tests.integration.scene import Scene, routes


def test_a_change_of_weights_is_one_write_of_the_config_map(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    scene.start_operator()
    scene.wait_for_phase("Ready")
    scene.server.requests.clear()
    scene.declare(destination="myapp", routes=routes(myapp_v1=50, myapp_v2=50))
    scene.wait_for_phase("Ready", revision=2)
    methods = ("PATCH", "PUT", "GET")
    assert [m for m in methods for r in scene.server.requests.find(m) if "configmaps/" in r.path] == ["PATCH"]
