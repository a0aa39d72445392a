"""Finds Kanaries and revisions in the history; errors list the existing ones."""

from __future__ import annotations

from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import islice

from kanary.cli.failure import CommandError, listed
from kanary.cli.times import local_text
from kanary.history.queries import ChangeQuery, KanaryQuery, every
from kanary.history.records import KanarySummary, RecordedChange
from kanary.history.source import Source

_MOST = 2000
"""Maximum number of Kanaries read for a message."""
_NEVER = datetime.max.replace(tzinfo=UTC)


def one_kanary(source: Source, namespace: str, name: str, *, deleted: bool = True) -> KanarySummary:
    """The existing Kanary with this name, or, with `deleted`, otherwise the one deleted last.

    Raises CommandError if there is none; the message lists others.
    """
    known = every(source.kanaries, KanaryQuery(namespace=namespace, name=name, deleted=True))
    found = max(known, key=lambda kanary: kanary.deleted_at or _NEVER, default=None)
    if found is None:
        there_is = _close_names(source, namespace, name) or what_there_is(source)
        raise CommandError(f"the history has no Kanary {name} in namespace {namespace}: {there_is}")
    if found.deleted_at and not deleted:
        when = local_text(found.deleted_at)
        way_out = "add --deleted to see its history"
        raise CommandError(f"Kanary {name} of namespace {namespace} was deleted at {when}: {way_out}")
    return found


def _close_names(source: Source, namespace: str, name: str) -> str:
    """A text with the Kanaries of the namespace, the closest names first; empty if it has none."""
    known = islice(every(source.kanaries, KanaryQuery(namespace=namespace)), _MOST)
    names = [kanary.name for kanary in known]
    return f"it has {listed([*dict.fromkeys([*get_close_matches(name, names), *names])])}" if names else ""


def what_there_is(source: Source) -> str:
    """A text with the namespaces that have Kanaries."""
    known = islice(every(source.kanaries, KanaryQuery()), _MOST)
    if namespaces := [*dict.fromkeys(kanary.namespace for kanary in known)]:
        return f"there are Kanaries in {listed(namespaces)}"
    return "it is empty; the operator records each Kanary from its first weights on"


def revision_of(source: Source, kanary: KanarySummary, revision: int) -> RecordedChange:
    """The change with this revision. Raises CommandError, which lists the existing revisions, if there is none."""
    for found in source.changes(ChangeQuery(uid=kanary.uid, revision=revision)).items:
        return found
    kept = f"{kanary.first_revision} to {kanary.last_revision}" if kanary.last_revision else "none"
    raise CommandError(f"Kanary {kanary.name} has no revision {revision} in the history, which has {kept}")


def revision_before(source: Source, kanary: KanarySummary, revision: int) -> RecordedChange | None:
    """The last change before a revision; its number may be lower by more than 1 if entries were lost."""
    # Small pages: the revision is usually one of the newest.
    changes = every(source.changes, ChangeQuery(uid=kanary.uid, limit=50))
    return next((found for found in changes if found.change.revision < revision), None)
