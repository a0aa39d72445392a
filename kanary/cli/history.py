"""`kanary history`: weight changes and phase changes, as a table or for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from engine.model.entries import ChangeResult, PhaseChange, WeightChange
from engine.model.shape import Shape
from kanary.cli.failure import CommandError, note
from kanary.cli.find import one_kanary, revision_of, what_there_is
from kanary.cli.output import Form, document, weights_of, weights_text, write
from kanary.cli.text import cut
from kanary.cli.times import local_text, took_text
from kanary.history.queries import ChangeQuery, EntryQuery, pages
from kanary.history.records import KanarySummary, KnownKanary
from kanary.history.source import Source

Cells = Mapping[str, Callable[[Any], str]]
"""Of a record, by the heading of their column."""

_CAUSE = 60  # columns; the other formats have the whole text
_WEIGHTS = 120


def _field(name: str) -> Callable[[Any], str]:
    return lambda found: str(document(found)["entry"].get(name) or "")


_CHANGE_PARTS: Mapping[str, type[Shape]] = {"kanary": KnownKanary, "change": WeightChange, "result": ChangeResult}
_CHANGE_CELLS: Cells = {
    "REVISION": lambda found: str(found.change.revision),
    "WHEN": lambda found: local_text(found.change.at),
    "WEIGHTS": lambda found: cut(weights_text(weights_of(found.change.after)), _WEIGHTS),
    "CAUSE": lambda found: cut(found.change.cause, _CAUSE),
    "BY": lambda found: found.change.author,
    "RESULT": lambda found: found.result.result if found.result else "in progress",
    "TOOK": lambda found: took_text(found.result.seconds) if found.result else "",
}
_PHASE_PARTS: Mapping[str, type[Shape]] = {"kanary": KnownKanary, "entry": PhaseChange}
_PHASE_CELLS: Cells = {
    "NUMBER": lambda found: str(found.entry.number),
    "WHEN": lambda found: local_text(found.entry.at),
    # By name: a newer version may give a phase change other fields.
    **{name.upper(): _field(name) for name in ("from", "to", "trigger", "reason", "message")},
}


def show(source: Source, query: ChangeQuery, output: str, *, is_of_phases: bool) -> None:
    """Print weight changes, or phase changes."""
    full = (page for page in _pages(source, query, is_of_phases=is_of_phases) if page)
    first = next(full, None)
    reason = None if first else _why_nothing(source, query, is_of_phases=is_of_phases)
    cells, parts = (_PHASE_CELLS, _PHASE_PARTS) if is_of_phases else (_CHANGE_CELLS, _CHANGE_PARTS)
    write(output, Form(_cells(cells, query), parts), chain([first] if first else [], full), sys.stdout)
    if reason:
        note(reason)


def _pages(source: Source, query: ChangeQuery, *, is_of_phases: bool) -> Iterator[Sequence[Shape]]:
    if not is_of_phases:
        return pages(source.changes, query)
    given = query.model_dump(exclude_defaults=True)
    return pages(source.entries, EntryQuery(**given, kinds=PhaseChange.__name__))


def _cells(cells: Cells, query: ChangeQuery) -> Cells:
    """With the columns that say whose a row is, and when it was deleted, where that varies."""
    owner: dict[str, Callable[[Any], str]] = {}
    if query.namespace is None:
        owner["NAMESPACE"] = lambda found: found.kanary.namespace
    if query.name is None:
        owner["NAME"] = lambda found: found.kanary.name
    if not query.deleted:
        return {**owner, **cells}
    deleted = {"DELETED": lambda found: local_text(found.kanary.deleted_at) if found.kanary.deleted_at else ""}
    return {**owner, **cells, **deleted}


def _why_nothing(source: Source, query: ChangeQuery, *, is_of_phases: bool) -> str:
    """Why there is nothing to show. Raises CommandError where the Kanary of that name is not there."""
    namespace, name = query.namespace, query.name
    if name is None or namespace is None:
        when = " for that time" if query.at or query.since else ""
        return f"the history has nothing{when}: {what_there_is(source)}"
    kanary = one_kanary(source, namespace, name, deleted=query.deleted)
    if query.at is not None:
        reason = _existence(source, kanary, query.at)
        raise CommandError(f"the history has nothing of {name} at {local_text(query.at)}: {reason}")
    what = "phase change" if is_of_phases else "weight change"
    if query.since is None:
        return f"the history has no {what} of {name}"
    return f"the history has no {what} of {name} since {local_text(query.since)}"


def _existence(source: Source, kanary: KanarySummary, at: datetime) -> str:
    """Why a Kanary has no weights at that time: it was deleted before, or recorded later."""
    if kanary.deleted_at and kanary.deleted_at <= at:
        return f"it was deleted at {local_text(kanary.deleted_at)}"
    if kanary.first_revision is None:
        return "it has no weight change"
    return f"its history begins {local_text(revision_of(source, kanary, kanary.first_revision).change.at)}"
