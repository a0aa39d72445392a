"""What is kept of each kind of object, and that it is enough for every decision."""

from copy import deepcopy
from typing import Any

import pytest

from engine.fleet.fleet import ready_endpoints
from engine.fleet.proxy import read_proxy
from engine.fleet.refresh import RefreshRequest
from engine.fleet.reports import Report
from engine.model.spec import Backend
from engine.model.states import Endpoint
from engine.render.objects import covers, deployment, made_from, owner_uid, service
from engine.render.pods import rolling
from engine.resolve.endpoints import resolve
from kanary.operator import pruning
from tests.unit.kanaries import OWNER, Json, kanary, spec
from tests.unit.proxies import live_pod, rolling_pod
from tests.unit.snapshots import NOW

METADATA: Json = {
    "name": "myapp-v1",
    "namespace": "shop",
    "uid": "1",
    "resourceVersion": "7",
    "generation": 2,
    "creationTimestamp": "2026-01-01T12:00:00Z",
    "labels": {"app": "myapp"},
    "annotations": {"note": "x"},
    "managedFields": [{"manager": "kubectl", "fieldsV1": {}}],
    "selfLink": "/api/v1/namespaces/shop/services/myapp-v1",
}
PIECE: Json = {
    "metadata": {**METADATA, "labels": {"kubernetes.io/service-name": "myapp-v1", "app": "myapp"}},
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    "endpoints": [
        {
            "addresses": ["10.0.0.1", "10.0.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node-1",
            "zone": "a",
            "targetRef": {"kind": "Pod", "name": "v1-a", "uid": "2"},
        },
        {"addresses": ["10.0.0.3"], "conditions": {"ready": False}},
        {"addresses": ["10.0.0.4"]},
        {"addresses": []},
    ],
}
SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": METADATA,
    "spec": {"ports": [{"name": "http", "port": 80}], "ipFamilies": ["IPv4"]},
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
}
POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        **METADATA,
        "annotations": {"kanary.k8s.io/config": "a" * 16, "cni.example/status": "long"},
        "labels": {"kanary.k8s.io/name": "myapp-split"},
    },
    "spec": {"containers": [{"name": "haproxy"}], "nodeName": "node-1"},
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.9",
        "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [
            {
                "name": "haproxy",
                "ready": False,
                "image": "haproxy:3.0",
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1}},
            }
        ],
    },
}


def resolved(service: Json, piece: Json) -> Any:
    backend = Backend(service_name="myapp-v1", service_port="http")
    return resolve(backend, where="x", namespace="shop", service=service, slices=[piece])


def test_endpoints_resolve_from_what_is_kept_as_from_the_whole() -> None:
    kept = resolved(pruning.service(SERVICE), pruning.endpoint_slice(PIECE))
    assert kept == resolved(SERVICE, PIECE)
    assert kept == (Endpoint("10.0.0.1", 8080, "v1-a"), Endpoint("10.0.0.4", 8080))


def test_of_a_slice_nothing_is_kept_that_does_not_decide() -> None:
    kept = pruning.endpoint_slice(PIECE)
    assert kept["metadata"] == {
        "name": "myapp-v1",
        "namespace": "shop",
        "uid": "1",
        "resourceVersion": "7",
        "labels": {"kubernetes.io/service-name": "myapp-v1"},
    }
    assert kept["endpoints"][0] == {
        "addresses": ["10.0.0.1"],
        "conditions": {"ready": True},
        "targetRef": {"name": "v1-a"},
    }


def test_a_change_that_decides_nothing_leaves_what_is_kept_as_it_was() -> None:
    """So that it has no Kanary reconciled."""
    changed = deepcopy(PIECE)
    changed["endpoints"][0]["conditions"]["serving"] = False
    changed["endpoints"][0]["nodeName"] = "node-2"
    changed["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": "later"}
    assert pruning.endpoint_slice(changed) == pruning.endpoint_slice(PIECE)


def test_proxies_behind_the_destination_are_counted_from_what_is_kept() -> None:
    assert ready_endpoints([pruning.endpoint_slice(PIECE)]) == 2


@pytest.mark.parametrize("bare", [{"metadata": {"name": "x", "namespace": "shop"}}, {**PIECE, "endpoints": None}])
def test_a_slice_without_endpoints_is_kept_without(bare: Json) -> None:
    assert pruning.endpoint_slice(bare)["endpoints"] == []


def test_endpoints_are_kept_as_slices() -> None:
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    whole = {"metadata": METADATA, "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": ports}]}
    kept = pruning.endpoints(whole)
    assert kept["metadata"] == {"name": "myapp-v1", "namespace": "shop", "uid": "1", "resourceVersion": "7"}
    assert resolved(SERVICE, kept["slices"][0]) == (Endpoint("10.0.0.1", 8080),)


def test_of_a_service_the_status_and_the_managed_fields_go() -> None:
    kept = pruning.service(SERVICE)
    assert kept.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert kept["spec"] == SERVICE["spec"]
    assert not kept["metadata"].keys() & {"managedFields", "selfLink"}


def test_our_own_service_is_known_as_ours_and_as_unchanged_from_what_is_kept() -> None:
    desired = service(OWNER, spec())
    live = deepcopy(desired) | {"status": {}}
    live["metadata"]["managedFields"] = [{}]
    kept = pruning.service(live)
    assert owner_uid(kept) == OWNER.uid
    assert made_from(kept, desired)
    assert covers(kept, desired)


def test_our_own_deployment_is_kept_whole_but_for_the_managed_fields() -> None:
    desired = deployment(OWNER, spec(), rolling(OWNER, spec(), "image", "a" * 16), 1)
    live = deepcopy(desired) | {"status": {"replicas": 2}}
    live["metadata"]["managedFields"] = [{}]
    kept = pruning.whole(live)
    assert kept == desired | {"status": {"replicas": 2}}
    assert "managedFields" in live["metadata"]


_OOM = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T12:00:00Z"}


@pytest.mark.parametrize(
    "pod",
    [
        POD,
        live_pod(node="node-a", request=str(RefreshRequest("a" * 24, NOW, NOW))),
        live_pod(ended=_OOM),
        rolling_pod(ready=False, waiting={"reason": "CrashLoopBackOff"}, ended={"exitCode": 1}),
        rolling_pod(stopped=NOW),
        rolling_pod(phase="Failed"),
    ],
    ids=["bad", "asked", "out of memory", "in trouble", "stopping", "ended"],
)
def test_a_proxy_is_read_from_what_is_kept_as_from_the_whole(pod: Json) -> None:
    whole = {**pod, "metadata": {"namespace": "shop", **pod["metadata"]}}
    assert read_proxy(pruning.pod(whole), Report("a" * 24)) == read_proxy(whole, Report("a" * 24))


def test_of_a_kanary_it_is_kept_who_wrote_its_routes_and_nothing_else_of_who_wrote_what() -> None:
    entries = [
        {"manager": "argocd", "time": "1", "operation": "Apply", "fieldsV1": {"f:spec": {"f:routes": {"f:x": {}}}}},
        {"manager": "kanary", "time": "2", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    whole = kanary()
    whole["metadata"]["managedFields"] = entries
    kept = pruning.kanary(whole)
    assert kept["metadata"]["managedFields"] == [
        {"manager": "argocd", "time": "1", "fieldsV1": {"f:spec": {"f:routes": {}}}}
    ]
    assert kept["spec"] == whole["spec"]


def test_of_a_pod_nothing_is_kept_that_does_not_decide() -> None:
    kept = pruning.pod(POD)
    assert kept.keys() == {"apiVersion", "kind", "metadata", "spec", "status"}
    assert kept["spec"] == {"nodeName": "node-1"}
    assert kept["metadata"]["annotations"] == {"kanary.k8s.io/config": "a" * 16}
    assert kept["metadata"]["labels"] == {"kanary.k8s.io/name": "myapp-split"}
    assert kept["status"].keys() <= {"phase", "conditions", "containerStatuses", "podIP"}
    assert "podIPs" not in kept["status"]
    assert "image" not in kept["status"]["containerStatuses"][0]


def test_a_pod_of_which_nothing_is_known_is_kept() -> None:
    kept = pruning.pod({"metadata": {"name": "x", "namespace": "shop"}})
    assert (kept["status"]["conditions"], kept["status"]["containerStatuses"]) == ([], [])


@pytest.mark.parametrize(
    ("prune", "whole"),
    [
        (pruning.whole, SERVICE),
        (pruning.service, SERVICE),
        (pruning.endpoint_slice, PIECE),
        (pruning.pod, POD),
        (pruning.kanary, kanary()),
        (pruning.endpoints, {"metadata": METADATA, "subsets": []}),
    ],
)
def test_pruning_leaves_its_input_as_it_is(prune: Any, whole: Json) -> None:
    before = deepcopy(whole)
    prune(whole)
    assert whole == before
