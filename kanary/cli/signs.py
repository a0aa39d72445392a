"""Signs for what is fine and what is not. A word always says the same: signs and colours only help to find it."""

from __future__ import annotations

from dataclasses import dataclass

from states import Phase
from states.rollouts import RolloutState


@dataclass(frozen=True)
class Sign:
    """A sign, the ASCII character for terminals without it, and its style."""

    symbol: str
    ascii: str
    style: str


GOOD = Sign("✔", "+", "green")
BAD = Sign("✘", "x", "bold red")
WARNING = Sign("!", "!", "yellow")
MOVING = Sign("↻", "~", "cyan")
UNKNOWN = Sign("?", "?", "magenta")

_PHASES = {
    Phase.PENDING: WARNING,
    Phase.RENDERING: MOVING,
    Phase.ROLLING: MOVING,
    Phase.READY: GOOD,
    Phase.DEGRADED: BAD,
}
_ROLLOUTS = {
    RolloutState.SHIFTING: MOVING,
    RolloutState.WATCHING: MOVING,
    RolloutState.WAITING: WARNING,
    RolloutState.ROLLING_BACK: BAD,
    RolloutState.ROLLED_BACK: BAD,
    RolloutState.COMPLETED: GOOD,
}


def sign_of_phase(phase: str) -> Sign:
    """The sign of a phase, also of a newer version."""
    return next((sign for known, sign in _PHASES.items() if known == phase), UNKNOWN)


def sign_of_rollout(state: RolloutState) -> Sign:
    """The sign of a rollout's state."""
    return _ROLLOUTS[state]
