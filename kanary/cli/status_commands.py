"""The commands about the state of a Kanary: what they accept, and their help."""

from __future__ import annotations

from datetime import timedelta

import click

from kanary.cli import suggest
from kanary.cli.parameters import age, cluster_options, name_argument, namespace_option, text


@click.command()
@name_argument("Kanary name.")
@namespace_option()
@click.option("--timeout", type=age, metavar="TIME", help="Stop waiting after this time, e.g. 5m.  [default: never]")
@click.option(
    "--grace",
    type=age,
    metavar="TIME",
    help="How long it may be Degraded without a break, e.g. 30s.  [default: fail at once]",
)
@cluster_options
def status(
    *, name: str, namespace: str | None, timeout: timedelta | None, grace: timedelta | None, **way: str | None
) -> int:
    """Wait until a Kanary is Ready; for pipelines.

    Prints `PHASE - MESSAGE` at each change, of the present generation of the
    spec only. A rollout by steps is Ready when it has completed.

    \b
    Exit codes:
      0  Ready: every proxy serves the declared weights
      1  Degraded, which includes a rollout that was rolled back; or an error
      3  neither within --timeout

    If the API server stops responding, the command keeps waiting for it.

    \b
      kubectl apply -f web.yaml && kanary status web --timeout 10m
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.status import wait

    with reported():
        client = connect(**way)
        return wait(client, namespace or client.namespace, name, timeout=timeout, grace=grace or timedelta())


@click.command()
@name_argument("Kanary name.")
@namespace_option()
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
@cluster_options
def why(*, name: str, namespace: str | None, output: str, **way: str | None) -> None:
    """Explain why a Kanary, and its rollout, are where they are.

    The operator evaluates ordered rules, and the first one that applies
    decides. The rules up to that one are listed, with what it waits for, since
    when, until when at the latest, and what would end it before.

    The status has the rule; the command reads nothing else, and needs the right
    to get the Kanary.
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.why import why

    with reported():
        client = connect(**way)
        why(client, namespace or client.namespace, name, output)


@click.command()
@click.argument("reason", required=False, type=text, shell_complete=suggest.reasons, help="[default: list all]")
def explain(reason: str | None) -> None:
    """Explain a reason: its meaning, its cause and the remedy.

    Reasons are those of the status, the rollout, the conditions and the Events,
    such as RouteUnreachable. No cluster is needed.
    """
    from kanary.cli.explain import explain

    explain(reason)


COMMANDS = (status, why, explain)
