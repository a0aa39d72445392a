"""Finds what is meant in the record, or says what there is instead."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from itertools import islice
from typing import TypeVar

from kanary.cli.failure import CommandError, listed
from kanary.cli.times import local_text
from kanary.history.model import KnownKanary, RecordedChange
from kanary.history.selection import Page, Selection, every
from kanary.history.source import Source, find_kanary

T = TypeVar("T")

_MOST = 2000


def kanaries(source: Source, selection: Selection) -> list[KnownKanary]:
    """The Kanaries themselves, up to as many as a message could ever be about."""
    return list(islice(every(lambda after: source.kanaries(selection, after)), _MOST))


def newest(read: Callable[[str | None], Page[T]]) -> T | None:
    """The first of what is read page by page: of changes and transitions the last that was."""
    return next(every(read), None)


def first_change(source: Source, kanary: KnownKanary) -> RecordedChange | None:
    """The first change that is kept."""
    revisions = source.revisions(kanary)
    return source.revision(kanary, revisions[0]) if revisions else None


def one_kanary(source: Source, namespace: str, name: str) -> KnownKanary:
    """The Kanary that lives under this name, or the last one that did. Raises CommandError where none ever has."""
    found = find_kanary(source, Selection(namespace, name, include_deleted=True))
    if found is None:
        raise unknown(source, namespace, name)
    return found


def unknown(source: Source, namespace: str, name: str) -> CommandError:
    """There is no living Kanary of this name: says which there are."""
    gone = kanaries(source, Selection(namespace, name, include_deleted=True))
    if times := [kanary.deleted_at for kanary in gone if kanary.deleted_at]:
        return CommandError(
            f"the Kanary {name} of namespace {namespace} was deleted at {local_text(max(times))}: "
            "add --deleted to see what is kept of it"
        )
    names = list(dict.fromkeys(kanary.name for kanary in kanaries(source, Selection(namespace))))
    if not names:
        return CommandError(f"the history has no Kanary {name}: {nothing_in(source, namespace)}")
    close = get_close_matches(name, names)
    others = [*close, *(each for each in names if each not in close)]
    verb = "is" if len(others) == 1 else "are"
    return CommandError(f"the history has no Kanary {name} in namespace {namespace}: there {verb} {listed(others)}")


def nothing_in(source: Source, namespace: str | None) -> str:
    """Why nothing is found in a namespace, or in all."""
    namespaces = list(dict.fromkeys(kanary.namespace for kanary in kanaries(source, Selection())))
    if not namespaces:
        return "it has none at all yet; the operator records each from its first weights on"
    if namespace is None or namespace in namespaces:
        return f"there are Kanaries in {listed(namespaces)}"
    return f"namespace {namespace} has none, but {listed(namespaces)} {'has' if len(namespaces) == 1 else 'have'}"


def revision_of(source: Source, kanary: KnownKanary, revision: int) -> RecordedChange:
    """A change by its revision. Raises CommandError with the revisions that there are."""
    found = source.revision(kanary, revision)
    if found is None:
        raise CommandError(f"Kanary {kanary.name} has no revision {revision}: {_kept(source, kanary, revision)}")
    return found


def revision_before(source: Source, kanary: KnownKanary, revision: int) -> RecordedChange | None:
    """The last change before a revision. Some may be missing in between: the record could not take them."""
    span = source.revisions(kanary)
    if span is None or span[0] >= revision:
        return None
    if found := source.revision(kanary, revision - 1):
        return found
    everything = Selection(kanary.namespace, kanary.name, include_deleted=True)
    changes = every(lambda after: source.changes(everything, after))
    return next((c for c in changes if c.kanary.uid == kanary.uid and c.change.revision < revision), None)


def _kept(source: Source, kanary: KnownKanary, missing: int) -> str:
    """Which revisions there are, where one is not."""
    span = source.revisions(kanary)
    if span is None:
        return "none is kept"
    first, last = span
    if first == last:
        return f"the history has {first}"
    return f"the history has {first} to {last}" + (" without it" if first < missing < last else "")
