"""What is known about a rollout by steps: the input of its rules."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from states.evidence import VerdictKind
from states.reasons import Reason
from states.rollouts import RolloutState
from states.snapshot import Problem


class OnInconclusive(StrEnum):
    """What happens to a step whose evidence does not suffice in time (`spec.rollout.analysis.onInconclusive`)."""

    PAUSE = "Pause"
    """It waits for `kanary promote` or `kanary abort`."""
    PROCEED = "Proceed"
    """The next step follows."""
    ROLLBACK = "Rollback"
    """The last good weights return."""


class OnFailure(StrEnum):
    """What a failed verdict leads to (`spec.rollout.onFailure`)."""

    ROLLBACK = "Rollback"
    """The last good weights return at once."""
    PAUSE = "Pause"
    """The step stays until `kanary promote` or `kanary abort`."""


WORST_FIRST = (VerdictKind.FAILED, VerdictKind.INCONCLUSIVE, VerdictKind.PASSED)
"""The order in which one of several verdicts decides."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, with its numbers in a sentence."""

    verdict: VerdictKind = VerdictKind.PASSED
    text: str = ""


@dataclass(frozen=True, slots=True)
class RolloutSnapshot:
    """Everything known about one rollout at the moment `now`."""

    state: RolloutState
    now: datetime
    reason: Reason | None = None
    """Of the last decision."""
    message: str = ""
    waited: timedelta = timedelta()
    """For how long the rollout has had this state and reason, without pauses."""
    number: int = 0
    """Counts the rollouts of a Kanary."""
    is_new: bool = False
    """The declared weights are not those to which the rollout leads, or led."""
    is_former: bool = False
    """They are the last good ones."""
    step: int = 0
    """Counts from 1; 0 before the first one."""
    steps: int = 1
    is_served: bool = False
    """Every proxy that accepts connections splits them as decided."""
    unreached: tuple[str, ...] = ()
    """The canaries that no connection reaches."""
    absent: tuple[str, ...] = ()
    """The canaries without a pod that serves."""
    served: timedelta = timedelta()
    """For how long the step has been served, without pauses."""
    duration: timedelta = timedelta()
    """For how long it has to be."""
    until_promoted: bool = False
    promoted_step: int = -1
    """The step that was promoted by hand, with all before it; -1 if none was."""
    promotion: str = ""
    """By whom and why it was promoted; empty if none was."""
    paused: str = ""
    """By whom and why; empty if it is not paused."""
    resumed: str = ""
    """By whom and why a pause was ended by hand, if one was."""
    aborted: str = ""
    retried: str = ""
    frozen: Problem | None = None
    """Why no weight may change, except back."""
    closed: Problem | None = None
    """Why no step may start now."""
    opens: timedelta | None = None
    """How long that, or the freeze, lasts; None if it has no end."""
    deadline: timedelta = timedelta(seconds=600)
    """How long the proxies may take to serve a step, and the canaries to have pods."""
    judgement: Judgement = Judgement()
    """Of this step."""
    after: Judgement = Judgement()
    """The answers of the webhooks after this step."""
    before: Judgement = Judgement()
    """The answers of the webhooks before the next step."""
    max_wait: timedelta = timedelta()
    """How long a step may wait for evidence."""
    on_inconclusive: OnInconclusive = OnInconclusive.PAUSE
    on_failure: OnFailure = OnFailure.ROLLBACK

    @property
    def promoted(self) -> bool:
        """Whether this step was promoted by hand."""
        return self.promoted_step >= self.step

    @property
    def place(self) -> str:
        """The step in words."""
        return f"step {self.step}/{self.steps}" if self.step else f"the start of step 1/{self.steps}"
