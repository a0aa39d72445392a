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
from kanary.cli.output import document, json_text, weights_of
from kanary.cli.text import Table, cut, plain
from kanary.cli.times import local_text, took_text
from kanary.history.records import RecordedChange
from kanary.history.source import Source

_COLOURS = {"---": "\x1b[1m", "+++": "\x1b[1m", "@@ ": "\x1b[36m", "-": "\x1b[31m", "+": "\x1b[32m"}
_RESET = "\x1b[0m"

_CAUSE = 60  # columns


def show_difference(source: Source, namespace: str, name: str, revisions: tuple[int, int | None], output: str) -> None:
    """Print the difference of two revisions, or of one and the revision before it."""
    kanary = one_kanary(source, namespace, name)
    first, second = revisions
    new = revision_of(source, kanary, first if second is None else second)
    old = revision_before(source, kanary, first) if second is None else revision_of(source, kanary, first)
    if old is None:
        raise CommandError(f"revision {first} of Kanary {name} is the first in the history: name another revision")
    found = RevisionDiff(old, new, *_configurations(source, old.change.digest, new.change.digest))
    if output == "json":
        print(json_text(found.as_json(), sys.stdout, indent=2))
    else:
        found.show(sys.stdout, is_coloured=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def _configurations(
    source: Source, old: str | None, new: str | None
) -> tuple[Configuration | None, Configuration | None]:
    if old is not None and old == new:
        # The same, whether it is kept or not.
        same = Configuration(digest=old, text="", endpoints={})
        return same, same
    return (old and source.configuration(old)) or None, (new and source.configuration(new)) or None


@dataclass(frozen=True)
class RevisionDiff:
    """From one revision to another."""

    old: RecordedChange
    new: RecordedChange
    was: Configuration | None
    """Configuration of the old one; None where it is not kept."""
    now: Configuration | None

    def as_json(self) -> dict[str, Any]:
        """For programs; endpoints and configuration are None where a configuration is not kept."""
        before, after = (weights_of(each.change.after) for each in (self.old, self.new))
        return {
            "from": document(self.old),
            "to": document(self.new),
            "weights": [{"backend": b, "from": before.get(b), "to": after.get(b)} for b in {**before, **after}],
            "endpoints": [*_endpoints(self.was.endpoints, self.now.endpoints)] if self.was and self.now else None,
            "configuration": [*self._lines(self.was, self.now)] if self.was and self.now else None,
        }

    def _lines(self, was: Configuration, now: Configuration) -> Iterator[str]:
        old, new = (f"revision {each.change.revision}" for each in (self.old, self.new))
        return unified_diff(was.text.splitlines(), now.text.splitlines(), old, new, lineterm="")

    def show(self, output: TextIO, *, is_coloured: bool = False) -> None:
        """For a person."""

        def line(text: str = "") -> None:
            colour = (_COLOURS.get(text[:3]) or _COLOURS.get(text[:1])) if is_coloured else None
            output.write(f"{colour}{plain(text)}{_RESET}\n" if colour else f"{plain(text)}\n")

        found, kanary = self.as_json(), self.old.kanary
        old, new = (f"revision {each.change.revision}" for each in (self.old, self.new))
        line(f"{kanary.namespace}/{kanary.name}: {old} to {new}")
        line()
        about = zip(("WHEN", "CAUSE", "BY", "RESULT"), _about(self.old), _about(self.new), strict=True)
        Table(("", old.upper(), new.upper()), output).write(about)
        line()
        Table(("WEIGHTS", old.upper(), new.upper(), "CHANGE"), output).write(map(_weight, found["weights"]))
        for name, lines in (
            ("ENDPOINTS", _endpoint_lines(found["endpoints"])),
            ("CONFIGURATION", found["configuration"]),
        ):
            line()
            line(name)
            missing = [text for text, kept in ((old, self.was), (new, self.now)) if kept is None]
            otherwise = f"not kept of {' and '.join(dict.fromkeys(missing))}" if missing else "unchanged"
            for each in lines or [otherwise]:
                line(each)


def _endpoints(old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """For each backend the endpoints that were removed and added, where there are any."""
    for backend in {**old, **new}:
        had, has = old.get(backend, ()), new.get(backend, ())
        removed, added = [e for e in had if e not in has], [e for e in has if e not in had]
        if removed or added:
            yield {"backend": backend, "removed": removed, "added": added}


def _about(found: RecordedChange) -> tuple[str, ...]:
    result = f"{found.result.result} after {took_text(found.result.seconds)}" if found.result else "in progress"
    return (local_text(found.change.at), cut(found.change.cause, _CAUSE), found.change.author, result)


def _weight(step: dict[str, Any]) -> tuple[str, ...]:
    backend, old, new = step.values()
    shown = ["none" if weight is None else str(weight) for weight in (old, new)]
    if old is None or new is None:
        return (backend, *shown, "removed" if new is None else "new")
    return (backend, *shown, f"{new - old:+d}" if new != old else "")


def _endpoint_lines(endpoints: list[dict[str, Any]] | None) -> list[str]:
    signed = (
        (e["backend"], *(f"- {r}" for r in e["removed"]), *(f"+ {a}" for a in e["added"])) for e in endpoints or ()
    )
    return [line for lines in signed for line in lines]
