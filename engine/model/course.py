"""The state of a rollout, as `status.rollout` and the proxies' ConfigMap store it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from engine.fleet.tally import Tally
from engine.model.shape import Shape, Time
from engine.model.spec import Route
from engine.model.weight import TOTAL_WEIGHT, Weight
from states import Reason
from states.rollouts import ENDED, RolloutState

_REASONS = frozenset(Reason)


class StepEvidence(Shape):
    """What the proxies have counted in one step."""

    step: int
    """Counts from 1."""
    revision: int
    """Of the weights of this step."""
    tally: Tally
    """Connections that began in this step, and those of them that failed."""

    @property
    def weights(self) -> Mapping[str, Weight]:
        """The weights of the routes that are compared, by backend."""
        return {backend: route.weight for backend, route in self.tally.routes.items()}

    def counted(self, tally: Tally) -> "StepEvidence":
        """With another tally."""
        return self if tally is self.tally else self.model_copy(update={"tally": tally})

    def continued(self, revision: int) -> "StepEvidence":
        """With a further revision of the same weights, of which nothing is counted yet."""
        return self.without_ledgers().model_copy(update={"revision": revision})

    def without_ledgers(self) -> "StepEvidence":
        """Without what only further reports need."""
        return self.counted(self.tally.model_copy(update={"ledgers": {}})) if self.tally.ledgers else self


class RolloutStatus(Shape):
    """A rollout: the last one, or the one under way.

    Raises ValueError for an unknown state, and for routes whose weights do not sum to 100: a status may be edited.
    """

    number: int = Field(default=0, ge=0)
    """Counts the rollouts of this Kanary."""
    state: RolloutState = RolloutState.COMPLETED
    """Where it is in its state machine."""
    reason: str = ""
    """Why, in one word."""
    message: str = ""
    """Why, in a sentence."""
    cause: str = ""
    """Why it began; empty if the spec declared other weights."""
    since: Time | None = None
    """Since when the rollout has this state and reason."""
    step: int = Field(default=0, ge=0)
    """The step that is served, or about to be; 0 before the first one."""
    steps: int = 0
    """Number of steps."""
    to: Weight | None = None
    """How far this step is on the way, in percent."""
    seconds: float = Field(default=0, ge=0, allow_inf_nan=False)
    """For how long the step has been served, without pauses."""
    waited_seconds: float = Field(default=0, ge=0, allow_inf_nan=False)
    """For how long the rollout has had this state and reason, without pauses: what the progress deadline limits."""
    counted_at: Time | None = None
    """Up to when these seconds are counted."""
    rule: str = ""
    """The rule that decided this, as `kanary why` and docs/state-machine.md list them."""
    until: Time | None = None
    """Until when this lasts at the latest, if nothing changes; absent if there is no limit."""
    then: str | None = None
    """What happens at that time."""
    good: tuple[Route, ...] = ()
    """The last good routes: those that return if the rollout fails."""
    start: tuple[Route, ...] = ()
    """The routes in force when it began."""
    goal: tuple[Route, ...] = ()
    """The routes to which it leads, or led."""
    evidence: tuple[StepEvidence, ...] = ()
    """Of each step so far."""
    verdict: str = ""
    """The last verdict with its numbers, in a sentence."""
    is_announced: bool = False
    """Whether every webhook about the end of the rollout has been answered."""
    judged_from: int = 1
    """The first step that counts for it: those before were promoted in spite of a failed verdict."""

    @model_validator(mode="after")
    def _can_be_resumed(self) -> Self:
        routes = self.good, self.start, self.goal
        is_number_only = self.state is RolloutState.COMPLETED and not any(routes)
        if not is_number_only and any(sum(route.weight for route in each) != TOTAL_WEIGHT for each in routes):
            raise ValueError(f"the weights of good, start or goal do not sum to {TOTAL_WEIGHT}")
        if (self.step == 0) != (self.to is None):
            raise ValueError(f"step {self.step} does not match to")
        return self

    @property
    def known_reason(self) -> Reason | None:
        """The reason; None for that of another version."""
        return Reason(self.reason) if self.reason in _REASONS else None

    @property
    def served(self) -> timedelta:
        """For how long the step has been served, without pauses."""
        return timedelta(seconds=self.seconds)

    @property
    def is_known(self) -> bool:
        """Whether more than its number is known: without `spec.rollout`, nothing else is kept."""
        return bool(self.number and self.reason)

    @property
    def open_verdict(self) -> str:
        """The last verdict while the rollout is judged; empty when it has ended, and needs no more connections."""
        return "" if self.state in ENDED else self.verdict

    @property
    def tally(self) -> Tally | None:
        """What is counted in the present step; None as long as nothing is."""
        last = self.evidence[-1] if self.evidence else None
        return last.tally if last and last.step == self.step else None

    @property
    def place(self) -> str:
        """The step in short, such as `2/4 10%`."""
        return f"{self.step}/{self.steps} {self.to}%" if self.to is not None else f"{self.step}/{self.steps}"
