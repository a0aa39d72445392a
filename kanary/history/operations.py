"""What can be asked of the history over HTTP: one row per path, for the server and for the API's description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kanary.history import answers, wire
from kanary.history.answers import Refusal
from kanary.history.parameters import (
    AFTER,
    AT,
    CONFIGURATION,
    DELETED,
    IN_PATH,
    LIMIT,
    SINCE,
    UID,
    UNTIL,
    Parameter,
    Values,
)
from kanary.history.source import Source

ROOT = "/history/v1/"


@dataclass(frozen=True)
class Operation:
    """One path, and what it answers."""

    path: str
    id: str
    summary: str
    query: tuple[Parameter[Any], ...]
    shape: type[wire.Shape]
    run: Callable[[Source, Values], bytes]
    missing: tuple[Refusal, ...] = ()
    """The reasons for which it may answer 404."""

    @property
    def in_path(self) -> list[Parameter[Any]]:
        """The parameters that the path has, in its order."""
        return [IN_PATH[segment[1:-1]] for segment in self.path.split("/") if segment.startswith("{")]

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The parameters in a path, or None where it is another operation's."""
        own = self.path.split("/")
        if len(own) != len(segments):
            return None
        pairs = list(zip(own, segments, strict=True))
        if any(mine != theirs for mine, theirs in pairs if not mine.startswith("{")):
            return None
        return {mine[1:-1]: theirs for mine, theirs in pairs if mine.startswith("{")}


_NAMESPACE = "namespaces/{namespace}"
_KANARY = f"{_NAMESPACE}/kanaries/{{name}}"
_OF_KANARY = (Refusal.UNKNOWN_KANARY,)
_PAGED = (DELETED, LIMIT, AFTER)


def _lists(
    kind: str, shape: type[wire.Shape], run: Callable[[Source, Values], bytes], query: tuple[Parameter[Any], ...]
) -> tuple[Operation, ...]:
    """The same of all namespaces, of one, and of one Kanary."""
    word, query = kind.capitalize(), (*query, *_PAGED)
    # What there is of a Kanary among Kanaries is that one itself.
    below = "" if kind == "kanaries" else f"/{kind}"
    return (
        Operation(kind, f"list{word}", f"{word} of all namespaces", query, shape, run),
        Operation(f"{_NAMESPACE}/{kind}", f"list{word}OfNamespace", f"{word} of one namespace", query, shape, run),
        Operation(f"{_KANARY}{below}", f"list{word}OfName", f"{word} of one name", query, shape, run, _OF_KANARY),
    )


OPERATIONS = (
    *_lists("kanaries", wire.KanaryList, answers.kanaries, ()),
    *_lists("changes", wire.ChangeList, answers.changes, (AT, SINCE, UNTIL)),
    *_lists("transitions", wire.TransitionList, answers.transitions, (SINCE, UNTIL)),
    Operation(
        f"{_KANARY}/revisions",
        "getRevisions",
        "Which revisions are kept",
        (DELETED, UID),
        wire.Revisions,
        answers.revisions,
        _OF_KANARY,
    ),
    Operation(
        f"{_KANARY}/revisions/{{revision}}",
        "getRevision",
        "One change, with the configuration that it led to",
        (DELETED, UID, CONFIGURATION),
        wire.Revision,
        answers.revision,
        (*_OF_KANARY, Refusal.UNKNOWN_REVISION),
    ),
    Operation(
        "configurations/{hash}",
        "getConfiguration",
        "The text of a configuration",
        (),
        wire.Configuration,
        answers.configuration,
        (Refusal.UNKNOWN_CONFIGURATION,),
    ),
)
