"""The state machine of a rollout as a second table: every legal move is a row of `ROLLOUT_TRANSITIONS`.

A rollout moves from the last good weights to the declared ones in steps. The phases of the Kanary stay what they are:
each step is a revision that the proxies load as any other.
"""

from enum import StrEnum

from states.phases import Transition


class RolloutState(StrEnum):
    """The state of a rollout; the value is that of `status.rollout.state`."""

    SHIFTING = "Shifting"
    """The weights of a step are decided, and not every proxy serves them yet."""
    WATCHING = "Watching"
    """Every proxy serves them, and the time of the step passes."""
    WAITING = "Waiting"
    """Something is missing before the next step, or the rollout is paused."""
    ROLLING_BACK = "RollingBack"
    """The last good weights are decided again, and not every proxy serves them yet."""
    ROLLED_BACK = "RolledBack"
    """Every proxy serves the last good weights. The declared ones are not tried again."""
    COMPLETED = "Completed"
    """The declared weights are the last good ones; also if there has never been a rollout."""


UNDER_WAY = (RolloutState.SHIFTING, RolloutState.WATCHING, RolloutState.WAITING)
"""The states between the begin and the verdict."""


ENDED = (RolloutState.ROLLED_BACK, RolloutState.COMPLETED)
"""The states in which nothing moves until another rollout begins."""


class RolloutTrigger(StrEnum):
    """A move that a rule may request from the machine."""

    BEGIN = "begin"
    ADVANCE = "advance"
    WATCH = "watch"
    HOLD = "hold"
    PAUSE = "pause"
    RESUME = "resume"
    FAIL = "fail"
    RESTORE = "restore"
    COMPLETE = "complete"
    RETURN = "return"
    """The user declares the last good weights again."""


_S, _T = RolloutState, RolloutTrigger
ROLLOUT_TRANSITIONS: tuple[Transition[RolloutState, RolloutTrigger], ...] = (
    Transition(_T.BEGIN, tuple(RolloutState), _S.WAITING),
    Transition(_T.ADVANCE, (_S.WATCHING, _S.WAITING), _S.SHIFTING),
    Transition(_T.WATCH, (_S.SHIFTING, _S.WAITING), _S.WATCHING),
    Transition(_T.HOLD, (_S.SHIFTING, _S.WATCHING), _S.WAITING),
    Transition(_T.PAUSE, (_S.WATCHING, _S.WAITING), _S.WAITING),
    Transition(_T.RESUME, (_S.WAITING,), _S.WAITING),
    Transition(_T.FAIL, UNDER_WAY, _S.ROLLING_BACK),
    Transition(_T.RESTORE, (_S.ROLLING_BACK,), _S.ROLLED_BACK),
    Transition(_T.COMPLETE, (_S.WATCHING, _S.WAITING), _S.COMPLETED),
    Transition(_T.RETURN, (*UNDER_WAY, _S.ROLLING_BACK, _S.ROLLED_BACK), _S.COMPLETED),
)
