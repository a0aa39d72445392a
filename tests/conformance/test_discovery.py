"""What a cluster says that it serves."""

from __future__ import annotations

from .api import Api
from .collection import Collection
from .definitions import GROUP


def test_the_version_has_a_major_and_a_minor_number(cluster: Api) -> None:
    version = cluster.get("/version").ok()

    assert version["major"] == "1"
    assert version["gitVersion"].startswith("v1.")


def test_a_version_lists_its_resources_and_their_subresources(cluster: Api) -> None:
    listing = cluster.get(f"/apis/{GROUP}/v1").ok()
    resources = {resource["name"]: resource for resource in listing["resources"]}

    assert listing["kind"] == "APIResourceList"
    assert listing["groupVersion"] == f"{GROUP}/v1"
    widget = resources["widgets"]
    assert (widget["kind"], widget["namespaced"]) == ("Widget", True)
    assert {"create", "delete", "get", "list", "patch", "update", "watch"} <= set(widget["verbs"])
    assert resources["widgets/status"]["kind"] == "Widget"
    scale = resources["widgets/scale"]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    assert {"get", "patch", "update"} <= set(scale["verbs"])
    assert "gadgets/status" not in resources


def test_the_core_resources_are_listed(cluster: Api) -> None:
    resources = {resource["name"]: resource for resource in cluster.get("/api/v1").ok()["resources"]}

    assert {"services", "endpoints", "configmaps", "pods"} <= resources.keys()
    assert not resources["namespaces"]["namespaced"]


def test_a_group_that_nobody_serves_is_not_found(cluster: Api) -> None:
    for path in ("/apis/nobody.example", "/apis/nobody.example/v1", "/apis/nobody.example/v1/things"):
        assert cluster.get(path).status == 404


def test_a_version_that_nobody_serves_is_not_found(cluster: Api) -> None:
    assert cluster.get("/apis/apps/v99").status == 404


def test_a_resource_that_nobody_serves_is_not_found(cluster: Api) -> None:
    cluster.get("/api/v1/namespaces/default/things").refused(404, "NotFound")
    cluster.get("/apis/apps/v1/things").refused(404, "NotFound")


def test_a_status_endpoint_is_only_where_there_is_a_status_subresource(gadgets: Collection) -> None:
    gadgets.make("one", spec={})

    assert gadgets.api.get(f"{gadgets.path}/one/status").status == 404
