"""The Events of a change, from the status before it and the one after it.

A change that is served within a second is one Event. A slower one has an Event for each step, for `kubectl describe`.
Of a rollout, the moves are Events: its begin, each step, pauses, waits, the verdict and the end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.entries import RolloutChange, Share
from engine.model.spec import API_VERSION, KIND, Route, weights_text
from engine.model.status import KanaryStatus
from engine.render.adoption import is_switched_back
from engine.render.objects import made_from
from states import EventReason, Phase, Reason
from states.rollout_rules import FAILURES
from states.rollouts import ENDED, RolloutTrigger

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Announcement:
    """One Event."""

    reason: Reason | EventReason | str
    """A string is a reason of another version, from a stored status."""
    message: str
    is_warning: bool = False


_WITH_OTHER_WEIGHTS = (
    RolloutTrigger.BEGIN,
    RolloutTrigger.ADVANCE,
    RolloutTrigger.FAIL,
    RolloutTrigger.RETURN,
)
"""The moves after which the proxies load other weights."""
_FOR_A_PERSON = (*FAILURES, Reason.INCONCLUSIVE)
"""Waits of a rollout that only a person ends."""
_ROUTINE = (Reason.STEP_STARTED, Reason.STEP_WATCHED, Reason.ROLLOUT_BEGUN)
"""Reasons of a phase that only say that a rollout continues."""


def announcements(before: KanaryStatus, after: KanaryStatus) -> tuple[Announcement, ...]:
    """The Events for a status that is written."""
    moves = _moves(before, after)
    ahead = max((index for index, move in enumerate(moves, 1) if move.trigger in _WITH_OTHER_WEIGHTS), default=0)
    rollout = [_move(move, after) for move in moves]
    served = _weights_changed(before, after)
    return (
        *rollout[:ahead],
        *served,
        *rollout[ahead:],
        *_phase_changed(before, after, moves, is_served=bool(served)),
        *_ejected(before, after),
    )


def reverted(live: Json, desired: Json) -> Announcement | None:
    """The Event for what others have changed in an object; the text is the same each time, so that Events add up."""
    if is_switched_back(live, desired):
        text = (
            f"Service {live['metadata']['name']} was changed (kubectl apply, GitOps), so that connections may have "
            "failed, and is switched to the proxies again: take selector and targetPort out of its manifest, or have "
            "the GitOps controller ignore them"
        )
        return Announcement(EventReason.DESTINATION_REVERTED, text, is_warning=True)
    is_scaled = desired["kind"] == "Deployment" and live["spec"].get("replicas") != desired["spec"]["replicas"]
    return _replicas_reverted(desired["metadata"]) if is_scaled and made_from(live, desired) else None


def _replicas_reverted(metadata: Json) -> Announcement:
    kanary = metadata["ownerReferences"][0]["name"]
    text = (
        f"Deployment {metadata['name']} was scaled, which is reverted: scale the Kanary (kubectl scale ky/{kanary}); "
        f"the scaleTargetRef of a HorizontalPodAutoscaler has apiVersion {API_VERSION}, kind {KIND}, name {kanary}"
    )
    return Announcement(EventReason.REPLICAS_REVERTED, text, is_warning=True)


def _moves(before: KanaryStatus, after: KanaryStatus) -> Sequence[RolloutChange]:
    """What the rollout did, oldest first. That a step is served is in the Event for its weights."""
    last = before.history.last if before.history else 0
    return [
        entry
        for entry in (after.history.entries if after.history else ())
        if isinstance(entry, RolloutChange) and entry.number > last and entry.trigger != RolloutTrigger.WATCH
    ]


def _move(move: RolloutChange, after: KanaryStatus) -> Announcement:
    rollout, text = after.rollout, move.message
    if rollout and rollout.number == move.rollout:
        match move.trigger:
            case RolloutTrigger.BEGIN:
                text = f"{text}, from {_weights(rollout.start)} to {_weights(rollout.goal)}"
            case RolloutTrigger.ADVANCE:
                text = f"step {rollout.place} starts: {text}"
            case RolloutTrigger.RESTORE if after.display:
                # The Event for the failure has the evidence.
                text = f"rollout {move.rollout} is rolled back: every proxy serves {after.display.weights}"
    is_bad = move.trigger in (RolloutTrigger.FAIL, RolloutTrigger.RESTORE) or move.reason in _FOR_A_PERSON
    return Announcement(move.reason, text, is_warning=is_bad)


def _weights(routes: Iterable[Route]) -> str:
    return weights_text(Share(backend=str(route.backend), weight=route.weight) for route in routes if route.weight)


def _phase_changed(
    before: KanaryStatus, after: KanaryStatus, moves: Sequence[RolloutChange], *, is_served: bool
) -> tuple[Announcement, ...]:
    """The Event for another phase or reason, unless an Event of the rollout or of the weights says it."""
    is_same = (before.phase, before.reason) == (after.phase, after.reason)
    if is_same or _is_unannounced(after) or (is_served and after.phase == Phase.READY):
        return ()
    is_said = after.reason in {move.reason for move in moves}
    is_routine = after.reason in _ROUTINE and before.phase != Phase.DEGRADED
    is_loading = after.phase == Phase.ROLLING and any(move.trigger in _WITH_OTHER_WEIGHTS for move in moves)
    is_complete = after.phase == Phase.READY and any(move.trigger == RolloutTrigger.COMPLETE for move in moves)
    if is_said or is_routine or is_loading or is_complete:
        return ()
    is_warning = after.phase == Phase.DEGRADED or after.reason in _FOR_A_PERSON
    last = Announcement(after.reason, after.message, is_warning=is_warning)
    # Of a change that is served, the result is enough; a step of a rollout was announced when it started.
    is_slow = _is_unannounced(before) and after.phase != Phase.READY and not _is_in_rollout(after)
    begun = (Announcement(before.reason, before.message),) if is_slow else ()
    return (*begun, last)


def _ejected(before: KanaryStatus, after: KanaryStatus) -> tuple[Announcement, ...]:
    """An Event for each route whose first pod is ejected; the text is the same each time, so that Events add up."""
    former = {route.backend for route in before.weights if route.ejected}
    text = "a pod resets the connections that it accepts, and receives none for a while: the agents' logs name it"
    return tuple(
        Announcement(EventReason.POD_EJECTED, f"{route.backend}: {text}", is_warning=True)
        for route in after.weights
        if route.ejected and route.backend not in former
    )


def _is_unannounced(status: KanaryStatus) -> bool:
    """Whether the status has a change that nothing was done for yet: its Event follows if it is not served at once."""
    return (status.phase, status.reason) == (Phase.RENDERING, Reason.CONFIGURATION_CHANGED)


def _is_in_rollout(status: KanaryStatus) -> bool:
    return status.rollout is not None and status.rollout.state not in ENDED


def _weights_changed(before: KanaryStatus, after: KanaryStatus) -> tuple[Announcement, ...]:
    """The Event for other weights that every proxy serves; the first weights change nothing."""
    if not (before.weights and before.display and after.display) or before.display.weights == after.display.weights:
        return ()
    note = f"weights changed from {before.display.weights} to {after.display.weights} (revision {after.revision})"
    return (Announcement(EventReason.WEIGHTS_CHANGED, note),)
