"""Deletion: preconditions, finalizers, owners, namespaces."""

from __future__ import annotations

from typing import Any

from .api import Api, Object, eventually
from .collection import Collection, generation_of, revision_of

HOLD = {"finalizers": ["kanary.test/hold"]}


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
    stale = widgets.make("one", spec={"size": 1})["metadata"]["resourceVersion"]
    current = widgets.merge("one", {"spec": {"size": 2}}).ok()["metadata"]["resourceVersion"]

    widgets.delete("one", {"preconditions": {"resourceVersion": stale}}).refused(409, "Conflict")
    widgets.delete("one", {"preconditions": {"resourceVersion": current}}).ok()


def test_an_unknown_propagation_policy_is_refused(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    reply = widgets.delete("one", {"propagationPolicy": "Sideways"})

    reply.refused(422, "Invalid")
    assert reply.causes() == {"propagationPolicy": "FieldValueNotSupported"}


def test_a_finalizer_holds_an_object_that_is_deleted(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1}, metadata=HOLD)

    answer = widgets.delete("one").ok()

    assert answer["kind"] == "Widget"
    assert answer["metadata"]["deletionTimestamp"]
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 0
    assert generation_of(answer) == 2
    assert revision_of(answer) > revision_of(created)
    assert widgets.read("one") == answer


def test_an_object_goes_when_its_last_finalizer_is_removed(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1}, metadata={"finalizers": ["kanary.test/a", "kanary.test/b"]})
    widgets.delete("one").ok()

    widgets.merge("one", {"metadata": {"finalizers": ["kanary.test/b"]}}).ok()
    held = widgets.read("one")
    widgets.put(held | {"metadata": {k: v for k, v in held["metadata"].items() if k != "finalizers"}}).ok()

    assert widgets.is_gone("one")


def test_deleting_again_changes_nothing(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1}, metadata=HOLD)
    first = widgets.delete("one").ok()

    assert widgets.delete("one").ok()["metadata"]["deletionTimestamp"] == first["metadata"]["deletionTimestamp"]
    assert widgets.read("one") == first


def test_a_deletion_cannot_be_taken_back(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1}, metadata=HOLD)
    marked = widgets.delete("one").ok()

    patched = widgets.merge("one", {"metadata": {"deletionTimestamp": None, "labels": {"a": "b"}}}).ok()

    assert patched["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    assert patched["metadata"]["labels"] == {"a": "b"}


def test_an_object_that_is_deleted_gets_no_new_finalizer(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1}, metadata=HOLD)
    widgets.delete("one").ok()

    reply = widgets.merge("one", {"metadata": {"finalizers": [*HOLD["finalizers"], "kanary.test/late"]}})

    reply.refused(422, "Invalid")
    assert reply.causes() == {"metadata.finalizers": "FieldValueForbidden"}


def test_a_finalizer_has_to_be_qualified(configmaps: Collection) -> None:
    reply = configmaps.create("one", metadata={"finalizers": ["plain"]})

    reply.refused(422, "Invalid")
    assert list(reply.causes().values()) == ["FieldValueInvalid"]


def test_a_custom_resource_may_have_any_finalizer(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1}, metadata={"finalizers": ["plain"]})


def test_an_object_that_is_deleted_can_still_report_its_status(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1}, metadata=HOLD)
    widgets.delete("one").ok()

    assert widgets.merge("one", {"status": {"phase": "Pending"}}, "status").ok()["status"] == {"phase": "Pending"}


def test_a_dry_run_deletes_nothing(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    widgets.delete("one", {"dryRun": ["All"]}).ok()

    widgets.read("one")


def owned_by(*owners: Object, **more: Any) -> Object:
    """Metadata that names these objects as owners."""
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            **more,
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
    eventually(lambda: len(configmaps.read("owned")["metadata"]["ownerReferences"]) == 1, "one owner is left")
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


def test_what_is_orphaned_stays(widgets: Collection, configmaps: Collection) -> None:
    owner = widgets.make("owner", spec={"size": 1})
    configmaps.make("owned", metadata=owned_by(owner))
    # The collector of a real cluster has to have seen the dependent before it can orphan it.
    configmaps.merge("owned", {"data": {"a": "1"}}).ok()

    widgets.delete("owner", {"propagationPolicy": "Orphan"}).ok()

    eventually(lambda: widgets.is_gone("owner"), "the owner is gone")
    assert not configmaps.read("owned")["metadata"].get("ownerReferences")


def test_in_the_foreground_an_owner_waits_for_what_it_owns(widgets: Collection, configmaps: Collection) -> None:
    owner = widgets.make("owner", spec={"size": 1})
    configmaps.make("owned", metadata=owned_by(owner, blockOwnerDeletion=True) | HOLD)

    marked = widgets.delete("owner", {"propagationPolicy": "Foreground"}).ok()
    eventually(lambda: "deletionTimestamp" in configmaps.read("owned")["metadata"], "the owned object is deleted")
    waiting = widgets.get("owner")
    configmaps.merge("owned", {"metadata": {"finalizers": None}}).ok()

    assert "foregroundDeletion" in marked["metadata"]["finalizers"]
    assert waiting.status == 200
    eventually(lambda: widgets.is_gone("owner") and configmaps.is_gone("owned"), "both are gone")


def test_a_namespace_takes_what_is_in_it_along(cluster: Api, widgets: Collection) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "conformance-"}}
    name = cluster.request("POST", "/api/v1/namespaces", body).ok()["metadata"]["name"]
    path = widgets.path.replace(widgets.namespace, name)
    value = widgets.value("one", spec={"size": 1}, metadata={"finalizers": HOLD["finalizers"]})
    cluster.request("POST", path, value).ok()

    cluster.request("DELETE", f"/api/v1/namespaces/{name}").ok()
    eventually(lambda: "deletionTimestamp" in cluster.get(f"{path}/one").ok()["metadata"], "its object is deleted")

    assert cluster.get(f"/api/v1/namespaces/{name}").ok()["status"]["phase"] == "Terminating"
    cluster.request("POST", path, widgets.value("two", spec={"size": 1})).refused(403, "Forbidden")
    patch = {"metadata": {"finalizers": None}}
    cluster.request("PATCH", f"{path}/one", patch, "application/merge-patch+json").ok()
    eventually(lambda: cluster.get(f"/api/v1/namespaces/{name}").status == 404, "the namespace is gone")
