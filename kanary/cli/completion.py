"""`kubectl_complete-kanary`: what kubectl's completion asks for what may follow `kubectl kanary ...`."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress

from kanary.cli.access import connect
from kanary.cli.arguments import UPKEEP
from kanary.kanaries import KANARIES
from kanary.kube.errors import ClusterError

_COMMANDS = ("history", "diff", "undo", "render", "run", "version")
_NAMED = ("history", "diff", "undo")
_NO_FILES = ":4"
"""To kubectl: there is nothing else, and files are not meant."""


def main(arguments: list[str] | None = None) -> int:
    """Print the words that may stand where the last argument stands."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _options(words)
    position, begun = len(options.words), words[-1] if words else ""
    for word in _candidates(options, position):
        if word.startswith(begun):
            print(word)
    print(_NO_FILES)
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    """The options that say where the Kanaries are, and the other words before the last."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for names in (("-n", "--namespace"), ("--kubeconfig",), ("--context",)):
        parser.add_argument(*names)
    try:
        options, rest = parser.parse_known_args(words[:-1])
    except argparse.ArgumentError:
        options, rest = argparse.Namespace(namespace=None, kubeconfig=None, context=None), []
    options.words = [word for word in rest if not word.startswith("-")]
    return options


def _candidates(options: argparse.Namespace, position: int) -> list[str]:
    if position == 0:
        return list(_COMMANDS)
    if position == 1 and options.words[0] in _NAMED:
        # A Kanary of such a name is written with its type before it.
        names = [f"ky/{name}" if name in UPKEEP else name for name in _names(options)]
        return [*names, *(UPKEEP if options.words[0] == "history" else ())]
    return []


def _names(options: argparse.Namespace) -> list[str]:
    """The Kanaries; none where they cannot be had, since nobody reads an error between two words."""
    with suppress(ClusterError):
        client = connect(options)
        kanaries, _ = client.list(KANARIES, options.namespace or client.namespace)
        return sorted(kanary["metadata"]["name"] for kanary in kanaries)
    return []
