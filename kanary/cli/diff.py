"""`kanary diff`: two revisions side by side."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, TextIO

from engine.model.entries import Configuration
from kanary.cli.failure import CommandError
from kanary.cli.find import one_kanary, revision_before, revision_of
from kanary.cli.output import document, json_text
from kanary.cli.text import Table, cut, plain
from kanary.cli.times import local_text, took_text
from kanary.history.records import RecordedChange
from kanary.history.source import Source

_GREEN, _RED, _BOLD, _CYAN, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[36m", "\x1b[0m"
_COLOURS = {"---": _BOLD, "+++": _BOLD, "@@ ": _CYAN, "-": _RED, "+": _GREEN}

_CAUSE = 60  # columns


@dataclass(frozen=True)
class Difference:
    """From one revision to another."""

    old: RecordedChange
    new: RecordedChange
    configurations: tuple[Configuration | None, Configuration | None]
    """None where it is not kept."""

    @property
    def weights(self) -> Mapping[str, tuple[int | None, int | None]]:
        """Each backend's weight in the old one and in the new one; None where it is not in it."""
        before, after = ({share.backend: share.weight for share in each.change.after} for each in (self.old, self.new))
        return {backend: (before.get(backend), after.get(backend)) for backend in {**before, **after}}

    @property
    def endpoints(self) -> Mapping[str, tuple[list[str], list[str]]] | None:
        """For each backend the endpoints that were removed and added; None where a configuration is not kept."""
        old, new = self.configurations
        if old is None or new is None:
            return None
        pairs = {b: (old.endpoints.get(b, ()), new.endpoints.get(b, ())) for b in {**old.endpoints, **new.endpoints}}
        changes = {b: (_without(had, has), _without(has, had)) for b, (had, has) in pairs.items()}
        return {backend: change for backend, change in changes.items() if any(change)}

    @property
    def configuration(self) -> list[str] | None:
        """The lines of a unified diff; None where one of the two is not kept."""
        old, new = self.configurations
        if old is None or new is None:
            return None
        was, now = (f"revision {each.change.revision}" for each in (self.old, self.new))
        return list(unified_diff(old.text.splitlines(), new.text.splitlines(), was, now, lineterm=""))


def show_difference(
    source: Source, namespace: str, name: str, *, revision: int, other: int | None, output: str
) -> None:
    """Print the difference of two revisions, or of one and the revision before it."""
    kanary = one_kanary(source, namespace, name)
    first = revision_of(source, kanary, revision)
    if other is not None:
        found = difference(source, first, revision_of(source, kanary, other))
    elif before := revision_before(source, kanary, revision):
        found = difference(source, before, first)
    else:
        raise CommandError(f"revision {revision} of Kanary {name} is the first in the history: name another revision")
    if output == "json":
        print(json_text(as_json(found), sys.stdout, indent=2))
    else:
        show(found, sys.stdout, is_coloured=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def difference(source: Source, old: RecordedChange, new: RecordedChange) -> Difference:
    """What differs."""
    before, after = old.change.digest, new.change.digest
    if before is not None and before == after:
        # The same, whether it is kept or not.
        same = Configuration(digest=before, text="", endpoints={})
        return Difference(old, new, (same, same))
    return Difference(old, new, (_read(source, before), _read(source, after)))


def _read(source: Source, digest: str | None) -> Configuration | None:
    return None if digest is None else source.configuration(digest)


def as_json(found: Difference) -> dict[str, Any]:
    """For programs."""
    endpoints = None
    if found.endpoints is not None:
        endpoints = [{"backend": b, "removed": old, "added": new} for b, (old, new) in found.endpoints.items()]
    return {
        "from": document(found.old),
        "to": document(found.new),
        "weights": [{"backend": backend, "from": old, "to": new} for backend, (old, new) in found.weights.items()],
        "endpoints": endpoints,
        "configuration": found.configuration,
    }


def show(found: Difference, output: TextIO, *, is_coloured: bool = False) -> None:
    """For a person."""

    def line(text: str = "", colour: str = "") -> None:
        output.write(f"{colour}{plain(text)}{_RESET}\n" if colour and is_coloured else f"{plain(text)}\n")

    old, new = (f"revision {each.change.revision}" for each in (found.old, found.new))
    line(f"{found.old.kanary.namespace}/{found.old.kanary.name}: {old} to {new}", _BOLD)
    line()
    Table(("", old.upper(), new.upper()), output).write(zip(*map(_about, (None, found.old, found.new)), strict=True))
    line()
    Table(("WEIGHTS", old.upper(), new.upper(), "CHANGE"), output).write(
        (backend, _shown(was), _shown(now), _change(was, now)) for backend, (was, now) in found.weights.items()
    )
    for heading, lines in (("ENDPOINTS", _endpoint_lines(found)), ("CONFIGURATION", found.configuration)):
        line()
        line(heading)
        if lines is None:
            line(f"not kept of revision {_not_kept(found)}")
        for text in ["unchanged"] if lines == [] else lines or ():
            line(text, _COLOURS.get(text[:3]) or _COLOURS.get(text[:1], ""))


def _without(some: Sequence[str], others: Sequence[str]) -> list[str]:
    return [each for each in some if each not in others]


def _about(found: RecordedChange | None) -> tuple[str, ...]:
    if found is None:
        return ("WHEN", "CAUSE", "BY", "RESULT")
    result = f"{found.result.result} after {took_text(found.result.seconds)}" if found.result else "in progress"
    return (local_text(found.change.at), cut(found.change.cause, _CAUSE), found.change.author, result)


def _shown(weight: int | None) -> str:
    return "none" if weight is None else str(weight)


def _change(old: int | None, new: int | None) -> str:
    if old is None or new is None:
        return "removed" if new is None else "new"
    return f"{new - old:+d}" if new != old else ""


def _endpoint_lines(found: Difference) -> list[str] | None:
    def lines() -> Iterator[str]:
        for backend, (removed, added) in (found.endpoints or {}).items():
            yield backend
            yield from (f"- {endpoint}" for endpoint in removed)
            yield from (f"+ {endpoint}" for endpoint in added)

    return None if found.endpoints is None else list(lines())


def _not_kept(found: Difference) -> str:
    revisions = [each.change.revision for each in (found.old, found.new)]
    missing = [revision for revision, kept in zip(revisions, found.configurations, strict=True) if kept is None]
    return " and ".join(map(str, dict.fromkeys(missing)))
