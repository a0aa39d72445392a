"""`kanary history`: what was, as a table or for programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from kanary.cli import records
from kanary.cli.access import Access, opened
from kanary.cli.failure import CommandError
from kanary.cli.find import first_change, kanaries, newest, nothing_in, unknown
from kanary.cli.output import Form, check_format, output_for
from kanary.cli.text import cut, one_line
from kanary.cli.times import local_text, read_time, took_text
from kanary.history.model import KnownKanary, RecordedChange, RecordedTransition
from kanary.history.selection import Selection, pages

T = TypeVar("T")

_CAUSE = 60  # columns; the whole text is in the other formats
_WEIGHTS = 120


def run(options: argparse.Namespace) -> int:
    """Show what the options select."""
    check_format(options.output)
    now = datetime.now(UTC)
    since = read_time("--since", options.since, now) if options.since is not None else None
    at = read_time("--at", options.at, now, through_second=True) if options.at is not None else None
    if at is not None and at.replace(microsecond=0) > now:
        raise CommandError(f"--at {options.at}: {local_text(at)} is still to come: name a time up to now")
    if since is not None and since > now:
        raise CommandError(f"--since {options.since}: {local_text(since)} is still to come: name a time before now")
    with opened(options) as access:
        namespace = None if options.all_namespaces else access.namespace
        selection = Selection(namespace, options.name, options.deleted, since)
        if options.plot is not None:
            from kanary.cli.plot import plot  # noqa: PLC0415 -- loaded only to draw

            return plot(access, selection, None if options.plot is True else options.plot, now)
        nothing = partial(_why_nothing, access, selection, at, of_transitions=options.transitions)
        if options.transitions:
            return _show(options.output, _transition_form(selection), _transitions(access, selection), nothing)
        changes = _changes(access, selection) if at is None else _in_force(access, selection, at)
        return _show(options.output, _change_form(selection), changes, nothing)


def _changes(access: Access, selection: Selection) -> Iterator[tuple[RecordedChange, ...]]:
    return pages(lambda after: access.source.changes(selection, after))


def _in_force(access: Access, selection: Selection, at: datetime) -> Iterator[tuple[RecordedChange, ...]]:
    return pages(lambda after: access.source.in_force(selection, at, after))


def _transitions(access: Access, selection: Selection) -> Iterator[tuple[RecordedTransition, ...]]:
    return pages(lambda after: access.source.transitions(selection, after))


def _show(output: str, form: Form[T], found: Iterator[Sequence[T]], nothing: Callable[[], str]) -> int:
    full = (page for page in found if page)
    first = next(full, None)
    note = None if first else nothing()
    out = output_for(output, form, sys.stdout)
    if first:
        out.page(first)
    for page in full:
        out.page(page)
    out.end()
    if note:
        print(f"kanary: {one_line(note)}", file=sys.stderr)
    return 0


def _why_nothing(access: Access, selection: Selection, at: datetime | None, *, of_transitions: bool) -> str:
    """Why there is nothing to show. Raises CommandError where what was asked for is not there."""
    source, name = access.source, selection.name
    if name is None or selection.namespace is None:
        what = "nothing is recorded of that time" if at or selection.since else "nothing is recorded"
        return f"{what}: {nothing_in(source, selection.namespace)}"
    everything = Selection(selection.namespace, name, selection.include_deleted)
    known = kanaries(source, everything)
    if not known:
        raise unknown(source, selection.namespace, name)
    if at is not None:
        raise CommandError(f"nothing is recorded of {name} at {local_text(at)}: {_when_it_was(access, known, at)}")
    last = _last_transition(access, everything) if of_transitions else _last_change(access, everything)
    if last and selection.since:
        return f"nothing is recorded of {name} since {local_text(selection.since)}: {last}"
    return f"no {'transition' if of_transitions else 'change'} of {name} is kept"


def _when_it_was(access: Access, known: Sequence[KnownKanary], at: datetime) -> str:
    """Why none of these was there then: it was gone already, or had not begun."""
    if gone := [kanary.deleted_at for kanary in known if kanary.deleted_at and kanary.deleted_at <= at]:
        return f"it was deleted at {local_text(max(gone))}"
    first = [change for kanary in known if (change := first_change(access.source, kanary))]
    if not first:
        return "no change of it is kept"
    return f"what is kept begins {local_text(min(found.change.at for found in first))}"


def _last_change(access: Access, selection: Selection) -> str | None:
    found = newest(lambda after: access.source.changes(selection, after, 1))
    return f"the last change was revision {found.change.revision} at {local_text(found.change.at)}" if found else None


def _last_transition(access: Access, selection: Selection) -> str | None:
    found = newest(lambda after: access.source.transitions(selection, after, 1))
    if found is None:
        return None
    return f"the last transition was number {found.transition.number} at {local_text(found.transition.at)}"


def _change_form(selection: Selection) -> Form[RecordedChange]:
    headings, owner, end = _around(selection)
    return Form(
        headings=(*headings, "REVISION", "WHEN", "WEIGHTS", "CAUSE", "BY", "RESULT", "TOOK", *end),
        cells=lambda found: (*owner(found.kanary), *_change_cells(found), *_gone(found.kanary, end)),
        columns=records.CHANGE_COLUMNS,
        fields=records.change_fields,
    )


def _change_cells(found: RecordedChange) -> tuple[str, ...]:
    change, outcome = found.change, found.outcome
    return (
        str(change.revision),
        local_text(change.at),
        cut(records.weights_of(found), _WEIGHTS),
        cut(change.cause, _CAUSE),
        change.manager,
        outcome.result.value if outcome else "in progress",
        took_text(outcome.seconds) if outcome else "",
    )


def _transition_form(selection: Selection) -> Form[RecordedTransition]:
    headings, owner, end = _around(selection)
    return Form(
        headings=(*headings, "NUMBER", "WHEN", "FROM", "TO", "TRIGGER", "REASON", *end, "MESSAGE"),
        cells=lambda found: (
            *owner(found.kanary),
            *_transition_cells(found),
            *_gone(found.kanary, end),
            found.transition.message,
        ),
        columns=records.TRANSITION_COLUMNS,
        fields=records.transition_fields,
    )


def _transition_cells(found: RecordedTransition) -> tuple[str, ...]:
    move = found.transition
    return (str(move.number), local_text(move.at), move.source, move.destination, move.trigger, move.reason)


def _around(selection: Selection) -> tuple[tuple[str, ...], Callable[[KnownKanary], tuple[str, ...]], tuple[str, ...]]:
    """The columns that say whose a row is, and the one that says when it was deleted, where there is such a thing."""
    end = ("DELETED",) if selection.include_deleted else ()
    if selection.namespace is None:
        return ("NAMESPACE", "NAME"), lambda kanary: (kanary.namespace, kanary.name), end
    if selection.name is None:
        return ("NAME",), lambda kanary: (kanary.name,), end
    return (), lambda _: (), end


def _gone(kanary: KnownKanary, end: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(local_text(kanary.deleted_at) if kanary.deleted_at else "" for _ in end)
