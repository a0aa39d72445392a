"""The conditions, as the Kubernetes API conventions have them: each has a reason either way."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.model.api import Condition
from states import Decision, Reason

READY = "Ready"
PROGRESSING = "Progressing"
HISTORY_RECORDED = "HistoryRecorded"


_STUCK = (Reason.PAUSED, Reason.PROGRESS_DEADLINE_EXCEEDED, Reason.REFUSED_BY_CLUSTER, Reason.OBJECT_EXISTS)


@dataclass(frozen=True, slots=True)
class Recording:
    """Whether the history takes what happens, with the reason in one word and the message either way."""

    is_recorded: bool
    reason: str
    message: str


NOT_KEPT = Recording(False, "NotKept", "no history is kept: the operator runs without one")


def conditions(
    before: Sequence[Condition],
    *,
    is_ready: bool,
    is_behind: bool,
    decision: Decision,
    recording: Recording,
    generation: int,
    now: str,
) -> tuple[Condition, ...]:
    """All of them; a transition time changes only with its status.

    `is_behind` says that proxies are to serve something that they do not all serve yet. That is progress in any phase,
    Degraded included, unless the reason says that nothing moves.
    """
    is_progressing = is_behind and decision.reason not in _STUCK
    known = {condition.type: condition for condition in before}

    def condition(type_: str, holds: bool, reason: str, message: str) -> Condition:
        status = "True" if holds else "False"
        last = known.get(type_)
        return Condition(
            type=type_,
            status=status,
            observed_generation=generation,
            last_transition_time=last.last_transition_time if last and last.status == status else now,
            reason=reason,
            message=message,
        )

    return (
        condition(READY, is_ready, decision.reason.value, decision.message),
        condition(PROGRESSING, is_progressing, decision.reason.value, decision.message),
        condition(HISTORY_RECORDED, recording.is_recorded, recording.reason, recording.message),
    )
