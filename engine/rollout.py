"""How far the proxies are, read from their Deployment, their pods and the destination's endpoints."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from engine.model.times import read_time
from engine.podstate import annotations, conditions, has_ended, is_ready, is_stopping, is_to_run, pod_address
from engine.render.objects import CONFIG_ANNOTATION, ENDPOINTS_SETTLE_SECONDS
from engine.reports import takes_live
from states import UpdateStrategy

Json = Mapping[str, Any]

SETTLE_LIMIT = timedelta(seconds=60)
"""How long a rollout may hold up newer endpoints: about the time that a slow node takes to start a proxy."""

EXHAUSTION_TOLD = timedelta(minutes=10)
"""How long it is told that a proxy ran out of memory, once it is back."""

_UNTIL_TOLD = timedelta(seconds=ENDPOINTS_SETTLE_SECONDS)
"""How soon to look again at a proxy that has not been told to stop yet."""
_HARMLESS = ("ContainerCreating", "PodInitializing")


def ready_pods(pods: Sequence[Json], digest: str) -> int:
    """How many proxies are ready with the configuration of `digest`, those that are stopping left out."""
    return sum(is_ready(pod) for pod in pods if _carries(pod, digest) and is_to_run(pod))


def has_been_seen(deployment: Json | None) -> bool:
    """Whether the Deployment's controller has seen its spec: it starts no more pods of a former template by itself."""
    observed = ((deployment or {}).get("status") or {}).get("observedGeneration", 0)
    generation = ((deployment or {}).get("metadata") or {}).get("generation", 0)
    return deployment is not None and observed >= generation


def mounted_digests(pods: Sequence[Json]) -> set[str]:
    """The configurations of those of the pods that have not ended, or of pods that may be made of these templates."""
    return {annotations(pod).get(CONFIG_ANNOTATION, "") for pod in pods if not has_ended(pod)}


def has_rolled_out(deployment: Json | None, replicas: int) -> bool:
    """Whether the Deployment's controller has seen its spec and only pods of its current template are left."""
    if not deployment:
        return False
    status = deployment.get("status") or {}
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    return has_been_seen(deployment) and counts == {replicas}


def others_listen_for(
    pods: Sequence[Json], digest: str, now: datetime, strategy: UpdateStrategy = UpdateStrategy.ROLLING
) -> timedelta | None:
    """How much longer proxies without the configuration of `digest` take new connections; None if none does.

    Those that are to take it as they run are not others: they are not ready with it yet.

    A proxy that is to stop listens for a while longer, since nodes hear of it late. When it was told to follows from
    when it will be killed (metadata.deletionTimestamp, in whole seconds) and its grace period.
    """
    others = [
        pod
        for pod in pods
        if not _carries(pod, digest)
        and not has_ended(pod)
        and not (strategy is UpdateStrategy.LIVE and takes_live(pod) and not is_stopping(pod))
    ]
    left = [_listens_for(pod, now) for pod in others]
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


def is_reached_by_ipv6(pods: Sequence[Json], destination: Json | None) -> bool:
    """Whether kubelets, or clients of the destination's Service, connect to the proxies over IPv6.

    The backends' endpoints do not tell: somebody may have written an IPv6 address into a cluster that has none.
    """
    service = (destination or {}).get("spec") or {}
    addresses = [*map(pod_address, pods), service.get("clusterIP") or "", *(service.get("clusterIPs") or ())]
    return any(":" in address for address in addresses)


def trouble(deployment: Json | None, pods: Sequence[Json], digest: str) -> str:
    """What keeps a proxy of this configuration from becoming ready, in the cluster's words; empty if nothing does."""
    return " ".join(_trouble(deployment, pods, digest).split())


def _trouble(deployment: Json | None, pods: Sequence[Json], digest: str) -> str:
    for condition in conditions(deployment or {}):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return f"{condition.get('reason', 'ReplicaFailure')}: {condition.get('message', '')}".strip(": ")
    expected = (pod for pod in pods if _carries(pod, digest) or takes_live(pod))
    told = (_pod_trouble(pod) for pod in expected if not is_ready(pod) and is_to_run(pod))
    return next((text for text in told if text), "")


def out_of_memory(pods: Sequence[Json], now: datetime) -> str:
    """Which proxy was ended within the last minutes for want of memory; empty if none was."""
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = _ended(container)
            finished_at = read_time(ended.get("finishedAt"))
            if ended.get("reason") == "OOMKilled" and finished_at and now - finished_at < EXHAUSTION_TOLD:
                name = pod["metadata"]["name"]
                return (
                    f"pod {name}: its {container.get('name')} was ended at {ended['finishedAt']} for want of memory, "
                    "with the connections it held: raise spec.proxy.resources.limits.memory"
                )
    return ""


def is_settling(written_at: datetime, now: datetime, has_trouble: bool) -> bool:
    """Whether a rollout that is not complete may still be expected to complete by itself.

    Not one from the future: it is of another clock, which may be far ahead.
    """
    return not has_trouble and timedelta() <= now - written_at < SETTLE_LIMIT


def _pod_trouble(pod: Json) -> str:
    name = pod["metadata"]["name"]
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in _HARMLESS:
            told = f"pod {name}: {waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")
            return told + _last_end(container)
    for condition in conditions(pod):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"pod {name}: {condition.get('reason')}: {condition.get('message', '')}".rstrip(": ")
    return ""


def _last_end(container: Json) -> str:
    """How the container ended when it last did, with the end of its log where the cluster keeps that."""
    ended = _ended(container)
    if ended.get("exitCode") is None:
        return ""
    reason = f", {ended['reason']}" if ended.get("reason") not in (None, "Error", "Completed") else ""
    log = f": {_alert(ended['message'])}" if ended.get("message") else ""
    return f" (its last exit code was {ended['exitCode']}{reason}{log})"


def _ended(container: Json) -> Json:
    return (container.get("lastState") or {}).get("terminated") or {}


def _alert(log: str) -> str:
    """The line that says why HAProxy did not start, of all that it logged; else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or [""]
    return next((line for line in lines if line.startswith("[ALERT]")), lines[-1])[:300]


def _carries(pod: Json, digest: str) -> bool:
    return annotations(pod).get(CONFIG_ANNOTATION) == digest
