"""Kanaries with a field that is nested as deeply as an API server lets it be."""

from typing import Any

import pytest

from tests.integration.scene import Json, Scene, routes


def kanary(name: str, levels: int) -> Json:
    """What anybody may create in a namespace of their own: the API server validates no affinity."""
    affinity: Any = 1
    for _ in range(levels):
        affinity = {"a": affinity}
    proxy = {"template": {"spec": {"affinity": affinity}}}
    spec = {"destination": name, "routes": routes(myapp_v1=80, myapp_v2=20), "proxy": proxy}
    metadata = {"name": name, "namespace": "evil"}
    return {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("levels", [150, 250])
def test_a_kanary_that_is_nested_deeply_stops_no_other(scene: Scene, levels: int) -> None:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.server.store.put(kanary("listed", levels))
    scene.start_operator()
    scene.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    scene.wait_for_phase("Ready", revision=1)

    scene.server.store.put(kanary("watched", levels))
    scene.declare(destination="myapp", routes=routes(myapp_v1=40, myapp_v2=60))
    scene.wait_for_phase("Ready", revision=2)

    def are_told() -> bool:
        found = [scene.server.store.get("kanaries", name, "evil") or {} for name in ("listed", "watched")]
        return all("myapp-v1" in (each.get("status") or {}).get("message", "") for each in found)

    scene.wait_for(are_told)  # that their own backends are missing
