"""What a pod's metadata and status say of it, for whoever counts proxies."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.model.times import read_time

Json = Mapping[str, Any]


def annotations(pod: Json) -> Mapping[str, str]:
    """Its annotations, be there any or not."""
    return pod["metadata"].get("annotations") or {}


def conditions(obj: Json) -> Sequence[Json]:
    """The conditions of a pod, or of any other object."""
    return (obj.get("status") or {}).get("conditions") or ()


def is_stopping(pod: Json) -> bool:
    """Whether it was told to stop; it may still serve."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def has_ended(pod: Json) -> bool:
    """Whether nothing runs in the pod any more: an evicted one stays in the cluster, as Failed."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def is_to_run(pod: Json) -> bool:
    """Whether it runs or is about to, and goes on."""
    return not is_stopping(pod) and not has_ended(pod)


def pod_address(pod: Json) -> str:
    """The address that its kubelet's probes go to; empty while it has none."""
    return (pod.get("status") or {}).get("podIP") or ""


def is_ready(pod: Json) -> bool:
    """Whether its containers are ready, as its kubelet says."""
    return _ready(pod) is not None


def ready_since(pod: Json) -> datetime | None:
    """When it became ready, or None where it is not, or nothing says when."""
    condition = _ready(pod) or {}
    return read_time(condition.get("lastTransitionTime")) or (
        read_time(pod["metadata"].get("creationTimestamp")) if condition else None
    )


def _ready(pod: Json) -> Json | None:
    return next((c for c in conditions(pod) if c.get("type") == "Ready" and c.get("status") == "True"), None)
