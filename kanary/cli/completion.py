"""`kubectl_complete-kanary`, which kubectl runs to complete `kubectl kanary ...`."""

from __future__ import annotations

import sys

from click.shell_completion import ShellComplete

from kanary.cli.main import cli
from kanary.cli.shells import silence

_FILES = ":0"
_NO_FILES = ":4"
"""Directives to kubectl: whether to complete file names as well."""


def main(arguments: list[str] | None = None) -> int:
    """Print the completions of the last argument, each with its description after a tab, and a directive."""
    if arguments is None:
        silence()
    *before, begun = (sys.argv[1:] if arguments is None else arguments) or [""]
    found = ShellComplete(cli, {}, "kanary", "").get_completions(before, begun)
    plain = [item for item in found if item.type == "plain"]
    lines = [f"{item.value}\t{item.help.splitlines()[0]}" if item.help else item.value for item in plain]
    print(*lines, _NO_FILES if len(plain) == len(found) else _FILES, sep="\n")
    return 0
