"""`kanary explain`: the meaning, the cause and the remedy of a reason."""

from __future__ import annotations

import shutil
import sys
from difflib import get_close_matches
from textwrap import wrap

import click

from kanary.cli.failure import listed
from kanary.cli.text import write_table
from kanary.reasons_page import ALL
from states.explanation import Explanation
from states.texts import one_line

_WIDTH = 100
"""Columns of a text at most: longer lines are hard to read."""
_INDENT = 12


def explain(reason: str | None) -> None:
    """Print the explanation of a reason, or a list of all. Raises click.BadParameter for an unknown reason."""
    if reason is None:
        _list()
        return
    name, explanation = _find(reason)
    sys.stdout.write(f"{name}\n")
    write_paragraph("  Phase:", " or ".join(explanation.phases))
    write_paragraph("  Meaning:", explanation.meaning)
    write_paragraph("  Cause:", explanation.cause)
    write_paragraph("  Remedy:", explanation.remedy)


def _list() -> None:
    for number, (heading, found) in enumerate(ALL.items()):
        sys.stdout.write(f"{chr(10) if number else ''}{heading}:\n")
        rows = [
            [f"  {name}", explanation.meaning.partition(". ")[0].rstrip(".")] for name, explanation in found.items()
        ]
        write_table(["  REASON", "MEANING"], [rows], sys.stdout)


def _find(reason: str) -> tuple[str, Explanation]:
    known = {name.lower(): (name, explanation) for found in ALL.values() for name, explanation in found.items()}
    if found := known.get(reason.lower()):
        return found
    names = {name.lower(): name for name, _ in known.values()}
    near = [names[close] for close in get_close_matches(reason.lower(), names)]
    hint = f"the nearest {'are' if near[1:] else 'is'} {listed(near)}" if near else "`kanary explain` lists all reasons"
    raise click.BadParameter(f"there is no reason {reason[:60]!r}: {hint}.", param_hint="'REASON'")


def write_paragraph(name: str, text: str) -> None:
    """Write a text beside its name, no wider than the terminal."""
    width = min(shutil.get_terminal_size().columns, _WIDTH) - _INDENT
    for number, line in enumerate(wrap(one_line(text), max(width, _INDENT), break_on_hyphens=False)):
        sys.stdout.write(f"{'' if number else name:{_INDENT}}{line}\n")
