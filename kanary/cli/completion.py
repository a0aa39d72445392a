"""`kubectl_complete-kanary`, which kubectl runs to complete `kubectl kanary ...`."""

from __future__ import annotations

import sys

from click.shell_completion import ShellComplete

from kanary.cli.main import cli

_FILES = ":0"
_NO_FILES = ":4"
"""Directives to kubectl: whether to complete file names as well."""


def main(arguments: list[str] | None = None) -> int:
    """Print the completions of the last argument, and a directive."""
    *before, begun = (sys.argv[1:] if arguments is None else arguments) or [""]
    found = ShellComplete(cli, {}, "kanary", "").get_completions(before, begun)
    words = [item.value for item in found if item.type == "plain"]
    print(*words, _NO_FILES if len(words) == len(found) else _FILES, sep="\n")
    return 0
