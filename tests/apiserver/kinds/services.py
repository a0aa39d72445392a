"""Services: ports, and the cluster IP that is given once and stays."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from ..errors import Cause, Object, value_duplicate, value_invalid, value_not_supported, value_required
from ..names import is_port
from ..storage import Storage

BUCKET = "/services"
_RANGE = ipaddress.ip_network("10.96.0.0/16")
# The first addresses are kept for the cluster's own services.
_FIRST = 10
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def complete(new: Object, old: Object | None, storage: Storage) -> None:
    spec = new.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if spec.get("clusterIP") != "None" or "targetPort" not in port:
            port.setdefault("targetPort", port.get("port"))
    if spec["type"] != "ExternalName":
        _give_address(spec, old, storage)
    new.setdefault("status", {"loadBalancer": {}})


def _give_address(spec: Object, old: Object | None, storage: Storage) -> None:
    before = (old or {}).get("spec", {})
    if not spec.get("clusterIP"):
        spec["clusterIP"] = before.get("clusterIP") or _free_address(storage)
    spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("ipFamilies", before.get("ipFamilies", ["IPv4"]))
    spec.setdefault("ipFamilyPolicy", before.get("ipFamilyPolicy", "SingleStack"))
    spec.setdefault("internalTrafficPolicy", "Cluster")


def _free_address(storage: Storage) -> str:
    used = {record.value["spec"].get("clusterIP") for record in storage.records(BUCKET)}
    candidates = (str(_RANGE[number]) for number in range(_FIRST, _RANGE.num_addresses))
    return next(address for address in candidates if address not in used)


def check(new: Object, old: Object | None, storage: Storage) -> list[Cause]:
    return list(_check(new["spec"], (old or {}).get("spec", {})))


def _check(spec: Object, before: Object) -> Iterator[Cause]:
    if spec["type"] not in _TYPES:
        yield value_not_supported("spec.type", spec["type"], _TYPES)
    if spec["type"] == "ExternalName":
        if not spec.get("externalName"):
            yield value_required("spec.externalName")
        return
    ports = spec.get("ports") or []
    if not ports and spec["clusterIP"] != "None":
        yield value_required("spec.ports")
    yield from _check_ports(ports)
    if before.get("clusterIP") not in (None, "", spec["clusterIP"]):
        yield value_invalid("spec.clusterIP", spec["clusterIP"], "field is immutable")
    elif spec["clusterIP"] != "None" and not _is_address(spec["clusterIP"]):
        yield value_invalid("spec.clusterIPs[0]", spec["clusterIP"], "must be a valid IP address")


def _check_ports(ports: list[Any]) -> Iterator[Cause]:
    names: set[str] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name", "")
        if not name and len(ports) > 1:
            yield value_required(f"{path}.name")
        if name and name in names:
            yield value_duplicate(f"{path}.name", name)
        names.add(name)
        if not is_port(port.get("port")):
            yield value_invalid(f"{path}.port", port.get("port", 0), "must be between 1 and 65535, inclusive")
        if port["protocol"] not in ("TCP", "UDP", "SCTP"):
            yield value_not_supported(f"{path}.protocol", port["protocol"], ("SCTP", "TCP", "UDP"))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
