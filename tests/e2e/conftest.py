"""Fixtures of the end-to-end tests: one cluster, one operator, and for each test a namespace of its own."""

import re
import uuid
from collections.abc import Generator, Iterator

import pytest

from tests.e2e import diagnostics, operator
from tests.e2e.kind import ROOT, Cluster
from tests.e2e.kubectl import Kubectl
from tests.e2e.scene import Scene

# The body of a test; making a cluster and its images takes as long as it takes.
SECONDS_PER_TEST = 420


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("cluster") and item.path.is_relative_to(ROOT / "tests" / "e2e"):
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    scene = getattr(item, "funcargs", {}).get("scene")
    is_told = diagnostics.MARK in str(report.longrepr)
    if report.failed and isinstance(scene, Scene) and not is_told:
        report.sections.append((f"namespace {scene.namespace}", diagnostics.report(scene.kubectl)))
    return report


@pytest.fixture(scope="session")
def kind_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster, made unless it runs already. In place of pytest-kind's fixture, with that one's options."""
    option = request.config.getoption
    cluster = Cluster(
        option("cluster_name"), kind=option("kind_bin"), kubectl=option("kind_kubectl_bin"), image=option("kind_image")
    )
    cluster.up()
    yield cluster
    if not option("keep_cluster"):
        cluster.down()


@pytest.fixture(scope="session")
def kubectl(kind_cluster: Cluster) -> Kubectl:
    """kubectl on the cluster."""
    return kind_cluster.client()


@pytest.fixture(scope="session")
def system(kubectl: Kubectl) -> Kubectl:
    """The operator, running; kubectl in its namespace."""
    return operator.install(kubectl)


def make_scene(kubectl: Kubectl, name: str) -> Iterator[Scene]:
    """A namespace, removed afterwards without waiting for it."""
    namespace = f"{re.sub('[^a-z0-9]+', '-', name.lower())[:48].strip('-')}-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", namespace)
    yield Scene(kubectl, namespace)
    kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def scene(kubectl: Kubectl, system: Kubectl, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A fresh namespace on a cluster with the operator."""
    yield from make_scene(kubectl, request.node.name.removeprefix("test_"))
