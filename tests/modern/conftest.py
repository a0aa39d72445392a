"""The API server of a current Kubernetes that the tests of this folder run on.

It is made by `tests/e2e/cluster/modern-apiserver`, and where it has not been made the tests are left out.
KANARY_MODERN_KUBECONFIG names the kubeconfig of another cluster (Kubernetes 1.28 or later) to read the refusals of;
the definition of Kanaries is applied to it, and nothing is created.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.kind import ROOT, script
from tests.e2e.kubectl import Kubectl
from tests.modern import server
from tests.modern.stage import Stage

CRD = ROOT / "manifests" / "base" / "crd.yaml"
PROGRAMS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kanary-e2e" / "modern-apiserver"
_KUBECONFIG = os.environ.get("KANARY_MODERN_KUBECONFIG", "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {item for item in items if item.path.is_relative_to(Path(__file__).parent) and not _can_run(item)}
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))


def _can_run(item: pytest.Item) -> bool:
    """Another cluster would play the parts itself that the tests with a stage play."""
    if _KUBECONFIG:
        return "stage" not in getattr(item, "fixturenames", ())
    return (PROGRAMS / "made-from").exists()


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    if _KUBECONFIG:
        yield Path(_KUBECONFIG)
        return
    with server.running(PROGRAMS) as path:
        yield path


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Kubectl:
    """kubectl on a server that has the definition of Kanaries."""
    program = script("kubectl")
    assert program, "kubectl is not on PATH: install it"
    kubectl = Kubectl(program, str(kubeconfig), "default")
    kubectl("apply", "-f", str(CRD))
    kubectl("wait", "--for=condition=Established", "crd/kanaries.kanary.k8s.io", "--timeout=60s")
    return kubectl


@pytest.fixture
def stage(kubectl: Kubectl, kubeconfig: Path, tmp_path: Path) -> Iterator[Stage]:
    """A namespace of the test's own, emptied of Kanaries afterwards: no controller does that."""
    namespace = f"stage-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", namespace)
    yield Stage(kubectl.within(namespace), kubeconfig, tmp_path / "operator.log")
    kubectl.within(namespace)("delete", "kanaries", "--all")
