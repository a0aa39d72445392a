"""The arithmetic of a rollout and what a Deployment's status says about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import Object


def scaled(value: int | str, replicas: int, *, up: bool) -> int:
    """A number of pods that may be given in percent of the replicas."""
    if isinstance(value, int):
        return value
    share = replicas * int(value.rstrip("%")) / 100
    return math.ceil(share) if up else math.floor(share)


@dataclass(frozen=True)
class Progress:
    """Where a rollout stands: the Deployment's spec, and its pods in all, of the current template, and ready."""

    spec: Object
    pods: int
    updated: int
    ready: int

    @property
    def replicas(self) -> int:
        return int(self.spec["replicas"])

    @property
    def _recreates(self) -> bool:
        return bool(self.spec["strategy"]["type"] == "Recreate")

    @property
    def _surge(self) -> int:
        rolling = self.spec["strategy"].get("rollingUpdate") or {}
        return scaled(rolling.get("maxSurge", "25%"), self.replicas, up=True)

    @property
    def unavailable(self) -> int:
        """How many replicas may be missing."""
        if self._recreates:
            return self.replicas
        rolling = self.spec["strategy"].get("rollingUpdate") or {}
        allowed = scaled(rolling.get("maxUnavailable", "25%"), self.replicas, up=False)
        return allowed if allowed or self._surge else 1

    @property
    def to_create(self) -> int:
        """How many pods of the current template to add."""
        old = self.pods - self.updated
        if self._recreates and old:
            return 0
        room = self.replicas + (0 if self._recreates else self._surge) - self.pods
        return max(0, min(self.replicas - self.updated, room))

    @property
    def surplus(self) -> int:
        """How many pods of the current template are too many."""
        return max(0, self.updated - self.replicas)

    @property
    def may_remove(self) -> int:
        """How many ready pods of older templates can go."""
        return max(0, self.ready - (self.replicas - self.unavailable))

    @property
    def is_available(self) -> bool:
        return self.ready >= self.replicas - self.unavailable

    @property
    def is_complete(self) -> bool:
        return self.replicas == self.pods == self.updated == self.ready


def counts(progress: Progress) -> Object:
    """The status's numbers; a zero is left out, as the server does."""
    numbers = {
        "replicas": progress.pods,
        "updatedReplicas": progress.updated,
        "readyReplicas": progress.ready,
        "availableReplicas": progress.ready,
        "unavailableReplicas": max(progress.pods, progress.replicas) - progress.ready,
    }
    return {key: number for key, number in numbers.items() if number > 0}


def conditions(progress: Progress, known: list[Object], now: str, *, exceeded: bool) -> list[Object]:
    """The conditions Available and Progressing; their times move only when something changed."""
    return [_timed(new, known, now) for new in (_available(progress), _progressing(progress, exceeded=exceeded))]


def _available(progress: Progress) -> Object:
    if progress.is_available:
        return _condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    message = "Deployment does not have minimum availability."
    return _condition("Available", "False", "MinimumReplicasUnavailable", message)


def _progressing(progress: Progress, *, exceeded: bool) -> Object:
    if progress.spec.get("paused"):
        return _condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
    if progress.is_complete:
        return _condition("Progressing", "True", "NewReplicaSetAvailable", "ReplicaSet has successfully progressed.")
    if exceeded:
        return _condition("Progressing", "False", "ProgressDeadlineExceeded", "ReplicaSet has timed out progressing.")
    return _condition("Progressing", "True", "ReplicaSetUpdated", "ReplicaSet is progressing.")


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _timed(new: Object, known: list[Object], now: str) -> Object:
    old = next((condition for condition in known if condition["type"] == new["type"]), None)
    if old is not None and all(old.get(key) == value for key, value in new.items()):
        return old
    changed = now if old is None or old["status"] != new["status"] else old["lastTransitionTime"]
    return new | {"lastUpdateTime": now, "lastTransitionTime": changed}
