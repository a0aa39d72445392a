"""The commands about the state of a Kanary: what they accept, and their help."""

from __future__ import annotations

import click

from kanary.cli import suggest
from kanary.cli.parameters import text


@click.command()
@click.argument("reason", required=False, type=text, shell_complete=suggest.reasons, help="[default: list all]")
def explain(reason: str | None) -> None:
    """Explain a reason: its meaning, its cause and the remedy.

    Reasons are those of the status, the rollout, the conditions and the Events,
    such as RouteUnreachable. No cluster is needed.
    """
    from kanary.cli.explain import explain

    explain(reason)


COMMANDS = (explain,)
