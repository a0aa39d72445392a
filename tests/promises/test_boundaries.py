"""Promise 7: the boundaries between users that docs/security.md draws."""

from __future__ import annotations

from typing import Any

from tests.integration.scene import Scene, routes

Json = dict[str, Any]


def test_a_kanary_reaches_services_of_its_own_namespace_only(scene: Scene) -> None:
    """A Service and endpoints of these names exist elsewhere."""
    scene.backend("theirs", "10.0.9.9")
    for plural, name in (("services", "theirs"), ("endpointslices", "theirs-1"), ("endpoints", "theirs")):
        found = scene.get(plural, name) or {}
        metadata = {key: found["metadata"][key] for key in ("name", "labels") if key in found["metadata"]}
        scene.server.store.put({**found, "metadata": metadata | {"namespace": "bank"}})
        scene.server.store.delete(plural, name, found["metadata"]["namespace"])
    scene.backend("ours", "10.0.0.1")
    scene.start_operator()
    scene.declare(destination="myapp", routes=routes(ours=100))
    scene.wait_for_phase("Ready")
    scene.declare(destination="myapp", routes=routes(ours=50, theirs=50))
    scene.wait_for_phase("Degraded", reason="BackendNotFound")
    assert "10.0.9.9" not in scene.config()
    # A Service of ours with that name has none of their endpoints.
    scene.put("v1", "Service", "theirs", spec={"ports": [{"name": "http", "port": 80}]})
    scene.wait_for(lambda: scene.status()["reason"] != "BackendNotFound")
    assert "10.0.9.9" not in scene.config()
