"""Settings of the destination Service with a real operator: what changes, what stays, what the cluster refuses."""

import json
from typing import Any

import pytest

from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Scene, routes

Json = dict[str, Any]

METRICS: Json = {"name": "metrics", "port": 9100, "servicePort": "http"}
UNKNOWN = "failed to create typed patch object: .spec.internalTrafficPolicy: field not declared in schema"
TAKEN = (
    'Service "shop" is invalid: spec.ports[0].nodePort: Invalid value: 30500: provided port is already allocated',
    "spec.service.port.nodePort: Invalid value: 30500: provided port is already allocated (422 Invalid): choose",
)
IN_SCHEMA = (UNKNOWN, "spec.service.internalTrafficPolicy: field not declared in schema (500): this release of")
ANNOTATION = (
    'Service "shop" is invalid: metadata.annotations: Invalid value: "a b": name part must consist of',
    "spec.service.annotations: Invalid value",
)


def declare(scene: Scene, weight: int = 80, ports: tuple[Json, ...] = (), **service: Any) -> None:
    split = routes(myapp_v1=weight, myapp_v2=100 - weight)
    scene.declare(destination="shop", routes=split, ports=[*ports], service=service)


def found(scene: Scene) -> Json:
    return scene.get("services", "shop") or {}


def spec(scene: Scene) -> Json:
    return dict(found(scene).get("spec") or {})


def node_ports(scene: Scene) -> dict[str, int | None]:
    return {port["name"]: port.get("nodePort") for port in spec(scene)["ports"]}


def lives(scene: Scene) -> str:
    return str(found(scene)["metadata"]["uid"])


def writes(scene: Scene) -> int:
    requests = [
        request for verb in ("POST", "PUT", "PATCH") for request in scene.server.requests.find(verb, "services")
    ]
    return len(requests)


@pytest.fixture
def prepared(scene: Scene) -> Scene:
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.start_operator()
    return scene


def test_the_type_of_a_service_with_clients_changes_and_it_is_never_deleted(prepared: Scene) -> None:
    declare(prepared)
    prepared.wait_for_phase("Ready")
    uid, address = lives(prepared), spec(prepared)["clusterIP"]
    for type_ in ("NodePort", "LoadBalancer", "NodePort", "ClusterIP", "LoadBalancer", "ClusterIP"):
        more = {"externalTrafficPolicy": "Local"} if type_ != "ClusterIP" else {}
        more |= {"loadBalancerSourceRanges": ["10.0.0.0/8"]} if type_ == "LoadBalancer" else {}
        declare(prepared, type=type_, **more)
        prepared.wait_for(lambda expected=type_: spec(prepared)["type"] == expected)
        prepared.wait_for_phase("Ready")
        assert all(spec(prepared)[field] == value for field, value in more.items())
        assert all(node_ports(prepared).values()) == (type_ != "ClusterIP")
        assert (lives(prepared), spec(prepared)["clusterIP"]) == (uid, address)
    assert not {"externalTrafficPolicy", "loadBalancerSourceRanges"} & spec(prepared).keys()
    assert not prepared.server.requests.find("DELETE", "services")


def test_fields_that_are_left_out_again_go_also_those_of_the_creation(prepared: Scene) -> None:
    labels, annotations = {"team": "web"}, {"example.com/dns": "shop.example.com"}
    affinity: Json = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}
    port = {"name": "web", "appProtocol": "http"}
    declare(prepared, labels=labels, annotations=annotations, port=port, internalTrafficPolicy="Local", **affinity)
    prepared.wait_for_phase("Ready")
    for _ in range(2):
        metadata = found(prepared)["metadata"]
        assert labels.items() < metadata["labels"].items()
        assert annotations.items() < metadata["annotations"].items()
        assert spec(prepared)["ports"][0] == {"port": 80, "protocol": "TCP", "targetPort": "split", **port}
        assert affinity.items() < spec(prepared).items()
        declare(prepared)
        prepared.wait_for(lambda: spec(prepared)["sessionAffinity"] == "None")
        prepared.wait_for_phase("Ready")
        metadata = found(prepared)["metadata"]
        assert not labels.keys() & metadata["labels"].keys()
        assert not annotations.keys() & metadata["annotations"].keys()
        assert spec(prepared)["ports"] == [{"name": "tcp", "port": 80, "protocol": "TCP", "targetPort": "split"}]
        assert "sessionAffinityConfig" not in spec(prepared)
        assert spec(prepared).get("internalTrafficPolicy") in (None, "Cluster")
        declare(prepared, labels=labels, annotations=annotations, port=port, **affinity)
        prepared.wait_for(lambda: spec(prepared)["sessionAffinity"] == "ClientIP")
        prepared.wait_for_phase("Ready")


def test_node_ports_stay_whatever_else_changes(prepared: Scene) -> None:
    prepared.backend("myapp-v1", "10.0.0.1")
    declare(prepared, type="NodePort", port={"nodePort": 30500})
    prepared.wait_for_phase("Ready")
    assert node_ports(prepared) == {"tcp": 30500}
    # A renamed port, and one that says no more which node port it has.
    declare(prepared, type="NodePort", port={"name": "web"})
    prepared.wait_for(lambda: node_ports(prepared).keys() == {"web"})
    assert node_ports(prepared) == {"web": 30500}
    declare(prepared, type="LoadBalancer")
    prepared.wait_for(lambda: node_ports(prepared).keys() == {"tcp"})
    assert node_ports(prepared) == {"tcp": 30500}

    # The port of another name that someone adds by hand goes, without the node ports.
    def edit(service: Json) -> None:
        service["spec"]["ports"].append({"name": "theirs", "port": 99, "protocol": "TCP", "targetPort": 1})

    prepared.server.store.change("services", "shop", edit, NAMESPACE)
    prepared.wait_for(lambda: node_ports(prepared).keys() == {"tcp"})
    assert node_ports(prepared) == {"tcp": 30500}
    declare(prepared, type="NodePort", port={"nodePort": 30501})
    prepared.wait_for(lambda: node_ports(prepared) == {"tcp": 30501})
    prepared.wait_for_phase("Ready")


def test_node_ports_may_change_places(prepared: Scene) -> None:
    for name in ("myapp-v1", "myapp-v2"):
        ports = [{"name": "http", "port": 80}, {"name": "metrics", "port": 81}]
        prepared.put("v1", "Service", name, spec={"ports": ports})
    further = METRICS | {"servicePort": "metrics"}
    declare(prepared, type="NodePort", port={"nodePort": 30500}, ports=(further,))
    prepared.wait_for(lambda: found(prepared) and len(spec(prepared)["ports"]) > 1)
    allocated = node_ports(prepared)["metrics"]
    declare(prepared, type="NodePort", port={"nodePort": allocated}, ports=({**further, "nodePort": 30500},))
    prepared.wait_for(lambda: node_ports(prepared) == {"tcp": allocated, "metrics": 30500})
    # The one that the other port takes is not kept.
    declare(prepared, type="NodePort", port={"nodePort": 30500}, ports=(further,))
    prepared.wait_for(lambda: node_ports(prepared)["tcp"] == 30500)
    assert node_ports(prepared)["metrics"] not in (None, 30500)


def test_what_others_set_on_the_service_stays(prepared: Scene) -> None:
    """As docs/operations.md says it."""
    declare(prepared, type="LoadBalancer", annotations={"a": "1"})
    prepared.wait_for_phase("Ready")

    def edit(service: Json) -> None:
        service["metadata"]["labels"]["team"] = "theirs"
        service["metadata"]["annotations"]["cloud.example/id"] = "theirs"
        service["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
        service["spec"] |= {"loadBalancerIP": "192.0.2.1", "healthCheckNodePort": 30999}
        service["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}

    def theirs() -> list[object]:
        metadata, fields = found(prepared)["metadata"], spec(prepared)
        own = [metadata["labels"].get("team"), metadata["annotations"].get("cloud.example/id")]
        return [*own, metadata["finalizers"], fields.get("loadBalancerIP"), found(prepared)["status"]]

    prepared.server.store.change("services", "shop", edit, NAMESPACE)
    before, ports = theirs(), node_ports(prepared)
    for value in ("2", "3"):
        declare(prepared, type="LoadBalancer", annotations={"a": value}, sessionAffinity="ClientIP")
        prepared.wait_for(lambda expected=value: found(prepared)["metadata"]["annotations"]["a"] == expected)
        prepared.wait_for_phase("Ready")
        assert (theirs(), node_ports(prepared)) == (before, ports)


def test_what_others_change_of_ours_does_not_stay(prepared: Scene) -> None:
    declare(prepared, type="NodePort", annotations={"a": "1"})
    prepared.wait_for_phase("Ready")

    def edit(service: Json) -> None:
        service["metadata"]["annotations"].pop("a")
        service["spec"] |= {"type": "LoadBalancer"}

    ports = node_ports(prepared)
    prepared.server.store.change("services", "shop", edit, NAMESPACE)
    prepared.wait_for(lambda: spec(prepared)["type"] == "NodePort")
    assert found(prepared)["metadata"]["annotations"]["a"] == "1"
    assert node_ports(prepared) == ports


@pytest.mark.parametrize(
    ("code", "said", "shown"),
    [(422, *TAKEN), (500, *IN_SCHEMA), (422, *ANNOTATION)],
    ids=["taken", "not in the schema", "annotation"],
)
def test_settings_that_the_cluster_refuses_are_named_and_traffic_goes_on(
    prepared: Scene, code: int, said: str, shown: str
) -> None:
    declare(prepared, type="NodePort")
    prepared.wait_for_phase("Ready")
    uid, before = lives(prepared), spec(prepared)
    body = json.dumps({"kind": "Status", "code": code, "message": said, "reason": "Invalid" if code == 422 else ""})
    refused = Fault.status(code, "PATCH|PUT", "/services/shop", text=body)
    prepared.server.faults.add(refused)
    declare(prepared, type="NodePort", sessionAffinity="ClientIP")
    status = prepared.wait_for_phase("Degraded", reason="RejectedByCluster")
    assert shown in status["message"]
    # Endpoints and weights change as before.
    prepared.endpoints("myapp-v1", "10.0.0.7")
    prepared.wait_for(lambda: "10.0.0.7:9000" in prepared.config())
    declare(prepared, 30, type="NodePort", sessionAffinity="ClientIP")
    prepared.wait_for(lambda: any(each["weight"] == 30 for each in prepared.status().get("weights") or ()))
    assert (lives(prepared), spec(prepared)) == (uid, before)
    prepared.server.faults.remove(refused)
    declare(prepared, type="NodePort", sessionAffinity="ClientIP", annotations={"a": "1"})
    prepared.wait_for_phase("Ready")
    assert spec(prepared)["sessionAffinity"] == "ClientIP"


@pytest.mark.parametrize("is_new", [True, False])
def test_a_field_that_the_cluster_drops_is_named_and_written_no_more(prepared: Scene, is_new: bool) -> None:
    """Kubernetes 1.20 knows the field, and does not keep it."""
    if not is_new:
        declare(prepared, type="LoadBalancer")
        prepared.wait_for_phase("Ready")
    declare(prepared, type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    status = prepared.wait_for_phase("Degraded", reason="RejectedByCluster")
    assert (
        "the API server does not keep spec.service.allocateLoadBalancerNodePorts in Service shop" in status["message"]
    )
    before = writes(prepared)
    # Each of these is a reconcile.
    for number in range(5):
        prepared.endpoints("myapp-v1", f"10.0.0.{number + 7}")
        prepared.wait_for(lambda last=number + 7: f"10.0.0.{last}:9000" in prepared.config())
    assert prepared.status()["phase"] == "Degraded"
    assert writes(prepared) == before
    assert spec(prepared)["type"] == "LoadBalancer"
    declare(prepared, type="LoadBalancer")
    prepared.wait_for_phase("Ready")


def test_a_service_that_a_former_kanary_left_gets_other_labels(scene: Scene) -> None:
    """Left by `kubectl delete --cascade=orphan`, it has the labels by which it is known, and others."""
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    with scene.operating():
        declare(scene, labels={"team": "old"})
        scene.wait_for_phase("Ready")
    uid = lives(scene)
    for kind, name in (("services", "shop"), ("deployments", "rule-haproxy"), ("configmaps", "rule-haproxy")):
        scene.server.store.change(kind, name, lambda obj: obj["metadata"].pop("ownerReferences"), NAMESPACE)
    scene.server.store.delete("kanaries", "rule", NAMESPACE)
    declare(scene, labels={"team": "web"})
    scene.start_operator()
    scene.wait_for_phase("Ready")
    assert found(scene)["metadata"]["labels"]["team"] == "web"
    assert lives(scene) == uid


def test_settings_and_an_adopted_service_exclude_each_other(scene: Scene) -> None:
    scene.backend("myapp-v1", "10.0.0.1")
    theirs = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 9000}], "type": "NodePort"}
    scene.put("v1", "Service", "shop", spec=theirs)
    scene.start_operator()
    adopting: Json = {"destination": "shop", "routes": routes(myapp_v1=100), "adoptDestination": True}
    scene.declare(**adopting, service={"type": "LoadBalancer"})
    status = scene.wait_for_phase("Degraded", reason="DestinationNotAdoptable")
    assert "leave out spec.service" in status["message"]
    assert spec(scene)["selector"] == {"app": "web"}
    scene.declare(**adopting)
    scene.wait_for_phase("Ready")
    adopted = spec(scene)
    assert adopted["selector"] == {"kanary.k8s.io/name": "rule"}
    # Set later: it stays split.
    scene.declare(**adopting, service={"port": {"name": "web"}})
    scene.wait_for_phase("Degraded", reason="DestinationNotAdoptable")
    scene.endpoints("myapp-v1", "10.0.0.7")
    scene.wait_for(lambda: "10.0.0.7:9000" in scene.config())
    assert spec(scene) == adopted
    assert adopted["type"] == "NodePort"
