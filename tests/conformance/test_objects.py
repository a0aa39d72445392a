"""Create, read and update: names, versions, generations, conflicts."""

from __future__ import annotations

import re

import pytest

from .api import Api
from .collection import Collection, generation_of, revision_of

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_a_new_object_gets_a_uid_an_age_a_version_and_a_generation(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})["metadata"]

    assert UUID.fullmatch(created["uid"])
    assert SECONDS.fullmatch(created["creationTimestamp"])
    assert int(created["resourceVersion"]) > 0
    assert created["generation"] == 1
    assert created["namespace"] == widgets.namespace


def test_an_object_reads_back_as_it_was_created(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1}, metadata={"labels": {"a": "b"}, "annotations": {"c": "d"}})

    assert widgets.read("one") == created


def test_what_only_the_server_may_say_is_not_taken_from_a_client(widgets: Collection) -> None:
    claimed = {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7}

    created = widgets.make("one", spec={"size": 1}, metadata=claimed)["metadata"]

    assert created["uid"] != "mine"
    assert created["creationTimestamp"] != "2001-01-01T00:00:00Z"
    assert created["generation"] == 1


def test_a_second_object_of_the_same_name_is_refused(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    status = widgets.create("one", spec={"size": 2}).refused(409, "AlreadyExists")

    assert status["details"]["name"] == "one"
    assert status["details"]["kind"] == "widgets"


def test_what_does_not_exist_is_not_found(widgets: Collection) -> None:
    status = widgets.get("none").refused(404, "NotFound")

    assert status["message"] == 'widgets.conformance.kanary.test "none" not found'
    assert status["details"] == {"name": "none", "group": "conformance.kanary.test", "kind": "widgets"}


def test_a_namespace_has_to_exist(cluster: Api, widgets: Collection) -> None:
    path = widgets.path.replace(widgets.namespace, "no-such-namespace")

    status = cluster.request("POST", path, widgets.value("one", spec={"size": 1})).refused(404, "NotFound")

    assert status["details"] == {"name": "no-such-namespace", "kind": "namespaces"}


@pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "dot.", "a" * 254])
def test_a_name_has_to_be_a_subdomain(configmaps: Collection, name: str) -> None:
    reply = configmaps.create(name)

    reply.refused(422, "Invalid")
    assert reply.causes() == {"metadata.name": "FieldValueInvalid"}


def test_labels_have_to_be_labels(configmaps: Collection) -> None:
    reply = configmaps.create("one", metadata={"labels": {"a": "not a label"}})

    reply.refused(422, "Invalid")
    assert reply.causes() == {"metadata.labels": "FieldValueInvalid"}


def test_a_body_of_another_kind_is_refused(configmaps: Collection) -> None:
    body = configmaps.value("one") | {"kind": "Secret"}

    configmaps.api.request("POST", configmaps.path, body).refused(400, "BadRequest")


def test_a_body_for_another_namespace_is_refused(configmaps: Collection) -> None:
    configmaps.create("one", metadata={"namespace": "elsewhere"}).refused(400, "BadRequest")


def test_a_body_that_is_no_json_is_refused(configmaps: Collection) -> None:
    configmaps.api.request("POST", configmaps.path, b"{").refused(400, "BadRequest")


def test_each_write_has_a_higher_resource_version(widgets: Collection, configmaps: Collection) -> None:
    first = widgets.make("one", spec={"size": 1})
    other = configmaps.make("other")
    second = widgets.merge("one", {"spec": {"size": 2}}).ok()

    assert revision_of(first) < revision_of(other) < revision_of(second)


def test_a_write_that_changes_nothing_keeps_the_resource_version(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})

    assert widgets.put(created).ok() == created
    assert widgets.merge("one", {"spec": {"size": 1}}).ok() == created
    assert widgets.read("one") == created


def test_the_generation_follows_the_spec_only(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})

    labelled = widgets.merge("one", {"metadata": {"labels": {"a": "b"}}}).ok()
    reported = widgets.merge("one", {"status": {"phase": "Ready"}}, "status").ok()
    resized = widgets.merge("one", {"spec": {"size": 2}}).ok()

    assert [generation_of(value) for value in (created, labelled, reported, resized)] == [1, 1, 1, 2]
    assert revision_of(created) < revision_of(labelled) < revision_of(reported) < revision_of(resized)


def test_a_client_cannot_write_the_generation(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    assert generation_of(widgets.merge("one", {"metadata": {"generation": 9}}).ok()) == 1


def test_a_client_cannot_write_the_age(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1})

    written = widgets.merge("one", {"metadata": {"creationTimestamp": None}}).ok()

    assert written == created


def test_an_update_replaces_everything_but_the_status(widgets: Collection) -> None:
    created = widgets.make("one", spec={"size": 1, "title": "abc"}, metadata={"labels": {"a": "b"}})

    updated = widgets.put(
        widgets.value("one", spec={"size": 2}, metadata={"resourceVersion": created["metadata"]["resourceVersion"]})
    ).ok()

    assert updated["spec"] == {"size": 2, "mode": "Fast", "limits": {"idle": 3}}
    assert "labels" not in updated["metadata"]
    assert updated["metadata"]["uid"] == created["metadata"]["uid"]
    assert updated["metadata"]["creationTimestamp"] == created["metadata"]["creationTimestamp"]


def test_an_update_of_a_stale_object_is_a_conflict(widgets: Collection) -> None:
    stale = widgets.make("one", spec={"size": 1})
    widgets.merge("one", {"spec": {"size": 2}}).ok()

    status = widgets.put(stale).refused(409, "Conflict")

    assert "the object has been modified" in status["message"]
    assert widgets.read("one")["spec"]["size"] == 2


def test_an_update_of_a_custom_resource_has_to_name_its_version(widgets: Collection) -> None:
    widgets.make("one", spec={"size": 1})

    reply = widgets.put(widgets.value("one", spec={"size": 2}))

    reply.refused(422, "Invalid")
    assert reply.causes() == {"metadata.resourceVersion": "FieldValueInvalid"}


def test_an_update_of_another_object_of_that_name_is_a_conflict(configmaps: Collection) -> None:
    configmaps.make("one")

    configmaps.put(configmaps.value("one", metadata={"uid": "another"})).refused(409, "Conflict")


def test_an_update_of_what_does_not_exist_is_not_found(widgets: Collection) -> None:
    widgets.put(widgets.value("none", spec={"size": 1}, metadata={"resourceVersion": "1"})).refused(404, "NotFound")


def test_an_update_with_the_name_of_another_object_is_refused(configmaps: Collection) -> None:
    configmaps.make("one")

    path = f"{configmaps.path}/one"
    configmaps.api.request("PUT", path, configmaps.value("two")).refused(400, "BadRequest")
