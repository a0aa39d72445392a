"""What the built-in kinds demand and fill in, beyond what every object does. Minimal on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Cause, Object
from ..storage import Storage
from . import definitions, disruption, leases, namespaces, pods, services, workloads

# New object, old object (None on create), the cluster. `complete` changes the new object.
Complete = Callable[[Object, Object | None, Storage], None]
Check = Callable[[Object, Object | None, Storage], list[Cause]]


def _nothing(new: Object, old: Object | None, storage: Storage) -> None:
    """Fills in nothing."""


def _no_objection(new: Object, old: Object | None, storage: Storage) -> list[Cause]:
    return []


@dataclass(frozen=True)
class Rules:
    """A kind's defaults and allocated values, and its validation."""

    complete: Complete = _nothing
    check: Check = _no_objection


_RULES = {
    "Service": Rules(services.complete, services.check),
    "Deployment": Rules(workloads.complete_deployment, workloads.check),
    "ReplicaSet": Rules(workloads.complete_replica_set, workloads.check),
    "Pod": Rules(pods.complete_pod, pods.check),
    "Namespace": Rules(namespaces.complete),
    "Lease": Rules(check=leases.check),
    "CustomResourceDefinition": Rules(definitions.complete, definitions.check),
    "PodDisruptionBudget": Rules(check=disruption.check),
}


def rules_of(kind: str) -> Rules:
    return _RULES.get(kind, Rules())
