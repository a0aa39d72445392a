"""The commands that show Kanaries as they are: what they accept, and their help. Each imports its code when it runs."""

from __future__ import annotations

import click

from kanary.cli.parameters import cluster_options, name_argument, namespace_option


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


COMMANDS = (get,)
