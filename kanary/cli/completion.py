"""`kubectl_complete-kanary`: kubectl's completion runs it for the words that may follow `kubectl kanary ...`."""

from __future__ import annotations

import sys

from click.shell_completion import ShellComplete

from kanary.cli.main import cli

_FILES = ":0"
_NO_FILES = ":4"
"""Directives to kubectl: whether it completes the names of files."""


def main(arguments: list[str] | None = None) -> int:
    """Print the words that may stand where the last argument stands."""
    *before, begun = (sys.argv[1:] if arguments is None else arguments) or [""]
    found = ShellComplete(cli, {}, "kanary", "").get_completions(before, begun)
    words = [item.value for item in found if item.type == "plain"]
    print(*words, _NO_FILES if len(words) == len(found) else _FILES, sep="\n")
    return 0
