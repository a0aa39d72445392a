"""Finds Kanaries and revisions in the history, or says which there are."""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from itertools import islice

from kanary.cli.failure import CommandError, listed
from kanary.cli.times import local_text
from kanary.history.queries import ChangeQuery, KanaryQuery, every
from kanary.history.records import KanarySummary, RecordedChange
from kanary.history.source import Source

_MOST = 2000
"""Kanaries that a message could be about."""


def one_kanary(source: Source, namespace: str, name: str, *, deleted: bool = True) -> KanarySummary:
    """The Kanary of this name that exists, or, with `deleted`, else the one that was deleted last.

    Raises CommandError where there is none; the message says which there are.
    """
    known = every(source.kanaries, KanaryQuery(namespace=namespace, name=name, deleted=True))
    found = max(known, key=_lastness, default=None)
    if found is None:
        others = _others(source, namespace, name)
        raise CommandError(f"the history has no Kanary {name} in namespace {namespace}: {others}")
    if found.deleted_at and not deleted:
        when = local_text(found.deleted_at)
        message = f"Kanary {name} of namespace {namespace} was deleted at {when}: add --deleted to see its history"
        raise CommandError(message)
    return found


def _lastness(kanary: KanarySummary) -> tuple[bool, datetime]:
    return kanary.deleted_at is None, kanary.deleted_at or kanary.first_seen


def _others(source: Source, namespace: str, name: str) -> str:
    """The Kanaries of the namespace, the closest names first; where it has none, what there is elsewhere."""
    known = islice(every(source.kanaries, KanaryQuery(namespace=namespace)), _MOST)
    names = list(dict.fromkeys(kanary.name for kanary in known))
    close = get_close_matches(name, names)
    return f"it has {listed(list(dict.fromkeys([*close, *names])))}" if names else what_there_is(source)


def what_there_is(source: Source) -> str:
    """The namespaces that have Kanaries."""
    known = islice(every(source.kanaries, KanaryQuery()), _MOST)
    if namespaces := list(dict.fromkeys(kanary.namespace for kanary in known)):
        return f"there are Kanaries in {listed(namespaces)}"
    return "it is empty; the operator records each Kanary from its first weights on"


def revision_of(source: Source, kanary: KanarySummary, revision: int) -> RecordedChange:
    """A change by its revision. Raises CommandError with the revisions that there are."""
    for found in every(source.changes, ChangeQuery(uid=kanary.uid, revision=revision)):
        return found
    kept = f"{kanary.first_revision} to {kanary.last_revision}" if kanary.last_revision else "none"
    raise CommandError(f"Kanary {kanary.name} has no revision {revision} in the history, which has {kept}")


def revision_before(source: Source, kanary: KanarySummary, revision: int) -> RecordedChange | None:
    """The last change before a revision; the retention may have deleted some in between."""
    # Small pages: what is looked for is among the newest as a rule.
    changes = every(source.changes, ChangeQuery(uid=kanary.uid, limit=50))
    return next((found for found in changes if found.change.revision < revision), None)
