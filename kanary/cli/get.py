"""`kanary get`: what a Kanary does now, its rollout, and the connections that failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kanary.cli.console import new_console, text_of
from kanary.cli.live import live_kanary
from kanary.cli.output import document, is_unicode, json_text, yaml_text
from kanary.cli.tree import TreeStyle
from kanary.cli.view import owner_of, read_fleet, view_of

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient


def get(client: ClusterClient, namespace: str, name: str, output: str) -> None:
    """Print a Kanary. Raises CommandError if it does not exist, and ClusterError."""
    kanary = live_kanary(client, namespace, name)
    view = view_of(kanary, read_fleet(client, owner_of(kanary)))
    if output == "text":
        console = new_console()
        tree = TreeStyle(console.width, is_unicode(sys.stdout)).draw(view, client.clock.now())
        sys.stdout.write(text_of(console, tree))
    elif output == "json":
        sys.stdout.write(json_text(document(view), sys.stdout, indent=2) + "\n")
    else:
        sys.stdout.write(yaml_text(document(view), sys.stdout))
