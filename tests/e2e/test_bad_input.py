"""Errors are reported in status and Events, and connections continue."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import make_scene
from tests.e2e.kubectl import Kubectl, KubectlError
from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, kanary, route

pytestmark = pytest.mark.cluster

GOOD = [route("app-v1", 80), route("app-v2", 20)]
# An API server with CEL rules rejects at once what the operator would report later.
REJECTED_BY_CEL_RULES = pytest.mark.parametrize(
    ("spec", "reason", "reported"),
    [
        pytest.param(
            {"routes": [route("app-v1", 80), route("app-v2", 30)]}, "InvalidWeights", "sum to 110", id="sum_not_100"
        ),
        pytest.param(
            {"routes": [route("app-v1", 50.25), route("app-v2", 49.75)]},
            "InvalidWeights",
            "at most one decimal, such as 12.5",
            id="two_decimals",
        ),
        pytest.param(
            {"routes": [route("app-v1", 50), route("app-v1", 50)]}, "DuplicateBackend", "one route", id="backend_twice"
        ),
        pytest.param({"destination": "app-v1"}, "BackendIsDestination", "create a loop", id="backend_is_itself"),
    ],
)
REPORTED_BY_THE_OPERATOR = pytest.mark.parametrize(
    ("routes", "reason", "reported"),
    [
        pytest.param(
            [route("app-v1", 80), route("app-v2", 20, "grpc")],
            "BackendPortNotFound",
            'Service "app-v2" has no port grpc: use one of http (80)',
            id="port_missing",
        ),
        pytest.param(
            [route("app-v1", 80), route("app-v3", 20)],
            "BackendNotFound",
            'Service "app-v3" does not exist',
            id="service_missing",
        ),
        pytest.param(
            [route("app-v1", 80), route("elsewhere", 20)],
            "BackendIsExternalName",
            "ExternalName",
            id="external_name",
        ),
    ],
)
REJECTED_BY_THE_SCHEMA = pytest.mark.parametrize(
    ("routes", "reported"),
    [
        pytest.param([], "spec.routes", id="no_routes"),
        pytest.param([route("app-v1", 101), route("app-v2", 0)], "spec.routes", id="above_100"),
        pytest.param([route("app-v1", 110), route("app-v2", -10)], "spec.routes", id="below_0"),
    ],
)


@pytest.fixture(scope="module")
def serving(kubectl: Kubectl, system: Kubectl) -> Iterator[Scene]:
    """One Kanary for all the tests of this module."""
    for scene in make_scene(kubectl, "bad-input"):
        external = {"type": "ExternalName", "externalName": "example.com"}
        scene.apply(
            *backend("app-v1", "v1"),
            *backend("app-v2", "v2"),
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "elsewhere"}, "spec": external},
            kanary("app", "app", *GOOD),
        )
        scene.wait_until_ready("app")
        yield scene


@pytest.fixture
def scene(serving: Scene) -> Iterator[Scene]:
    """The Kanary, good before and after each test."""
    yield serving
    good = {"destination": "app", "routes": GOOD, "updateStrategy": "Live", "progressDeadlineSeconds": 600}
    serving.change("app", **good, proxy={"image": None})
    serving.wait_until_ready("app")


def assert_reported(scene: Scene, reason: str, reported: str) -> None:
    status = scene.wait_for_phase("app", "Degraded", reason)
    assert reported in status["message"]
    assert f" {reason} " in f"{scene.columns('app', '-o', 'wide')} "
    described = scene.wait(lambda: events_of(scene, reason), f"an Event with reason {reason}")
    assert reported in described
    ready = next(condition for condition in status["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)


def events_of(scene: Scene, reason: str) -> str | None:
    """The output of ``kubectl describe`` for a Kanary with an Event for that reason; None without one."""
    described = scene.kubectl("describe", "kanary", "app")
    _, _, events = described.partition("\nEvents:")
    return described if reason in events else None


def assert_served_as_before(scene: Scene) -> None:
    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=80, v2=20), counted


@REJECTED_BY_CEL_RULES
def test_a_spec_that_contradicts_itself_is_rejected_or_reported(
    scene: Scene, spec: dict[str, Any], reason: str, reported: str
) -> None:
    try:
        scene.change("app", **spec)
    except KubectlError as refusal:
        assert reported in str(refusal)
    else:
        assert_reported(scene, reason, reported)
    assert_served_as_before(scene)


@REPORTED_BY_THE_OPERATOR
def test_a_backend_that_cannot_be_used_is_reported(
    scene: Scene, routes: list[dict[str, Any]], reason: str, reported: str
) -> None:
    scene.change("app", routes=routes)
    assert_reported(scene, reason, reported)
    assert_served_as_before(scene)


@REJECTED_BY_THE_SCHEMA
def test_a_spec_that_no_schema_allows_is_refused_by_the_cluster(
    scene: Scene, routes: list[dict[str, Any]], reported: str
) -> None:
    with pytest.raises(KubectlError, match=reported):
        scene.change("app", routes=routes)
    assert_served_as_before(scene)


def test_an_image_that_cannot_be_pulled_is_reported_when_the_deadline_passes(scene: Scene) -> None:
    scene.change("app", proxy={"image": "registry.invalid/haproxy:none"}, progressDeadlineSeconds=10)
    assert_reported(scene, "ProgressDeadlineExceeded", "registry.invalid/haproxy:none")
    assert_served_as_before(scene)


def test_weights_reach_running_proxies_though_their_successors_cannot_start(scene: Scene) -> None:
    changed = [route("app-v1", 30), route("app-v2", 70)]
    scene.change("app", routes=changed, proxy={"image": "registry.invalid/haproxy:none"}, progressDeadlineSeconds=10)
    scene.wait_for_phase("app", "Degraded", "ProgressDeadlineExceeded")
    assert scene.columns("app").startswith("app Degraded app-v1:http=30 app-v2:http=70 ")
    counted = scene.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=30, v2=70), counted


def test_a_proxy_lost_while_its_successors_cannot_start_is_replaced_by_one_that_serves_as_before(scene: Scene) -> None:
    scene.change("app", updateStrategy="Rolling")
    scene.wait_until_ready("app")
    changed = [route("app-v1", 30), route("app-v2", 70)]
    scene.change("app", routes=changed, proxy={"image": "registry.invalid/haproxy:none"}, progressDeadlineSeconds=10)
    scene.wait_for_phase("app", "Degraded", "ProgressDeadlineExceeded")
    lost = {pod["metadata"]["name"] for pod in scene.proxy_pods("app")}

    scene.kubectl("delete", "pod", *lost)
    scene.wait(
        lambda: [pod for pod in scene.proxy_pods("app") if pod["metadata"]["name"] not in lost],
        "a proxy in the place of the one that was lost",
    )
    assert_served_as_before(scene)
