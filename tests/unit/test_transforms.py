"""Stored objects have only the needed fields, and enough of them for every decision."""

import json
from copy import deepcopy
from typing import Any

import pytest

from engine.fleet.fleet import ready_endpoints
from engine.fleet.proxy import read_proxy
from engine.fleet.reports import Report
from engine.memo import Memo
from engine.model.placement import BUILT_IN
from engine.model.spec import Backend
from engine.model.states import Endpoint, Written
from engine.render.objects import (
    config_map,
    covers,
    deployment,
    disruption_budget,
    made_from,
    owner_uid,
)
from engine.render.pods import rolling
from engine.render.service import destination_service as service
from engine.resolve.endpoints import Resolved, resolve
from kanary.kube.cache import Packed
from kanary.operator import transforms
from tests.unit.kanaries import OWNER, Json, kanary, spec
from tests.unit.observations import applied
from tests.unit.proxies import live_pod, rolling_pod
from tests.unit.snapshots import NOW

WRITTEN = Written(applied(), "global\n", "global\n")
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


def resolved(service: Json, piece: Json) -> Resolved:
    backend = Backend(service_name="myapp-v1", service_port="http")
    found = resolve(backend, where="x", namespace="shop", service=service, slices=[piece], memo=Memo())
    assert isinstance(found, Resolved)
    return found


def test_a_stored_slice_resolves_like_the_whole_object() -> None:
    stored = resolved(transforms.service(SERVICE), transforms.endpoint_slice(PIECE))
    assert stored == resolved(SERVICE, PIECE)
    assert stored.endpoints == (Endpoint("10.0.0.1", 8080, "v1-a"), Endpoint("10.0.0.4", 8080))


@pytest.mark.parametrize("owner", ["1", "9"])
@pytest.mark.parametrize("target", [{"kind": "Node", "name": "node-1"}, {"kind": "Pod", "name": "v1-a"}])
@pytest.mark.parametrize("serving", [True, False])
def test_a_stored_slice_resolves_alike_whatever_is_in_it(owner: str, target: Json, serving: bool) -> None:
    piece = deepcopy(PIECE)
    piece["metadata"]["ownerReferences"] = [{"kind": "Service", "uid": owner, "name": "myapp-v1", "controller": True}]
    conditions = {"ready": False, "serving": serving, "terminating": True}
    piece["endpoints"] = [{"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": target}]
    stored = resolved(transforms.service(SERVICE), transforms.endpoint_slice(piece))
    assert stored == resolved(SERVICE, piece)
    assert bool(stored.endpoints) == (serving and owner == "1")


def test_a_stored_slice_has_only_the_needed_fields() -> None:
    stored = transforms.endpoint_slice(PIECE)
    assert stored["metadata"] == {
        "name": "myapp-v1",
        "namespace": "shop",
        "uid": "1",
        "labels": {"kubernetes.io/service-name": "myapp-v1"},
        "ownerReferences": [],
    }
    assert stored["endpoints"][0] == {
        "addresses": ["10.0.0.1"],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "name": "v1-a"},
        "zone": "a",
    }


def test_a_change_of_other_fields_does_not_change_the_stored_slice() -> None:
    """So that it has no Kanary reconciled."""
    changed = deepcopy(PIECE)
    changed["endpoints"][0]["conditions"]["serving"] = False
    changed["endpoints"][0]["nodeName"] = "node-2"
    changed["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": "later"}
    assert transforms.endpoint_slice(changed) == transforms.endpoint_slice(PIECE)


def test_ready_endpoints_are_counted_in_a_stored_slice() -> None:
    assert ready_endpoints([transforms.endpoint_slice(PIECE)]) == 2


@pytest.mark.parametrize("bare", [{"metadata": {"name": "x", "namespace": "shop"}}, {**PIECE, "endpoints": None}])
def test_a_slice_without_endpoints_is_stored_without_them(bare: Json) -> None:
    assert transforms.endpoint_slice(bare)["endpoints"] == []


def test_endpoints_are_stored_as_slices() -> None:
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    whole = {"metadata": METADATA, "subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": ports}]}
    stored = transforms.endpoints(whole)
    assert stored["metadata"] == {"name": "myapp-v1", "namespace": "shop", "uid": "1"}
    assert resolved(SERVICE, stored["slices"][0]).endpoints == (Endpoint("10.0.0.1", 8080),)


def test_a_stored_service_has_no_status_and_no_managed_fields() -> None:
    stored = transforms.service(SERVICE)
    assert stored.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert stored["spec"] == SERVICE["spec"]
    assert not stored["metadata"].keys() & {"managedFields", "selfLink"}


def test_owner_and_content_of_our_service_are_recognised_in_the_stored_object() -> None:
    desired = service(OWNER, spec())
    live = deepcopy(desired) | {"status": {}}
    live["metadata"]["managedFields"] = [{}]
    stored = transforms.service(live)
    assert owner_uid(stored) == OWNER.uid
    assert made_from(stored, desired)
    assert covers(stored, desired)


def test_our_deployment_is_stored_whole_without_managed_fields() -> None:
    desired = deployment(OWNER, spec(), rolling(OWNER, spec().proxy.over(BUILT_IN), "image", {}, "a" * 16), 1)
    live = deepcopy(desired) | {"status": {"replicas": 2}}
    live["metadata"]["managedFields"] = [{}]
    stored = transforms.deployment(live)
    assert stored == desired | {"status": {"replicas": 2, "conditions": []}}
    assert "managedFields" in live["metadata"]


_OOM = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T12:00:00Z"}


@pytest.mark.parametrize(
    "pod",
    [
        POD,
        live_pod(node="node-a"),
        live_pod(ended=_OOM),
        rolling_pod(ready=False, waiting={"reason": "CrashLoopBackOff"}, ended={"exitCode": 1}),
        rolling_pod(stopped=NOW),
        rolling_pod(phase="Failed"),
    ],
    ids=["bad", "live", "out of memory", "in trouble", "stopping", "ended"],
)
def test_a_stored_pod_is_read_like_the_whole_object(pod: Json) -> None:
    whole = {**pod, "metadata": {"namespace": "shop", **pod["metadata"]}}
    stored = read_proxy(transforms.pod(whole), Report("a" * 24))
    assert stored == read_proxy(whole, Report("a" * 24))


def test_a_stored_kanary_has_only_the_managed_fields_of_its_routes() -> None:
    entries = [
        {"manager": "argocd", "time": "1", "operation": "Apply", "fieldsV1": {"f:spec": {"f:routes": {"f:x": {}}}}},
        {"manager": "kanary", "time": "2", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    whole = kanary()
    whole["metadata"]["managedFields"] = entries
    stored = transforms.kanary(whole)
    assert stored["metadata"]["managedFields"] == [
        {"manager": "argocd", "time": "1", "fieldsV1": {"f:spec": {"f:routes": {}}}}
    ]
    assert stored["spec"] == whole["spec"]


def test_a_stored_pod_has_only_the_needed_fields() -> None:
    stored = transforms.pod(POD)
    assert stored.keys() == {"metadata", "spec", "status"}
    assert stored["spec"] == {"nodeName": "node-1"}
    assert stored["metadata"]["annotations"] == {"kanary.k8s.io/config": "a" * 16}
    assert stored["metadata"]["labels"] == {"kanary.k8s.io/name": "myapp-split"}
    assert stored["status"].keys() <= {"phase", "conditions", "containerStatuses", "podIP"}
    assert "podIPs" not in stored["status"]
    assert "image" not in stored["status"]["containerStatuses"][0]


def test_a_pod_without_a_status_is_stored() -> None:
    stored = transforms.pod({"metadata": {"name": "x", "namespace": "shop"}})
    assert (stored["status"]["conditions"], stored["status"]["containerStatuses"]) == ([], [])


@pytest.mark.parametrize(
    ("transform", "whole"),
    [
        (transforms.config_map, config_map(OWNER, WRITTEN)),
        (
            transforms.deployment,
            deployment(OWNER, spec(), rolling(OWNER, spec().proxy.over(BUILT_IN), "image", {}, "a" * 16), 1),
        ),
        (transforms.disruption_budget, disruption_budget(OWNER)),
        (transforms.service, SERVICE),
        (transforms.endpoint_slice, PIECE),
        (transforms.pod, POD),
        (transforms.kanary, kanary()),
        (transforms.endpoints, {"metadata": METADATA, "subsets": []}),
    ],
)
def test_a_transform_does_not_change_its_input(transform: Any, whole: Json) -> None:
    before = deepcopy(whole)
    transform(whole)
    assert whole == before


def test_of_a_service_of_the_user_no_label_or_annotation_is_stored() -> None:
    assert not transforms.service(SERVICE)["metadata"].keys() & {"labels", "annotations"}
    own = service(OWNER, spec())
    assert transforms.service(own)["metadata"]["labels"] == own["metadata"]["labels"]


def test_a_running_container_of_a_pod_is_not_stored() -> None:
    running = deepcopy(POD)
    running["status"]["containerStatuses"] = [{"name": "haproxy", "ready": True, "state": {"running": {}}}]
    assert transforms.pod(running)["status"]["containerStatuses"] == []


def test_equal_configurations_are_stored_once() -> None:
    whole = json.loads(json.dumps(config_map(OWNER, WRITTEN)))
    packed = Packed.of(transforms.config_map(whole), "1")
    assert packed.unpacked()["data"] == whole["data"]
    assert packed.content.count(WRITTEN.latest.encode()) == 1


@pytest.mark.parametrize("order", ["promote", "pause", "resume", "abort", "retry"])
def test_an_order_to_a_rollout_is_read_at_once(order: str) -> None:
    ordered = kanary()
    ordered["metadata"]["annotations"] = {f"kanary.k8s.io/{order}": '{"rollout": 1}'}
    assert transforms.content_of_kanary(ordered) != transforms.content_of_kanary(kanary())


def test_labels_and_other_annotations_of_a_kanary_are_not_read() -> None:
    read = transforms.content_of_kanary(kanary())
    changed = kanary()
    changed["metadata"] |= {"labels": {"a": "b"}, "resourceVersion": "8", "annotations": {"example.com/note": "x"}}
    # The journal reads both when the weights change.
    changed["metadata"]["annotations"]["kubernetes.io/change-cause"] = "release 5"
    changed["metadata"]["managedFields"] = [{"manager": "kubectl-annotate", "time": "2026-11-27T10:00:00Z"}]
    assert transforms.content_of_kanary(changed) == read


def test_an_endpoint_has_its_zone_where_it_is_known() -> None:
    near, unknown = {"addresses": ["10.0.0.1"], "zone": "a"}, {"addresses": ["10.0.0.2"]}
    read = transforms.endpoint_slice({**PIECE, "endpoints": [near, unknown]})["endpoints"]
    assert [endpoint.get("zone", "none") for endpoint in read] == ["a", "none"]
