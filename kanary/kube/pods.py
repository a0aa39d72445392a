"""What a client needs to know of a pod before it connects to it."""

from __future__ import annotations

from kanary.kube.resources import Json


def is_ready(pod: Json) -> bool:
    """Whether the condition Ready of the pod is true."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def port_of(pod: Json, name: str, default: int) -> int:
    """The port of the pod with this name, otherwise the default."""
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    return next((int(port["containerPort"]) for port in ports if port.get("name") == name), default)


def addresses_of(pod: Json) -> frozenset[str]:
    """The addresses of the pod; none if it has ended, since another pod may have them by now."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        return frozenset()
    addresses = status.get("podIP"), *(entry.get("ip") for entry in status.get("podIPs") or ())
    return frozenset(filter(None, addresses))
