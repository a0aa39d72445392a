"""What a Kanary can be, what may change it, and which rule decides: data and pure functions, nothing else."""

from states.actions import KEEP_SERVING, Action
from states.phases import TRANSITIONS, Phase, Transition, Trigger, next_phase
from states.reasons import Reason
from states.rules import RULES, Decision, decide, degraded
from states.snapshot import OnEmptyRoute, Problem, Rollout, RouteFacts, Snapshot, Source, UpdateStrategy
from states.source import which_spec

__all__ = [
    "KEEP_SERVING",
    "RULES",
    "TRANSITIONS",
    "Action",
    "Decision",
    "OnEmptyRoute",
    "Phase",
    "Problem",
    "Reason",
    "Rollout",
    "RouteFacts",
    "Snapshot",
    "Source",
    "Transition",
    "Trigger",
    "UpdateStrategy",
    "decide",
    "degraded",
    "next_phase",
    "which_spec",
]
