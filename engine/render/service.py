"""The Service that clients connect to."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.model.service import ExposedPort, ServiceSettings, ServiceType
from engine.model.spec import KanarySpec
from engine.render.objects import SKIP_MIRROR_LABEL, Identity, covers, hashed, holds, owned_object
from engine.render.slots import Slots, listening_port

Json = dict[str, Any]

_RENDERED = {"labels", "annotations", "port"}
"""The settings that are not fields of the spec of a Service."""
_DEPENDENT = {
    "externalTrafficPolicy": ("type",),
    "healthCheckNodePort": ("type", "externalTrafficPolicy"),
    "loadBalancerClass": ("type",),
    "loadBalancerSourceRanges": ("type",),
    "allocateLoadBalancerNodePorts": ("type",),
    "sessionAffinityConfig": ("sessionAffinity",),
}
"""Fields that are invalid beside other values of these. The cluster sets some of them itself."""


def destination_service(owner: Identity, spec: KanarySpec, doors: Slots = ()) -> Json:
    """The Service, with what the spec says of it."""
    settings: ServiceSettings = spec.service
    # Numbers: with names in the pods, another port would replace the proxies.
    others = [_port(port, port.port, listening_port(port.name, doors)) for port in spec.ports]
    desired = owned_object(owner, "v1", "Service", spec.destination)
    metadata = desired["metadata"]
    metadata["labels"] = {**(settings.labels or {}), **metadata["labels"], SKIP_MIRROR_LABEL: "true"}
    metadata["annotations"] = {**(settings.annotations or {})}
    fields = settings.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_RENDERED)
    ports = [_port(settings.port, spec.port, "split"), *others]
    return hashed({**desired, "spec": {**fields, "selector": owner.selector, "ports": ports}})


def _port(port: ExposedPort, number: int, target: int | str) -> Json:
    made: Json = {"name": port.name, "port": number, "protocol": "TCP", "targetPort": target}
    optional = {"appProtocol": port.app_protocol, "nodePort": port.node_port}
    return made | {field: value for field, value in optional.items() if value is not None}


def replaced_spec(live: Mapping[str, Any], desired: Mapping[str, Any]) -> Json:
    """The spec of the Service that replaces `live`: with what the cluster allocated and others set, if still valid."""
    made = {**live, **desired}
    lost = {name for name, needs in _DEPENDENT.items() if any(made.get(need) != live.get(need) for need in needs)}
    return {field: value for field, value in made.items() if field in desired or field not in lost}


def with_node_ports(live: Mapping[str, Any], desired: Mapping[str, Any]) -> Json:
    """The spec with the node ports that its ports have: for a port without one, the cluster may allocate another."""
    if desired["type"] == ServiceType.CLUSTER_IP:
        return {**desired}
    taken = [port.get("nodePort") for port in desired["ports"]]
    had = {_number(port): {"nodePort": port["nodePort"]} for port in live.get("ports") or () if port.get("nodePort")}
    kept = {number: port for number, port in had.items() if port["nodePort"] not in taken}
    return {**desired, "ports": [{**kept.get(_number(port), {}), **port} for port in desired["ports"]]}


def _number(port: Mapping[str, Any]) -> tuple[int, str]:
    return port["port"], port.get("protocol", "TCP")


def dropped_fields(live: object, desired: object, path: str = "") -> Iterator[str]:
    """The paths of the fields of `desired` that `live` lacks, or has with another value."""
    if covers(live, desired):
        return
    if isinstance(live, Mapping) and isinstance(desired, Mapping):
        for key, value in desired.items():
            if not holds(key, live.get(key), value):
                yield from dropped_fields(live.get(key), value, f"{path}.{key}" if path else key)
    elif isinstance(live, list) and isinstance(desired, list) and len(live) == len(desired):
        for index, pair in enumerate(zip(live, desired, strict=True)):
            yield from dropped_fields(*pair, f"{path}[{index}]")
    else:
        yield path
