"""The conditions of a Kanary, by the Kubernetes API conventions: each has a reason for both states."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.model.status import Condition, KanaryStatus
from engine.model.times import time_text
from states import ConditionReason, Decision
from states.outlook import OUTLOOKS, Outlook

READY = "Ready"
RECONCILING = Outlook.RECONCILING.value
STALLED = Outlook.STALLED.value
HISTORY_RECORDED = "HistoryRecorded"


@dataclass(frozen=True, slots=True)
class Recording:
    """Whether the history records entries, with a reason in one word and a message in either case."""

    is_recorded: bool
    reason: str
    message: str


RECORDED = Recording(True, ConditionReason.RECORDED.value, "changes are written to the history database")
ENTRIES_LOST = ConditionReason.ENTRIES_LOST.value
DISABLED = Recording(False, ConditionReason.DISABLED.value, "history is disabled (KANARY_HISTORY_URL is empty)")


def conditions(
    before: Sequence[Condition],
    *,
    is_ready: bool,
    decision: Decision,
    recording: Recording,
    generation: int,
    now: str,
    staleness: str = "",
) -> tuple[Condition, ...]:
    """All conditions; a transition time changes only with its status.

    `staleness` says why the cluster is not known as it is.
    """
    outlook = None if is_ready else OUTLOOKS[decision.reason]
    known = {condition.type: condition for condition in before}

    def condition(type_: str, holds: bool | None, reason: str, message: str) -> Condition:
        status = "Unknown" if holds is None else str(holds)
        last = known.get(type_)
        return Condition(
            type=type_,
            status=status,
            observed_generation=generation,
            last_transition_time=last.last_transition_time if last and last.status == status else now,
            reason=reason,
            message=message,
        )

    ready = condition(READY, is_ready, decision.reason.value, decision.message)
    if staleness:
        ready = condition(READY, None, ConditionReason.COPY_STALE.value, staleness)
    return (
        ready,
        condition(RECONCILING, outlook is Outlook.RECONCILING, decision.reason.value, decision.message),
        condition(STALLED, outlook is Outlook.STALLED, decision.reason.value, decision.message),
        condition(HISTORY_RECORDED, recording.is_recorded, recording.reason, recording.message),
    )


def reports_defect(status: KanaryStatus, defect: str) -> bool:
    """Whether the condition Ready reports this defect already."""
    ready = next((condition for condition in status.conditions if condition.type == READY), None)
    return ready is not None and ready.status == "Unknown" and ready.message.startswith(defect)


def with_defect(
    status: KanaryStatus, message: str, now: datetime, reason: ConditionReason = ConditionReason.RECONCILE_FAILED
) -> KanaryStatus:
    """The status with the condition Ready set to Unknown, because the Kanary cannot be reconciled."""
    last = next((condition for condition in status.conditions if condition.type == READY), None)
    is_reported = last is not None and last.status == "Unknown"
    failing = Condition(
        type=READY,
        status="Unknown",
        observed_generation=last.observed_generation if last else status.observed_generation,
        last_transition_time=last.last_transition_time if last and is_reported else time_text(now),
        reason=reason.value,
        message=message,
    )
    others = tuple(condition for condition in status.conditions if condition.type != READY)
    return status.model_copy(update={"conditions": (failing, *others)})
