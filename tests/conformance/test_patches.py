"""Merge patch."""

from __future__ import annotations

from .collection import Collection


def test_a_merge_patch_changes_what_it_names(configmaps: Collection) -> None:
    configmaps.make("one", data={"a": "1", "b": "2"})

    patched = configmaps.merge("one", {"data": {"b": "3", "c": "4"}}).ok()

    assert patched["data"] == {"a": "1", "b": "3", "c": "4"}


def test_null_in_a_merge_patch_removes(configmaps: Collection) -> None:
    configmaps.make("one", data={"a": "1", "b": "2"}, metadata={"labels": {"x": "y"}})

    patched = configmaps.merge("one", {"data": {"a": None, "none": None}, "metadata": {"labels": None}}).ok()

    assert patched["data"] == {"b": "2"}
    assert "labels" not in patched["metadata"]


def test_a_merge_patch_replaces_lists(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1, "steps": [{"pause": 1}, {"pause": 2}]})

    assert widgets.merge("one", {"spec": {"steps": [{"pause": 3}]}}).ok()["spec"]["steps"] == [{"pause": 3}]


def test_a_resource_version_in_a_merge_patch_is_a_precondition(configmaps: Collection) -> None:
    stale = configmaps.make("one")["metadata"]["resourceVersion"]
    current = configmaps.merge("one", {"data": {"a": "1"}}).ok()["metadata"]["resourceVersion"]

    configmaps.merge("one", {"metadata": {"resourceVersion": stale}, "data": {"a": "2"}}).refused(409, "Conflict")
    configmaps.merge("one", {"metadata": {"resourceVersion": current}, "data": {"a": "3"}}).ok()

    assert configmaps.read("one")["data"] == {"a": "3"}


def test_a_merge_patch_cannot_change_the_uid(configmaps: Collection) -> None:
    configmaps.make("one")

    reply = configmaps.merge("one", {"metadata": {"uid": "another"}})

    reply.refused(422, "Invalid")
    assert reply.causes() == {"metadata.uid": "FieldValueInvalid"}


def test_a_merge_patch_cannot_change_the_name(configmaps: Collection) -> None:
    configmaps.make("one")

    configmaps.merge("one", {"metadata": {"name": "two"}}).refused(400, "BadRequest")


def test_a_patch_of_what_does_not_exist_is_not_found(configmaps: Collection) -> None:
    configmaps.merge("none", {"data": {}}).refused(404, "NotFound")


def test_the_result_of_a_patch_is_validated(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    widgets.merge("one", {"spec": {"size": 101}}).refused(422, "Invalid")

    assert widgets.read("one")["spec"]["size"] == 1


def test_a_patch_of_no_known_type_is_refused(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    for content_type in ("application/json", "application/strategic-merge-patch+json"):
        reply = widgets.api.request("PATCH", f"{widgets.path}/one", {}, content_type)
        reply.refused(415, "UnsupportedMediaType")
