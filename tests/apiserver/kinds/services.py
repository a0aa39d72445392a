"""Services: the defaults of their ports, and the cluster IP that is given once and stays."""

from __future__ import annotations

import ipaddress

from ..errors import Object
from ..storage import Storage

BUCKET = "/services"
_RANGE = ipaddress.ip_network("10.96.0.0/16")


def complete(new: Object, old: Object | None, storage: Storage) -> None:
    spec = new.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    if spec["type"] != "ExternalName":
        _give_address(spec, (old or {}).get("spec", {}), storage)
    new.setdefault("status", {"loadBalancer": {}})


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
