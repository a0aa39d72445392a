"""The status subresource."""

from __future__ import annotations

from .collection import Collection, generation_of


def test_a_new_object_has_no_status(widgets: Collection) -> None:
    assert "status" not in widgets.make("one", spec={"size": 1}, status={"phase": "Ready"})


def test_the_object_s_own_endpoint_leaves_the_status_alone(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})
    reported = widgets.merge("one", {"status": {"phase": "Ready"}}, "status").ok()

    updated = widgets.put(reported | {"spec": {"size": 2}, "status": {"phase": "Pending"}}).ok()
    patched = widgets.merge("one", {"status": {"phase": "Pending"}, "spec": {"size": 3}}).ok()

    assert updated["status"] == patched["status"] == {"phase": "Ready"}
    assert patched["spec"]["size"] == 3


def test_the_status_endpoint_writes_the_status_only(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})
    changed = created | {"spec": {"size": 2}, "status": {"phase": "Ready"}}
    changed["metadata"] = created["metadata"] | {"labels": {"a": "b"}, "annotations": {"c": "d"}}

    reported = widgets.put(changed, "status").ok()

    assert reported["status"] == {"phase": "Ready"}
    assert reported["spec"] == created["spec"]
    assert "labels" not in reported["metadata"]
    assert "annotations" not in reported["metadata"]
    assert generation_of(reported) == 1


def test_a_put_of_the_status_replaces_it(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})
    reported = widgets.merge("one", {"status": {"phase": "Ready", "observed": 1}}, "status").ok()

    assert widgets.put(reported | {"status": {"observed": 2}}, "status").ok()["status"] == {"observed": 2}


def test_a_put_of_a_stale_status_is_a_conflict(widgets: Collection) -> None:
    stale = widgets.make("one", spec={"size": 1})
    widgets.merge("one", {"spec": {"size": 2}}).ok()

    widgets.put(stale | {"status": {"phase": "Ready"}}, "status").refused(409, "Conflict")


def test_a_merge_patch_of_the_status_keeps_what_it_does_not_name(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})
    widgets.merge("one", {"status": {"phase": "Ready", "observed": 1}}, "status").ok()

    patched = widgets.merge("one", {"status": {"observed": None}}, "status").ok()

    assert patched["status"] == {"phase": "Ready"}


def test_a_resource_version_in_a_status_patch_is_a_precondition(widgets: Collection) -> None:
    stale = widgets.make("one", spec={"size": 1})["metadata"]["resourceVersion"]
    widgets.merge("one", {"spec": {"size": 2}}).ok()
    patch = {"metadata": {"resourceVersion": stale}, "status": {"phase": "Ready"}}

    widgets.merge("one", patch, "status").refused(409, "Conflict")


def test_the_status_is_validated_by_the_schema(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    reply = widgets.merge("one", {"status": {"phase": "Garbage"}}, "status")

    reply.refused(422, "Invalid")
    assert reply.causes() == {"status.phase": "FieldValueNotSupported"}


def test_unknown_fields_of_the_status_are_pruned(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    assert widgets.merge("one", {"status": {"observed": 1, "x": 1}}, "status").ok()["status"] == {"observed": 1}


def test_the_status_endpoint_can_be_read(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})

    assert widgets.api.get(f"{widgets.path}/one/status").ok() == created


def test_the_status_of_what_does_not_exist_is_not_found(widgets: Collection) -> None:
    widgets.merge("none", {"status": {}}, "status").refused(404, "NotFound")


def test_a_deployment_has_a_status_subresource_too(deployments: Collection) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 0, "paused": True, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployments.make("one", spec=spec)

    patched = deployments.merge("one", {"spec": {"replicas": 5}, "status": {"collisionCount": 7}}, "status").ok()

    assert patched["status"]["collisionCount"] == 7
    assert patched["spec"]["replicas"] == 0
