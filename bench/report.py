"""Maintains docs/performance.md: sections between markers, each written without a change of the others.

From Python: `put(path, "change", markdown)`. From a shell: `python -m bench.report change <section.md`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from bench.programs import ROOT

REPORT = ROOT / "docs" / "performance.md"

TITLES = {
    "how": "",
    "load": "Connections per second, and CPU for each",
    "stream": "One long stream",
    "pace": "Connect and first byte",
    "split": "Error of the split",
    "weights": "A thousand changes of weights under load",
    "memory": "Memory for held connections",
    "start": "Reading a configuration, starting, health checks",
    "reconcile": "CPU of a reconcile",
    "record": "The history: recording and reading it",
    "scale": "What many Kanaries cost the operator",
    "change": "From a change of weights to the new split on every proxy, Live against Rolling, on kind",
}
"""The sections in their order. Those from `reconcile` on are measured by other programs than the rest."""

_TITLE = "# Performance\n"
_NOTHING = "Not measured yet."


def put(path: Path, name: str, markdown: str) -> None:
    """Writes one section; the others stay as they are. A new file gets all sections.

    Raises KeyError for a section that is not one of TITLES.
    """
    text = path.read_text() if path.exists() else _TITLE
    written = {**sections(text), name: _headed(name, markdown)}
    bodies = {each: written.get(each) or _headed(each, _NOTHING) for each in TITLES}
    path.write_text("\n".join([_head(text), *(_marked(each, body) for each, body in bodies.items())]))


def replace_section(path: Path, name: str, markdown: str) -> None:
    """Writes the text between the markers of a section of any page. Raises ValueError if it has none of that name."""
    text = path.read_text()
    if name not in sections(text):
        raise ValueError(
            f"{path} has no place for {name!r} between the lines <!-- begin {name} --> and <!-- end {name} -->"
        )
    before, rest = text.split(f"<!-- begin {name} -->\n", 1)
    after = rest.split(f"<!-- end {name} -->\n", 1)[1]
    path.write_text(f"{before}{_marked(name, markdown)}{after}")


def sections(text: str) -> dict[str, str]:
    """The text between the markers, by name."""
    found = re.finditer(r"^<!-- begin (\w+) -->\n(.*?)\n?<!-- end \1 -->$", text, re.MULTILINE | re.DOTALL)
    return {match[1]: match[2] for match in found}


def _headed(name: str, markdown: str) -> str:
    return (f"## {TITLES[name]}\n\n" if TITLES[name] else "") + markdown.strip()


def _head(text: str) -> str:
    """The text before the first section."""
    return text.partition("<!-- begin ")[0].rstrip() + "\n"


def _marked(name: str, body: str) -> str:
    return f"<!-- begin {name} -->\n{body}\n<!-- end {name} -->\n"


if __name__ == "__main__":
    put(REPORT, sys.argv[1], sys.stdin.read())
