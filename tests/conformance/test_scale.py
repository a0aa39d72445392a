"""The scale subresource of custom resources: what `kubectl scale` and a HorizontalPodAutoscaler read and write."""

from __future__ import annotations

import pytest

from .api import Object
from .collection import Collection, generation_of


def scale_of(widgets: Collection, name: str = "one") -> Object:
    return widgets.api.get(f"{widgets.path}/{name}/scale").ok()


@pytest.fixture
def widget(widgets: Collection) -> Object:
    """One that says of itself how many replicas there are."""
    widgets.make("one", spec={"size": 1, "replicas": 3})
    return widgets.merge("one", {"status": {"observed": 2, "selector": "a=b"}}, "status").ok()


def test_a_scale_has_what_the_fields_say(widgets: Collection, widget: Object) -> None:
    scale = scale_of(widgets)

    assert (scale["apiVersion"], scale["kind"]) == ("autoscaling/v1", "Scale")
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, "selector": "a=b"}
    copied = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    assert scale["metadata"] == {key: widget["metadata"][key] for key in copied}


def test_what_has_no_status_has_no_replicas(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1, "replicas": 3})

    assert scale_of(widgets)["status"] == {"replicas": 0}


def test_a_scale_cannot_be_read_without_a_value_of_the_field(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    refusal = widgets.api.get(f"{widgets.path}/one/scale").refused(500, "InternalError")

    assert 'the spec replicas field ".spec.replicas" does not exist' in refusal["message"]


def test_a_patch_of_the_scale_changes_the_field_and_the_generation(widgets: Collection, widget: Object) -> None:
    patched = widgets.merge("one", {"spec": {"replicas": 5}}, "scale").ok()

    assert (patched["kind"], patched["spec"]) == ("Scale", {"replicas": 5})
    changed = widgets.read("one")
    assert changed["spec"] == {**widget["spec"], "replicas": 5}
    assert changed["status"] == widget["status"]
    assert generation_of(changed) == generation_of(widget) + 1
    assert patched["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


def test_a_patch_sets_a_field_that_has_no_value(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    widgets.merge("one", {"metadata": {"labels": {"a": "b"}}}, "scale").refused(400, "BadRequest")
    widgets.merge("one", {"spec": {"replicas": 5}}, "scale").ok()

    assert widgets.read("one")["spec"]["replicas"] == 5


def test_a_put_of_the_scale_changes_the_field_and_nothing_else(widgets: Collection, widget: Object) -> None:
    scale = scale_of(widgets)
    scale["metadata"]["labels"] = {"a": "b"}
    scale["status"] = {"replicas": 9}

    widgets.put(scale | {"spec": {"replicas": 4}}, "scale").ok()

    changed = widgets.read("one")
    assert changed["spec"] == {**widget["spec"], "replicas": 4}
    assert changed["status"] == widget["status"]
    assert "labels" not in changed["metadata"]


def test_a_put_of_an_older_scale_is_a_conflict(widgets: Collection, widget: Object) -> None:
    scale = scale_of(widgets)
    widgets.merge("one", {"spec": {"size": 2}}).ok()

    widgets.put(scale | {"spec": {"replicas": 4}}, "scale").refused(409, "Conflict")

    del scale["metadata"]["resourceVersion"]
    widgets.put(scale | {"spec": {"replicas": 4}}, "scale").ok()
    assert widgets.read("one")["spec"] == {**widget["spec"], "size": 2, "replicas": 4}


def test_a_scale_that_changes_nothing_is_not_written(widgets: Collection, widget: Object) -> None:
    widgets.merge("one", {"spec": {"replicas": 3}}, "scale").ok()

    assert generation_of(widgets.read("one")) == generation_of(widget)


def test_the_schema_limits_the_replicas(widgets: Collection, widget: Object) -> None:
    reply = widgets.merge("one", {"spec": {"replicas": 0}}, "scale")

    reply.refused(422, "Invalid")
    assert reply.causes() == {"spec.replicas": "FieldValueInvalid"}
    assert widgets.read("one") == widget


@pytest.mark.usefixtures("widget")
def test_only_a_scale_of_that_name_is_taken(widgets: Collection) -> None:
    scale = scale_of(widgets)
    other = {**scale, "metadata": {**scale["metadata"], "name": "other"}}

    at = f"{widgets.path}/one/scale"
    widgets.api.request("PUT", at, other).refused(400, "BadRequest")
    widgets.api.request("PUT", at, widgets.read("one")).refused(400, "BadRequest")


def test_the_scale_of_what_does_not_exist_is_not_found(widgets: Collection) -> None:
    widgets.api.get(f"{widgets.path}/none/scale").refused(404, "NotFound")
    widgets.merge("none", {"spec": {"replicas": 4}}, "scale").refused(404, "NotFound")


def test_a_scale_endpoint_is_only_where_there_is_a_scale_subresource(gadgets: Collection) -> None:
    gadgets.make("one", spec={})

    assert gadgets.api.get(f"{gadgets.path}/one/scale").status == 404
