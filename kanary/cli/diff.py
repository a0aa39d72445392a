"""`kanary diff`: two revisions side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, TextIO

from rich.console import Console

from engine.model.entries import Configuration
from kanary.cli.failure import CommandError
from kanary.cli.find import one_kanary, revision_before, revision_of
from kanary.cli.output import document, json_text, weights_of
from kanary.cli.text import Table, cut, plain
from kanary.cli.times import local_text, took_text
from kanary.history.records import RecordedChange
from kanary.history.source import Source

Json = dict[str, Any]

_COLOURS = {"-": "red", "+": "green", "@": "cyan"}
_CAUSE = 60  # columns
_EMPTY = Configuration(digest="", text="", endpoints={})


def show_difference(source: Source, namespace: str, name: str, revisions: tuple[int, int | None], output: str) -> None:
    """Print the difference of two revisions, or of one and the revision before it. Raises CommandError."""
    kanary = one_kanary(source, namespace, name)
    first, second = revisions
    new = revision_of(source, kanary, second or first)
    old = revision_of(source, kanary, first) if second else revision_before(source, kanary, first)
    if old is None:
        raise CommandError(f"revision {first} of Kanary {name} is the first in the history: name another revision")
    found = RevisionDiff(old, new, _configuration(source, old), _configuration(source, new))
    if output == "json":
        print(json_text(found.as_json(), sys.stdout, indent=2))
    else:
        found.show(sys.stdout)


def _configuration(source: Source, found: RecordedChange) -> Configuration | None:
    return source.configuration(found.change.digest) if found.change.digest else None


@dataclass(frozen=True)
class RevisionDiff:
    """From one revision to another."""

    old: RecordedChange
    new: RecordedChange
    was: Configuration | None
    """Configuration of the old one; None where it is not kept."""
    now: Configuration | None

    @property
    def names(self) -> tuple[str, str]:
        """Of the two revisions."""
        return f"revision {self.old.change.revision}", f"revision {self.new.change.revision}"

    @property
    def missing(self) -> list[str]:
        """The revisions whose configurations would have to be compared and are not kept."""
        if self.old.change.digest is not None and self.old.change.digest == self.new.change.digest:
            return []
        return [name for name, kept in zip(self.names, (self.was, self.now), strict=True) if kept is None]

    def as_json(self) -> Json:
        """For programs; endpoints and configuration are None where a configuration is missing."""
        before, after = (weights_of(each.change.after) for each in (self.old, self.new))
        was, now = (each or _EMPTY for each in (self.was, self.now))
        lines = unified_diff(was.text.splitlines(), now.text.splitlines(), *self.names, lineterm="")
        return {
            "from": document(self.old),
            "to": document(self.new),
            "weights": [{"backend": b, "from": before.get(b), "to": after.get(b)} for b in {**before, **after}],
            "endpoints": None if self.missing else [*_endpoints(was, now)],
            "configuration": None if self.missing else [*lines],
        }

    def show(self, stream: TextIO) -> None:
        """For a person; coloured on a terminal, unless NO_COLOR is set."""
        found, kanary, names = self.as_json(), self.old.kanary, self.names
        headings = [name.upper() for name in names]
        stream.write(plain(f"{kanary.namespace}/{kanary.name}: {' to '.join(names)}") + "\n\n")
        about = zip(("WHEN", "CAUSE", "BY", "RESULT"), _about(self.old), _about(self.new), strict=True)
        Table(("", *headings), stream).write(about)
        stream.write("\n")
        Table(("WEIGHTS", *headings, "CHANGE"), stream).write(map(_weight, found["weights"]))
        otherwise = [f"not kept of {' and '.join(self.missing)}" if self.missing else "unchanged"]
        endpoints = [line for each in found["endpoints"] or () for line in _endpoint_lines(each)]
        console = Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=True)
        # Captured, since rich ends the process with 1 if the reader has closed the output.
        with console.capture() as captured:
            for heading, lines in (("ENDPOINTS", endpoints), ("CONFIGURATION", found["configuration"])):
                for line in ("", heading, *(lines or otherwise)):
                    console.print(plain(line), style=_COLOURS.get(line[:1]))
        stream.write(captured.get())


def _endpoints(was: Configuration, now: Configuration) -> Iterator[Json]:
    """For each backend the endpoints that were removed and added, where there are any."""
    for backend in {**was.endpoints, **now.endpoints}:
        old, new = (each.endpoints.get(backend, ()) for each in (was, now))
        removed, added = [e for e in old if e not in new], [e for e in new if e not in old]
        if removed or added:
            yield {"backend": backend, "removed": removed, "added": added}


def _endpoint_lines(found: Json) -> list[str]:
    return [found["backend"], *(f"- {each}" for each in found["removed"]), *(f"+ {each}" for each in found["added"])]


def _about(found: RecordedChange) -> tuple[str, ...]:
    result = f"{found.result.result} after {took_text(found.result.seconds)}" if found.result else "in progress"
    return (local_text(found.change.at), cut(found.change.cause, _CAUSE), found.change.author, result)


def _weight(found: Json) -> tuple[str, ...]:
    backend, old, new = found.values()
    change = "new" if old is None else "removed" if new is None else f"{new - old:+d}" if new != old else ""
    return (backend, *("none" if weight is None else str(weight) for weight in (old, new)), change)
