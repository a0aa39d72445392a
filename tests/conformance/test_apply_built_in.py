"""Server-side apply on the built-in kinds: which of their lists have keys."""

from __future__ import annotations

from typing import Any

from .api import Object
from .collection import Collection, generation_of
from .test_apply import owned


def service(*ports: Object, **more: Any) -> Object:
    return {"spec": {"selector": {"app": "x"}, "ports": list(ports), **more}}


def port(number: int, **more: Any) -> Object:
    # Kubernetes 1.20 refuses to apply a port without its protocol, which is a key.
    return {"port": number, "protocol": "TCP", "name": f"p{number}", **more}


def numbers(value: Object) -> list[int]:
    return sorted(item["port"] for item in value["spec"]["ports"])


def test_ports_of_a_service_are_owned_by_port_and_protocol(services: Collection) -> None:
    applied = services.apply("one", "me", **service(port(80), port(81))).ok()

    assert set(owned(applied, "me")["f:spec"]["f:ports"]) == {
        'k:{"port":80,"protocol":"TCP"}',
        'k:{"port":81,"protocol":"TCP"}',
    }


def test_what_a_create_has_set_goes_once_its_fields_count_as_applied(services: Collection) -> None:
    both, one = service(port(80), port(81)), service(port(80))
    services.create("one", "me", **both).ok()
    assert numbers(services.apply("one", "me", **one).ok()) == [80, 81]
    services.delete("one").ok()

    created = services.create("one", "me", **both).ok()["metadata"]
    entries = [{**entry, "operation": "Apply"} for entry in created["managedFields"]]
    change = {"resourceVersion": created["resourceVersion"], "managedFields": entries}
    services.merge("one", {"metadata": change}, fieldManager="me").ok()

    assert numbers(services.apply("one", "me", **one).ok()) == [80]


def test_a_port_that_is_no_longer_applied_goes(services: Collection) -> None:
    services.apply("one", "me", **service(port(80), port(81))).ok()

    assert numbers(services.apply("one", "me", **service(port(81), port(82))).ok()) == [81, 82]


def test_the_cluster_ip_stays_when_a_service_is_applied_again(services: Collection) -> None:
    first = services.apply("one", "me", **service(port(80))).ok()
    second = services.apply("one", "me", **service(port(81))).ok()

    assert first["spec"]["clusterIP"] == second["spec"]["clusterIP"]
    assert services.apply("one", "me", **service(port(81))).ok() == second


def test_a_selector_follows_the_configuration(services: Collection) -> None:
    services.apply("one", "me", **service(port(80))).ok()

    applied = services.apply("one", "me", spec={"selector": {"role": "y"}, "ports": [port(80)]}).ok()

    assert applied["spec"]["selector"] == {"role": "y"}


def deployment(image: str = "first", **container: Any) -> Object:
    pod = {
        "containers": [{"name": "main", "image": image, **container}],
        "volumes": [{"name": "config", "configMap": {"name": "x"}}, {"name": "run", "emptyDir": {}}],
    }
    template = {"metadata": {"labels": {"app": "x"}, "annotations": {"hash": image}}, "spec": pod}
    # Paused and without replicas: on a real cluster no controller has anything to do for it.
    return {"spec": {"replicas": 0, "paused": True, "selector": {"matchLabels": {"app": "x"}}, "template": template}}


def container_of(value: Object) -> Object:
    return dict(value["spec"]["template"]["spec"]["containers"][0])


def test_containers_are_owned_by_name(deployments: Collection) -> None:
    applied = deployments.apply("one", "me", **deployment()).ok()

    containers = owned(applied, "me")["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers == {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}


def test_defaults_do_not_make_applying_a_change(deployments: Collection) -> None:
    first = deployments.apply("one", "me", **deployment()).ok()
    again = deployments.apply("one", "me", **deployment()).ok()

    assert generation_of(first) == generation_of(again) == 1
    assert first["spec"] == again["spec"]


def test_env_ports_and_mounts_follow_the_configuration(deployments: Collection) -> None:
    before: Object = {
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP"}],
        "volumeMounts": [{"name": "config", "mountPath": "/a"}, {"name": "run", "mountPath": "/b"}],
    }
    after = {key: items[1:] for key, items in before.items()}
    deployments.apply("one", "me", **deployment(**before)).ok()

    container = container_of(deployments.apply("one", "me", **deployment(**after)).ok())

    assert [item["name"] for item in container["env"]] == ["B"]
    assert [item["containerPort"] for item in container["ports"]] == [81]
    assert [item["mountPath"] for item in container["volumeMounts"]] == ["/b"]


def test_volumes_are_owned_by_name(deployments: Collection) -> None:
    body = deployment()
    deployments.apply("one", "me", **body).ok()
    body["spec"]["template"]["spec"]["volumes"].pop(0)

    applied = deployments.apply("one", "me", **body).ok()

    assert [volume["name"] for volume in applied["spec"]["template"]["spec"]["volumes"]] == ["run"]


def test_what_others_added_to_a_pod_template_stays(deployments: Collection) -> None:
    deployments.apply("one", "me", **deployment()).ok()
    annotations = {"restartedAt": "now"}
    patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    deployments.merge("one", patch, fieldManager="restarter").ok()

    applied = deployments.apply("one", "me", **deployment("second")).ok()

    assert applied["spec"]["template"]["metadata"]["annotations"] == {"hash": "second", **annotations}
    assert container_of(applied)["image"] == "second"


def test_replicas_that_are_not_applied_belong_to_whoever_sets_them(deployments: Collection) -> None:
    body = deployment()
    del body["spec"]["replicas"]
    deployments.api.request("POST", deployments.path, deployments.value("one", **deployment()))
    deployments.apply("one", "me", force=True, **body).ok()

    applied = deployments.apply("one", "me", force=True, **deployment("second")).ok()
    del body["spec"]["paused"]
    released = deployments.apply("one", "me", force=True, **body).ok()

    assert applied["spec"]["replicas"] == 0
    assert released["spec"]["replicas"] in (0, 1)


def test_a_changed_template_makes_a_new_generation(deployments: Collection) -> None:
    deployments.apply("one", "me", **deployment()).ok()

    assert generation_of(deployments.apply("one", "me", **deployment("second")).ok()) == 2
