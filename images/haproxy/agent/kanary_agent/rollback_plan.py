"""The plan in a configuration for a rollback without the operator: one line, while a rollout is under way."""

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

from kanary_agent import texts

_PLAN = re.compile(r"^# rollback (\{.*\})$", re.MULTILINE)
_HALF = 12
_NO_SPLIT = "0" * _HALF
"""The first half of the digest of a configuration that was rolled back: the operator has rendered no such split."""


class RollbackPlan(NamedTuple):
    """The last good weights, and when to return to them (`RollbackPlan` of `engine/render/rollback.py`)."""

    revision: int
    """The revision that is judged."""
    split: str
    """The turns and weights of the last good revision."""
    canaries: dict[str, dict[int, float]]
    """By backend: its part of the connections to itself and the others, by revision, the oldest one first."""
    others: list[str]
    """The backends that the canaries are compared with."""
    steps: int
    """Of the rollout."""
    false_alarms: float
    """How probable it may be that this proxy rolls back a rollout of good canaries."""
    ratio: float
    fraction: float
    """What is tolerated (`Tolerance` of `states/evidence.py`)."""


@lru_cache(maxsize=2)
def plan_of(text: str) -> RollbackPlan | None:
    """The plan in a configuration, if there is one that this version can read."""
    found = _PLAN.search(text)
    try:
        return _read(json.loads(found[1])) if found else None
    except (ValueError, TypeError, AttributeError):
        # Of an operator of another version: without its plan, everything else in the configuration is served.
        return None


def _read(content: dict[str, Any]) -> RollbackPlan:
    plan = RollbackPlan(**content)
    canaries = {
        name: {int(revision): shares[revision] for revision in sorted(shares, key=int)}
        for name, shares in plan.canaries.items()
    }
    return plan._replace(canaries=canaries)


@lru_cache(maxsize=1)
def rolled_back(text: str) -> str:
    """The configuration with the last good weights, which nothing counts, and with a digest of its own.

    The same text if it has no plan, or has them already.
    """
    plan = plan_of(text)
    if plan is None:
        return text
    digest = f"str({_NO_SPLIT}{texts.digest_of(text)[_HALF:]})"
    changes = {texts.DIGEST: digest, texts.SPLIT: f"str({plan.split})", texts.REVISION: texts.NO_REVISION}
    for name, value in changes.items():
        text = re.sub(rf"^(  set-var {re.escape(name)}) .*$", rf"\1 {value}", text, count=1, flags=re.MULTILINE)
    return text
