"""The commands that steer a rollout by hand: what they accept, and their help."""

from __future__ import annotations

from typing import Any

import click

from kanary.cli import suggest
from kanary.cli.parameters import NUMBER, cluster_options, name_argument, namespace_option, together
from kanary.cli.parameters import reason as reason_type
from kanary.kube.resources import Key

_order_options = together(
    name_argument("Kanary name."),
    click.option("-m", "--reason", type=reason_type, metavar="TEXT", help="Why, for the history."),
    namespace_option(),
    cluster_options,
)


@click.command()
@click.option("--full", is_flag=True, help="Skip the steps up to the last one, which is still watched.")
@click.option(
    "--step", type=NUMBER, metavar="N", shell_complete=suggest.steps, help="Promote only if this is the present step."
)
@_order_options
def promote(*, full: bool, step: int | None, **order: Any) -> None:
    """Start the next step of a rollout, or complete it.

    The present step passes, whatever its time and its evidence say, and also if
    it has failed and was paused (onFailure: Pause). After the last step the
    rollout is complete. The next step still waits for pods, webhooks, windows,
    and the end of a freeze or a pause.

    Within 10 s after a step has begun, another promotion means the step before,
    and changes nothing. Scripts name the step (--step).
    """
    if full and step is not None:
        raise click.UsageError("--full and --step exclude each other: leave one out")
    _give("promote", **order, is_full=full, step=step)


@click.command()
@_order_options
def pause(**order: Any) -> None:
    """Pause a rollout: no step follows until `kanary resume`.

    The weights stay as they are, and the time of the step stops. The step is
    still judged, and rolled back if it fails.
    """
    _give("pause", **order)


@click.command()
@_order_options
def resume(**order: Any) -> None:
    """Continue a paused rollout."""
    _give("resume", **order)


@click.command()
@_order_options
def abort(**order: Any) -> None:
    """Abort a rollout: the last good weights return at once.

    The spec stays. The rollout to its weights does not begin again until the
    spec changes, or until `kanary retry`.
    """
    _give("abort", **order)


@click.command()
@_order_options
def retry(**order: Any) -> None:
    """Restart a rollout that was rolled back or aborted."""
    _give("retry", **order)


def _give(
    verb: str,
    *,
    name: str,
    namespace: str | None,
    reason: str | None,
    kubeconfig: str | None,
    context: str | None,
    **how: Any,
) -> None:
    from kanary.cli.access import connect, reported
    from kanary.cli.steering import give

    with reported():
        client = connect(kubeconfig, context)
        give(client, Key(namespace or client.namespace, name), verb, reason or "", **how)
