"""Finds Kanaries and revisions in the history, or says which there are."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice

from kanary.cli.failure import CommandError, listed
from kanary.cli.times import local_text
from kanary.history.records import KnownKanary, RecordedChange
from kanary.history.selection import Selection, every
from kanary.history.source import Source, find_kanary

_MOST = 2000


def kanaries(source: Source, selection: Selection) -> list[KnownKanary]:
    """The Kanaries themselves, up to as many as a message could be about."""
    return list(islice(every(lambda after: source.kanaries(selection, after)), _MOST))


def first_change(source: Source, kanary: KnownKanary) -> RecordedChange | None:
    """The first change that is kept."""
    revisions = source.revisions(kanary)
    return source.revision(kanary, revisions[0]) if revisions else None


def one_kanary(source: Source, namespace: str, name: str) -> KnownKanary:
    """The Kanary of this name, or the last one that had it. Raises CommandError where none ever had."""
    found = find_kanary(source, Selection(namespace, name, include_deleted=True))
    if found is None:
        raise unknown(source, namespace, name)
    return found


def unknown(source: Source, namespace: str, name: str) -> CommandError:
    """No Kanary of this name exists: the error says which there are."""
    deleted = kanaries(source, Selection(namespace, name, include_deleted=True))
    if times := [kanary.deleted_at for kanary in deleted if kanary.deleted_at]:
        return CommandError(
            f"Kanary {name} of namespace {namespace} was deleted at {local_text(max(times))}: "
            "add --deleted to see its history"
        )
    names = list(dict.fromkeys(kanary.name for kanary in kanaries(source, Selection(namespace))))
    if not names:
        return CommandError(f"the history has no Kanary {name}: {nothing_in(source, namespace)}")
    close = get_close_matches(name, names)
    others = [*close, *(each for each in names if each not in close)]
    return CommandError(f"the history has no Kanary {name} in namespace {namespace}; it has {listed(others)}")


def nothing_in(source: Source, namespace: str | None) -> str:
    """Why nothing is found in a namespace, or in all."""
    namespaces = list(dict.fromkeys(kanary.namespace for kanary in kanaries(source, Selection())))
    if not namespaces:
        return "it is empty; the operator records each Kanary from its first weights on"
    if namespace is None or namespace in namespaces:
        return f"it has Kanaries in {listed(namespaces)}"
    return f"it has none in namespace {namespace}, but in {listed(namespaces)}"


def revision_of(source: Source, kanary: KnownKanary, revision: int) -> RecordedChange:
    """A change by its revision. Raises CommandError with the revisions that there are."""
    found = source.revision(kanary, revision)
    if found is None:
        raise CommandError(f"Kanary {kanary.name} has no revision {revision}: {_kept(source, kanary, revision)}")
    return found


def revision_before(source: Source, kanary: KnownKanary, revision: int) -> RecordedChange | None:
    """The last change before a revision; the retention may have deleted some in between."""
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
        return "the history has none"
    first, last = span
    if first == last:
        return f"the history has {first}"
    return f"the history has {first} to {last}" + (" without it" if first < missing < last else "")
