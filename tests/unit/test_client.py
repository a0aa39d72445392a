"""The cluster client against a server on loopback with programmable responses."""

import datetime
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.config import incluster_config

from kanary.kanaries import KANARIES
from kanary.kube import client as client_module
from kanary.kube import kubeconfig as kubeconfig_module
from kanary.kube.client import (
    AlreadyExists,
    ApiError,
    ClusterClient,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    InvalidResponse,
    NotConfigured,
    NotFound,
    Throttled,
    Timeouts,
    Unauthorized,
    Unreachable,
)
from kanary.kube.http import Connections
from kanary.kube.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES, Key, Resource
from tests.unit.responder import Drop, Hang, Reply, Responder, Stream, refusing, responding, status, write_kubeconfig
from tests.waiting import PATIENCE, await_that

SHORT = Timeouts(connect=2.0, read=0.3, watch=0.3)
PATIENT = Timeouts(connect=5.0, read=30.0, watch=30.0)


@pytest.fixture
def server() -> Iterator[Responder]:
    with responding() as responder:
        yield responder


@pytest.fixture
def connect(server: Responder, tmp_path: Path) -> Callable[..., ClusterClient]:
    def connect(timeouts: Timeouts = PATIENT, **options: Any) -> ClusterClient:
        return ClusterClient.connect(
            kubeconfig=write_kubeconfig(tmp_path / "kubeconfig", server.url),
            timeouts=timeouts,
            **{"field_manager": "kanary", **options},
        )

    return connect


@pytest.fixture
def client(connect: Callable[..., ClusterClient]) -> ClusterClient:
    return connect()


def page(*names: str, version: str = "10", more: str = "") -> Reply:
    items = [{"metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"}} for name in names]
    return Reply({"metadata": {"resourceVersion": version, "continue": more}, "items": items})


def line(kind: str, name: str = "a", version: str = "11") -> bytes:
    return (
        json.dumps({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}).encode() + b"\n"
    )


def test_the_kernel_ends_connections_to_a_host_that_is_gone_and_sends_at_once(
    server: Responder, client: ClusterClient
) -> None:
    server.say(Stream((line("ADDED"),), then="hang"))
    with client.watch(SERVICES, "1", timeout_seconds=60) as watch:
        used = watch._response._socket
        assert used.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT", "TCP_NODELAY"
        found = [used.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
    assert found == [6, 2, 3, 12_000, 1]


# Resources


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (SERVICES, (), "/api/v1/services"),
        (SERVICES, ("shop",), "/api/v1/namespaces/shop/services"),
        (DEPLOYMENTS, ("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web"),
        (KANARIES, ("shop", "web", "status"), "/apis/kanary.k8s.io/v1/namespaces/shop/kanaries/web/status"),
        (PODS, ("a/b", "c?d"), "/api/v1/namespaces/a%2Fb/pods/c%3Fd"),
        (Resource("", "v1", "Node", "nodes", namespaced=False), (None, "n1"), "/api/v1/nodes/n1"),
    ],
)
def test_a_path_names_group_version_namespace_and_object_and_quotes_them(
    resource: Resource, arguments: tuple[str, ...], path: str
) -> None:
    assert resource.path(*arguments) == path


def test_one_object_of_a_namespaced_kind_needs_its_namespace() -> None:
    with pytest.raises(ValueError, match="Service 'web' is namespaced"):
        SERVICES.path(None, "web")


def test_a_key_reads_as_namespace_and_name() -> None:
    assert str(Key.of({"metadata": {"namespace": "shop", "name": "web"}})) == "shop/web"
    assert str(Key.of({"metadata": {"name": "node"}})) == "node"


def test_only_the_client_itself_loads_the_kubernetes_library() -> None:
    modules = "resources, workqueue, reflector, lease, events"
    code = f"import sys; from kanary.kube import {modules}; sys.exit('kubernetes' in sys.modules)"
    root = Path(client_module.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# Failures


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Throttled),
        (500, "InternalError", ApiError),
    ],
)
def test_a_failure_is_raised_as_the_error_of_its_status(
    server: Responder, client: ClusterClient, code: int, reason: str, error: type[ApiError]
) -> None:
    server.say(status(code, reason, "this is why"))
    with pytest.raises(error) as raised:
        client.get(SERVICES, "shop", "web")
    assert type(raised.value) is error
    assert (raised.value.status, raised.value.reason, raised.value.message) == (code, reason, "this is why")
    assert str(raised.value).endswith(f"this is why ({code} {reason})")
    assert raised.value.retry_after is None


RBAC = 'services "web" is forbidden: User "jane" cannot get resource "services" in API group "" in the namespace "shop"'
QUOTA = 'pods "web" is forbidden: exceeded quota: cpu'


@pytest.mark.parametrize(
    ("message", "call", "text"),
    [
        (RBAC, lambda c: c.get(SERVICES, "shop", "web"), '"jane" cannot get services in namespace shop'),
        ("no", lambda c: c.list(KANARIES), "cannot list kanaries.kanary.k8s.io in all namespaces: no"),
        (
            RBAC,
            lambda c: c.apply(SERVICES, "a b", "web", {}, force=True),
            '"jane" cannot patch services in namespace a b',
        ),
        (RBAC, lambda c: c.replace(KANARIES, "shop", "web", {}, subresource="status"), "kanaries.kanary.k8s.io/status"),
        (QUOTA, lambda c: c.create(SERVICES, "shop", {}), QUOTA),
    ],
)
def test_a_missing_right_is_named_and_what_admission_rejects_is_none(
    server: Responder, message: str, call: Callable[[ClusterClient], object], text: str, tmp_path: Path
) -> None:
    server.say(status(403, "Forbidden", message))
    client = ClusterClient.connect(kubeconfig=write_kubeconfig(tmp_path / "k", server.url), field_manager="test")
    with pytest.raises(Forbidden) as raised:
        call(client)
    assert text in str(raised.value)
    assert (raised.value.missing is None) == (message is QUOTA)


def test_a_throttled_read_is_not_retried_and_has_the_retry_after_of_the_server_up_to_a_minute(
    server: Responder, client: ClusterClient
) -> None:
    body = {"kind": "Status", "reason": "TooManyRequests", "details": {"retryAfterSeconds": 3}}
    server.say(Reply(body, 429, {"Retry-After": "86400"}), Reply(body, 429), Reply({}, 503, {"Retry-After": "soon"}))
    with pytest.raises(Throttled) as by_header:
        client.get(SERVICES, "shop", "web")
    with pytest.raises(Throttled) as by_details:
        client.get(SERVICES, "shop", "web")
    with pytest.raises(ApiError) as not_understood:
        client.get(SERVICES, "shop", "web")
    assert (by_header.value.retry_after, by_details.value.retry_after) == (60, 3)
    assert (not_understood.value.status, not_understood.value.retry_after) == (503, None)
    assert len(server.asked) == 3


def test_the_text_of_a_proxy_in_between_is_quoted(server: Responder, client: ClusterClient) -> None:
    server.say(Reply(b"<h1>upstream is away</h1>", 502, {"Content-Type": "text/html"}))
    with pytest.raises(ApiError, match="<h1>upstream is away</h1>") as raised:
        client.get(SERVICES, "shop", "web")
    assert raised.value.status == 502


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[1, 2]", b""])
def test_a_response_without_a_json_object_is_invalid(server: Responder, client: ClusterClient, body: bytes) -> None:
    server.say(Reply(body, 200, {"Content-Type": "text/html"}))
    with pytest.raises(InvalidResponse, match="is it an API server"):
        client.get(SERVICES, "shop", "web")


def test_a_redirect_is_not_followed(server: Responder, client: ClusterClient) -> None:
    server.say(Reply({}, 302, {"Location": "/elsewhere"}))
    with pytest.raises(ApiError) as raised:
        client.get(SERVICES, "shop", "web")
    assert raised.value.status == 302
    assert len(server.asked) == 1


def test_a_read_is_tried_again_after_a_connection_fault(server: Responder, client: ClusterClient) -> None:
    server.say(Drop(), Drop(), Reply({"metadata": {"name": "web"}}))
    assert client.get(SERVICES, "shop", "web") == {"metadata": {"name": "web"}}
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "write",
    [
        lambda c: c.create(SERVICES, "shop", {"metadata": {"name": "web"}}),
        lambda c: c.apply(SERVICES, "shop", "web", {}, force=True),
        lambda c: c.merge_patch(SERVICES, "shop", "web", {"metadata": {}}),
        lambda c: c.replace(SERVICES, "shop", "web", {"metadata": {"name": "web"}}),
        lambda c: c.delete(SERVICES, "shop", "web", uid=None),
    ],
    ids=["create", "apply", "patch", "replace", "delete"],
)
@pytest.mark.parametrize("fault", [Drop(), Hang()], ids=["dropped", "hung"])
def test_a_write_is_never_sent_twice(
    server: Responder, connect: Callable[..., ClusterClient], write: Callable[[ClusterClient], Any], fault: Drop | Hang
) -> None:
    server.say(fault)
    with pytest.raises(Unreachable):
        write(connect(SHORT))
    # The client may give up before the server has read the request.
    await_that(lambda: server.asked)
    assert len(server.asked) == 1


def test_a_server_that_hangs_is_unreachable_and_the_message_names_it_and_what_to_check(
    server: Responder, connect: Callable[..., ClusterClient]
) -> None:
    server.say(Hang())
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1.*timed out.*kubectl cluster-info"):
        connect(SHORT).get(SERVICES, "shop", "web")


def test_an_answer_that_breaks_off_is_unreachable(server: Responder, connect: Callable[..., ClusterClient]) -> None:
    server.say(Stream((b'{"metadata":',), then="drop"))
    with pytest.raises(Unreachable):
        connect(SHORT).get(SERVICES, "shop", "web")


def test_a_port_where_nothing_listens_is_unreachable(tmp_path: Path) -> None:
    with refusing() as port, pytest.raises(Unreachable, match="refused"):
        path = write_kubeconfig(tmp_path / "k", f"http://127.0.0.1:{port}")
        ClusterClient.connect(kubeconfig=path).server_version()


def test_a_failed_tls_handshake_is_unreachable_with_one_line(server: Responder, tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", server.url.replace("http:", "https:"))
    with pytest.raises(Unreachable, match=r"^no response from .*SSL.*kubectl cluster-info\)$"):
        ClusterClient.connect(kubeconfig=path).server_version()


def test_a_client_with_other_timeouts_shares_the_connection_and_leaves_the_first_one_as_it_is(
    server: Responder, client: ClusterClient
) -> None:
    server.say(Drop(), Reply({"gitVersion": "v1.31.0"}))
    with pytest.raises(Unreachable):
        client.with_timeouts(Timeouts(connect=6.0, read=31.0, watch=31.0)).server_version()
    assert client.timeouts == PATIENT
    assert client.server_version() == "v1.31.0"


def test_every_request_is_counted_with_its_verb_and_status(
    server: Responder, connect: Callable[..., ClusterClient]
) -> None:
    seen: list[tuple[str, int | None]] = []
    client = connect(on_request=lambda verb, code: seen.append((verb, code)))
    server.say(Drop(), Reply({}), status(409, "Conflict"))
    client.get(SERVICES, "shop", "web")
    with pytest.raises(Conflict):
        client.apply(SERVICES, "shop", "web", {}, force=False)
    assert seen == [("get", None), ("get", 200), ("apply", 409)]


# Lists


def test_a_list_is_fetched_in_pages_and_its_items_name_their_kind(server: Responder, client: ClusterClient) -> None:
    server.say(page("a", "b", more="token"), page("c"))
    objects, version = client.list(ENDPOINT_SLICES, label_selector="app in (a,b)")
    assert [(obj["metadata"]["name"], obj["kind"], obj["apiVersion"]) for obj in objects] == [
        (name, "EndpointSlice", "discovery.k8s.io/v1") for name in "abc"
    ]
    assert version == "10"
    assert [asked.query for asked in server.asked] == [
        {"limit": "100", "labelSelector": "app in (a,b)"},
        {"limit": "100", "labelSelector": "app in (a,b)", "continue": "token"},
    ]


def test_pages_may_be_smaller_where_no_object_is_kept(server: Responder, client: ClusterClient) -> None:
    """Everywhere else, they would only be more requests: commands and reconciles wait for each of them."""
    server.say(page("a", "b"))
    assert client.list_as(SERVICES, lambda obj: obj["metadata"]["name"], page=2) == (["a", "b"], "10")
    assert [asked.query for asked in server.asked] == [{"limit": "2"}]


def test_a_list_whose_snapshot_expires_between_pages_is_made_again_whole(
    server: Responder, client: ClusterClient
) -> None:
    server.say(page("a", more="token"), status(410, "Expired"), page("x", "y", version="20"))
    objects, version = client.list(SERVICES, "shop")
    assert ([obj["metadata"]["name"] for obj in objects], version) == (["x", "y"], "20")
    assert server.asked[-1].query == {}
    assert {asked.path for asked in server.asked} == {"/api/v1/namespaces/shop/services"}


def test_a_list_without_items_is_empty(server: Responder, client: ClusterClient) -> None:
    server.say(Reply({"metadata": {"resourceVersion": "7"}, "items": None}))
    assert client.list(SERVICES) == ([], "7")


# Writes


def test_server_side_apply_names_manager_force_and_content_type(server: Responder, client: ClusterClient) -> None:
    stored = {"metadata": {"name": "web", "uid": "u", "resourceVersion": "7"}}
    server.say(Reply(stored))
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    assert client.apply(SERVICES, "shop", "web", body, force=True) == stored
    client.apply(KANARIES, "shop", "web", body, force=False, subresource="status")
    first, second = server.asked
    assert (first.method, first.path) == ("PATCH", "/api/v1/namespaces/shop/services/web")
    assert first.headers["content-type"] == "application/apply-patch+yaml"
    assert first.query == {"fieldManager": "kanary", "force": "true"}
    assert first.body == body
    assert second.path.endswith("/kanaries/web/status")
    assert second.query["force"] == "false"


@pytest.mark.parametrize("stored", [{}, {"kind": "Status"}, {"metadata": None}, {"metadata": {"name": "web"}}])
def test_a_write_that_is_answered_by_something_else_than_the_object_is_an_invalid_response(
    server: Responder, client: ClusterClient, stored: dict[str, Any]
) -> None:
    server.say(Reply(stored))
    body = {"metadata": {"name": "web", "resourceVersion": "1"}}
    for write in (client.apply, client.replace):
        options = {"force": True} if write == client.apply else {}
        with pytest.raises(InvalidResponse, match="instead of the written object"):
            write(SERVICES, "shop", "web", body, **options)


def test_an_empty_apply_is_sent_as_an_empty_object(server: Responder, client: ClusterClient) -> None:
    server.say(Reply({}))
    client.apply(SERVICES, "shop", "web", {}, force=True)
    assert server.asked[0].body == {}


def test_create_patch_and_replace_name_the_field_manager(server: Responder, client: ClusterClient) -> None:
    server.say(Reply({}, 201), Reply({}))
    client.create(CONFIG_MAPS, "shop", {"data": {}})
    client.merge_patch(CONFIG_MAPS, "shop", "web", {"data": None})
    client.replace(CONFIG_MAPS, "shop", "web", {"data": {"a": "b"}}, subresource="status")
    base = "/api/v1/namespaces/shop/configmaps"
    assert [(a.method, a.path, a.headers["content-type"], a.query, a.body) for a in server.asked] == [
        ("POST", base, "application/json", {"fieldManager": "kanary"}, {"data": {}}),
        ("PATCH", f"{base}/web", "application/merge-patch+json", {"fieldManager": "kanary"}, {"data": None}),
        ("PUT", f"{base}/web/status", "application/json", {"fieldManager": "kanary"}, {"data": {"a": "b"}}),
    ]


def test_a_delete_may_be_bound_to_one_object(server: Responder, client: ClusterClient) -> None:
    server.say(Reply({}))
    client.delete(SERVICES, "shop", "web", uid="u-1")
    client.delete(SERVICES, "shop", "web", uid=None, propagation="Foreground")
    assert [
        (asked.method, asked.body.get("preconditions"), asked.body["propagationPolicy"]) for asked in server.asked
    ] == [
        ("DELETE", {"uid": "u-1"}, "Background"),
        ("DELETE", None, "Foreground"),
    ]


# Discovery


def test_a_kind_is_served_when_its_group_lists_it(server: Responder, client: ClusterClient) -> None:
    server.say(Reply({"resources": [{"name": "endpointslices"}]}), Reply({"resources": []}), status(404, "NotFound"))
    assert client.serves(ENDPOINT_SLICES)
    assert not client.serves(ENDPOINT_SLICES)
    assert not client.serves(ENDPOINT_SLICES)
    assert server.asked[0].path == "/apis/discovery.k8s.io/v1"


def test_a_fault_is_not_taken_for_a_kind_that_is_not_served(server: Responder, client: ClusterClient) -> None:
    server.say(status(403, "Forbidden"))
    with pytest.raises(Forbidden):
        client.serves(SERVICES)


# Watches


def test_a_watch_yields_events_and_bookmarks_and_ends_with_the_server(server: Responder, client: ClusterClient) -> None:
    bookmark = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"20"}}}\n'
    added = line("ADDED")
    # Chunks that end anywhere: a line may span several, and one may hold several lines.
    server.say(Stream((added[:9], added[9:] + bookmark[:5], bookmark[5:] + line("DELETED", version="21"))))
    with client.watch(SERVICES, "10", namespace="shop", label_selector="a=b", timeout_seconds=99.6) as watch:
        events = [(kind, obj["metadata"]["resourceVersion"]) for kind, obj in watch]
    assert events == [("ADDED", "11"), ("BOOKMARK", "20"), ("DELETED", "21")]
    assert server.asked[0].path == "/api/v1/namespaces/shop/services"
    assert server.asked[0].query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "10",
        "timeoutSeconds": "100",
        "labelSelector": "a=b",
    }


@pytest.mark.parametrize("code", [410, 500])
def test_an_error_event_is_raised_as_the_error_of_its_code(server: Responder, client: ClusterClient, code: int) -> None:
    error = {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": "Why", "message": "too old"}}
    server.say(Stream((line("ADDED"), json.dumps(error).encode() + b"\n")))
    with client.watch(SERVICES, "10", timeout_seconds=60) as watch, pytest.raises(ApiError, match="too old") as raised:
        list(watch)
    assert raised.value.status == code
    assert isinstance(raised.value, Gone) is (code == 410)


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html>\n",
        b"[]\n",
        b'{"type":"ADDED"}\n',
        b'{"type":"ERROR","object":7}\n',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":1}}}\n',
        b'{"type":1,"object":{"metadata":{"name":"a","resourceVersion":"1"}}}\n',
        b'{"type":"BOOKMARK","object":{"metadata":{}}}\n',
    ],
)
def test_a_line_that_is_not_a_watch_event_is_invalid(server: Responder, client: ClusterClient, garbage: bytes) -> None:
    server.say(Stream((line("ADDED"), garbage)))
    with client.watch(SERVICES, "10", timeout_seconds=60) as watch:
        events = iter(watch)
        assert next(events)[0] == "ADDED"
        with pytest.raises(InvalidResponse):
            next(events)


def test_a_line_that_was_cut_off_by_the_end_is_left_for_the_next_watch(
    server: Responder, client: ClusterClient
) -> None:
    server.say(Stream((line("ADDED"), line("MODIFIED")[:-5])))
    with client.watch(SERVICES, "10", timeout_seconds=60) as watch:
        assert [kind for kind, _ in watch] == ["ADDED"]


@pytest.mark.parametrize("fault", ["drop", "hang"])
def test_a_watch_that_breaks_or_falls_silent_is_unreachable(
    server: Responder, client: ClusterClient, fault: str
) -> None:
    server.say(Stream((line("ADDED"),), then=fault))
    with client.watch(SERVICES, "10", timeout_seconds=60) as watch:
        events = iter(watch)
        assert next(events)[0] == "ADDED"
        connection = watch._response._socket
        assert connection.gettimeout() == PATIENT.watch
        connection.settimeout(0.1)
        with pytest.raises(Unreachable):
            next(events)


def test_a_refused_watch_raises_at_once(server: Responder, client: ClusterClient) -> None:
    server.say(status(410, "Expired"))
    with pytest.raises(Gone):
        client.watch(SERVICES, "10", timeout_seconds=60)


def test_a_watch_can_be_ended_from_another_thread(server: Responder, client: ClusterClient) -> None:
    server.say(Stream((line("ADDED"),), then="hang"))
    seen: list[str] = []
    first = threading.Event()

    def follow() -> None:
        for kind, _ in watch:
            seen.append(kind)
            first.set()

    with client.watch(SERVICES, "10", timeout_seconds=60) as watch:
        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        assert first.wait(PATIENCE)
        watch.close()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert seen == ["ADDED"]


def test_a_watch_can_be_closed_twice_and_after_its_end(server: Responder, client: ClusterClient) -> None:
    server.say(Stream((line("ADDED"),)))
    with client.watch(SERVICES, "10", timeout_seconds=60) as watch:
        assert len(list(watch)) == 1
        watch.close()
    watch.close()


# Configuration


def test_without_a_field_manager_the_api_server_takes_the_user_agent(
    server: Responder, connect: Callable[..., ClusterClient]
) -> None:
    client = connect(field_manager=None, user_agent="kubectl/1")
    server.say(Reply({}))
    client.merge_patch(CONFIG_MAPS, "shop", "web", {})
    client.merge_patch(CONFIG_MAPS, "shop", "web", {}, field_manager="other")
    assert [asked.query for asked in server.asked] == [{}, {"fieldManager": "other"}]
    assert server.asked[0].headers["user-agent"] == "kubectl/1"


def test_the_context_says_server_and_namespace(server: Responder, tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", server.url, namespace="shop", user={"token": "t-1"})
    client = ClusterClient.connect(kubeconfig=path, user_agent="kanary/1")
    server.say(Reply({"gitVersion": "v1.20.0"}))
    assert client.server_version() == "v1.20.0"
    assert (client.host, client.namespace) == (server.url, "shop")
    assert server.asked[0].headers["authorization"] == "Bearer t-1"
    assert server.asked[0].headers["user-agent"] == "kanary/1"


def test_a_password_in_the_server_s_url_is_not_shown(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", "http://bob:s3c@ret@127.0.0.1:1")
    client = ClusterClient.connect(kubeconfig=path)
    assert client.host == "http://127.0.0.1:1"
    with pytest.raises(Unreachable) as caught:
        client.server_version()
    assert "ret" not in str(caught.value)
    assert "bob" not in str(caught.value)


def test_a_context_without_a_namespace_means_default(client: ClusterClient) -> None:
    assert client.namespace == "default"


def test_a_context_is_chosen_by_name(tmp_path: Path) -> None:
    path = Path(write_kubeconfig(tmp_path / "k", "http://first"))
    config = json.loads(path.read_text())
    del config["current-context"]
    config["clusters"].append({"name": "b", "cluster": {"server": "http://second"}})
    config["contexts"].append({"name": "b", "context": {"cluster": "b", "user": "test", "namespace": "second"}})
    path.write_text(json.dumps(config))
    client = ClusterClient.connect(kubeconfig=str(path), context="b")
    assert (client.host, client.namespace) == ("http://second", "second")


def test_the_variable_kubeconfig_counts_before_the_file_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube" / "config", "http://home")
    assert ClusterClient.connect().host == "http://home"
    other = write_kubeconfig(tmp_path / "other", "http://other")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{other}")
    assert ClusterClient.connect().host == "http://other"


def test_without_any_configuration_the_message_lists_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(NotConfigured, match=r"~/\.kube/config, KUBECONFIG is not set, and this is not a pod"):
        ClusterClient.connect()


def test_a_kubeconfig_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=f"kubeconfig {tmp_path / 'absent'} does not exist"):
        ClusterClient.connect(kubeconfig=str(tmp_path / "absent"))


@pytest.mark.parametrize("content", ["", "{", "[]", "contexts: 7", '{"current-context": "gone", "contexts": []}'])
def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    with pytest.raises(NotConfigured, match=f"kubeconfig {path} cannot be used"):
        ClusterClient.connect(kubeconfig=str(path))


def test_a_context_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", "http://a")
    with pytest.raises(NotConfigured, match=r"has no context prod: .*\(test\)"):
        ClusterClient.connect(kubeconfig=path, context="prod")


PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "/bin/sh"}


@pytest.mark.parametrize(
    ("plugin", "words"),
    [({"args": ["-c", "echo log in again >&2; exit 1"]}, "log in again"), ({"command": "/no/plugin"}, "/no/plugin")],
)
def test_a_credential_plug_in_that_fails_is_reported_in_its_words(
    tmp_path: Path, plugin: dict[str, Any], words: str
) -> None:
    path = write_kubeconfig(tmp_path / "k", "http://a", user={"exec": {**PLUGIN, **plugin}})  # type: ignore[dict-item]
    with pytest.raises(NotConfigured, match=f"context test of kubeconfig {path} .*{words}"):
        ClusterClient.connect(kubeconfig=path)


def test_a_user_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = Path(write_kubeconfig(tmp_path / "k", "http://a"))
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "users": []}))
    with pytest.raises(NotConfigured, match="it has no user test"):
        ClusterClient.connect(kubeconfig=str(path))


def test_what_cannot_be_reached_is_named_with_the_context_and_the_file(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match=re.escape(f"http://127.0.0.1:1 (context test of kubeconfig {path})")):
        ClusterClient.connect(kubeconfig=path).get(SERVICES, "shop", "web")


# Credentials


def test_a_token_file_that_changed_is_read_again_when_the_token_is_refused(
    server: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_RELOAD_SECONDS", 0.0)
    token = tmp_path / "token"
    token.write_text("old")
    client = ClusterClient.connect(
        kubeconfig=write_kubeconfig(tmp_path / "k", server.url, user={"tokenFile": str(token)})
    )
    server.answer = lambda asked: (
        Reply({}, 201) if asked.headers["authorization"] == "Bearer new" else status(401, "Unauthorized")
    )
    with pytest.raises(Unauthorized):
        client.create(SERVICES, "shop", {})
    token.write_text("new")
    client.create(SERVICES, "shop", {})
    client.create(SERVICES, "shop", {})
    sent = [asked.headers["authorization"] for asked in server.asked]
    assert sent == ["Bearer old"] * 3 + ["Bearer new"] * 2


def test_refused_credentials_are_not_read_again_with_every_request(server: Responder, client: ClusterClient) -> None:
    server.say(status(401, "Unauthorized"))
    for _ in range(3):
        with pytest.raises(Unauthorized):
            client.get(SERVICES, "shop", "web")
    assert len(server.asked) == 3


def test_a_kubeconfig_that_vanished_leaves_the_refusal_to_be_seen(
    server: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_RELOAD_SECONDS", 0.0)
    path = Path(write_kubeconfig(tmp_path / "k", server.url, user={"token": "t"}))
    client = ClusterClient.connect(kubeconfig=str(path))
    path.unlink()
    server.say(status(401, "Unauthorized", "who are you"))
    with pytest.raises(Unauthorized, match="who are you"):
        client.get(SERVICES, "shop", "web")


def test_a_pod_uses_its_service_account_and_follows_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"token": "first", "ca.crt": "a certificate", "namespace": "kanary-system\n"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    now = datetime.datetime(2030, 1, 1)
    clock = SimpleNamespace(now=lambda: now)
    monkeypatch.setattr(incluster_config, "datetime", SimpleNamespace(datetime=clock, timedelta=datetime.timedelta))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    for module in (incluster_config, kubeconfig_module):
        monkeypatch.setattr(module, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    sent: list[str] = []

    def send(_connections: Any, _method: str, _target: str, headers: dict[str, str], *_rest: Any) -> Any:
        sent.append(headers["authorization"])
        return SimpleNamespace(status=200, data=b"{}", headers={})

    monkeypatch.setattr(Connections, "send", send)
    monkeypatch.setattr(client_module, "_TOKEN_SECONDS", 0.0)
    client = ClusterClient.connect()
    assert (client.host, client.namespace) == ("https://[fd00::1]:443", "kanary-system")
    client.server_version()
    (tmp_path / "token").write_text("second")
    now += datetime.timedelta(minutes=2)
    client.server_version()
    assert sent == ["bearer first", "bearer second"]


# The user


def test_the_user_is_whom_the_api_server_takes_the_client_for(server: Responder, client: ClusterClient) -> None:
    server.say(Reply({"kind": "SelfSubjectReview", "status": {"userInfo": {"username": "jane@example.com"}}}))
    assert client.username() == "jane@example.com"
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews")
    ]


@pytest.mark.parametrize("answer", [status(404, "NotFound"), status(403, "Forbidden"), Reply({"status": None})])
def test_a_cluster_without_a_review_names_no_user(server: Responder, client: ClusterClient, answer: Reply) -> None:
    server.say(answer)
    assert client.username() == ""
    assert client.user == "test"
