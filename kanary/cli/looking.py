"""The commands that show Kanaries as they are: what they accept, and their help. Each imports its code when it runs."""

from __future__ import annotations

from datetime import datetime

import click

from kanary.cli.parameters import cluster_options, name_argument, namespace_option, past_time


@click.command()
@name_argument("Kanary name.")
@namespace_option()
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
@cluster_options
def get(*, name: str, namespace: str | None, output: str, kubeconfig: str | None, context: str | None) -> None:
    """Show phase, rollout, routes and failures of a Kanary.

    The numbers of the routes and the last failed connections of each one are
    read from the proxies, through port-forwards to their agents with your own
    rights: the verbs get and create on pods/portforward, as in the ClusterRole
    edit. What cannot be read is named, and the rest is shown. With
    updateStrategy Rolling there are no agents, and no failures are recorded.
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.get import get

    with reported():
        client = connect(kubeconfig, context)
        get(client, namespace or client.namespace, name, output)


@click.command()
@name_argument("Kanary name.")
@namespace_option()
@click.option("-w", "--watch", is_flag=True, help="Print each Event that happens, until Ctrl-C.")
@click.option("--since", type=past_time, metavar="TIME", help="Show only what happened since then, e.g. 10m.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@cluster_options
def events(
    *,
    name: str,
    namespace: str | None,
    watch: bool,
    since: datetime | None,
    output: str,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Show the Events of a Kanary and of its objects, oldest first.

    The objects are the proxies' Deployment, ReplicaSets, pods, ConfigMaps and
    PodDisruptionBudget, and the Service of the destination. An Event that
    repeats is one row, with its count, at the time when it happened last.
    Clusters delete Events, by default after an hour; kanary history NAME
    --transitions has the moves of all times. With --watch, -o json prints one
    document per line.
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.events import events

    with reported():
        client = connect(kubeconfig, context)
        events(client, namespace or client.namespace, name, output, since, is_watched=watch)


COMMANDS = (get, events)
