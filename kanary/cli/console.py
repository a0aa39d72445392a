"""The terminal, or what stands in its place: a pipe or a file."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType

_PIPE_COLUMNS = 1_000_000
"""In a pipe or file nothing is wrapped."""


def is_terminal() -> bool:
    """Whether the output can be redrawn in place."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def new_console() -> Console:
    """A console for the output: without colours if it is no terminal or if `NO_COLOR` is set."""
    has_colours = is_terminal() and not os.environ.get("NO_COLOR")
    return Console(
        file=sys.stdout,
        color_system="auto" if has_colours else None,
        force_terminal=is_terminal(),
        width=None if sys.stdout.isatty() else _PIPE_COLUMNS,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )


def text_of(console: Console, picture: RenderableType) -> str:
    """The picture as text, without spaces at the ends of lines and blank lines at its end."""
    with console.capture() as captured:
        console.print(picture)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().rstrip().splitlines())
