"""The changes of weights that a status remembers, until the history has them and a little beyond.

The status is where a change is noted first, so that each is noted exactly once; the history takes them from there as
often as it likes. What is noted is bounded: when the history takes nothing for long, the oldest are counted as lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from engine.model.api import (
    ChangedRoute,
    ChangeStatus,
    HistoryStatus,
    KanarySpec,
    KanaryStatus,
    TransitionStatus,
    route_labels,
)
from engine.model.times import exact_time_text, read_time
from engine.record import Record

Json = Mapping[str, Any]
T = TypeVar("T", ChangeStatus, TransitionStatus)

KEPT_CHANGES = 5
KEPT_TRANSITIONS = 10
"""So many are kept for people to see, though the history has them."""
MOST_CHANGES = 30
MOST_TRANSITIONS = 60
"""So many are kept at the most. A Kanary's object has room for some hundred times as much."""

CAUSE_ANNOTATION = "kubernetes.io/change-cause"
"""Where `kubectl annotate` and others say why. https://kubernetes.io/docs/reference/labels-annotations-taints"""
_LONGEST_CAUSE = 200


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The last revision and the last transition that the history has for sure; 0 for none."""

    revision: int = 0
    transition: int = 0


def changes(
    before: KanaryStatus, record: Record | None, kanary: Json, *, is_ready: bool, now: datetime
) -> tuple[ChangeStatus, ...]:
    """The changes up to now, oldest first, with the one that the record has and no status knew yet."""
    known = before.changes
    if record is None:
        return known
    if record.revision > (known[-1].revision if known else 0):
        known = (*_superseded(known, now), _change(before, record, kanary, now))
    if is_ready and known and known[-1].revision == record.revision and not known[-1].result:
        known = (*known[:-1], _ended(known[-1], "Ready", now))
    return known


def _change(before: KanaryStatus, record: Record, kanary: Json, now: datetime) -> ChangeStatus:
    last = before.changes[-1] if before.changes else None
    return ChangeStatus(
        revision=record.revision,
        generation=kanary["metadata"].get("generation", 0),
        at=exact_time_text(now),
        before=last.routes if last else (),
        routes=_routes(record.spec),
        cause=_cause(before, kanary),
        manager=manager(kanary),
        config_hash=record.digest,
    )


def _routes(spec: KanarySpec) -> tuple[ChangedRoute, ...]:
    return tuple(
        ChangedRoute(
            backend=label,
            weight=route.weight,
            service_name=route.backend.service_name,
            service_port=route.backend.service_port,
        )
        for label, route in zip(route_labels(spec), spec.routes, strict=True)
    )


def annotated_cause(kanary: Json) -> str:
    """What the user says of the last change, or of an earlier one."""
    annotations = kanary["metadata"].get("annotations") or {}
    return " ".join(str(annotations.get(CAUSE_ANNOTATION, "")).split())[:_LONGEST_CAUSE]


def _cause(before: KanaryStatus, kanary: Json) -> str:
    annotated = annotated_cause(kanary)
    # An annotation stays when the next change says nothing, and is not about that one then.
    if annotated and annotated != before.change_cause:
        return annotated
    return "spec changed" if before.changes or before.revision else "created"


def manager(kanary: Json) -> str:
    """Who last wrote the routes, as the API server noted it; empty where it did not."""
    entries = [entry for entry in kanary["metadata"].get("managedFields") or () if _is_about_routes(entry)]
    last: Json = max(entries, key=lambda entry: str(entry.get("time", "")), default={})
    # What `kubectl apply` calls itself unless it applies on the server's side.
    return str(last.get("manager", "")).replace("kubectl-client-side-apply", "kubectl")[:_LONGEST_CAUSE]


def _is_about_routes(entry: Json) -> bool:
    fields = entry.get("fieldsV1") or {}
    return not entry.get("subresource") and "f:routes" in (fields.get("f:spec") or {})


def _superseded(known: tuple[ChangeStatus, ...], now: datetime) -> tuple[ChangeStatus, ...]:
    if not known or known[-1].result:
        return known
    return (*known[:-1], _ended(known[-1], "Superseded", now))


def _ended(change: ChangeStatus, result: str, now: datetime) -> ChangeStatus:
    began = read_time(change.at) or now
    seconds = max((now - began).total_seconds(), 0.0)
    return change.model_copy(update={"result": result, "ended_at": exact_time_text(now), "seconds": round(seconds, 3)})


def bounded(
    before: HistoryStatus, known: Sequence[ChangeStatus], moves: Sequence[TransitionStatus], confirmed: Confirmed
) -> tuple[tuple[ChangeStatus, ...], tuple[TransitionStatus, ...], HistoryStatus]:
    """What is kept of both, and how many have been lost for the history by now."""
    kept = tuple(
        known[_first(len(known), [c.revision for c in known], confirmed.revision, KEPT_CHANGES, MOST_CHANGES) :]
    )
    numbers = [move.number for move in moves]
    first = _first(len(moves), numbers, confirmed.transition, KEPT_TRANSITIONS, MOST_TRANSITIONS)
    lost_changes = sum(change.revision > confirmed.revision for change in known[: len(known) - len(kept)])
    lost_transitions = sum(number > confirmed.transition for number in numbers[:first])
    return (
        kept,
        tuple(moves[first:]),
        HistoryStatus(
            lost_changes=before.lost_changes + lost_changes,
            lost_transitions=before.lost_transitions + lost_transitions,
        ),
    )


def _first(count: int, numbers: Sequence[int], confirmed: int, kept: int, most: int) -> int:
    """The place of the first that stays: the last few do, and what is not confirmed, as far as there is room."""
    unconfirmed = sum(number > confirmed for number in numbers)
    return max(count - min(max(kept, unconfirmed), most), 0)
