"""Services: the defaults of their ports and policies, and the addresses and node ports that the cluster allocates."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ..errors import (
    Cause,
    Object,
    Subject,
    invalid,
    value_duplicate,
    value_forbidden,
    value_invalid,
    value_not_supported,
)
from ..storage import Storage

BUCKET = "/services"
_RANGE = ipaddress.ip_network("10.96.0.0/16")
_NODE_PORTS = range(30_000, 32_768)
_OUTSIDE = ("NodePort", "LoadBalancer")
_TYPES = ("ClusterIP", "ExternalName", *reversed(_OUTSIDE))
_AFFINITY: Object = {"clientIP": {"timeoutSeconds": 10_800}}


def complete(new: Object, old: Object | None, storage: Storage) -> None:
    spec, before = new.setdefault("spec", {}), (old or {}).get("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    # Behind a feature gate that is closed in Kubernetes 1.20.
    spec.pop("allocateLoadBalancerNodePorts", None)
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", _AFFINITY)
    else:
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    if spec["type"] != "ExternalName":
        _give_address(spec, before, storage)
    if spec["type"] in _OUTSIDE:
        spec.setdefault("externalTrafficPolicy", "Cluster")
        _give_node_ports(new, before, storage)
    elif before.get("type") in _OUTSIDE:
        _take_node_ports(spec, before)
    new.setdefault("status", {"loadBalancer": {}})


def check(new: Object, old: Object | None) -> list[Cause]:
    return list(_check(new["spec"]))


def _check(spec: Object) -> Iterator[Cause]:
    if spec["type"] not in _TYPES:
        yield value_not_supported("spec.type", spec["type"], _TYPES)
    if spec.get("externalTrafficPolicy") and spec["type"] not in _OUTSIDE:
        why = "ExternalTrafficPolicy can only be set on NodePort and LoadBalancer service"
        yield value_invalid("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], why)
    if spec.get("loadBalancerSourceRanges") and spec["type"] != "LoadBalancer":
        yield value_forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
    seen: set[int] = set()
    for index, port in enumerate(spec.get("ports") or ()):
        where, number = f"spec.ports[{index}].nodePort", port.get("nodePort")
        if number and spec["type"] not in _OUTSIDE:
            yield value_forbidden(where, f"may not be used when `type` is '{spec['type']}'")
        elif number and number in seen:
            yield value_duplicate(where, number)
        elif number and number not in _NODE_PORTS:
            why = "provided port is not in the valid range. The range of valid ports is 30000-32767"
            yield value_invalid(where, number, why)
        seen.add(number)


def _give_address(spec: Object, before: Object, storage: Storage) -> None:
    if not spec.get("clusterIP"):
        spec["clusterIP"] = before.get("clusterIP") or _free_address(storage)
    spec["clusterIPs"] = [spec["clusterIP"]]
    for key, value in {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}.items():
        spec.setdefault(key, value)
    spec.setdefault("internalTrafficPolicy", "Cluster")


def _free_address(storage: Storage) -> str:
    used = {record.value["spec"].get("clusterIP") for record in storage.records(BUCKET)}
    return next(str(address) for address in _RANGE.hosts() if str(address) not in used)


def _give_node_ports(new: Object, before: Object, storage: Storage) -> None:
    """As Kubernetes 1.20 does: a port that leaves its node port out gets another. Later releases look at its name."""
    ports, own = new["spec"].get("ports") or (), _node_ports(before)
    used = {number for record in storage.records(BUCKET) for number in _node_ports(record.value["spec"])}
    for index, port in enumerate(ports):
        if port.get("nodePort") in used - own:
            cause = value_invalid(
                f"spec.ports[{index}].nodePort", port["nodePort"], "provided port is already allocated"
            )
            raise invalid(Subject("", "services", "Service", new["metadata"]["name"]), [cause])
    free = (number for number in _NODE_PORTS if number not in used | _node_ports(new["spec"]))
    for port in ports:
        if not port.get("nodePort"):
            port["nodePort"] = next(free)


def _node_ports(spec: Object) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def _take_node_ports(spec: Object, before: Object) -> None:
    """What a former type had and the new one has not, unless the client has changed it as well."""
    if _node_ports(spec) <= _node_ports(before):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if spec.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
        spec.pop("externalTrafficPolicy", None)
    spec.pop("healthCheckNodePort", None)
