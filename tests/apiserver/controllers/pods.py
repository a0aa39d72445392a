"""Pods as a kubelet would report them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from ..errors import Object

_WAITING = "ContainersNotReady"


def addresses() -> Iterator[str]:
    """Pod addresses, each once."""
    for number in itertools.count(1):
        third, fourth = divmod(number, 254)
        yield f"10.244.{third}.{fourth + 1}"


def pod(  # every part of a pod that a Service looks at
    name: str,
    labels: Mapping[str, str],
    ip: str,
    namespace: str = "default",
    *,
    ready: bool = True,
    ports: Mapping[str, int] | None = None,
) -> Object:
    """A running pod to be stored: `ports` are its containers' ports by name."""
    listed = [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in (ports or {}).items()]
    value: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"nodeName": "node", "containers": [{"name": "main", "image": "image", "ports": listed}]},
        "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
    }
    report(value, ready=ready)
    return value


def report(value: Object, *, ready: bool, waiting: str = "", message: str = "") -> None:
    """Writes into a pod that it runs and is ready or not; `waiting` is why its containers do not start."""
    verdict = "True" if ready else "False"
    conditions = [_condition(kind, verdict) for kind in ("ContainersReady", "Ready")]
    containers = [_container(c, ready=ready, waiting=waiting, message=message) for c in value["spec"]["containers"]]
    value["status"] |= {
        "phase": "Pending" if waiting else "Running",
        "conditions": [_condition("Initialized", "True"), _condition("PodScheduled", "True"), *conditions],
        "containerStatuses": containers,
    }


def _condition(kind: str, status: str) -> Object:
    return {"type": kind, "status": status} | ({"reason": _WAITING} if status == "False" else {})


def _container(container: Object, *, ready: bool, waiting: str, message: str) -> Object:
    state = {"waiting": {"reason": waiting, "message": message}} if waiting else {"running": {}}
    about = {"name": container["name"], "image": container.get("image", ""), "imageID": "", "restartCount": 0}
    return {**about, "ready": ready, "started": not waiting, "state": state}


def is_ready(value: Object) -> bool:
    conditions = value.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def address_of(value: Object) -> str:
    return str(value.get("status", {}).get("podIP") or "")


def is_going(value: Object) -> bool:
    return "deletionTimestamp" in value["metadata"]
