"""Deletion: preconditions and owners."""

from __future__ import annotations

from .api import Object, eventually
from .collection import Collection


def test_a_deleted_object_is_gone(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})

    answer = widgets.delete("one").ok()

    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {
        "name": "one",
        "group": "conformance.kanary.test",
        "kind": "widgets",
        "uid": created["metadata"]["uid"],
    }
    widgets.get("one").refused(404, "NotFound")


def test_what_does_not_exist_cannot_be_deleted(widgets: Collection) -> None:
    widgets.delete("none").refused(404, "NotFound")


def test_an_object_of_the_same_name_is_another_one(widgets: Collection) -> None:
    first = widgets.make("one", spec={"size": 1})["metadata"]
    widgets.delete("one").ok()
    second = widgets.make("one", spec={"size": 1})["metadata"]

    assert first["uid"] != second["uid"]
    assert int(first["resourceVersion"]) < int(second["resourceVersion"])


def test_a_uid_may_be_the_precondition_of_a_deletion(widgets: Collection) -> None:
    uid = widgets.make("one", spec={"size": 1})["metadata"]["uid"]

    widgets.delete("one", {"preconditions": {"uid": "another"}}).refused(409, "Conflict")
    widgets.read("one")
    widgets.delete("one", {"preconditions": {"uid": uid}}).ok()

    assert widgets.is_gone("one")


def test_a_resource_version_may_be_the_precondition_of_a_deletion(widgets: Collection) -> None:
    first = widgets.make("one", spec={"size": 1})["metadata"]["resourceVersion"]
    second = widgets.merge("one", {"spec": {"size": 2}}).ok()["metadata"]["resourceVersion"]

    widgets.delete("one", {"preconditions": {"resourceVersion": first}}).refused(409, "Conflict")
    widgets.read("one")
    widgets.delete("one", {"preconditions": {"resourceVersion": second}}).ok()

    assert widgets.is_gone("one")


def owned_by(*owners: Object) -> Object:
    """Metadata that names these objects as owners."""
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        for owner in owners
    ]
    return {"ownerReferences": references}


def test_what_an_object_owns_goes_with_it(widgets: Collection, configmaps: Collection, services: Collection) -> None:
    owner = widgets.make("owner", spec={"size": 1})
    configmaps.make("owned", metadata=owned_by(owner))
    services.make("owned", metadata=owned_by(owner), spec={"ports": [{"port": 80}]})
    configmaps.make("free")

    widgets.delete("owner").ok()

    eventually(lambda: configmaps.is_gone("owned") and services.is_gone("owned"), "the owned objects are gone")
    configmaps.read("free")


def test_what_is_owned_twice_stays_until_both_are_gone(widgets: Collection, configmaps: Collection) -> None:
    first, second = (widgets.make(name, spec={"size": 1}) for name in ("first", "second"))
    configmaps.make("owned", metadata=owned_by(first, second))

    widgets.delete("first").ok()
    configmaps.read("owned")
    widgets.delete("second").ok()

    eventually(lambda: configmaps.is_gone("owned"), "the owned object is gone")


def test_ownership_goes_down_several_levels(widgets: Collection, configmaps: Collection) -> None:
    top = widgets.make("top", spec={"size": 1})
    middle = configmaps.make("middle", metadata=owned_by(top))
    configmaps.make("bottom", metadata=owned_by(middle))

    widgets.delete("top").ok()

    eventually(lambda: configmaps.is_gone("middle") and configmaps.is_gone("bottom"), "all levels are gone")


def test_an_owner_that_never_was_does_not_hold(widgets: Collection, configmaps: Collection) -> None:
    owner = widgets.make("owner", spec={"size": 1})
    owner["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"

    configmaps.make("owned", metadata=owned_by(owner))

    eventually(lambda: configmaps.is_gone("owned"), "the object of a false owner is gone")


def test_an_object_with_a_finalizer_stays_until_it_is_removed(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1}, metadata={"finalizers": ["conformance.kanary.test/one"]})

    assert widgets.delete("one").ok()["metadata"]["deletionTimestamp"]
    assert widgets.delete("one").ok()["metadata"]["deletionTimestamp"]
    widgets.merge("one", {"metadata": {"finalizers": None}}).ok()

    widgets.get("one").refused(404, "NotFound")
