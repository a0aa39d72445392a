"""The state machine as one table: every legal move of a Kanary is a row of `TRANSITIONS`."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

State = TypeVar("State", bound=StrEnum)
Move = TypeVar("Move", bound=StrEnum)


class Phase(StrEnum):
    """The phase of a Kanary; the value is that of `status.phase`."""

    PENDING = "Pending"
    RENDERING = "Rendering"
    ROLLING = "Rolling"
    READY = "Ready"
    DEGRADED = "Degraded"


class Trigger(StrEnum):
    """A move that a rule may request from the machine."""

    WAIT = "wait"
    RENDER = "render"
    ROLL = "roll"
    COMPLETE = "complete"
    DEGRADE = "degrade"


@dataclass(frozen=True, slots=True)
class Transition(Generic[State, Move]):
    """One row of a table: `trigger` moves from any of `sources` to `destination`."""

    trigger: Move
    sources: tuple[State, ...]
    destination: State


TRANSITIONS: tuple[Transition[Phase, Trigger], ...] = (
    Transition(Trigger.WAIT, (Phase.RENDERING, Phase.ROLLING, Phase.READY, Phase.DEGRADED), Phase.PENDING),
    Transition(Trigger.RENDER, (Phase.PENDING, Phase.ROLLING, Phase.READY, Phase.DEGRADED), Phase.RENDERING),
    Transition(Trigger.ROLL, (Phase.RENDERING, Phase.READY, Phase.DEGRADED), Phase.ROLLING),
    Transition(Trigger.COMPLETE, (Phase.ROLLING,), Phase.READY),
    Transition(Trigger.DEGRADE, (Phase.PENDING, Phase.RENDERING, Phase.ROLLING, Phase.READY), Phase.DEGRADED),
)


def next_phase(phase: Phase, trigger: Trigger) -> Phase | None:
    """The phase that `trigger` leads to from `phase`, or None if the table has no such row."""
    for row in TRANSITIONS:
        if row.trigger is trigger and phase in row.sources:
            return row.destination
    return None
