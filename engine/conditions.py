"""The conditions Ready and Progressing, as the Kubernetes API conventions have them: each has a reason either way."""

from collections.abc import Sequence

from engine.api import Condition
from states import Decision, Reason

READY = "Ready"
PROGRESSING = "Progressing"


_STUCK = (Reason.PAUSED, Reason.PROGRESS_DEADLINE_EXCEEDED, Reason.REFUSED_BY_CLUSTER, Reason.OBJECT_EXISTS)


def conditions(
    before: Sequence[Condition], *, is_ready: bool, is_behind: bool, decision: Decision, generation: int, now: str
) -> tuple[Condition, ...]:
    """Both conditions; a transition time changes only with its status.

    `is_behind` says that proxies are to serve something that they do not all serve yet. That is progress in any phase,
    Degraded included, unless the reason says that nothing moves.
    """
    is_progressing = is_behind and decision.reason not in _STUCK
    known = {condition.type: condition for condition in before}

    def condition(type_: str, holds: bool) -> Condition:
        status = "True" if holds else "False"
        last = known.get(type_)
        return Condition(
            type=type_,
            status=status,
            observed_generation=generation,
            last_transition_time=last.last_transition_time if last and last.status == status else now,
            reason=decision.reason.value,
            message=decision.message,
        )

    return condition(READY, is_ready), condition(PROGRESSING, is_progressing)
