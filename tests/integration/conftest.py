from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver import ApiServer
from tests.integration.scene import CRD, Scene, without_validation


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
