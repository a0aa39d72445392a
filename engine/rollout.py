"""How far the proxies are, read from their Deployment, their pods and the destination's endpoints."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from engine.objects import CONFIG_ANNOTATION, ENDPOINTS_SETTLE_SECONDS
from engine.times import read_time

Json = Mapping[str, Any]

SETTLE_LIMIT = timedelta(seconds=60)
"""How long a rollout may hold up newer endpoints: about the time that a slow node takes to start a proxy."""

_UNTIL_TOLD = timedelta(seconds=ENDPOINTS_SETTLE_SECONDS)
"""How soon to look again at a proxy that has not been told to stop yet."""
_HARMLESS = ("ContainerCreating", "PodInitializing")


def ready_pods(pods: Sequence[Json], digest: str) -> int:
    """How many proxies are ready with the configuration of `digest`, those that are stopping left out."""
    return sum(_is_ready(pod) for pod in pods if _carries(pod, digest) and not _is_stopping(pod))


def has_rolled_out(deployment: Json | None, replicas: int) -> bool:
    """Whether the Deployment's controller has seen its spec and only pods of its current template are left."""
    if not deployment:
        return False
    status = deployment.get("status") or {}
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    seen = status.get("observedGeneration", 0) >= (deployment.get("metadata") or {}).get("generation", 0)
    return bool(seen) and counts == {replicas}


def others_listen_for(pods: Sequence[Json], digest: str, now: datetime) -> timedelta | None:
    """How much longer proxies without the configuration of `digest` take new connections; None if none does.

    A proxy that is to stop listens for a while longer, since nodes hear of it late. When it was told to follows from
    when it will be killed (metadata.deletionTimestamp, in whole seconds) and its grace period.
    """
    left = [_listens_for(pod, now) for pod in pods if not _carries(pod, digest) and not _has_ended(pod)]
    return max((wait for wait in left if wait > timedelta()), default=None)


def _listens_for(pod: Json, now: datetime) -> timedelta:
    killed_at = read_time(pod["metadata"].get("deletionTimestamp"))
    if killed_at is None:
        return _UNTIL_TOLD
    told_at = killed_at - timedelta(seconds=pod["metadata"].get("deletionGracePeriodSeconds", 0))
    return told_at + timedelta(seconds=ENDPOINTS_SETTLE_SECONDS + 1) - now


def ready_endpoints(slices: Sequence[Json]) -> int:
    """How many ready endpoints the slices of a Service name; one of two address families is in a slice of each."""
    found: dict[str, set[str]] = {}
    for piece in slices:
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found.setdefault(piece.get("addressType", ""), set()).update(endpoint.get("addresses") or ())
    return max(map(len, found.values()), default=0)


def trouble(deployment: Json | None, pods: Sequence[Json], digest: str) -> str:
    """What keeps a proxy of this configuration from becoming ready, in the cluster's words; empty if nothing does."""
    return " ".join(_trouble(deployment, pods, digest).split())


def _trouble(deployment: Json | None, pods: Sequence[Json], digest: str) -> str:
    for condition in _conditions(deployment or {}):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return f"{condition.get('reason', 'ReplicaFailure')}: {condition.get('message', '')}".strip(": ")
    told = (_pod_trouble(pod) for pod in pods if _carries(pod, digest) and not _is_ready(pod) and not _is_stopping(pod))
    return next((text for text in told if text), "")


def is_settling(written_at: datetime, now: datetime, has_trouble: bool) -> bool:
    """Whether a rollout that is not complete may still be expected to complete by itself."""
    return not has_trouble and now - written_at < SETTLE_LIMIT


def _pod_trouble(pod: Json) -> str:
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in _HARMLESS:
            ended = ((container.get("lastState") or {}).get("terminated") or {}).get("exitCode")
            code = f" (its last exit code was {ended})" if ended is not None else ""
            return f"pod {name}: {waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ") + code
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"pod {name}: {condition.get('reason')}: {condition.get('message', '')}".rstrip(": ")
    return ""


def _carries(pod: Json, digest: str) -> bool:
    return bool((pod["metadata"].get("annotations") or {}).get(CONFIG_ANNOTATION) == digest)


def _is_stopping(pod: Json) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _has_ended(pod: Json) -> bool:
    """Whether nothing runs in the pod any more: an evicted one stays in the cluster, as Failed."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _is_ready(pod: Json) -> bool:
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in _conditions(pod))


def _conditions(obj: Json) -> Sequence[Json]:
    return (obj.get("status") or {}).get("conditions") or ()
