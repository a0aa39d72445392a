"""Server-side apply: ownership, removal, conflicts, preconditions."""

from __future__ import annotations

from typing import Any

from .api import APPLY, Object
from .collection import Collection, generation_of, revision_of


def owned(value: Object, manager: str, operation: str = "Apply") -> Any:
    """What managedFields says that a manager owns; None when it owns nothing."""
    entries = value["metadata"].get("managedFields", [])
    found = [e for e in entries if (e["manager"], e["operation"]) == (manager, operation)]
    return found[0]["fieldsV1"] if found else None


def test_applying_what_does_not_exist_creates_it(widgets: Collection) -> None:
    reply = widgets.apply("one", "me", spec={"size": 1}, metadata={"labels": {"a": "b"}})

    assert reply.status == 201
    assert reply.ok()["spec"]["size"] == 1
    assert reply.ok()["metadata"]["labels"] == {"a": "b"}
    assert reply.ok()["metadata"]["generation"] == 1


def test_the_applier_owns_exactly_what_it_applied(widgets: Collection) -> None:
    created = widgets.apply("one", "me", spec={"size": 1}, metadata={"labels": {"a": "b"}}).ok()

    assert owned(created, "me") == {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:size": {}}}
    entry = created["metadata"]["managedFields"][0]
    assert (entry["apiVersion"], entry["fieldsType"]) == (widgets.api_version, "FieldsV1")
    assert entry["time"]


def test_applying_the_same_again_changes_nothing(widgets: Collection) -> None:
    created = widgets.apply("one", "me", spec={"size": 1}).ok()

    assert widgets.apply("one", "me", spec={"size": 1}).ok() == created


def test_applying_lets_the_generation_follow_the_spec(widgets: Collection) -> None:
    widgets.apply("one", "me", spec={"size": 1}).ok()

    changed = widgets.apply("one", "me", spec={"size": 2}).ok()
    labelled = widgets.apply("one", "me", spec={"size": 2}, metadata={"labels": {"a": "b"}}).ok()

    assert (generation_of(changed), generation_of(labelled)) == (2, 2)
    assert revision_of(changed) < revision_of(labelled)


def test_what_is_no_longer_applied_is_removed(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1", "b": "2"}, metadata={"labels": {"x": "y"}}).ok()

    applied = configmaps.apply("one", "me", data={"a": "1"}).ok()

    assert applied["data"] == {"a": "1"}
    assert "labels" not in applied["metadata"]
    assert owned(applied, "me") == {"f:data": {"f:a": {}}}


def test_what_others_wrote_is_not_removed(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1"}).ok()
    configmaps.merge("one", {"data": {"b": "2"}}, fieldManager="other").ok()

    applied = configmaps.apply("one", "me", data={"a": "3"}).ok()

    assert applied["data"] == {"a": "3", "b": "2"}
    assert owned(applied, "other", "Update") == {"f:data": {"f:b": {}}}


def test_what_another_owns_too_is_not_removed(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1", "b": "2"}).ok()
    configmaps.apply("one", "other", data={"b": "2"}).ok()

    applied = configmaps.apply("one", "me", data={"a": "1"}).ok()

    assert applied["data"] == {"a": "1", "b": "2"}
    assert owned(applied, "me") == {"f:data": {"f:a": {}}}
    assert owned(applied, "other") == {"f:data": {"f:b": {}}}


def test_two_may_own_the_same_value(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1"}).ok()

    shared = configmaps.apply("one", "other", data={"a": "1"}).ok()

    assert owned(shared, "me") == owned(shared, "other") == {"f:data": {"f:a": {}}}


def test_changing_what_another_applied_is_a_conflict(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1"}).ok()

    status = configmaps.apply("one", "other", data={"a": "2"}).refused(409, "Conflict")

    assert status["message"].startswith('Apply failed with 1 conflict: conflict with "me"')
    cause = status["details"]["causes"][0]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".data.a")
    assert cause["message"].startswith('conflict with "me"')
    assert configmaps.read("one")["data"] == {"a": "1"}


def test_changing_what_another_updated_is_a_conflict(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1"}).ok()
    configmaps.merge("one", {"data": {"a": "2"}}, fieldManager="editor").ok()

    status = configmaps.apply("one", "me", data={"a": "1"}).refused(409, "Conflict")

    assert 'conflict with "editor" using v1' in status["message"]


def test_every_conflict_is_named(configmaps: Collection) -> None:
    configmaps.apply("one", "first", data={"a": "1"}).ok()
    configmaps.apply("one", "second", data={"b": "1"}).ok()

    status = configmaps.apply("one", "third", data={"a": "2", "b": "2"}).refused(409, "Conflict")

    assert status["message"].startswith("Apply failed with 2 conflicts:")
    causes = {(cause["field"], cause["message"].split('"')[1]) for cause in status["details"]["causes"]}
    assert causes == {(".data.a", "first"), (".data.b", "second")}


def test_force_takes_the_fields_over(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1", "b": "1"}).ok()

    forced = configmaps.apply("one", "other", force=True, data={"a": "2"}).ok()

    assert forced["data"] == {"a": "2", "b": "1"}
    assert owned(forced, "other") == {"f:data": {"f:a": {}}}
    assert owned(forced, "me") == {"f:data": {"f:b": {}}}


def test_what_was_taken_over_is_not_removed_by_its_former_owner(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1", "b": "1"}).ok()
    configmaps.apply("one", "other", force=True, data={"a": "2"}).ok()

    assert configmaps.apply("one", "me", data={"b": "1"}).ok()["data"] == {"a": "2", "b": "1"}


def test_a_manager_that_owns_nothing_is_not_listed(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1"}).ok()

    forced = configmaps.apply("one", "other", force=True, data={"a": "2"}).ok()

    assert [entry["manager"] for entry in forced["metadata"]["managedFields"]] == ["other"]


def test_an_update_makes_the_writer_own_what_it_changed(configmaps: Collection) -> None:
    configmaps.apply("one", "me", data={"a": "1", "b": "1"}).ok()

    patched = configmaps.merge("one", {"data": {"a": "2"}}, fieldManager="editor").ok()

    assert owned(patched, "editor", "Update") == {"f:data": {"f:a": {}}}
    assert owned(patched, "me") == {"f:data": {"f:b": {}}}


def test_fields_that_their_writer_gives_up_are_nobody_s(widgets: Collection) -> None:
    widgets.apply("one", "me", spec={"size": 1, "mode": "Fast", "steps": [{"pause": 1}]}).ok()
    patched = widgets.merge("one", {"spec": {"size": 2, "steps": [{"pause": 2}]}}, fieldManager="editor").ok()
    entries = [entry for entry in patched["metadata"]["managedFields"] if entry["manager"] != "editor"]
    change = {"resourceVersion": patched["metadata"]["resourceVersion"], "managedFields": entries}

    given_up = widgets.merge("one", {"metadata": change}, fieldManager="editor").ok()
    applied = widgets.apply("one", "me", spec={"size": 3, "mode": "Fast", "steps": [{"pause": 3}]}).ok()

    assert given_up["spec"] == patched["spec"]
    assert owned(given_up, "editor", "Update") is None
    assert owned(given_up, "me") == {"f:spec": {"f:mode": {}}}
    assert generation_of(given_up) == generation_of(patched)
    assert (applied["spec"]["size"], applied["spec"]["steps"]) == (3, [{"pause": 3}])
    assert owned(applied, "me") == {"f:spec": {"f:mode": {}, "f:size": {}, "f:steps": {}}}


def test_the_field_manager_of_a_plain_write_is_the_client_s_name(configmaps: Collection) -> None:
    created = configmaps.make("one", data={"a": "1"})

    assert owned(created, "conformance", "Update") == {"f:data": {".": {}, "f:a": {}}}


def test_a_configuration_of_another_version_is_refused(widgets: Collection) -> None:
    body = widgets.value("one", spec={"size": 1}) | {"apiVersion": "conformance.kanary.test/v9"}

    reply = widgets.api.request("PATCH", f"{widgets.path}/one", body, APPLY, fieldManager="me")

    reply.refused(400, "BadRequest")


def test_a_resource_version_in_the_configuration_is_a_precondition(configmaps: Collection) -> None:
    stale = configmaps.apply("one", "me", data={"a": "1"}).ok()["metadata"]["resourceVersion"]
    current = configmaps.apply("one", "me", data={"a": "2"}).ok()["metadata"]["resourceVersion"]

    configmaps.apply("one", "me", data={"a": "3"}, metadata={"resourceVersion": stale}).refused(409, "Conflict")
    configmaps.apply("one", "me", data={"a": "4"}, metadata={"resourceVersion": current}).ok()

    assert configmaps.read("one")["data"] == {"a": "4"}


def test_a_uid_in_the_configuration_keeps_the_object_from_being_created(configmaps: Collection) -> None:
    status = configmaps.apply("none", "me", metadata={"uid": "of-another"}).refused(409, "Conflict")

    assert "uid mismatch" in status["message"]
    assert configmaps.is_gone("none")


def test_a_uid_in_the_configuration_keeps_another_object_from_being_written(configmaps: Collection) -> None:
    configmaps.make("one", data={"a": "1"})

    reply = configmaps.apply("one", "me", data={"b": "2"}, metadata={"uid": "of-another"})

    # 422 on metadata.uid where it was tried, unlike the same on an object that does not exist.
    assert reply.status in (409, 422)
    assert configmaps.read("one")["data"] == {"a": "1"}


def test_the_object_s_own_uid_may_be_applied(configmaps: Collection) -> None:
    uid = configmaps.make("one", data={"a": "1"})["metadata"]["uid"]

    applied = configmaps.apply("one", "me", data={"b": "2"}, metadata={"uid": uid}).ok()

    assert applied["data"] == {"a": "1", "b": "2"}
    assert owned(applied, "me") == {"f:data": {"f:b": {}}}


def test_applying_leaves_the_status_to_its_own_endpoint(widgets: Collection) -> None:
    widgets.apply("one", "me", spec={"size": 1}, status={"phase": "Ready"}).ok()

    assert "status" not in widgets.read("one")


def test_an_invalid_configuration_is_refused(widgets: Collection) -> None:
    reply = widgets.apply("one", "me", spec={"size": 101})

    reply.refused(422, "Invalid")
    assert reply.causes() == {"spec.size": "FieldValueInvalid"}


def test_defaults_belong_to_nobody(widgets: Collection) -> None:
    applied = widgets.apply("one", "me", spec={"size": 1}).ok()
    again = widgets.apply("one", "other", spec={"mode": "Safe"}).ok()

    assert applied["spec"]["mode"] == "Fast"
    assert again["spec"]["mode"] == "Safe"


def test_a_default_returns_when_its_value_is_no_longer_applied(widgets: Collection) -> None:
    widgets.apply("one", "me", spec={"size": 1, "mode": "Safe"}).ok()

    assert widgets.apply("one", "me", spec={"size": 1}).ok()["spec"]["mode"] == "Fast"


def test_other_lists_are_owned_whole(widgets: Collection) -> None:
    widgets.apply("one", "me", spec={"size": 1, "steps": [{"pause": 1}]}).ok()

    status = widgets.apply("one", "other", spec={"steps": [{"pause": 2}]}).refused(409, "Conflict")
    forced = widgets.apply("one", "other", force=True, spec={"steps": [{"pause": 2}]}).ok()

    assert status["details"]["causes"][0]["field"] == ".spec.steps"
    assert forced["spec"]["steps"] == [{"pause": 2}]
    assert owned(forced, "other")["f:spec"]["f:steps"] == {}


def test_owned_labels_and_annotations_follow_the_configuration(configmaps: Collection) -> None:
    configmaps.apply("one", "me", metadata={"labels": {"a": "1", "b": "1"}, "annotations": {"c": "1"}}).ok()
    configmaps.merge("one", {"metadata": {"labels": {"z": "1"}}}, fieldManager="editor").ok()

    applied = configmaps.apply("one", "me", metadata={"labels": {"a": "2"}}).ok()["metadata"]

    assert applied["labels"] == {"a": "2", "z": "1"}
    assert "annotations" not in applied


def test_owner_references_are_owned_by_uid(configmaps: Collection) -> None:
    owner = configmaps.make("owner")["metadata"]["uid"]
    second = configmaps.make("second")["metadata"]["uid"]

    def reference(uid: str, name: str) -> Object:
        return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}

    configmaps.apply("one", "me", metadata={"ownerReferences": [reference(owner, "owner")]}).ok()
    shared = configmaps.apply("one", "other", metadata={"ownerReferences": [reference(second, "second")]}).ok()
    fewer = configmaps.apply("one", "me").ok()

    assert len(shared["metadata"]["ownerReferences"]) == 2
    assert [r["uid"] for r in fewer["metadata"]["ownerReferences"]] == [second]
