"""The rules of `spec.service`: what its fields need of each other, and what belongs to Kanary."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

from engine.model.service import (
    AddressFamily,
    Affinity,
    ExposedPort,
    FamilyPolicy,
    ServiceSettings,
    ServiceType,
    TrafficPolicy,
)
from engine.model.spec import KanarySpec
from engine.render.objects import SKIP_MIRROR_LABEL
from engine.resolve.labels import annotation_problems, label_problems

MAX_SETTINGS = 16_384
"""Characters of the settings. They are stored beside the configuration, in a ConfigMap with the endpoints."""
_PREFIX = "kanary.k8s.io/"
_LABELS = ("app.kubernetes.io/managed-by", "app.kubernetes.io/name", "app.kubernetes.io/instance", SKIP_MIRROR_LABEL)
_UNSERVED = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"


def _one_of(values: type[StrEnum]) -> str:
    return f"{', '.join(values)} or left out"


EXPECTED: Mapping[str, str] = {
    "service": "an object with settings of the destination Service, such as type and annotations",
    "type": ", ".join(ServiceType),
    "service.port": "an object with name, appProtocol and nodePort",
    "service.port.name": "the name of a Service port: lower-case letters, digits and '-', at most 63 characters",
    "nodePort": "a port of the nodes, mostly from 30000 to 32767, or left out",
    "appProtocol": "a text of at most 253 characters",
    "loadBalancerClass": "a text of at most 253 characters",
    "loadBalancerSourceRanges": "a list of at most 64 ranges of addresses such as 10.0.0.0/8",
    "range": "a range of addresses such as 10.0.0.0/8, in quotes",
    "allocateLoadBalancerNodePorts": "true, false or left out",
    "externalTrafficPolicy": _one_of(TrafficPolicy),
    "internalTrafficPolicy": _one_of(TrafficPolicy),
    "ipFamilyPolicy": _one_of(FamilyPolicy),
    "ipFamilies": f"a list of one or two of {', '.join(AddressFamily)}",
    "family": " or ".join(AddressFamily),
    "sessionAffinity": _one_of(Affinity),
    "sessionAffinityConfig": "an object with clientIP",
    "clientIP": "an object with timeoutSeconds",
    "clientIP.timeoutSeconds": "a whole number from 1 to 86400",
    "service.trafficDistribution": "a text such as PreferClose or PreferSameZone, or left out",
}
"""What the fields must be, by name."""


def service_problems(spec: KanarySpec) -> Iterator[str]:
    """What is wrong with the settings of the destination Service, each with the way out."""
    where, settings = "spec.service", spec.service
    size = len(settings.model_dump_json(by_alias=True, exclude_none=True))
    if size > MAX_SETTINGS:
        yield f"{where} has {size} characters: must have at most {MAX_SETTINGS}; shorten its annotations"
        return
    for key in settings.labels or {}:
        if key in _LABELS or key.startswith(_PREFIX):
            yield f"{where}.labels has {key[:80]!a}, which Kanary sets: remove it"
        if key in _UNSERVED:
            yield f"{where}.labels has {key!a}, with which kube-proxy ignores the Service: remove it"
    yield from label_problems(f"{where}.labels", settings.labels or {})
    yield from annotation_problems(f"{where}.annotations", settings.annotations or {})
    for key in settings.annotations or {}:
        if key.startswith(_PREFIX):
            yield f"{where}.annotations has {key[:80]!a}, which Kanary sets: remove it"
        if key == _UNREADY:
            yield f"{where}.annotations has {key!a}: proxies would receive connections before they are ready; remove it"
    yield from _type_problems(where, settings)
    yield from _node_port_problems(spec)
    yield from _family_problems(where, settings)
    if settings.session_affinity_config and settings.session_affinity is not Affinity.CLIENT_IP:
        yield f"{where}.sessionAffinityConfig needs sessionAffinity ClientIP: set it, or leave the config out"


def _type_problems(where: str, settings: ServiceSettings) -> Iterator[str]:
    of_load_balancers = {
        "loadBalancerClass": settings.load_balancer_class,
        "loadBalancerSourceRanges": settings.load_balancer_source_ranges,
        "allocateLoadBalancerNodePorts": settings.allocate_load_balancer_node_ports,
    }
    if settings.type is not ServiceType.LOAD_BALANCER:
        for field, value in of_load_balancers.items():
            if value is not None:
                yield f"{where}.{field} needs type LoadBalancer, and it is {settings.type}: set it, or leave this out"
    if settings.type is ServiceType.CLUSTER_IP and settings.external_traffic_policy:
        yield (
            f"{where}.externalTrafficPolicy needs type NodePort or LoadBalancer, and it is ClusterIP: leave it out, or "
            "set the type"
        )


def _node_port_problems(spec: KanarySpec) -> Iterator[str]:
    ports: list[tuple[str, ExposedPort]] = [("spec.service.port", spec.service.port)]
    ports += [(f"spec.ports[{index}]", port) for index, port in enumerate(spec.ports)]
    seen: dict[int, str] = {}
    for where, port in ports:
        if port.node_port and spec.service.type is ServiceType.CLUSTER_IP:
            yield (
                f"{where}.nodePort needs spec.service.type NodePort or LoadBalancer, and it is ClusterIP: leave it "
                "out, or set the type"
            )
        elif port.node_port and (other := seen.setdefault(port.node_port, where)) != where:
            yield f"{where}.nodePort is {port.node_port}, the node port of {other}: choose another one, or leave it out"


def _family_problems(where: str, settings: ServiceSettings) -> Iterator[str]:
    families = settings.ip_families or ()
    if len(set(families)) < len(families):
        yield f"{where}.ipFamilies has {families[0]} twice: leave one"
    elif len(families) > 1 and settings.ip_family_policy in (None, FamilyPolicy.SINGLE_STACK):
        yield (
            f"{where}.ipFamilies has two families, which needs ipFamilyPolicy PreferDualStack or RequireDualStack: set "
            "it, or leave one family"
        )
