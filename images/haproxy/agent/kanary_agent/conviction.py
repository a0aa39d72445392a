"""The verdict of one proxy on the canaries of a rollout, from what it has counted itself."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kanary_agent.revisions import Counted
from kanary_agent.rollback_plan import RollbackPlan

TOLERANCE = 3
TOLERANCE_PERCENT = 1
"""How many connections more or less than its share a canary may have got, as in `engine/fleet/tally.py`."""

Counts = Mapping[int, Mapping[str, Counted]]
"""By revision and backend."""

NONE = Counted()


class Conviction(NamedTuple):
    """A canary that fails, and its counts in the revision in which it does."""

    revision: int
    canary: str
    own: Counted
    others: Counted
    chance: float
    """At most this is the probability that such a proxy ever has as much evidence against a good canary."""


class _Step(NamedTuple):
    """What this proxy has counted of a canary and the others in one revision."""

    share: float
    """The canary's part of the connections to both."""
    own: Counted
    others: Counted

    @property
    def is_split(self) -> bool:
        """Whether the canary has got its share: the test depends on it."""
        total = self.own.connections + self.others.connections
        tolerance = TOLERANCE + total * min(self.share, 1 - self.share) * TOLERANCE_PERCENT / 100
        return abs(self.own.connections - total * self.share) <= tolerance


def conviction_of(plan: RollbackPlan, counts: Counts) -> Conviction | None:
    """The conviction of a canary, if the counts suffice for one."""
    shares = {canary: of for canary, of in plan.canaries.items() if plan.revision in of}
    found = (_conviction(plan, canary, counts) for canary in shares)
    return next((conviction for conviction in found if conviction), None)


def _conviction(plan: RollbackPlan, canary: str, counts: Counts) -> Conviction | None:
    shares = plan.canaries[canary]
    steps = [_step(share, counts.get(revision, {}), canary, plan.others) for revision, share in shares.items()]
    *former, present = steps
    former = [step for step in former if step.own.connections and step.is_split]
    if not present.own.failed or not present.is_split:
        return None
    had_others = any(step.share < 1 for step in steps)
    if present.share == 1 and had_others and not any(step.others.connections for step in former):
        # This proxy is new: it cannot know how often the others have failed.
        return None
    chance = _chance(plan, [*former, present])
    if chance > plan.false_alarms:
        return None
    return Conviction(plan.revision, canary, present.own, present.others, chance)


def _step(share: float, counts: Mapping[str, Counted], canary: str, others: Iterable[str]) -> _Step:
    found = [counts.get(name, NONE) for name in others]
    total = Counted(sum(each.connections for each in found), sum(each.failed for each in found))
    return _Step(share, counts.get(canary, NONE), total)


def _chance(plan: RollbackPlan, steps: list[_Step]) -> float:
    # Only now: it takes more than a megabyte, which most agents never need.
    from states import evidence  # noqa: PLC0415  see above

    samples = [evidence.Sample(evidence.Counts(*step.own), evidence.Counts(*step.others), step.share) for step in steps]
    tolerance = evidence.Tolerance(plan.ratio, plan.fraction)
    analysis = evidence.Analysis(plan.false_alarms, tolerance, plan.fraction)
    return evidence.chance_of_evidence(samples, analysis, max(plan.steps, len(samples)), len(plan.canaries))
