"""What a Kanary can be, what may change it, and which rule decides: data and pure functions, nothing else."""

from states.actions import KEEP_SERVING, Action
from states.phases import TRANSITIONS, Phase, Transition, Trigger, next_phase
from states.reasons import Reason
from states.rules import RULES, Decision, decide, degraded
from states.snapshot import (
    Difference,
    OnEmptyRoute,
    Problem,
    Progress,
    Rollout,
    RouteFacts,
    Snapshot,
    UpdateStrategy,
)
from states.timing import Requeue, left, soonest

__all__ = [
    "KEEP_SERVING",
    "RULES",
    "TRANSITIONS",
    "Action",
    "Decision",
    "Difference",
    "OnEmptyRoute",
    "Phase",
    "Problem",
    "Progress",
    "Reason",
    "Requeue",
    "Rollout",
    "RouteFacts",
    "Snapshot",
    "Transition",
    "Trigger",
    "UpdateStrategy",
    "decide",
    "degraded",
    "left",
    "next_phase",
    "soonest",
]
