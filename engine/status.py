"""A Kanary's status: read however spoilt it may be, and written from what was decided and done."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from engine.changes import Confirmed, annotated_cause, bounded, changes
from engine.conditions import Recording, conditions
from engine.model.api import (
    Display,
    HistoryStatus,
    KanaryStatus,
    ProxyStatus,
    TransitionStatus,
    WeightStatus,
    weights_text,
)
from engine.model.times import read_time, time_text
from engine.record import Record
from states import Decision, Phase, RouteFacts

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Served:
    """What the proxies are configured with after the reconcile, and how many of them are ready with it."""

    record: Record | None
    routes: tuple[RouteFacts, ...]
    proxy_name: str
    ready: int
    is_complete: bool
    is_served: bool = False
    """Every proxy serves the record's weights, and none serves others."""
    is_next: bool = False
    """The record was written just now, and the proxies had all arrived at the one before."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the history has of a Kanary, and whether it takes more."""

    confirmed: Confirmed
    recording: Recording


def read_status(kanary: Mapping[str, Any]) -> KanaryStatus:
    """The status of a Kanary; what cannot be read of it is left out and will be written anew."""
    raw = kanary.get("status")
    if not isinstance(raw, Mapping):
        return KanaryStatus()
    try:
        return _validated(raw)
    except ValidationError as error:
        bad = {detail["loc"][0] for detail in error.errors(include_url=False)}
        return _validated({key: value for key, value in raw.items() if key not in bad})


def _validated(raw: Mapping[str, Any]) -> KanaryStatus:
    # By alias only: under two names for a field the bad one would be looked for under the other.
    return KanaryStatus.model_validate(raw, by_alias=True, by_name=False)


def read_phase(status: KanaryStatus) -> Phase:
    """The phase of a status; one that this version does not know begins again in Pending."""
    try:
        return Phase(status.phase)
    except ValueError:
        return Phase.PENDING


def next_status(
    before: KanaryStatus, kanary: Json, *, phase: Phase, decision: Decision, served: Served, kept: Kept, now: datetime
) -> Json:
    """The status after a reconcile, as the API writes it."""
    record = served.record
    generation = kanary["metadata"].get("generation", 0)
    is_new = record is not None and record.revision > before.revision
    known = changes(before, record, kanary, is_ready=phase is Phase.READY, now=now)
    moves = _transitions(before, phase, decision, now)
    known, moves, lost = bounded(before.history or HistoryStatus(), known, moves, kept.confirmed)
    status = KanaryStatus(
        observed_generation=generation,
        phase=phase.value,
        reason=decision.reason.value,
        message=decision.message,
        revision=record.revision if record else before.revision,
        # Until all proxies serve other weights, and where the record is lost, what was told last is what is known.
        weights=_weights(served.routes) if served.is_served else before.weights,
        proxies=_proxies(served, record) if record else None,
        display=_display(before, served),
        config_hash=record.digest if record else None,
        progressing_since=_progressing_since(before, generation, served, now),
        conditions=conditions(
            before.conditions,
            is_ready=phase is Phase.READY,
            is_behind=phase in (Phase.RENDERING, Phase.ROLLING) or (record is not None and not served.is_complete),
            decision=decision,
            recording=_told_of_losses(kept.recording, lost),
            generation=generation,
            now=time_text(now),
        ),
        transitions=moves,
        changes=known,
        change_cause=(annotated_cause(kanary) or None) if is_new else before.change_cause,
        history=lost if lost != HistoryStatus() else None,
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _told_of_losses(recording: Recording, lost: HistoryStatus) -> Recording:
    if lost == HistoryStatus():
        return recording
    losses = f"{lost.lost_changes} changes of weights and {lost.lost_transitions} moves"
    return replace(recording, message=f"{recording.message}; {losses} were dropped before the history had them")


def _weights(routes: tuple[RouteFacts, ...]) -> tuple[WeightStatus, ...]:
    return tuple(WeightStatus(backend=r.backend, weight=r.weight, endpoints=r.endpoints) for r in routes)


def _proxies(served: Served, record: Record) -> ProxyStatus:
    replicas = record.spec.proxy.replicas
    return ProxyStatus(name=served.proxy_name, replicas=replicas, ready=served.ready, strategy=record.strategy)


def _display(before: KanaryStatus, served: Served) -> Display | None:
    if served.record is None:
        return before.display
    weights = weights_text(served.record.spec.weights) if served.is_served else _told_weights(before)
    return Display(weights=weights, ready=f"{served.ready}/{served.record.spec.proxy.replicas}")


def _told_weights(before: KanaryStatus) -> str:
    return before.display.weights if before.display else ""


def _progressing_since(before: KanaryStatus, generation: int, served: Served, now: datetime) -> str | None:
    """When the progress deadline counts from: proxies fall behind, a new spec or the next rollout after one arrived."""
    if served.record is None or served.is_complete:
        return None
    since = read_time(before.progressing_since)
    # Nothing began in the future: whoever wrote that, the deadline would never pass.
    is_new = served.is_next or generation != before.observed_generation or since is None or since > now
    return time_text(now) if is_new else before.progressing_since


def _transitions(before: KanaryStatus, phase: Phase, decision: Decision, now: datetime) -> tuple[TransitionStatus, ...]:
    if decision.trigger is None:
        return before.transitions
    last = before.transitions[-1].number if before.transitions else 0
    move = TransitionStatus(
        number=last + 1,
        at=time_text(now),
        source=read_phase(before).value,
        to=phase.value,
        trigger=decision.trigger.value,
        reason=decision.reason.value,
        message=decision.message,
    )
    return (*before.transitions, move)
