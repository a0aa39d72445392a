"""Orders by hand: annotations of a Kanary, so that they work while no operator runs.

Each names the rollout that it is about, and `promote` the step, so that sending it twice changes nothing.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from engine.model.shape import Shape
from states.texts import harmless

PROMOTE = "kanary.k8s.io/promote"
PAUSE = "kanary.k8s.io/pause"
RESUME = "kanary.k8s.io/resume"
"""Says who ended the pause and why; the absence of `PAUSE` ends it."""
ABORT = "kanary.k8s.io/abort"
RETRY = "kanary.k8s.io/retry"
ORDERS = (PROMOTE, PAUSE, RESUME, ABORT, RETRY)
LONGEST_TEXT = 200
"""Characters."""


class Command(Shape):
    """One order."""

    rollout: int = 0
    """The number of the rollout that it is about."""
    step: int = 0
    """Of `promote`: all steps up to this one have passed; one less than the number of steps starts the last one."""
    by: str = Field(default="", max_length=LONGEST_TEXT)
    """Who gave it."""
    reason: str = Field(default="", max_length=LONGEST_TEXT)
    """Why."""

    @property
    def text(self) -> str:
        """By whom and why, on one line."""
        by = f"by {self.by}" if self.by else "by hand"
        return harmless(f"{by}: {self.reason}" if self.reason else by)


def read_command(kanary: Mapping[str, Any], annotation: str) -> Command | None:
    """The order in an annotation; None if there is none, or it is invalid."""
    text = (kanary["metadata"].get("annotations") or {}).get(annotation)
    try:
        return Command.model_validate(json.loads(text or ""), by_alias=True, by_name=False)
    except (TypeError, ValueError, ValidationError, RecursionError):
        return None


def command_for(kanary: Mapping[str, Any], annotation: str, rollout: int) -> Command | None:
    """The order about this rollout."""
    command = read_command(kanary, annotation)
    return command if command and command.rollout == rollout else None
