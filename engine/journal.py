"""What a reconcile writes down: the weights that were decided on, how they ended, and the moves of the state machine.

All of it goes into the status first. Proxies are given weights only once the status has them, so that the history,
which takes its entries from there as often as it likes, misses nothing that was ever served. What the status holds is
bounded in bytes: when the history takes nothing for long, the oldest entries are dropped and counted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.last_status import read_phase
from engine.model.entries import ChangeResult, Entry, PhaseChange, Result, WeightChange, entry_json
from engine.model.states import Split
from engine.model.status import HistoryStatus, SplitStatus
from engine.observe import Observed
from states import Decision, Phase

KEPT_ENTRIES = 10
"""So many are kept for people to see, though the history has them."""
MOST_BYTES = 50_000
"""Of JSON, however many entries the history does not have: a thirtieth of what etcd takes for one object, and room for
all that one reconcile writes down of a hundred routes.
"""
CAUSE_ANNOTATION = "kubernetes.io/change-cause"
"""Where `kubectl annotate` and others say why. https://kubernetes.io/docs/reference/labels-annotations-taints"""
_LONGEST_CAUSE = 200


@dataclass(frozen=True, slots=True)
class Journal:
    """What the status is to hold of it."""

    split: SplitStatus | None
    history: HistoryStatus | None
    cause: str | None
    """The annotation that says why, as of the last change."""


def journal(
    observed: Observed, split: Split | None, decision: Decision, phase: Phase, *, digest: str | None, recorded: int
) -> Journal:
    """After a reconcile that left the Kanary in `phase`; the history has all entries up to number `recorded`."""
    pen = _Pen(observed.last_entry, observed.now)
    noted, cause = _last_noted(observed), observed.status.change_cause
    if split and not split.is_in_status and phase is not Phase.PENDING:
        if noted and noted.result is None:
            pen.end(noted, Result.SUPERSEDED)
        pen.write(WeightChange, **_change(observed, split, digest))
        cause = annotated_cause(observed.kanary) or None
        noted = SplitStatus(revision=split.revision, generation=split.generation, at=observed.now, weights=split.shares)
    if decision.trigger:
        pen.write(
            PhaseChange,
            source=read_phase(observed.status).value,
            to=phase.value,
            trigger=decision.trigger.value,
            reason=decision.reason.value,
            message=decision.message,
            revision=split.revision if split else None,
        )
    if phase is Phase.READY and split and noted and noted.revision == split.revision and noted.result is None:
        noted = pen.end(noted, Result.READY)
    return Journal(noted, _bounded(observed.status.history, pen, recorded), cause)


@dataclass(slots=True)
class _Pen:
    """Writes entries with the numbers that are next."""

    last: int
    now: datetime
    written: list[Entry] = field(default_factory=list)

    def write(self, kind: type[Entry], **fields: Any) -> None:
        self.last += 1
        self.written.append(kind(number=self.last, at=self.now, **fields))

    def end(self, noted: SplitStatus, result: Result) -> SplitStatus:
        seconds = max((self.now - noted.at).total_seconds(), 0.0)
        self.write(ChangeResult, revision=noted.revision, result=result, seconds=round(seconds, 3))
        return noted.model_copy(update={"result": result.value})


def _last_noted(observed: Observed) -> SplitStatus | None:
    """The weights that were last decided on: those that were written, where the status has lost them.

    Whether that change has ended is not known then. It ends once more, and of two results the history takes the first.
    """
    noted, applied = observed.status.split, observed.written.applied
    if applied is None or (noted and noted.revision >= applied.revision):
        return noted
    return SplitStatus(
        revision=applied.revision,
        generation=applied.generation,
        at=applied.written_at,
        weights=applied.spec.shares,
    )


def _change(observed: Observed, split: Split, digest: str | None) -> Mapping[str, Any]:
    applied, noted = observed.written.applied, observed.status.split
    # Where somebody removed what was written, the status still has the weights.
    before = applied.spec.shares if applied else noted.weights if noted else ()
    return {
        "revision": split.revision,
        "generation": split.generation,
        "before": before,
        "after": split.shares,
        "cause": _cause(observed),
        "author": author(observed.kanary),
        "digest": digest,
    }


def annotated_cause(kanary: Mapping[str, Any]) -> str:
    """What the user says of the last change, or of an earlier one."""
    annotations = kanary["metadata"].get("annotations") or {}
    return " ".join(str(annotations.get(CAUSE_ANNOTATION, "")).split())[:_LONGEST_CAUSE]


def _cause(observed: Observed) -> str:
    annotated = annotated_cause(observed.kanary)
    # An annotation stays when the next change says nothing, and is not about that one then.
    if annotated and annotated != observed.status.change_cause:
        return annotated
    return "spec changed" if observed.status.split or observed.written.applied else "created"


def author(kanary: Mapping[str, Any]) -> str:
    """Field manager that last wrote the routes, as the API server noted it; empty where it did not."""
    entries = [entry for entry in kanary["metadata"].get("managedFields") or () if _is_about_routes(entry)]
    last: Mapping[str, Any] = max(entries, key=lambda entry: str(entry.get("time", "")), default={})
    # What `kubectl apply` calls itself unless it applies on the server's side.
    return str(last.get("manager", "")).replace("kubectl-client-side-apply", "kubectl")[:_LONGEST_CAUSE]


def _is_about_routes(entry: Mapping[str, Any]) -> bool:
    fields = entry.get("fieldsV1") or {}
    return not entry.get("subresource") and "f:routes" in (fields.get("f:spec") or {})


def _bounded(before: HistoryStatus | None, pen: _Pen, recorded: int) -> HistoryStatus | None:
    """The newest entries: a few in any case, and as many as the history does not have and there is room for."""
    known = [*(before.entries if before else ()), *pen.written]
    if not known and before is None:
        return None
    kept = _newest(known, recorded)
    lost = sum(entry.number > recorded for entry in known[: len(known) - len(kept)])
    return HistoryStatus(last=pen.last, entries=kept, lost=(before.lost if before else 0) + lost)


def _newest(known: Sequence[Entry], recorded: int) -> tuple[Entry, ...]:
    room, kept = MOST_BYTES, list[Entry]()
    for entry in reversed(known):
        room -= len(json.dumps(entry_json(entry)))
        if room < 0 or (len(kept) >= KEPT_ENTRIES and entry.number <= recorded):
            break
        kept.append(entry)
    return tuple(reversed(kept))
