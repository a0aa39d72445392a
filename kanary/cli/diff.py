"""`kanary diff`: two revisions side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from typing import TextIO

from rich.console import Console

from engine.model.entries import Configuration
from engine.model.weight import read_weight
from kanary.cli.failure import CommandError
from kanary.cli.find import one_kanary, revision_before, revision_of
from kanary.cli.output import Json, document, json_text
from kanary.cli.text import cut, write_table
from kanary.cli.times import local_text, took_text
from kanary.history.records import RecordedChange
from kanary.history.source import Source
from states.texts import plain

_COLOURS = {"-": "red", "+": "green", "@": "cyan"}
_CAUSE, _LINE = 60, 120  # columns


def show_difference(source: Source, namespace: str, name: str, revisions: tuple[int, int | None], output: str) -> None:
    """Print the difference of two revisions, or of one and the revision before it. Raises CommandError."""
    kanary = one_kanary(source, namespace, name)
    first, second = revisions
    new = revision_of(source, kanary, second or first)
    old = revision_of(source, kanary, first) if second else revision_before(source, kanary, first)
    if old is None:
        raise CommandError(f"revision {first} of Kanary {name} is the first in the history: name another revision")
    found = difference(source, old, new)
    if output == "json":
        print(json_text(found, sys.stdout, indent=2))
    else:
        show(old, new, found, sys.stdout)


def difference(source: Source, old: RecordedChange, new: RecordedChange) -> Json:
    """The difference as JSON; endpoints and configuration are None if they changed and the history lacks one."""
    changes = document(old), document(new)
    before, after = ({each["backend"]: each["weight"] for each in found["change"]["after"]} for found in changes)
    was, now = (digest and source.configuration(digest) for digest in (old.change.digest, new.change.digest))
    found: Json = {
        "from": changes[0],
        "to": changes[1],
        "weights": [{"backend": b, "from": before.get(b), "to": after.get(b)} for b in {**before, **after}],
    }
    if was and now:
        lines = unified_diff(was.text.splitlines(), now.text.splitlines(), _name(old), _name(new), lineterm="")
        return {**found, "endpoints": [*_endpoints(was, now)], "configuration": [*lines]}
    is_same = old.change.digest is not None and old.change.digest == new.change.digest
    return {**found, "endpoints": [] if is_same else None, "configuration": [] if is_same else None}


def _name(found: RecordedChange) -> str:
    return f"revision {found.change.revision}"


def _endpoints(was: Configuration, now: Configuration) -> Iterator[Json]:
    """The removed and added endpoints of each backend whose endpoints changed."""
    for backend in {**was.endpoints, **now.endpoints}:
        old, new = (each.endpoints.get(backend, ()) for each in (was, now))
        removed, added = [e for e in old if e not in new], [e for e in new if e not in old]
        if removed or added:
            yield {"backend": backend, "removed": removed, "added": added}


def show(old: RecordedChange, new: RecordedChange, found: Json, stream: TextIO) -> None:
    """Write the difference as text; coloured on a terminal, unless NO_COLOR is set."""
    headings = [_name(old).upper(), _name(new).upper()]
    stream.write(plain(f"{old.kanary.namespace}/{old.kanary.name}: {_name(old)} to {_name(new)}") + "\n\n")
    about = zip(("WHEN", "CAUSE", "BY", "RESULT"), _about(old), _about(new), strict=True)
    write_table(("", *headings), [about], stream)
    stream.write("\n")
    write_table(("WEIGHTS", *headings, "CHANGE"), [map(_weight, found["weights"])], stream)
    endpoints = [
        line
        for each in found["endpoints"] or ()
        for line in (each["backend"], *(f"- {e}" for e in each["removed"]), *(f"+ {e}" for e in each["added"]))
    ]
    unknown = f"unknown: the configuration of {_name(old)} or {_name(new)} is not kept"
    nothing = unknown if found["configuration"] is None else "unchanged"
    write_differing(["", "ENDPOINTS", *(endpoints or [nothing])], stream)
    write_differing(["", "CONFIGURATION", *(shortened(found["configuration"] or []) or [nothing])], stream)


def shortened(configuration: Iterable[str]) -> list[str]:
    """A difference of configurations whose long lines are cut: the turns of a round are a thousand letters."""
    return [cut(line, _LINE) for line in configuration]


def write_differing(lines: Iterable[str], stream: TextIO) -> None:
    """Write the lines of a difference, coloured on a terminal, unless NO_COLOR is set."""
    console = Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=True)
    # Captured: rich exits with 1 if it writes to a closed pipe.
    with console.capture() as captured:
        for line in lines:
            console.print(plain(line), style=_COLOURS.get(line[:1]))
    stream.write(captured.get())


def _about(found: RecordedChange) -> tuple[str, ...]:
    result = f"{found.result.result} after {took_text(found.result.seconds)}" if found.result else "in progress"
    return (local_text(found.change.at), cut(found.change.cause, _CAUSE), found.change.author, result)


def _weight(found: Json) -> tuple[str, ...]:
    backend, old, new = found.values()
    return (backend, *("none" if weight is None else str(weight) for weight in (old, new)), _step(old, new))


def _step(old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return "new" if old is None else "removed"
    step = read_weight(new) - read_weight(old)
    return f"{step.normalize():+f}" if step else ""
