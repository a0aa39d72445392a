"""`kanary history`: weight changes, and the moves of the state machines, as a table or for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from engine.model.entries import ChangeResult, PhaseChange, RolloutChange, WeightChange
from kanary.cli.failure import note
from kanary.cli.find import one_kanary, what_there_is
from kanary.cli.output import Form, document, weights_of, weights_text, write
from kanary.cli.text import cut
from kanary.cli.times import local_text, took_text
from kanary.history.queries import ChangeQuery, EntryQuery, pages
from kanary.history.records import KnownKanary, RecordedChange
from kanary.history.source import Source

_CAUSE, _WEIGHTS = 60, 120  # maximum columns in a table; the other formats have the full text


def _field(*names: str) -> Callable[[Any], str]:
    """A cell with fields of a move by their names: newer versions may write moves with other fields."""

    def cell(found: Any) -> str:
        entry = document(found)["entry"]
        return " ".join(str(entry[name]) for name in names if entry.get(name))

    return cell


def _rollout(found: RecordedChange) -> str:
    """The rollout that decided the weights, and its step, such as `3 2/4 10%`; empty without one."""
    change = found.change
    return f"{change.rollout} {change.step or ''}".rstrip() if change.rollout else ""


MOVES = (PhaseChange, RolloutChange)
"""The entries of the two state machines."""
Cells = Mapping[str, Callable[[Any], str]]
"""The cells of a record, by the heading of their column."""

_OWNER: Cells = {"NAMESPACE": lambda found: found.kanary.namespace, "NAME": lambda found: found.kanary.name}
_END: Cells = {"DELETED": lambda found: local_text(found.kanary.deleted_at) if found.kanary.deleted_at else ""}
_CHANGES = Form(
    cells={
        **_OWNER,
        "REVISION": lambda found: str(found.change.revision),
        "WHEN": lambda found: local_text(found.change.at),
        "WEIGHTS": lambda found: cut(weights_text(weights_of(found.change.after)), _WEIGHTS),
        "ROLLOUT": _rollout,
        "CAUSE": lambda found: cut(found.change.cause, _CAUSE),
        "BY": lambda found: found.change.author,
        "RESULT": lambda found: found.result.result if found.result else "in progress",
        "TOOK": lambda found: took_text(found.result.seconds) if found.result else "",
        **_END,
    },
    parts={"kanary": (KnownKanary,), "change": (WeightChange,), "result": (ChangeResult,)},
)
_MOVES = Form(
    cells={
        **_OWNER,
        "NUMBER": lambda found: str(found.entry.number),
        "WHEN": lambda found: local_text(found.entry.at),
        "ROLLOUT": _field("rollout", "step"),
        **{name.upper(): _field(name) for name in ("from", "to", "trigger", "reason", "message")},
        **_END,
    },
    parts={"kanary": (KnownKanary,), "entry": MOVES},
)


def show(source: Source, query: ChangeQuery | EntryQuery, output: str) -> None:
    """Print weight changes, or the moves of an EntryQuery. Raises CommandError for an unknown Kanary."""
    form = _MOVES if isinstance(query, EntryQuery) else _CHANGES
    found: Iterator[Sequence[Any]]
    found = pages(source.entries, query) if isinstance(query, EntryQuery) else pages(source.changes, query)
    full = (page for page in found if page)
    first = next(full, ())
    if not first and query.name is not None:
        one_kanary(source, query.namespace or "", query.name, deleted=query.deleted)
    shown = {"NAMESPACE": query.namespace is None, "NAME": query.name is None, "DELETED": query.deleted}
    # Most Kanaries have no rollouts by steps. One page decides, so that no more is in memory.
    shown["ROLLOUT"] = any(form.cells["ROLLOUT"](found) for found in first)
    cells = {heading: cell for heading, cell in form.cells.items() if shown.get(heading, True)}
    write(output, replace(form, cells=cells), chain([first], full), sys.stdout)
    if not first:
        way_out = "try another time (--at, --since) or --deleted"
        note(f"nothing in the history matches: {way_out}; {what_there_is(source)}")
