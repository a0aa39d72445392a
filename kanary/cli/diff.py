"""`kanary diff`: two revisions side by side."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from typing import TextIO

from kanary.cli.access import opened
from kanary.cli.failure import CommandError
from kanary.cli.find import one_kanary, revision_before, revision_of
from kanary.cli.output import check_format, json_text
from kanary.cli.records import Json, change_fields
from kanary.cli.text import Table, cut, plain
from kanary.cli.times import local_text, took_text
from kanary.history.model import KnownKanary, RecordedChange
from kanary.history.source import Source

_GREEN, _RED, _BOLD, _CYAN, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[36m", "\x1b[0m"

_CAUSE = 60  # columns


@dataclass(frozen=True)
class Difference:
    """From one revision to another."""

    old: RecordedChange
    new: RecordedChange
    weights: tuple[tuple[str, int | None, int | None], ...]
    """Each backend's weight in the old one and in the new one; None where it is not in it."""
    endpoints: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    """For each backend what went and what came, where anything did."""
    configuration: tuple[str, ...] | None
    """A unified diff's lines; None where one of the two is not kept."""
    missing: tuple[int, ...]
    """The revisions whose configuration is not kept."""


def run(options: argparse.Namespace) -> int:
    """Compare the revisions."""
    check_format(options.output, ("text", "json"))
    with opened(options) as access:
        kanary = one_kanary(access.source, access.namespace, options.name)
        old, new = _revisions(access.source, kanary, options)
        found = difference(access.source, old, new)
    if options.output == "json":
        print(json_text(as_json(found), sys.stdout, indent=2))
    else:
        show(found, sys.stdout, is_coloured=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    return 0


def _revisions(
    source: Source, kanary: KnownKanary, options: argparse.Namespace
) -> tuple[RecordedChange, RecordedChange]:
    """The old one and the new one, in the order they were named in."""
    if options.other is not None:
        return revision_of(source, kanary, options.revision), revision_of(source, kanary, options.other)
    new = revision_of(source, kanary, options.revision)
    old = revision_before(source, kanary, options.revision)
    if old is None:
        raise CommandError(
            f"revision {options.revision} of Kanary {kanary.name} is the first that the history has: "
            "none to compare it with"
        )
    return old, new


def difference(source: Source, old: RecordedChange, new: RecordedChange) -> Difference:
    """What differs."""
    texts = _configurations(source, old, new)
    missing = tuple(each.change.revision for each, text in zip((old, new), texts, strict=True) if text is None)
    return Difference(old, new, _weights(old, new), _endpoints(old, new), _lines(old, new, texts), missing)


def _weights(old: RecordedChange, new: RecordedChange) -> tuple[tuple[str, int | None, int | None], ...]:
    before, after = ({route.backend: route.weight for route in found.change.after} for found in (old, new))
    return tuple((backend, before.get(backend), after.get(backend)) for backend in {**before, **after})


def _endpoints(old: RecordedChange, new: RecordedChange) -> tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]:
    before, after = _endpoints_of(old), _endpoints_of(new)
    found = []
    for backend in {**before, **after}:
        had, has = before.get(backend, ()), after.get(backend, ())
        gone, come = tuple(e for e in had if e not in has), tuple(e for e in has if e not in had)
        if gone or come:
            found.append((backend, gone, come))
    return tuple(found)


def _endpoints_of(found: RecordedChange) -> dict[str, tuple[str, ...]]:
    return {route.backend: each for route, each in zip(found.change.after, found.change.endpoints, strict=False)}


def _configurations(source: Source, old: RecordedChange, new: RecordedChange) -> list[str | None]:
    hashes = [found.change.config_hash for found in (old, new)]
    if hashes[0] == hashes[1] and hashes[0] is not None:
        # The same, whether it is kept or not.
        return ["", ""]
    return [source.configuration(config_hash) if config_hash else None for config_hash in hashes]


def _lines(old: RecordedChange, new: RecordedChange, texts: list[str | None]) -> tuple[str, ...] | None:
    lines = [text.splitlines() for text in texts if text is not None]
    if len(lines) < len(texts):
        return None
    was, now = (f"revision {found.change.revision}" for found in (old, new))
    return tuple(unified_diff(lines[0], lines[1], was, now, lineterm=""))


def as_json(found: Difference) -> Json:
    """For programs."""
    return {
        "from": change_fields(found.old),
        "to": change_fields(found.new),
        "weights": [{"backend": backend, "from": old, "to": new} for backend, old, new in found.weights],
        "endpoints": [{"backend": b, "gone": list(gone), "come": list(come)} for b, gone, come in found.endpoints],
        "configuration": None if found.configuration is None else list(found.configuration),
    }


def show(found: Difference, output: TextIO, *, is_coloured: bool = False) -> None:
    """For a person."""
    paint = _paint if is_coloured else _leave
    kanary = found.old.kanary
    old, new = (f"revision {each.change.revision}" for each in (found.old, found.new))
    output.write(paint(f"{kanary.namespace}/{kanary.name}: {old} to {new}", _BOLD) + "\n\n")
    about = Table(("", old.upper(), new.upper()), output)
    about.write((name, text(found.old), text(found.new)) for name, text in _ABOUT.items())
    output.write("\n")
    weights = Table(("WEIGHTS", old.upper(), new.upper(), "CHANGE"), output)
    weights.write((backend, _shown(was), _shown(now), _change(was, now)) for backend, was, now in found.weights)
    output.write("\nENDPOINTS\n")
    output.writelines(f"{paint(line, colour)}\n" for line, colour in _endpoint_lines(found))
    output.write("\nCONFIGURATION\n")
    output.writelines(f"{paint(line, colour)}\n" for line, colour in _configuration_lines(found))


def _result(found: RecordedChange) -> str:
    outcome = found.outcome
    return f"{outcome.result.value} after {took_text(outcome.seconds)}" if outcome else "in progress"


_ABOUT: dict[str, Callable[[RecordedChange], str]] = {
    "WHEN": lambda found: local_text(found.change.at),
    "CAUSE": lambda found: cut(found.change.cause, _CAUSE),
    "BY": lambda found: found.change.manager,
    "RESULT": _result,
}


def _shown(weight: int | None) -> str:
    return "none" if weight is None else str(weight)


def _change(old: int | None, new: int | None) -> str:
    if old is None or new is None:
        return "gone" if new is None else "new"
    return f"{new - old:+d}" if new != old else ""


def _endpoint_lines(found: Difference) -> Iterator[tuple[str, str]]:
    if not found.endpoints:
        yield "the same", ""
    for backend, gone, come in found.endpoints:
        yield plain(backend), ""
        yield from ((f"- {plain(endpoint)}", _RED) for endpoint in gone)
        yield from ((f"+ {plain(endpoint)}", _GREEN) for endpoint in come)


def _configuration_lines(found: Difference) -> Iterator[tuple[str, str]]:
    if found.configuration is None:
        revisions = " and ".join(map(str, dict.fromkeys(found.missing)))
        yield f"not kept of revision {revisions}", ""
    elif not found.configuration:
        yield "the same", ""
    else:
        colours = {"---": _BOLD, "+++": _BOLD, "@@ ": _CYAN}
        for line in found.configuration:
            yield plain(line), colours.get(line[:3]) or {"-": _RED, "+": _GREEN}.get(line[:1], "")


def _paint(text: str, colour: str) -> str:
    return f"{colour}{text}{_RESET}" if colour else text


def _leave(text: str, _: str) -> str:
    return text
