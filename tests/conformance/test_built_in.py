"""What the built-in kinds demand and fill in, as far as an operator meets it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

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


def test_a_headless_service_has_no_address(services: Collection) -> None:
    assert services.make("one", spec={"clusterIP": "None", "selector": {"a": "b"}})["spec"]["clusterIP"] == "None"


def test_an_external_name_has_no_address(services: Collection) -> None:
    spec = services.make("one", spec={"type": "ExternalName", "externalName": "example.com"})["spec"]

    assert not spec.get("clusterIP")


def test_the_address_of_a_service_cannot_be_changed(services: Collection) -> None:
    address = services.make("one", spec={"ports": [{"port": 80}]})["spec"]["clusterIP"]
    other = str(ipaddress.ip_address(address) + 1)

    services.merge("one", {"spec": {"clusterIP": other, "clusterIPs": [other]}}).refused(422, "Invalid")


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({}, "spec.ports", "FieldValueRequired"),
        ({"ports": [{"port": 0}]}, "spec.ports.port", "FieldValueInvalid"),
        ({"ports": [{"port": 70000}]}, "spec.ports.port", "FieldValueInvalid"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports.name", "FieldValueRequired"),
        (
            {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
            "spec.ports.name",
            "FieldValueDuplicate",
        ),
        ({"ports": [{"port": 1, "protocol": "HTTP"}]}, "spec.ports.protocol", "FieldValueNotSupported"),
        ({"type": "Other", "ports": [{"port": 1}]}, "spec.type", "FieldValueNotSupported"),
    ],
)
def test_an_invalid_service_is_refused(services: Collection, spec: Object, field: str, reason: str) -> None:
    reply = services.create("one", spec=spec)

    reply.refused(422, "Invalid")
    assert reply.causes()[field] == reason


def test_a_service_s_name_is_a_host_name(services: Collection) -> None:
    reply = services.create("a.b", spec={"ports": [{"port": 80}]})

    reply.refused(422, "Invalid")
    assert "metadata.name" in reply.causes()


def test_a_port_has_to_be_a_number(services: Collection) -> None:
    services.create("one", spec={"ports": [{"port": "80"}]}).refused(400, "BadRequest")


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


def test_a_deployment_without_replicas_gets_one(deployments: Collection) -> None:
    spec = deployment()
    del spec["spec"]["replicas"]

    body = deployments.value("one", **spec)
    assert deployments.api.request("POST", deployments.path, body, dryRun="All").ok()["spec"]["replicas"] == 1


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


def test_a_container_needs_a_name_and_an_image(deployments: Collection) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{}]}}

    reply = deployments.create("one", **deployment(template=template))

    reply.refused(422, "Invalid")
    fields = {f"spec.template.spec.containers.{name}": "FieldValueRequired" for name in ("name", "image")}
    assert fields.items() <= reply.causes().items()


def test_replicas_have_to_be_a_number(deployments: Collection) -> None:
    deployments.create("one", **deployment(replicas="1")).refused(400, "BadRequest")


def test_the_generation_of_a_deployment_follows_its_annotations_too(deployments: Collection) -> None:
    deployments.make("one", **deployment())

    labelled = deployments.merge("one", {"metadata": {"labels": {"a": "b"}}}).ok()
    annotated = deployments.merge("one", {"metadata": {"annotations": {"a": "b"}}}).ok()
    changed = deployments.merge("one", {"spec": {"minReadySeconds": 1}}).ok()

    assert [generation_of(value) for value in (labelled, annotated, changed)] == [1, 2, 3]


def test_a_config_map_has_no_generation(configmaps: Collection) -> None:
    assert "generation" not in configmaps.make("one")["metadata"]


def test_the_data_of_a_config_map_is_text(configmaps: Collection) -> None:
    configmaps.create("one", data={"a": 1}).refused(400, "BadRequest")


def test_a_lease_takes_times_with_six_digits(leases: Collection) -> None:
    spec = {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": MICRO, "acquireTime": MICRO}

    assert leases.make("one", spec=spec)["spec"] == spec


def test_a_lease_has_to_last(leases: Collection) -> None:
    reply = leases.create("one", spec={"leaseDurationSeconds": 0})

    reply.refused(422, "Invalid")
    assert reply.causes() == {"spec.leaseDurationSeconds": "FieldValueInvalid"}


def test_a_stale_update_of_a_lease_is_a_conflict(leases: Collection) -> None:
    first = leases.make("one", spec={"holderIdentity": "me", "renewTime": MICRO})
    leases.put(first | {"spec": {"holderIdentity": "me", "renewTime": MICRO.replace("7Z", "8Z")}}).ok()

    leases.put(first | {"spec": {"holderIdentity": "you", "renewTime": MICRO}}).refused(409, "Conflict")


def test_a_lease_can_be_created_by_put(leases: Collection) -> None:
    assert leases.put(leases.value("one", spec={"holderIdentity": "me"})).status == 201


def event(namespace: str, **changes: Any) -> Object:
    regarding = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": namespace, "uid": "u"}
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "conformance-", "namespace": namespace},
        "regarding": regarding,
        "eventTime": MICRO,
        "type": "Warning",
        "reason": "Tried",
        "action": "Trying",
        "note": "it was tried",
        "reportingController": "kanary.test/conformance",
        "reportingInstance": "conformance-1",
    }
    return body | changes


def test_an_event_is_shown_by_both_event_groups(cluster: Api, namespace: str) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    name = cluster.request("POST", path, event(namespace)).ok()["metadata"]["name"]

    core = cluster.get(f"/api/v1/namespaces/{namespace}/events/{name}").ok()

    assert (core["apiVersion"], core["kind"]) == ("v1", "Event")
    assert core["involvedObject"]["name"] == "x"
    assert (core["message"], core["reason"], core["type"]) == ("it was tried", "Tried", "Warning")
    assert core["reportingComponent"] == "kanary.test/conformance"
    assert core["eventTime"] == MICRO


def test_a_series_can_be_patched_into_an_event(cluster: Api, namespace: str) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    name = cluster.request("POST", path, event(namespace)).ok()["metadata"]["name"]
    series = {"count": 2, "lastObservedTime": MICRO}

    patched = cluster.request("PATCH", f"{path}/{name}", {"series": series}, "application/merge-patch+json").ok()

    assert patched["series"] == series
    assert patched["regarding"]["name"] == "x"
    assert patched["note"] == "it was tried"


def test_events_can_be_selected_by_what_they_are_about(cluster: Api, namespace: str) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    cluster.request("POST", path, event(namespace)).ok()
    core = f"/api/v1/namespaces/{namespace}/events"

    chosen = cluster.get(core, fieldSelector="involvedObject.name=x,reason=Tried").ok()
    others = cluster.get(core, fieldSelector="involvedObject.name=y").ok()

    assert (len(chosen["items"]), len(others["items"])) == (1, 0)
