"""`kanary history`: weight changes and phase changes, as a table or for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

from engine.model.entries import ChangeResult, PhaseChange, WeightChange
from engine.model.shape import Shape
from kanary.cli.failure import CommandError, note
from kanary.cli.find import first_change, kanaries, nothing_in, unknown
from kanary.cli.output import Form, document, weights_of, weights_text, write
from kanary.cli.text import cut
from kanary.cli.times import local_text, took_text
from kanary.history.records import KnownKanary, Page
from kanary.history.selection import PAGE, Selection, every, pages
from kanary.history.source import Source

Cells = Mapping[str, Callable[[Any], str]]
"""Of a record, by the heading of their column."""

_CAUSE = 60  # columns; the other formats have the whole text
_WEIGHTS = 120


def _field(name: str) -> Callable[[Any], str]:
    return lambda found: str(document(found)["entry"].get(name) or "")


_PHASES = frozenset({"PhaseChange"})
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


def show(source: Source, selection: Selection, output: str, *, at: datetime | None, is_of_phases: bool) -> None:
    """Print weight changes, or with `at` those in force at that time, or phase changes."""
    shown = _Shown(source, selection, at, is_of_phases)
    full = (page for page in shown.pages() if page)
    first = next(full, None)
    reason = None if first else shown.why_nothing()
    cells, parts = (_PHASE_CELLS, _PHASE_PARTS) if is_of_phases else (_CHANGE_CELLS, _CHANGE_PARTS)
    write(output, Form(_cells(cells, selection), parts), chain([first] if first else [], full), sys.stdout)
    if reason:
        note(reason)


def _cells(cells: Cells, selection: Selection) -> Cells:
    """With the columns that say whose a row is, and when it was deleted, where that varies."""
    owner: dict[str, Callable[[Any], str]] = {}
    if selection.namespace is None:
        owner["NAMESPACE"] = lambda found: found.kanary.namespace
    if selection.name is None:
        owner["NAME"] = lambda found: found.kanary.name
    if not selection.include_deleted:
        return {**owner, **cells}
    deleted = {"DELETED": lambda found: local_text(found.kanary.deleted_at) if found.kanary.deleted_at else ""}
    return {**owner, **cells, **deleted}


@dataclass(frozen=True)
class _Shown:
    source: Source
    selection: Selection
    at: datetime | None
    is_of_phases: bool

    def pages(self) -> Iterator[Sequence[Shape]]:
        if self.at is None:
            return pages(lambda after: self._read(self.selection, after))
        at = self.at
        return pages(lambda after: self.source.in_force(self.selection, at, after))

    def _read(self, selection: Selection, after: str | None, limit: int = PAGE) -> Page[Any]:
        if self.is_of_phases:
            return self.source.entries(selection, after, limit, _PHASES)
        return self.source.changes(selection, after, limit)

    def why_nothing(self) -> str:
        """Why there is nothing to show. Raises CommandError where the Kanary of that name is not there."""
        namespace, name, since = self.selection.namespace, self.selection.name, self.selection.since
        if name is None or namespace is None:
            when = " for that time" if self.at or since else ""
            return f"the history has nothing{when}: {nothing_in(self.source, namespace)}"
        everything = replace(self.selection, since=None)
        known = kanaries(self.source, everything)
        if not known:
            raise unknown(self.source, namespace, name)
        if self.at is not None:
            when = local_text(self.at)
            raise CommandError(f"the history has nothing of {name} at {when}: {self._existence(known, self.at)}")
        what = "phase change" if self.is_of_phases else "weight change"
        newest = next(every(lambda after: self._read(everything, after, 1)), None)
        if newest is None or since is None:
            return f"the history has no {what} of {name}"
        last = local_text(newest.entry.at if self.is_of_phases else newest.change.at)
        return f"the history has no {what} of {name} since {local_text(since)}: the last was at {last}"

    def _existence(self, known: Sequence[KnownKanary], at: datetime) -> str:
        """Why none of these has weights at that time: it was deleted before, or recorded later."""
        if deleted := [kanary.deleted_at for kanary in known if kanary.deleted_at and kanary.deleted_at <= at]:
            return f"it was deleted at {local_text(max(deleted))}"
        first = [change.change.at for kanary in known if (change := first_change(self.source, kanary))]
        return f"its history begins {local_text(min(first))}" if first else "it has no weight change"
