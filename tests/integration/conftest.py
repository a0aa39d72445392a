from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver import ApiServer
from tests.integration import shop
from tests.integration.scene import CRD, Scene, routes, without_validation


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """An empty cluster with the CRD and with controllers for Deployments and endpoints; no operator runs yet."""
    with ApiServer(controllers=True) as server:
        scene = Scene(server, server.kubeconfig(tmp_path / "kubeconfig"))
        yield scene
        scene.stop()


@pytest.fixture
def lenient_scene(tmp_path: Path) -> Iterator[Scene]:
    """The same with a CRD that lets any spec through."""
    with ApiServer(controllers=True) as server:
        scene = Scene(server, server.kubeconfig(tmp_path / "kubeconfig"), without_validation(CRD))
        yield scene
        scene.stop()


@pytest.fixture
def declared(scene: Scene) -> Scene:
    """A Kanary that is to serve 80 to 20; no operator runs yet."""
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    return scene


@pytest.fixture
def serving(declared: Scene) -> Scene:
    """The same with an operator, and Ready."""
    declared.start_operator()
    declared.wait_for_phase("Ready")
    return declared


@pytest.fixture
def live(scene: Scene) -> Scene:
    """A Service with traffic, and an operator."""
    shop.start(scene)
    scene.start_operator()
    return scene


@pytest.fixture
def adopted(live: Scene) -> Scene:
    """The same, and a Kanary has adopted the Service."""
    live.declare(**shop.ADOPTING)
    live.wait_for_phase("Ready")
    return live
