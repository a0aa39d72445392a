"""Custom resource definitions: validation, defaults, pruning."""

from __future__ import annotations

from typing import Any

import pytest

from .api import Object
from .collection import Collection


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"size": 0}, "spec.size", "FieldValueInvalid"),
        ({"size": 101}, "spec.size", "FieldValueInvalid"),
        ({"size": 1, "title": "a"}, "spec.title", "FieldValueInvalid"),
        ({"size": 1, "title": "A1"}, "spec.title", "FieldValueInvalid"),
        ({"size": 1, "title": "ab\n"}, "spec.title", "FieldValueInvalid"),
        ({"size": 1, "mode": "Slow"}, "spec.mode", "FieldValueNotSupported"),
        ({"size": 1, "routes": []}, "spec.routes", "FieldValueInvalid"),
        ({"size": 1, "routes": [{}]}, "spec.routes.backend", "FieldValueRequired"),
        ({"size": 1, "routes": [{"backend": "a"}, {"backend": "a"}]}, "spec.routes", "FieldValueDuplicate"),
        ({}, "spec.size", "FieldValueRequired"),
        ({"size": None}, "spec.size", "FieldValueRequired"),
    ],
)
def test_a_value_outside_the_schema_is_refused(widgets: Collection, spec: Object, field: str, reason: str) -> None:
    reply = widgets.create("one", spec=spec)

    reply.refused(422, "Invalid")
    assert reply.causes() == {field: reason}
    assert reply.body["details"]["name"] == "one"
    assert reply.body["details"]["kind"] == "Widget"
    assert field.split(".")[1] in reply.body["message"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("text", "spec"),
        ({"size": "1"}, "spec.size"),
        ({"size": 1.5}, "spec.size"),
        ({"size": True}, "spec.size"),
        ({"size": 1, "title": 5}, "spec.title"),
        ({"size": 1, "enabled": "true"}, "spec.enabled"),
        ({"size": 1, "ratio": "x"}, "spec.ratio"),
        ({"size": 1, "labels": {"a": 1}}, "spec.labels.a"),
        ({"size": 1, "routes": {"a": 1}}, "spec.routes"),
        ({"size": 1, "routes": [{"backend": "a", "weight": "x"}]}, "spec.routes.weight"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(widgets: Collection, spec: Any, field: str) -> None:
    reply = widgets.create("one", spec=spec)

    reply.refused(422, "Invalid")
    # The reason is FieldValueInvalid in older releases, FieldValueTypeInvalid in later ones.
    # Rules could not be evaluated on such a value, and the latest releases say so as well, of no field. The path of
    # the scale leads nowhere in it, which older releases report.
    assert [cause for cause in reply.causes() if cause not in ("<nil>", ".spec.replicas")] == [field]
    assert "must be of type" in reply.body["message"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"size": 1, "title": "abcdef"}, "spec.title"),
        ({"size": 1, "routes": [{"backend": letter} for letter in "abcde"]}, "spec.routes"),
    ],
    ids=["characters", "items"],
)
def test_too_much_is_refused(widgets: Collection, spec: Object, field: str) -> None:
    reply = widgets.create("one", spec=spec)

    reply.refused(422, "Invalid")
    # The reason is FieldValueInvalid in older releases, FieldValueTooLong and FieldValueTooMany in later ones.
    assert list(reply.causes()) == [field]


def test_every_mistake_is_named(widgets: Collection) -> None:
    reply = widgets.create("one", spec={"size": 0, "title": "A", "mode": "Slow"})

    reply.refused(422, "Invalid")
    assert set(reply.causes()) == {"spec.size", "spec.title", "spec.mode"}


def test_an_integer_may_be_written_as_a_whole_number(widgets: Collection) -> None:
    assert widgets.make("one", spec={"size": 2.0, "ratio": 1})["spec"]["size"] == 2


def test_defaults_are_filled_in(widgets: Collection) -> None:
    spec = widgets.make("one", spec={"size": 1, "routes": [{"backend": "a"}], "limits": {"open": 5}})["spec"]

    assert spec["mode"] == "Fast"
    assert spec["routes"] == [{"backend": "a", "weight": 5}]
    assert spec["limits"] == {"open": 5, "idle": 3}


def test_a_default_object_gets_its_own_defaults(widgets: Collection) -> None:
    assert widgets.make("one", spec={"size": 1})["spec"]["limits"] == {"idle": 3}


def test_null_gives_way_to_the_default(widgets: Collection) -> None:
    assert widgets.make("one", spec={"size": 1, "mode": None})["spec"]["mode"] == "Fast"


def test_a_default_returns_when_its_field_is_removed(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1, "mode": "Safe"})

    assert widgets.merge("one", {"spec": {"mode": None}}).ok()["spec"]["mode"] == "Fast"


def test_unknown_fields_are_pruned(widgets: Collection) -> None:
    created = widgets.api.request(
        "POST",
        widgets.path,
        widgets.value("one", spec={"size": 1, "x": 1, "routes": [{"backend": "a", "y": 1}]}, other=1),
    ).ok()

    assert "x" not in created["spec"]
    assert created["spec"]["routes"] == [{"backend": "a", "weight": 5}]
    assert "other" not in created


def test_free_fields_are_kept(gadgets: Collection, widgets: Collection) -> None:
    free = {"a": {"b": [1, {"c": None}]}, "d": 1}

    assert gadgets.make("one", spec={"free": free, "x": 1})["spec"] == {"free": free}
    assert widgets.make("one", spec={"size": 1, "labels": {"any": "thing"}})["spec"]["labels"] == {"any": "thing"}


@pytest.mark.parametrize("port", [80, "http"])
def test_int_or_string_takes_either(gadgets: Collection, port: int | str) -> None:
    assert gadgets.make("one", spec={"port": port})["spec"]["port"] == port


@pytest.mark.parametrize("port", [1.5, True, ["a"]])
def test_int_or_string_takes_nothing_else(gadgets: Collection, port: Any) -> None:
    reply = gadgets.create("one", spec={"port": port})

    reply.refused(422, "Invalid")
    assert list(reply.causes()) == ["spec.port"]


def test_a_refused_object_is_not_stored(widgets: Collection) -> None:
    widgets.create("one", spec={"size": 0}).refused(422, "Invalid")

    assert widgets.is_gone("one")
