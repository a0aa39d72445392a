"""The Events of a change, from the status before it and the one after it.

A change that is served within a second is one Event. A slower one has an Event for each step, for `kubectl describe`.
"""

from dataclasses import dataclass

from engine.model.status import KanaryStatus
from states import Phase, Reason


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event."""

    reason: str
    message: str
    is_warning: bool = False


def announcements(before: KanaryStatus, after: KanaryStatus) -> tuple[Announcement, ...]:
    """The Events for a status that is written."""
    served, ejected = _weights_changed(before, after), _ejected(before, after)
    is_same = (before.phase, before.reason) == (after.phase, after.reason)
    if is_same or _is_unannounced(after) or (served and after.phase == Phase.READY):
        return (*served, *ejected)
    last = Announcement(after.reason, after.message, is_warning=after.phase == Phase.DEGRADED)
    # Of a change that is served, the result is enough.
    is_slow = _is_unannounced(before) and after.phase != Phase.READY
    begun = (Announcement(before.reason, before.message),) if is_slow else ()
    return (*begun, *served, last, *ejected)


def _ejected(before: KanaryStatus, after: KanaryStatus) -> tuple[Announcement, ...]:
    """An Event for each route whose first pod is ejected; the text is the same each time, so that Events add up."""
    former = {route.backend for route in before.weights if route.ejected}
    text = "a pod resets the connections that it accepts, and receives none for a while: the agents' logs name it"
    return tuple(
        Announcement("PodEjected", f"{route.backend}: {text}", is_warning=True)
        for route in after.weights
        if route.ejected and route.backend not in former
    )


def _is_unannounced(status: KanaryStatus) -> bool:
    """Whether the status has a change that nothing was done for yet: its Event follows if it is not served at once."""
    return (status.phase, status.reason) == (Phase.RENDERING, Reason.CONFIGURATION_CHANGED)


def _weights_changed(before: KanaryStatus, after: KanaryStatus) -> tuple[Announcement, ...]:
    """The Event for other weights that every proxy serves; the first weights change nothing."""
    if not (before.weights and before.display and after.display) or before.display.weights == after.display.weights:
        return ()
    note = f"weights changed from {before.display.weights} to {after.display.weights} (revision {after.revision})"
    return (Announcement("WeightsChanged", note),)
