"""What the built-in kinds fill in and demand, beyond what every object does. Minimal on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import Cause, Object
from ..storage import Storage
from . import budgets, leases, pods, services, workloads

# New object, old object (None on create), the cluster. `complete` changes the new object.
Complete = Callable[[Object, Object | None, Storage], None]
# New object, old object. Raises ApiError 400 for what does not decode.
Check = Callable[[Object, Object | None], list[Cause]]


def _nothing(new: Object, old: Object | None, storage: Storage) -> None:
    """Fills in nothing."""


def _no_objection(new: Object, old: Object | None) -> list[Cause]:
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
    "Pod": Rules(pods.complete_pod),
    "Lease": Rules(check=leases.check),
    "PodDisruptionBudget": Rules(check=budgets.check),
}


def rules_of(kind: str) -> Rules:
    return _RULES.get(kind, Rules())
