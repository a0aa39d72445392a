"""The conditions Ready and Progressing, as the Kubernetes API conventions have them: each has a reason either way."""

from collections.abc import Sequence

from engine.api import Condition
from states import Decision, Phase, Reason

READY = "Ready"
PROGRESSING = "Progressing"


def conditions(
    before: Sequence[Condition], phase: Phase, decision: Decision, generation: int, now: str
) -> tuple[Condition, ...]:
    """Both conditions for a Kanary in `phase`; a transition time changes only with its status."""
    is_ready = phase is Phase.READY
    is_progressing = phase in (Phase.RENDERING, Phase.ROLLING) and decision.reason is not Reason.PAUSED
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
