"""A Kanary is renamed, deleted, or left by its operator for a while."""

import json
import re
from typing import Any

import pytest

from tests.e2e.kubectl import Kubectl
from tests.e2e.scene import Scene, is_ready
from tests.e2e.stacks import backend, kanary, route, service

pytestmark = pytest.mark.cluster

OPERATOR_PODS = ("pods", "-l", "app.kubernetes.io/name=kanary")


@pytest.fixture
def served(scene: Scene) -> Scene:
    """A Kanary of two versions, Ready."""
    scene.apply(
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 80), route("app-v2", 20), proxy={"replicas": 2}),
    )
    scene.wait_until_ready("app")
    return scene


def names(scene: Scene, kind: str, *options: str) -> set[str]:
    return {item["metadata"]["name"] for item in scene.kubectl.get(kind, *options)["items"]}


def test_kubectl_scales_the_proxies_of_a_kanary_that_says_nothing_about_them(scene: Scene) -> None:
    declared = kanary("app", "app", route("app-v1", 100))
    del declared["spec"]["proxy"]
    scene.apply(*backend("app-v1", "v1"), declared)
    scene.wait_until_ready("app")
    scene.kubectl("scale", "ky/app", "--replicas=1")
    assert scene.wait_until_ready("app")["proxies"]["replicas"] == 1
    scene.wait(lambda: len(scene.proxy_pods("app")) == 1, "the end of the other proxy")
    path = f"/apis/kanary.k8s.io/v1/namespaces/{scene.namespace}/kanaries/app/scale"
    scale = json.loads(scene.kubectl("get", "--raw", path))
    assert (scale["spec"]["replicas"], scale["status"]) == (1, {"replicas": 1, "selector": "kanary.k8s.io/name=app"})


def test_the_old_service_goes_only_after_the_renamed_one_serves(served: Scene) -> None:
    served.change("app", destination="shop")

    def old_is_gone() -> bool:
        # In this order: between two looks the new one may come to serve and the old one go.
        gone = "app" not in names(served, "services")
        new_endpoints = served.kubectl.find("endpoints", "shop")
        assert not gone or (new_endpoints and new_endpoints.get("subsets")), "gone before the new Service served"
        return gone

    served.wait(old_is_gone, "the end of the old Service")
    served.wait_until_ready("app")
    served.wait_for_split("shop", proxies=2, v1=80, v2=20)


def test_a_deleted_kanary_takes_its_objects_and_nothing_else_with_it(served: Scene) -> None:
    ours = ("services,deployments,configmaps,pods", "-l", "app.kubernetes.io/managed-by=kanary")
    assert {"app", "app-haproxy"} <= names(served, *ours)
    users = names(served, "services,deployments") - names(served, *ours)

    served.kubectl("delete", "kanary", "app")
    served.wait(lambda: not names(served, *ours), "the end of all that Kanary made")
    assert names(served, "services,deployments") == users
    assert all(is_ready(pod) for pod in served.kubectl.get("pods", "-l", "app in (app-v1, app-v2)")["items"])


def test_the_users_objects_are_not_written_to(served: Scene) -> None:
    def users() -> list[dict[str, Any]]:
        objects = served.kubectl.get("services,endpoints", "app-v1", "app-v2")["items"]
        return [item["metadata"].get("annotations", {}) | item["metadata"].get("labels", {}) for item in objects]

    managers = {
        entry["manager"]
        for item in served.kubectl.get("services,deployments", "app-v1", "app-v2", "--show-managed-fields")["items"]
        for entry in item["metadata"]["managedFields"]
    }
    assert "kanary" not in managers
    assert not [metadata for metadata in users() if any("kanary" in key for key in metadata)]


def test_an_operator_killed_in_the_middle_of_a_rollout_carries_on(served: Scene, system: Kubectl) -> None:
    # Running proxies load the change too fast for intermediate phases to be observed.
    served.change("app", routes=[route("app-v1", 10), route("app-v2", 90)], updateStrategy="Rolling")
    served.wait_for_phase("app", "Rolling")
    with served.client.keep_counting(served.service_address("app"), 80) as counting:
        # With no chance to say goodbye: the Lease has to run out.
        system("delete", *OPERATOR_PODS, "--force", "--grace-period=0")
        status = served.wait_until_ready("app")
        counted = counting.stop_counting()

    assert not counted.errors, counted
    assert status["revision"] == 2
    numbers = [entry["number"] for entry in status["history"]["entries"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    counted = served.count_at_one_proxy("app", 1000)
    assert counted.is_split(v1=10, v2=90), counted
    system("rollout", "status", "deployment/kanary", "--timeout=120s", timeout=130)


def test_kubectl_describe_shows_events_in_the_order_in_which_they_happened(served: Scene) -> None:
    revisions = [str(revision) for revision in range(2, 8)]
    for revision in revisions:
        weight = 10 * int(revision)
        served.change("app", routes=[route("app-v1", weight), route("app-v2", 100 - weight)])
        served.wait(
            lambda revision=revision: str(served.status("app").get("revision")) == revision, f"revision {revision}"
        )
    served.wait_until_ready("app")

    def shown() -> list[str]:
        _, _, events = served.kubectl("describe", "kanary", "app").partition("\nEvents:")
        return re.findall(r"WeightsChanged .*\(revision (\d+)\)", events)

    served.wait(lambda: revisions[-1] in shown(), "the Event of the last change")
    assert shown()[-len(revisions) :] == revisions


def test_what_was_made_by_hand_under_a_name_of_ours_is_undone_or_left_alone(served: Scene) -> None:
    # Ours, changed by hand: made right again.
    served.kubectl("delete", "service", "app")
    served.wait(lambda: served.kubectl.find("service", "app"), "the Service again")
    served.wait_until_ready("app")
    served.wait_for_split("app", proxies=2, v1=80, v2=20)

    # Not ours, and in the way: named, and left alone.
    served.apply(service("taken"), kanary("second", "taken", route("app-v1", 100)))
    status = served.wait_for_phase("second", "Degraded", "DestinationExists")
    assert '"taken"' in status["message"]
    assert served.kubectl.get("service", "taken")["spec"]["selector"] == {"app": "taken"}


def test_manual_changes_of_the_destination_are_reverted(served: Scene) -> None:
    for spec in (
        {"selector": {"app": "mine"}},
        {"ports": [{"name": "tcp", "port": 82, "protocol": "TCP", "targetPort": 8404}]},
    ):
        served.kubectl("patch", "service", "app", "--type=merge", "-p", json.dumps({"spec": spec}))
        served.wait(lambda: wants_nothing_else(served.kubectl.get("service", "app")["spec"]), "the Service as it was")
    served.wait_until_ready("app")
    served.wait_for_split("app", proxies=2, v1=80, v2=20)


def wants_nothing_else(spec: dict[str, Any]) -> bool:
    return list(spec["selector"]) == ["kanary.k8s.io/name"] and [port["port"] for port in spec["ports"]] == [80]


def test_of_two_kanaries_with_one_destination_the_older_keeps_it(served: Scene) -> None:
    served.apply(kanary("late", "app", route("app-v2", 100)))
    status = served.wait_for_phase("late", "Degraded", "DestinationTaken")
    assert "Kanary app" in status["message"]
    assert served.status("app")["phase"] == "Ready"

    served.kubectl("delete", "kanary", "app")
    served.wait_until_ready("late")
    served.wait_for_split("app", v2=100)
