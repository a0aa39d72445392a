"""The commands that show Kanaries as they are: what they accept, and their help. Each imports its code when it runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from kanary.cli.parameters import (
    WholeNumber,
    cluster_options,
    name_argument,
    namespace_option,
    past_time,
    source_options,
)

_watch = click.option("-w", "--watch", "is_watched", is_flag=True, help="Show it again at each change, until Ctrl-C.")
_output = click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)


@click.command()
@name_argument("Kanary name.")
@namespace_option()
@_watch
@_output
@cluster_options
def get(*, name: str, namespace: str | None, output: str, is_watched: bool, **way: str | None) -> None:
    """Show a Kanary: phase, rollout, routes, proxies.

    A tree of the phase and its reason, the rollout with its evidence, each
    route with its weight, its actual share of the connections since the last
    change and the pods that receive none, in HAProxy's words, each proxy with
    the revision that it serves, and the last transitions.

    With -w a terminal is redrawn in place. A pipe gets the text again, or a
    line of JSON, at each change other than of counts.

    The numbers are read from the proxies, through port-forwards to their agents
    with your own rights: the verbs get and create on pods/portforward, as in
    the ClusterRole edit. What cannot be read is named, and the rest is shown.
    With updateStrategy Rolling there are no agents, and no failures are
    recorded.
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.get import get

    with reported():
        client = connect(**way)
        get(client, namespace or client.namespace, name, output, is_watched=is_watched)


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
    --transitions keeps the moves longer. With --watch, -o json prints one
    document per line.
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.events import events

    with reported():
        client = connect(kubeconfig, context)
        events(client, namespace or client.namespace, name, output, since, is_watched=watch)


@click.command("list")
@namespace_option()
@click.option("-A", "--all-namespaces", is_flag=True, help="List the Kanaries of every namespace.")
@_watch
@_output
@cluster_options
def list_all(*, namespace: str | None, all_namespaces: bool, output: str, is_watched: bool, **way: str | None) -> None:
    """List Kanaries, those that need attention first.

    First those without a current status, then Degraded, Pending, Rolling and
    Rendering, then Ready ones with a rollout under way or with pods that are
    down or ejected; of each, what changed last comes first. All others follow
    by name.

    A route is shown as BACKEND=WEIGHT→SHARE: its declared weight, and the share
    of the connections since the last change as the operator has measured it; -
    without connections, ? if a proxy cannot be read.
    """
    if namespace and all_namespaces:
        raise click.UsageError("--namespace and --all-namespaces exclude each other: leave one out")
    from kanary.cli.access import connect, reported
    from kanary.cli.listing import list_kanaries

    with reported():
        client = connect(**way)
        chosen = None if all_namespaces else namespace or client.namespace
        list_kanaries(client, chosen, output, is_watched=is_watched)


@click.command()
@click.option("-A", "--all-namespaces", is_flag=True, help="Show the Kanaries of every namespace.")
@click.option("--port", type=WholeNumber(0, 65535), default=0, show_default=True, help="Port; 0 selects a free one.")
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open the page in a browser.")
@source_options
def dashboard(*, all_namespaces: bool, **options: Any) -> None:
    """Show Kanaries in a browser, and steer their rollouts.

    The page is served on loopback by this command, with your own kubeconfig and
    rights, until Ctrl-C: nothing is installed or exposed in the cluster. The
    printed link works once, in one browser.

    To show everything, you need the rights to list and watch Kanaries, those of
    kanary get for the proxies, and those of kanary history for the weights over
    time. Actions need the rights of kanary promote and kanary undo.
    """
    if options["namespace"] and all_namespaces:
        raise click.UsageError("--namespace and --all-namespaces exclude each other: leave one out")
    from kanary.cli.access import reported
    from kanary.dashboard.serve import serve

    with reported():
        serve(all_namespaces=all_namespaces, **options)


COMMANDS = (get, list_all, events, dashboard)
