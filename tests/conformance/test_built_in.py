"""What the built-in kinds demand and fill in, as far as an operator meets it."""

from __future__ import annotations

import ipaddress
from typing import Any

from .api import Api, Object
from .collection import Collection, generation_of

MICRO = "2001-02-03T04:05:06.000007Z"


def test_a_service_gets_an_address_and_defaults(services: Collection) -> None:
    spec = services.make("one", spec={"selector": {"a": "b"}, "ports": [{"port": 80}]})["spec"]

    assert ipaddress.ip_address(spec["clusterIP"])
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert (spec["type"], spec["sessionAffinity"]) == ("ClusterIP", "None")
    assert spec["ports"] == [{"port": 80, "targetPort": 80, "protocol": "TCP"}]


def test_services_get_different_addresses(services: Collection) -> None:
    made = [services.make(name, spec={"ports": [{"port": 80}]})["spec"]["clusterIP"] for name in ("a", "b")]

    assert made[0] != made[1]


def test_an_external_name_has_no_address(services: Collection) -> None:
    spec = services.make("one", spec={"type": "ExternalName", "externalName": "example.com"})["spec"]

    assert not spec.get("clusterIP")


def exposed(*ports: Object, **more: Any) -> Object:
    return {"type": "NodePort", "selector": {"a": "b"}, "ports": list(ports), **more}


def tcp(name: str, number: int, **more: Any) -> Object:
    return {"name": name, "port": number, "protocol": "TCP", "targetPort": 1, **more}


def node_ports(value: Object) -> list[int | None]:
    return [port.get("nodePort") for port in value["spec"]["ports"]]


def test_node_ports_are_allocated_and_stay_while_they_are_written(services: Collection) -> None:
    made = services.make("one", spec=exposed(tcp("a", 80), tcp("b", 81)))
    ports = node_ports(made)

    assert all(ports) and len(set(ports)) == len(ports)
    renamed = exposed(tcp("c", 80, nodePort=ports[0]), tcp("b", 81, nodePort=ports[1]))
    assert node_ports(services.merge("one", {"spec": renamed}).ok()) == ports
    assert made["spec"]["externalTrafficPolicy"] == "Cluster"


def test_a_cluster_ip_has_nothing_of_the_type_that_it_had(services: Collection) -> None:
    services.apply("one", "me", spec=exposed(tcp("a", 80), tcp("b", 81))).ok()

    inside = exposed(tcp("a", 80), tcp("b", 81), type="ClusterIP")
    spec = services.apply("one", "me", spec=inside).ok()["spec"]

    assert not any("nodePort" in port for port in spec["ports"])
    assert "externalTrafficPolicy" not in spec


def test_a_node_port_is_of_one_service(services: Collection) -> None:
    (taken,) = node_ports(services.make("one", spec=exposed(tcp("a", 80))))

    for number, ports in ((taken, [tcp("a", 80, nodePort=taken)]), (99, [tcp("a", 80, nodePort=99)])):
        reply = services.create("two", spec=exposed(*ports))
        reply.refused(422, "Invalid")
        assert reply.causes() == {"spec.ports.nodePort": "FieldValueInvalid"}, number
    free = taken + 1 if taken < 32767 else taken - 1
    twice = services.create("two", spec=exposed(tcp("a", 80, nodePort=free), tcp("b", 81, nodePort=free)))
    assert twice.causes() == {"spec.ports.nodePort": "FieldValueDuplicate"}
    inside = services.create("two", spec=exposed(tcp("a", 80, nodePort=free), type="ClusterIP"))
    assert inside.causes() == {"spec.ports.nodePort": "FieldValueForbidden"}


def test_a_field_of_another_type_is_refused(services: Collection) -> None:
    ranges = services.create("one", spec=exposed(tcp("a", 80), loadBalancerSourceRanges=["10.0.0.0/8"]))
    policy = services.create("one", spec=exposed(tcp("a", 80), type="ClusterIP", externalTrafficPolicy="Local"))

    assert ranges.causes() == {"spec.LoadBalancerSourceRanges": "FieldValueForbidden"}
    assert policy.causes() == {"spec.externalTrafficPolicy": "FieldValueInvalid"}


def test_a_type_that_does_not_exist_is_refused(services: Collection) -> None:
    reply = services.create("one", spec=exposed(tcp("a", 80), type="Nodes"))

    assert reply.causes()["spec.type"] == "FieldValueNotSupported"


def test_an_affinity_has_a_time_and_none_has_not(services: Collection) -> None:
    spec = exposed(tcp("a", 80), type="ClusterIP")
    made = services.make("one", spec=spec | {"sessionAffinity": "ClientIP"})

    assert made["spec"]["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert "sessionAffinityConfig" not in services.merge("one", {"spec": {"sessionAffinity": "None"}}).ok()["spec"]


def test_a_field_behind_a_closed_gate_is_dropped(services: Collection) -> None:
    """Kubernetes 1.20 knows it, and does not keep it."""
    spec = exposed(tcp("a", 80), type="LoadBalancer", allocateLoadBalancerNodePorts=False)

    assert "allocateLoadBalancerNodePorts" not in services.make("one", spec=spec)["spec"]
    assert "allocateLoadBalancerNodePorts" not in services.apply("one", "me", force=True, spec=spec).ok()["spec"]


def test_a_service_s_name_is_a_host_name(services: Collection) -> None:
    reply = services.create("a.b", spec={"ports": [{"port": 80}]})

    reply.refused(422, "Invalid")
    assert "metadata.name" in reply.causes()


def deployment(**changes: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    # Paused and without replicas: on a real cluster no controller has anything to do for it.
    spec = {"replicas": 0, "paused": True, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"spec": spec | changes}


def test_a_deployment_gets_defaults(deployments: Collection) -> None:
    spec = deployments.make("one", **deployment())["spec"]

    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Always", 30)
    assert pod["containers"][0]["imagePullPolicy"] == "Always"


def test_the_selector_of_a_deployment_cannot_be_changed(deployments: Collection) -> None:
    deployments.make("one", **deployment())
    labels = {"a": "c"}
    change = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}

    reply = deployments.merge("one", {"spec": change})

    reply.refused(422, "Invalid")
    assert "spec.selector" in reply.causes()


def test_the_selector_of_a_deployment_has_to_select_its_pods(deployments: Collection) -> None:
    reply = deployments.create("one", **deployment(selector={"matchLabels": {"a": "c"}}))

    reply.refused(422, "Invalid")
    assert reply.causes() == {"spec.template.metadata.labels": "FieldValueInvalid"}


def test_the_generation_of_a_deployment_follows_its_annotations_too(deployments: Collection) -> None:
    deployments.make("one", **deployment())

    labelled = deployments.merge("one", {"metadata": {"labels": {"a": "b"}}}).ok()
    annotated = deployments.merge("one", {"metadata": {"annotations": {"a": "b"}}}).ok()
    changed = deployments.merge("one", {"spec": {"minReadySeconds": 1}}).ok()

    assert [generation_of(value) for value in (labelled, annotated, changed)] == [1, 2, 3]


def test_a_config_map_has_no_generation(configmaps: Collection) -> None:
    assert "generation" not in configmaps.make("one")["metadata"]


def test_a_lease_takes_times_with_six_digits(leases: Collection) -> None:
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": MICRO, "acquireTime": MICRO}

    assert leases.make("one", spec=spec)["spec"] == spec


def test_a_stale_update_of_a_lease_is_a_conflict(leases: Collection) -> None:
    first = leases.make("one", spec={"holderIdentity": "me", "renewTime": MICRO})
    leases.put(first | {"spec": {"holderIdentity": "me", "renewTime": MICRO.replace("7Z", "8Z")}}).ok()

    leases.put(first | {"spec": {"holderIdentity": "you", "renewTime": MICRO}}).refused(409, "Conflict")


def test_a_repetition_is_counted_in_an_event(cluster: Api, namespace: str) -> None:
    events = Collection(cluster, namespace, "v1", "Event", "events")
    regarding = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": namespace, "uid": "u"}
    seen = {"firstTimestamp": "2001-02-03T04:05:06Z", "lastTimestamp": "2001-02-03T04:05:06Z", "count": 1}
    events.make("one", involvedObject=regarding, reason="Tried", message="it was tried", type="Warning", **seen)

    patched = events.merge("one", {"count": 2, "lastTimestamp": "2001-02-03T04:05:07Z"}).ok()

    assert (patched["count"], patched["lastTimestamp"]) == (2, "2001-02-03T04:05:07Z")
    assert (patched["involvedObject"]["name"], patched["message"]) == ("x", "it was tried")
