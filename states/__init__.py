"""The phases of a Kanary, the transitions between them and the rules that decide: data and pure functions only."""

from states.actions import KEEP_SERVING, Action
from states.decision import Decision
from states.phases import TRANSITIONS, Phase, Transition, Trigger, next_phase
from states.reasons import ConditionReason, EventReason, Reason
from states.rules import RULES, decide, degraded
from states.snapshot import (
    Delivery,
    Difference,
    OnEmptyRoute,
    Problem,
    Progress,
    RouteFacts,
    Snapshot,
    UnreachedRoute,
    UpdateStrategy,
)
from states.timing import Requeue, left, soonest

__all__ = [
    "KEEP_SERVING",
    "RULES",
    "TRANSITIONS",
    "Action",
    "ConditionReason",
    "Decision",
    "Delivery",
    "Difference",
    "EventReason",
    "OnEmptyRoute",
    "Phase",
    "Problem",
    "Progress",
    "Reason",
    "Requeue",
    "RouteFacts",
    "Snapshot",
    "Transition",
    "Trigger",
    "UnreachedRoute",
    "UpdateStrategy",
    "decide",
    "degraded",
    "left",
    "next_phase",
    "soonest",
]
