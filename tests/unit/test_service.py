"""The settings of the destination Service: what it has of them, and what is refused with which way out."""

from typing import Any

import pytest

from engine.fleet.refused import as_declared
from engine.model.spec import KanarySpec
from engine.ports import not_kept
from engine.render.adoption import adoption_problem
from engine.render.objects import covers
from engine.render.service import destination_service, dropped_fields, replaced_spec, with_node_ports
from engine.render.slots import assign
from engine.resolve.validation import InvalidSpecError
from kanary.operator import transforms
from tests.unit.kanaries import OWNER, Json, spec

EVERYTHING: Json = {
    "type": "LoadBalancer",
    "loadBalancerClass": "example.com/internal",
    "loadBalancerSourceRanges": ["10.0.0.0/8"],
    "allocateLoadBalancerNodePorts": False,
    "externalTrafficPolicy": "Local",
    "internalTrafficPolicy": "Local",
    "ipFamilyPolicy": "PreferDualStack",
    "ipFamilies": ["IPv6", "IPv4"],
    "sessionAffinity": "ClientIP",
    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
    "trafficDistribution": "PreferSameZone",
}
FURTHER: Json = {"name": "metrics", "port": 9100, "servicePort": "metrics"}


def made(declared: KanarySpec) -> Json:
    return destination_service(OWNER, declared, assign((), (), [port.name for port in declared.ports]))


def refusal(**changes: Any) -> str:
    with pytest.raises(InvalidSpecError) as caught:
        spec(**changes)
    return str(caught.value)


def test_every_setting_stands_in_the_service_as_it_was_declared() -> None:
    metadata = {"labels": {"team": "web"}, "annotations": {"example.com/dns": "a"}}
    first = {"name": "web", "appProtocol": "http", "nodePort": 30001}
    further = {**FURTHER, "appProtocol": "grpc", "nodePort": 30002}
    service = made(spec(service={**EVERYTHING, **metadata, "port": first}, ports=[further]))
    assert EVERYTHING.items() < service["spec"].items()
    assert service["spec"].keys() == {*EVERYTHING, "selector", "ports"}
    assert metadata["labels"].items() < service["metadata"]["labels"].items()
    assert metadata["annotations"].items() < service["metadata"]["annotations"].items()
    one, two = service["spec"]["ports"]
    assert one == {"port": 80, "protocol": "TCP", "targetPort": "split", **first}
    assert two == {
        "name": "metrics",
        "port": 9100,
        "protocol": "TCP",
        "targetPort": two["targetPort"],
        "appProtocol": "grpc",
        "nodePort": 30002,
    }


def test_without_settings_the_service_is_what_it_was() -> None:
    assert made(spec())["spec"].keys() == {"type", "selector", "ports"}
    assert made(spec()) == made(spec(service={})) == made(spec(service={"port": {}, "type": "ClusterIP"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "ExternalName"}, 'spec.service.type is "ExternalName": must be ClusterIP, NodePort, LoadBalancer'),
        (
            {"loadBalancerClass": "a/b"},
            "spec.service.loadBalancerClass needs type LoadBalancer, and it is ClusterIP: set it, or leave this out",
        ),
        (
            {"type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
            "spec.service.loadBalancerSourceRanges needs type LoadBalancer, and it is NodePort: set it, or leave this",
        ),
        (
            {"allocateLoadBalancerNodePorts": False},
            "spec.service.allocateLoadBalancerNodePorts needs type LoadBalancer",
        ),
        (
            {"externalTrafficPolicy": "Local"},
            "spec.service.externalTrafficPolicy needs type NodePort or LoadBalancer, and it is ClusterIP: leave it out",
        ),
        (
            {"port": {"nodePort": 30000}},
            "spec.service.port.nodePort needs spec.service.type NodePort or LoadBalancer, and it is ClusterIP: leave",
        ),
        (
            {"port": {"nodePort": "30000"}},
            'spec.service.port.nodePort is "30000": must be a port of the nodes, mostly from 30000 to 32767',
        ),
        ({"port": {"name": "Web"}}, 'spec.service.port.name is "Web": must be the name of a Service port'),
        (
            {"sessionAffinityConfig": {"clientIP": {}}},
            "spec.service.sessionAffinityConfig needs sessionAffinity ClientIP: set it, or leave the config out",
        ),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            "spec.service.sessionAffinityConfig.clientIP.timeoutSeconds is 86401: must be a whole number from 1",
        ),
        ({"ipFamilies": ["IPv4", "IPv4"]}, "spec.service.ipFamilies has IPv4 twice: leave one"),
        (
            {"ipFamilies": ["IPv4", "IPv6"]},
            "spec.service.ipFamilies has two families, which needs ipFamilyPolicy Prefer",
        ),
        ({"ipFamilies": ["ipv4"]}, 'spec.service.ipFamilies[0] is "ipv4": must be IPv4 or IPv6'),
        ({"ipFamilies": []}, "spec.service.ipFamilies is empty: must be a list of one or two of IPv4, IPv6"),
        (
            {"labels": {"kanary.k8s.io/name": "x"}},
            "spec.service.labels has 'kanary.k8s.io/name', which Kanary sets: remove",
        ),
        (
            {"labels": {"app.kubernetes.io/managed-by": "x"}},
            "spec.service.labels has 'app.kubernetes.io/managed-by', which",
        ),
        *(
            (
                {"labels": {f"service.kubernetes.io/{name}": ""}},
                f"spec.service.labels has 'service.kubernetes.io/{name}', with which kube-proxy ignores the Serv",
            )
            for name in ("service-proxy-name", "headless")
        ),
        ({"labels": {"a": 1}}, "spec.service.labels.a is 1: must be a text, in quotes"),
        (
            {"annotations": {"kanary.k8s.io/hash": "x"}},
            "spec.service.annotations has 'kanary.k8s.io/hash', which Kanary",
        ),
        (
            {"annotations": {"service.alpha.kubernetes.io/tolerate-unready-endpoints": "true"}},
            "spec.service.annotations has 'service.alpha.kubernetes.io/tolerate-unready-endpoints': proxies would",
        ),
        (
            {"annotations": {str(n): "x" * 8000 for n in range(3)}},
            "spec.service has 24079 characters: must have at most",
        ),
        ({"trafficDistribution": 1}, "spec.service.trafficDistribution is 1: must be a text such as PreferClose"),
        ({"loadBalancerSourceRanges": [10]}, "spec.service.loadBalancerSourceRanges[0] is 10: must be a range of"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_field_value_and_way_out(changes: Json, message: str) -> None:
    assert message in refusal(service=changes)


def test_two_ports_have_neither_one_name_nor_one_node_port() -> None:
    assert 'spec.ports[0].name is "metrics", the name of spec.port: choose another name' in refusal(
        service={"port": {"name": "metrics"}}, ports=[FURTHER]
    )
    assert spec(service={"port": {"name": "web"}}, ports=[{**FURTHER, "name": "tcp"}])
    assert (
        "spec.ports[0].nodePort is 30000, the node port of spec.service.port: choose another one, or leave"
        in refusal(service={"type": "NodePort", "port": {"nodePort": 30000}}, ports=[{**FURTHER, "nodePort": 30000}])
    )
    assert "spec.ports[0].nodePort needs spec.service.type NodePort" in refusal(ports=[{**FURTHER, "nodePort": 30000}])


def test_an_unknown_field_is_ignored_as_the_cluster_drops_it() -> None:
    assert made(spec(service={"externalIPs": ["10.0.0.1"], "loadBalancerIP": "10.0.0.1"})) == made(spec())


@pytest.mark.parametrize("of_port", [True, False])
def test_a_service_with_settings_is_not_adopted(of_port: bool) -> None:
    declared = spec(service={"type": "NodePort"}, ports=[{**FURTHER, "nodePort": 30000}] if of_port else [])
    live = {"metadata": {}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    assert "leave out spec.service, and appProtocol and nodePort in spec.ports" in adoption_problem(declared, live)
    assert "spec.service" not in adoption_problem(spec(service={}), live)


# What is written


def ports(*numbers: tuple[str, int, int | None]) -> list[Json]:
    return [
        {"name": name, "port": number, "protocol": "TCP"} | ({"nodePort": node} if node else {})
        for name, number, node in numbers
    ]


def test_node_ports_are_those_of_the_same_number_unless_another_port_takes_them() -> None:
    live = {"ports": ports(("a", 80, 30000), ("b", 81, 30001), ("c", 82, 30002))}
    desired = {"type": "NodePort", "ports": ports(("x", 80, None), ("y", 81, None), ("z", 83, 30001))}
    kept = with_node_ports(live, desired)["ports"]
    assert [port.get("nodePort") for port in kept] == [30000, None, 30001]
    assert with_node_ports(live, {**desired, "type": "ClusterIP"})["ports"] == desired["ports"]


LOAD_BALANCER: Json = {
    "loadBalancerClass": "example.com/internal",
    "loadBalancerSourceRanges": ["10.0.0.0/8"],
    "allocateLoadBalancerNodePorts": False,
    "externalTrafficPolicy": "Local",
    "healthCheckNodePort": 30009,
}
AFFINITY: Json = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}
ALLOCATED: Json = {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "loadBalancerIP": "192.0.2.1"}


@pytest.mark.parametrize(
    ("desired", "lost"),
    [
        ({"type": "LoadBalancer"}, set()),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, set()),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}, {"healthCheckNodePort"}),
        ({"type": "LoadBalancer", "sessionAffinity": "None"}, {"sessionAffinityConfig"}),
        ({"type": "NodePort"}, {*LOAD_BALANCER}),
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, {*LOAD_BALANCER} - {"externalTrafficPolicy"}),
        ({"type": "ClusterIP"}, {*LOAD_BALANCER}),
        ({"type": "ClusterIP", "sessionAffinity": "None"}, {*LOAD_BALANCER, "sessionAffinityConfig"}),
    ],
)
def test_what_replaces_a_service_keeps_what_others_set_as_far_as_it_stays_valid(desired: Json, lost: set[str]) -> None:
    """Without its source ranges, a load balancer is open to all; without its class, the cluster rejects it."""
    live = {"type": "LoadBalancer", "ports": [{"port": 1}], **ALLOCATED, **LOAD_BALANCER, **AFFINITY}
    replaced = replaced_spec(live, {**desired, "ports": []})
    assert replaced == {field: value for field, value in live.items() if field not in lost} | desired | {"ports": []}


def test_a_second_family_that_the_cluster_adds_is_no_difference() -> None:
    assert covers({"ipFamilies": ["IPv6", "IPv4"]}, {"ipFamilies": ["IPv6"]})
    assert not covers({"ipFamilies": ["IPv6", "IPv4"]}, {"ipFamilies": ["IPv4"]})
    assert not covers({"ipFamilies": ["IPv6"]}, {"ipFamilies": ["IPv6", "IPv4"]})


def test_dropped_fields_are_named_by_their_paths() -> None:
    desired = made(spec(service={**EVERYTHING, "port": {"appProtocol": "http"}, "labels": {"a": "b"}}, ports=[FURTHER]))
    live = made(spec(service={"type": "LoadBalancer"}, ports=[FURTHER]))
    live["metadata"]["annotations"] = desired["metadata"]["annotations"]
    paths = [*dropped_fields(live, desired)]
    assert paths[0] == "metadata.labels.a"
    assert paths[-1] == "spec.ports[0].appProtocol"
    assert {path.removeprefix("spec.") for path in paths[1:-1]} == EVERYTHING.keys() - {"type"}
    assert not [*dropped_fields(desired, desired)]
    message = not_kept("myapp", paths).problem.message
    assert "does not keep spec.service.labels.a, spec.service.loadBalancerClass, " in message
    assert "spec.service.port.appProtocol in Service myapp, which serves without: leave out" in message


def test_the_copy_of_a_service_says_whether_a_create_has_set_its_fields() -> None:
    """Only what an apply has set goes with a later apply."""
    live = made(spec())
    entry = {"manager": "kanary", "operation": "Update", "fieldsV1": {"f:spec": {}}}
    live["metadata"]["managedFields"] = [entry, {"manager": "cloud", "operation": "Update"}]
    kept = transforms.service(live)["metadata"]
    assert kept["managedFields"] == [{"manager": "kanary", "operation": "Update"}]
    live["metadata"]["managedFields"] = [{**entry, "operation": "Apply"}]
    assert "managedFields" not in transforms.service(live)["metadata"]


# What the cluster refuses


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            'cannot create Service shop: Service "shop" is invalid: spec.ports[0].nodePort: Invalid value: 30500: '
            "provided port is already allocated (422 Invalid)",
            "spec.service.port.nodePort: Invalid value: 30500: provided port is already allocated (422 Invalid): ch",
        ),
        ("cannot apply Service s: spec.ports[2].nodePort: Duplicate value", "spec.ports[1].nodePort: Duplicate value"),
        (
            'cannot apply Service s: Service "s" is invalid: spec.LoadBalancerSourceRanges: Invalid value: "[x]"',
            "spec.service.loadBalancerSourceRanges: Invalid value",
        ),
        (
            "cannot apply Service s: failed to create typed patch object (shop/s; /v1, Kind=Service): "
            ".spec.trafficDistribution: field not declared in schema (500)",
            "spec.service.trafficDistribution: field not declared in schema (500): this release of Kubernetes",
        ),
        (
            'cannot apply Service s: Service "s" is invalid: [spec.ipFamilies[0]: Invalid value: x: may not change '
            'once set, spec.clusterIPs[0]: Invalid value: "10.0.0.1": expected an IPv6 value]',
            "[spec.service.ipFamilies[0]: Invalid value: x: may not change once set, spec.clusterIPs[0]: ",
        ),
        (
            'cannot apply Service s: spec.loadBalancerClass: Invalid value: "b": may not change once set',
            'spec.service.loadBalancerClass: Invalid value: "b": may not change once set: set spec.service.type',
        ),
        ('cannot apply Service s: metadata.labels: Invalid value: "b c"', "spec.service.labels: Invalid value"),
        (
            'cannot create Service s: services "s" is forbidden: exceeded quota: q, requested: services.nodeports=1',
            "services.nodeports=1: raise the ResourceQuota, or set spec.service.type to ClusterIP",
        ),
    ],
)
def test_what_the_cluster_says_of_the_service_names_the_fields_of_the_kanary(said: str, shown: str) -> None:
    assert shown in as_declared(said)


def test_fields_of_other_objects_are_not_taken_for_those_of_the_service() -> None:
    said = "cannot apply Deployment s: metadata.labels: spec.type: x"
    assert as_declared(said) == said


def test_what_the_cluster_quotes_of_a_key_is_no_index_of_a_port() -> None:
    """Python reads no number of so many digits."""
    said = f'cannot apply Service s: metadata.annotations: Invalid value: "x spec.ports[{"9" * 5000}]"'
    assert as_declared(said) == said.replace("metadata", "spec.service")
