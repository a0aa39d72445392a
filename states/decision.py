"""What a rule decides."""

from dataclasses import dataclass

from states.actions import Action
from states.phases import Trigger
from states.reasons import Reason
from states.timing import Limit, Requeue


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a snapshot, and why."""

    trigger: Trigger | None
    """The move to make, or None to stay in the phase."""
    reason: Reason
    message: str
    actions: tuple[Action, ...] = ()
    requeue: Requeue | None = None
    """When to reconcile again if nothing changes before."""
    limit: Limit | None = None
    """Until when this lasts at the latest; None if only a change ends it."""
    rule: str = ""
    """The name of the rule that took the decision."""
