"""What a test can make the server do, and what it can see of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.conformance.api import Api, eventually
from tests.conformance.collection import Collection
from tests.conformance.definitions import GROUP, WIDGETS

from . import ApiServer


def test_the_official_client_works_with_the_kubeconfig(server: ApiServer, tmp_path: Path) -> None:
    api_client = config.new_client_from_config(str(server.kubeconfig(tmp_path / "kubeconfig")))
    core: Any = client.CoreV1Api(api_client)

    core.create_namespaced_config_map("default", {"metadata": {"name": "one"}, "data": {"a": "1"}})

    assert [item.metadata.name for item in core.list_namespaced_config_map("default").items] == ["one"]
    core.delete_namespaced_config_map("one", "default")


def test_an_installed_definition_is_served_and_enforced(server: ApiServer) -> None:
    server.install_crd(WIDGETS)
    widgets = Collection(Api(server.url), "default", "conformance.kanary.test/v1", "Widget", "widgets")

    widgets.make("one", spec={"size": 1})
    widgets.create("two", spec={"size": 0}).refused(422, "Invalid")


def test_a_withdrawn_resource_is_not_served(server: ApiServer) -> None:
    api = Api(server.url)
    assert api.get("/apis/discovery.k8s.io/v1/endpointslices").status == 200

    server.withdraw("discovery.k8s.io", "v1", "endpointslices")

    assert api.get("/apis/discovery.k8s.io/v1/endpointslices").status == 404
    assert api.get("/apis/discovery.k8s.io/v1").status == 404


def test_a_watch_ends_when_its_resource_is_withdrawn(server: ApiServer, configmaps: Collection) -> None:
    with configmaps.watch() as watch:
        eventually(lambda: server.watches == 1, "the watch runs")
        server.withdraw("", "v1", "configmaps")

        watch.wait_for_end()


def test_what_was_never_served_cannot_be_withdrawn(server: ApiServer) -> None:
    with pytest.raises(KeyError):
        server.withdraw("kanary.test", "v1", "nothing")


def test_after_compaction_older_watches_have_expired(server: ApiServer, configmaps: Collection) -> None:
    before = configmaps.revision()
    configmaps.make("one")
    server.compact()

    with configmaps.watch(resourceVersion=before) as watch:
        events = watch.wait_for_end()

    assert [(event["type"], event["object"]["code"]) for event in events] == [("ERROR", 410)]


def test_compaction_does_not_disturb_a_running_watch(server: ApiServer, configmaps: Collection) -> None:
    with configmaps.watch(resourceVersion=configmaps.revision()) as watch:
        server.compact()
        configmaps.make("one")

        assert watch.seen(1) == [("ADDED", "one")]


def test_a_watch_from_the_current_version_survives_compaction(server: ApiServer, configmaps: Collection) -> None:
    configmaps.make("one")
    server.compact()

    with configmaps.watch(resourceVersion=configmaps.revision()) as watch:
        configmaps.make("two")

        assert watch.seen(1) == [("ADDED", "two")]


def test_after_compaction_a_continue_token_has_expired(server: ApiServer, configmaps: Collection) -> None:
    for name in ("a", "b", "c"):
        configmaps.make(name)
    token = configmaps.list(limit=1)["metadata"]["continue"]
    configmaps.delete("b").ok()
    server.compact()

    configmaps.api.get(configmaps.path, **{"continue": token}).refused(410, "Expired")


def test_bookmarks_are_sent_on_request(server: ApiServer, configmaps: Collection) -> None:
    with configmaps.watch(resourceVersion=configmaps.revision(), allowWatchBookmarks="true") as watch:
        eventually(lambda: server.watches == 1, "the watch runs")
        server.store.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}})
        server.bookmark()
        events = watch.until(len, "a bookmark")

    assert events[0]["type"] == "BOOKMARK"
    assert events[0]["object"]["metadata"]["resourceVersion"] == str(server.store.revision)


def test_all_watches_can_be_dropped(server: ApiServer, configmaps: Collection) -> None:
    with configmaps.watch(resourceVersion=configmaps.revision()) as first, configmaps.watch() as second:
        eventually(lambda: server.watches == 2, "both watches run")
        server.drop_watches()

        assert first.wait_for_end() == second.wait_for_end() == []
    eventually(lambda: server.watches == 0, "no watch runs")
    configmaps.make("one")


def test_a_watch_ends_when_its_client_goes(server: ApiServer, configmaps: Collection) -> None:
    with configmaps.watch():
        eventually(lambda: server.watches == 1, "the watch runs")

    eventually(lambda: server.watches == 0, "the watch ended")


def test_requests_are_logged(server: ApiServer, configmaps: Collection) -> None:
    configmaps.get("one")
    configmaps.merge("one", {}, fieldManager="me")

    got, patched = server.requests.find(path="configmaps")
    assert (got.method, got.path, got.status) == ("GET", "/api/v1/namespaces/default/configmaps/one", 404)
    assert (patched.method, patched.query, patched.status) == ("PATCH", {"fieldManager": "me"}, 404)


def test_a_request_can_be_waited_for(server: ApiServer, configmaps: Collection) -> None:
    with configmaps.watch():
        found = server.requests.wait_for("GET", "configmaps", 200, watch=True)

    assert len(found) == 1
    with pytest.raises(TimeoutError, match="last seen"):
        server.requests.wait_for("DELETE", timeout=0.01)


def test_stored_objects_are_seen_by_clients_and_their_watches(server: ApiServer, configmaps: Collection) -> None:
    with configmaps.watch(resourceVersion=configmaps.revision()) as watch:
        stored = server.store.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}})
        server.store.change("configmaps", "one", lambda value: value.update(data={"a": "1"}))
        server.store.delete("configmaps", "one")

        assert watch.seen(3) == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]
        assert watch.objects(1)[0] == stored


def test_a_put_keeps_the_uid_and_bumps_the_generation(server: ApiServer) -> None:
    server.install_crd(WIDGETS)
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": 1}}

    first = server.store.put(body | {"status": {"phase": "Ready"}})
    second = server.store.put(body | {"spec": {"size": 2}})

    assert first["status"] == {"phase": "Ready"}
    assert first["metadata"]["uid"] == second["metadata"]["uid"]
    assert (first["metadata"]["generation"], second["metadata"]["generation"]) == (1, 2)


def test_what_the_store_returns_is_a_copy(server: ApiServer) -> None:
    server.store.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}})
    mine = server.store.get("configmaps", "one")
    assert mine is not None
    mine["data"]["a"] = "2"

    assert [value["data"] for value in server.store.list("configmaps")] == [{"a": "1"}]


def test_the_store_names_a_type_that_is_not_served(server: ApiServer) -> None:
    with pytest.raises(KeyError, match="not served"):
        server.store.put({"apiVersion": "kanary.test/v1", "kind": "Nothing", "metadata": {"name": "one"}})
    with pytest.raises(KeyError, match="no resource"):
        server.store.get("nothings", "one")


def test_a_defect_of_the_server_fails_the_test_that_met_it() -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup, match="in-process API server failed"), ApiServer() as server:
        server.cluster.effects["/configmaps"] = fails
        configmaps = Collection(Api(server.url), "default", "v1", "ConfigMap", "configmaps")
        configmaps.create("one").refused(500, "InternalError")
