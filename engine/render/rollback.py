"""What the agents need to return to the last good weights without the operator: one line of the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from engine.model.weight import TOTAL_WEIGHT, decimal_text


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The last good weights, and when an agent returns to them by itself (`docs/verdicts.md`).

    Raises ValueError for weights that do not sum to 100.
    """

    weights: Mapping[str, Decimal]
    """The last good ones, by backend."""
    further: tuple[Mapping[str, Decimal], ...] = field(default=(), kw_only=True)
    """The same of each further port."""
    canaries: Mapping[str, Mapping[int, float]]
    """By backend: its part of the connections to itself and the others, by revision."""
    others: tuple[str, ...]
    """The backends that the canaries are compared with."""
    steps: int
    """Of the rollout."""
    false_alarms: float
    """How probable it may be that one proxy rolls back a rollout of good canaries."""
    ratio: float
    fraction: float
    """What is tolerated: see `states.evidence.Tolerance`."""

    def __post_init__(self) -> None:
        total = sum(self.weights.values(), Decimal())
        if total != TOTAL_WEIGHT:
            raise ValueError(f"the last good weights sum to {decimal_text(total)}: they must sum to {TOTAL_WEIGHT}")

    def line(self, revision: int, split: str) -> str:
        """The line for this revision; `split` are the turns and weights to return to."""
        content = {
            "revision": revision,
            "split": split,
            "canaries": self.canaries,
            "others": self.others,
            "steps": self.steps,
            "false_alarms": self.false_alarms,
            "ratio": self.ratio,
            "fraction": self.fraction,
        }
        return f"# rollback {json.dumps(content)}"
