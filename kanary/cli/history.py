"""`kanary history`: weight changes and phase changes, as a table or for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import TypeVar

from engine.model.entries import ChangeResult, PhaseChange, WeightChange
from kanary.cli.failure import CommandError, note
from kanary.cli.find import first_change, kanaries, nothing_in, unknown
from kanary.cli.output import Form, weights_text, write
from kanary.cli.text import cut
from kanary.cli.times import local_text, took_text
from kanary.history.records import KnownKanary, Page, RecordedChange, RecordedEntry
from kanary.history.selection import Selection, every, pages
from kanary.history.source import Source

R = TypeVar("R", RecordedChange, RecordedEntry)
Cells = Mapping[str, Callable[[R], str]]

_CAUSE = 60  # columns; the other formats have the whole text
_WEIGHTS = 120
_PHASES = frozenset({"PhaseChange"})

_CHANGE_CELLS: Cells[RecordedChange] = {
    "REVISION": lambda found: str(found.change.revision),
    "WHEN": lambda found: local_text(found.change.at),
    "WEIGHTS": lambda found: cut(weights_text(found.change.after), _WEIGHTS),
    "CAUSE": lambda found: cut(found.change.cause, _CAUSE),
    "BY": lambda found: found.change.author,
    "RESULT": lambda found: found.result.result if found.result else "in progress",
    "TOOK": lambda found: took_text(found.result.seconds) if found.result else "",
}


def _field(name: str) -> Callable[[RecordedEntry], str]:
    return lambda found: str(getattr(found.entry, name, ""))


_PHASE_CELLS: Cells[RecordedEntry] = {
    "NUMBER": _field("number"),
    "WHEN": lambda found: local_text(found.entry.at),
    "FROM": _field("source"),
    "TO": _field("to"),
    "TRIGGER": _field("trigger"),
    "REASON": _field("reason"),
    "MESSAGE": _field("message"),
}


def show_changes(source: Source, selection: Selection, output: str, at: datetime | None = None) -> None:
    """Print weight changes, or with `at` those in force at that time."""

    def read(after: str | None) -> Page[RecordedChange]:
        return source.changes(selection, after) if at is None else source.in_force(selection, at, after)

    def last(everything: Selection) -> str | None:
        found = next(every(lambda after: source.changes(everything, after, 1)), None)
        return (
            None
            if found is None
            else f"the last change was revision {found.change.revision} at {local_text(found.change.at)}"
        )

    form = Form(
        _cells(_CHANGE_CELLS, selection), {"kanary": KnownKanary, "change": WeightChange, "result": ChangeResult}
    )
    _show(form, pages(read), output, lambda: _why_nothing(source, selection, at, "weight change", last))


def show_transitions(source: Source, selection: Selection, output: str) -> None:
    """Print phase changes."""

    def last(everything: Selection) -> str | None:
        found = next(every(lambda after: source.entries(everything, after, 1, _PHASES)), None)
        return (
            None
            if found is None
            else f"the last phase change was number {found.entry.number} at {local_text(found.entry.at)}"
        )

    form = Form(_cells(_PHASE_CELLS, selection), {"kanary": KnownKanary, "entry": PhaseChange})
    found = pages(lambda after: source.entries(selection, after, kinds=_PHASES))
    _show(form, found, output, lambda: _why_nothing(source, selection, None, "phase change", last))


def _cells(cells: Cells[R], selection: Selection) -> Cells[R]:
    """With the columns that say whose a row is, and when it was deleted, where that varies."""
    all_cells: dict[str, Callable[[R], str]] = {}
    if selection.namespace is None:
        all_cells["NAMESPACE"] = lambda found: found.kanary.namespace
    if selection.name is None:
        all_cells["NAME"] = lambda found: found.kanary.name
    all_cells.update(cells)
    if selection.include_deleted:
        all_cells["DELETED"] = lambda found: local_text(found.kanary.deleted_at) if found.kanary.deleted_at else ""
    return all_cells


def _show(form: Form[R], found: Iterator[Sequence[R]], output: str, why_nothing: Callable[[], str]) -> None:
    full = (page for page in found if page)
    first = next(full, None)
    reason = None if first else why_nothing()
    write(output, form, chain([first] if first else [], full), sys.stdout)
    if reason:
        note(reason)


def _why_nothing(
    source: Source, selection: Selection, at: datetime | None, what: str, last: Callable[[Selection], str | None]
) -> str:
    """Why there is nothing to show. Raises CommandError where the Kanary of that name is not there."""
    if selection.name is None or selection.namespace is None:
        when = " for that time" if at or selection.since else ""
        return f"the history has nothing{when}: {nothing_in(source, selection.namespace)}"
    everything = replace(selection, since=None)
    known = kanaries(source, everything)
    if not known:
        raise unknown(source, selection.namespace, selection.name)
    if at is not None:
        when = local_text(at)
        raise CommandError(f"the history has nothing of {selection.name} at {when}: {_existence(source, known, at)}")
    newest = last(everything)
    if newest and selection.since:
        return f"the history has nothing of {selection.name} since {local_text(selection.since)}: {newest}"
    return f"the history has no {what} of {selection.name}"


def _existence(source: Source, known: Sequence[KnownKanary], at: datetime) -> str:
    """Why none of these has weights at that time: it was deleted before, or recorded later."""
    if deleted := [kanary.deleted_at for kanary in known if kanary.deleted_at and kanary.deleted_at <= at]:
        return f"it was deleted at {local_text(max(deleted))}"
    first = [change.change.at for kanary in known if (change := first_change(source, kanary))]
    return f"its history begins {local_text(min(first))}" if first else "it has no weight change"
