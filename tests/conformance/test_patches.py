"""Merge patch and JSON patch."""

from __future__ import annotations

import pytest

from .api import Object
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


def test_a_json_patch_does_its_operations_in_order(configmaps: Collection) -> None:
    configmaps.make("one", data={"a": "1", "b": "2"})

    patched = configmaps.json_patch(
        "one",
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/data/c", "value": "3"},
        {"op": "replace", "path": "/data/b", "value": "4"},
        {"op": "remove", "path": "/data/a"},
        {"op": "copy", "from": "/data/c", "path": "/data/d"},
        {"op": "move", "from": "/data/b", "path": "/data/e"},
    ).ok()

    assert patched["data"] == {"c": "3", "d": "3", "e": "4"}


def test_a_json_patch_works_on_lists(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1, "steps": [{"pause": 1}, {"pause": 2}]})

    patched = widgets.json_patch(
        "one",
        {"op": "add", "path": "/spec/steps/-", "value": {"pause": 9}},
        {"op": "add", "path": "/spec/steps/0", "value": {"pause": 0}},
        {"op": "remove", "path": "/spec/steps/1"},
    ).ok()

    assert [step["pause"] for step in patched["spec"]["steps"]] == [0, 2, 9]


def test_slashes_and_tildes_are_escaped_in_json_patches(configmaps: Collection) -> None:
    configmaps.make("one", metadata={"annotations": {"x/y": "1"}})

    patched = configmaps.json_patch("one", {"op": "replace", "path": "/metadata/annotations/x~1y", "value": "2"}).ok()

    assert patched["metadata"]["annotations"] == {"x/y": "2"}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/data/a", "value": "other"},
        {"op": "remove", "path": "/data/none"},
        {"op": "add", "path": "/none/below", "value": "x"},
    ],
    ids=["failed test", "remove nothing", "add below nothing"],
)
def test_a_json_patch_that_cannot_be_done_changes_nothing(configmaps: Collection, operation: Object) -> None:
    created = configmaps.make("one", data={"a": "1"})

    configmaps.json_patch("one", {"op": "add", "path": "/data/z", "value": "9"}, operation).refused(422, "Invalid")

    assert configmaps.read("one") == created


def test_a_patch_of_no_known_type_is_refused(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    for content_type in ("application/json", "application/strategic-merge-patch+json"):
        reply = widgets.api.request("PATCH", f"{widgets.path}/one", {}, content_type)
        reply.refused(415, "UnsupportedMediaType")
