"""The entries of a reconcile: changes of weights, their results, and the moves of the state machine.

Entries go into the status first. Proxies receive weights only after the status has them, so that the history, which
reads its entries from there, misses nothing that was ever served. The entries in the status are bounded in bytes: if
the history is unavailable for long, the oldest entries are dropped and counted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.course import Course
from engine.last_status import read_phase
from engine.model.entries import ChangeResult, Entry, PhaseChange, Result, RolloutChange, WeightChange, entry_json
from engine.model.states import Split
from engine.model.status import HistoryStatus, SplitStatus
from engine.observe import Observed
from states import Decision, Phase
from states.rollouts import RolloutState
from states.texts import harmless

KEPT_ENTRIES = 10
"""Number of entries that the status keeps for users, although the history has them."""
MOST_BYTES = 50_000
"""Limit of the entries as JSON, however many the history lacks: a thirtieth of etcd's limit for one object, and enough
for all entries of one reconcile with a hundred routes.
"""
CAUSE_ANNOTATION = "kubernetes.io/change-cause"
"""The reason of a change, as `kubectl annotate` and other tools write it. https://kubernetes.io/docs/reference/labels-annotations-taints"""
UNDO = "kanary-undo"
"""The field manager of an undo, until it gives up the fields that it wrote."""
UNDO_CAUSE = "undo to revision"
"""The beginning of the cause of an undo."""
_LONGEST_CAUSE = 200


@dataclass(frozen=True, slots=True)
class Journal:
    """The part of the status that a reconcile records."""

    split: SplitStatus | None
    history: HistoryStatus | None
    cause: str | None
    """The change-cause annotation at the last change."""


def journal(
    observed: Observed,
    split: Split | None,
    decision: Decision,
    course: Course,
    phase: Phase,
    *,
    digest: str | None,
    recorded: int,
) -> Journal:
    """The journal after a reconcile to `phase`; the history has all entries up to number `recorded`."""
    writer = _EntryWriter(observed.last_entry, observed.now)
    last, cause = _last_split(observed), observed.status.change_cause
    if change := course.change:
        writer.write(RolloutChange, **change)
    if split and not split.is_in_status and phase is not Phase.PENDING:
        if last and last.result is None:
            writer.end(last, Result.SUPERSEDED)
        writer.write(WeightChange, **_change(observed, split, course, digest))
        cause = annotated_cause(observed.kanary) or None
        last = SplitStatus(revision=split.revision, generation=split.generation, at=observed.now, weights=split.shares)
    if decision.trigger:
        writer.write(
            PhaseChange,
            source=read_phase(observed.status).value,
            to=phase.value,
            trigger=decision.trigger.value,
            reason=decision.reason.value,
            message=decision.message,
            revision=split.revision if split else None,
        )
    # A rollout that was rolled back is Degraded, and every proxy serves its last revision.
    is_served = phase is Phase.READY or course.state is RolloutState.ROLLED_BACK
    if is_served and split and last and last.revision == split.revision and last.result is None:
        last = writer.end(last, Result.READY)
    return Journal(last, _bounded(observed.status.history, writer, recorded), cause)


@dataclass(slots=True)
class _EntryWriter:
    """Appends entries with the next numbers."""

    last: int
    now: datetime
    written: list[Entry] = field(default_factory=list)

    def write(self, kind: type[Entry], **fields: Any) -> None:
        self.last += 1
        self.written.append(kind(number=self.last, at=self.now, **fields))

    def end(self, last: SplitStatus, result: Result) -> SplitStatus:
        seconds = max((self.now - last.at).total_seconds(), 0.0)
        self.write(ChangeResult, revision=last.revision, result=result, seconds=round(seconds, 3))
        return last.model_copy(update={"result": result.value})


def _last_split(observed: Observed) -> SplitStatus | None:
    """The last decided weights: those in the ConfigMap, if the status has lost them.

    The result of that change is unknown then. It is recorded again, and of two results the history keeps the first.
    """
    last, applied = observed.status.split, observed.written.applied
    if applied is None or (last and last.revision >= applied.revision):
        return last
    return SplitStatus(
        revision=applied.revision,
        generation=applied.generation,
        at=applied.written_at,
        weights=applied.spec.shares,
    )


def _change(observed: Observed, split: Split, course: Course, digest: str | None) -> Mapping[str, Any]:
    applied, last = observed.written.applied, observed.status.split
    # If the ConfigMap was deleted, the status still has the weights.
    before = applied.spec.shares if applied else last.weights if last else ()
    return {
        "revision": split.revision,
        "generation": split.generation,
        "before": before,
        "after": split.shares,
        "cause": course.cause or _cause(observed),
        "rollout": course.rollout.number if course.rollout and course.rollout.number else None,
        "step": course.rollout.place if course.rollout and course.is_under_way else None,
        "author": author(observed.kanary),
        "digest": digest,
    }


def annotated_cause(kanary: Mapping[str, Any]) -> str:
    """The change-cause annotation: of the last change, or of an earlier one."""
    annotations = kanary["metadata"].get("annotations") or {}
    return harmless(annotations.get(CAUSE_ANNOTATION), _LONGEST_CAUSE)


def _cause(observed: Observed) -> str:
    annotated = annotated_cause(observed.kanary)
    # An annotation stays when the next change sets none. It does not describe that change.
    if annotated and annotated != observed.status.change_cause:
        return annotated
    return "spec changed" if observed.status.split or observed.written.applied else "created"


def author(kanary: Mapping[str, Any]) -> str:
    """Field manager that last wrote the routes; empty if the API server has none."""
    entries = [entry for entry in kanary["metadata"].get("managedFields") or () if _is_about_routes(entry)]
    if not entries and annotated_cause(kanary).startswith(UNDO_CAUSE):
        return UNDO
    last: Mapping[str, Any] = max(entries, key=lambda entry: str(entry.get("time", "")), default={})
    # The field manager of `kubectl apply` without --server-side.
    return harmless(last.get("manager"), _LONGEST_CAUSE).replace("kubectl-client-side-apply", "kubectl")


def _is_about_routes(entry: Mapping[str, Any]) -> bool:
    fields = entry.get("fieldsV1") or {}
    return not entry.get("subresource") and "f:routes" in (fields.get("f:spec") or {})


def _bounded(before: HistoryStatus | None, writer: _EntryWriter, recorded: int) -> HistoryStatus | None:
    """The newest entries: `KEPT_ENTRIES`, and those that the history lacks, as far as there is room."""
    known = [*(before.entries if before else ()), *writer.written]
    if not known and before is None:
        return None
    if before and not writer.written and before.last == writer.last and len(known) <= KEPT_ENTRIES:
        return before
    kept = _newest(known, recorded)
    if before and (before.last, before.entries) == (writer.last, kept):
        return before
    lost = sum(entry.number > recorded for entry in known[: len(known) - len(kept)])
    return HistoryStatus(last=writer.last, entries=kept, lost=(before.lost if before else 0) + lost)


def _newest(known: Sequence[Entry], recorded: int) -> tuple[Entry, ...]:
    room, kept = MOST_BYTES, list[Entry]()
    for entry in reversed(known):
        room -= _bytes(entry)
        if room < 0 or (len(kept) >= KEPT_ENTRIES and entry.number <= recorded):
            break
        kept.append(entry)
    return tuple(reversed(kept))


def _bytes(entry: Entry) -> int:
    return len(json.dumps(entry_json(entry)))
