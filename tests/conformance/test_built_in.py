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
