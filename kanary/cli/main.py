"""The command line `kanary`. Each command imports what it needs when it runs, so that `--help` is fast."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, Literal

import click

from kanary.cli import commands, looking, orders, shells, status_commands
from kanary.cli.failure import CommandError
from kanary.cli.parameters import WholeNumber, age, cluster_options, file_option, text
from kanary.cli.traffic import read_burst, read_failing, read_rate
from kanary.version import VERSION

_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 for success, 1 for an error, 2 for wrong usage."""
    _open_streams()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has closed the pipe.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        CommandError(f"the output cannot be written: {error.strerror}").show()
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _open_streams() -> None:
    """Replace closed streams (`kanary ... >&-`), for which Python has None, by /dev/null."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the terminal's encoding lacks are escaped and cause no error.
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    if request := os.environ.get(shells.VARIABLE):
        return shells.answer(cli, request)
    try:
        # Not cli.main(), which exits with 1 if the reader has closed the output.
        with cli.make_context(_program(), arguments) as context:
            return cli.invoke(context) or 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        # Earlier output must appear before the error.
        sys.stdout.flush()
        error.show()
        return error.exit_code


def _discard_output() -> None:
    """Discard the remaining output: otherwise Python reports an error for it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _program() -> str:
    """The command as the user typed it: kubectl runs `kubectl-kanary` for `kubectl kanary`."""
    return "kubectl kanary" if sys.argv[0].endswith("kubectl-kanary") else "kanary"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
def cli() -> None:
    """Split the TCP connections of a Kubernetes Service by weight, with HAProxy."""


class _RunCommand(click.Command):
    """Creates its options when they are first needed: the settings load pydantic."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options of the settings."""
        if not self.params:
            from kanary.cli.run import options

            self.params = options()
        return super().get_params(ctx)


@cli.command(cls=_RunCommand)
@click.pass_context
def run(context: click.Context, /, **_: object) -> int:
    """Run the operator, in a cluster or from a laptop.

    In a pod it uses the pod's service account, elsewhere a kubeconfig. Several
    replicas elect a leader. It serves /healthz, /readyz and /metrics, and the
    history on loopback.

    An option takes precedence over its environment variable. An empty variable
    counts as not set, except KANARY_HISTORY_URL.
    """
    from kanary.cli.run import run

    return run(context)


@cli.command()
@file_option("Manifests with a Kanary; - for stdin.")
@click.option(
    "--endpoints",
    multiple=True,
    metavar="SERVICE=IP:PORT[,IP:PORT...]",
    help="Endpoints of a backend, e.g. myapp-v1=10.0.0.1:9000 or myapp-v1=[fd00::1]:9000; may be repeated.",
)
@click.option("--from-cluster", is_flag=True, help="Read endpoints that are not given from the cluster.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["objects", "config"]),
    default="objects",
    show_default=True,
    help="All objects, or haproxy.cfg only.",
)
@click.option("--proxy-image", metavar="IMAGE", help="Default HAProxy image.")
@click.option(
    "--pod-sysctls/--no-pod-sysctls",
    default=True,
    show_default=True,
    help="Kernel parameters of the proxies' pods, as the operator sets them.",
)
@cluster_options
def render(filename: str, output: Literal["objects", "config"], **options: Any) -> None:
    """Print the haproxy.cfg and the Kubernetes objects of a Kanary.

    This needs no cluster: endpoints are given, and the objects are those for a
    current Kubernetes. With --from-cluster, endpoints and version are read from
    the kubeconfig's context.
    """
    from kanary.cli.render import render_file

    sys.stdout.write(render_file(filename, output=output, **options))


@cli.command()
@file_option("Manifest with a Kanary; - for stdin.")
@click.option(
    "--rate", required=True, type=read_rate, metavar="N/s", help="Connections per second to all routes, e.g. 50/s."
)
@click.option(
    "--fail",
    "failing",
    multiple=True,
    type=read_failing,
    metavar="BACKEND=PERCENT%",
    help="How many connections to a version fail, e.g. myapp-v2=3%; may be repeated.  [default: none]",
)
@click.option(
    "--burst",
    "bursts",
    multiple=True,
    type=read_burst,
    metavar="PERCENT%@START+TIME",
    help="Failures of all versions for a time, e.g. 5%@10m+30s; may be repeated.",
)
@click.option(
    "--from",
    "start",
    type=text,
    metavar="BACKEND=WEIGHT[,...]",
    help="Weights before the rollout.  [default: 100 for the first route with weight 0]",
)
@click.option(
    "--promote-after",
    type=age,
    metavar="TIME",
    help="When steps that wait for a promotion are promoted.  [default: at once]",
)
@click.option("--runs", type=WholeNumber(1, 100_000), default=200, show_default=True, help="Number of runs.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another number gives other random runs.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def simulate(filename: str, **options: Any) -> None:
    """Simulate a rollout, to choose its steps and limits.

    The rules, weights and verdicts are those of the operator; the traffic is a
    model: connections arrive evenly, and each one fails independently. The
    first run is printed as a story. Of all runs, the results are: how often the
    rollout is rolled back, completes, or waits for a person because the
    evidence does not suffice; in which step, after which time, and after how
    many failed connections to the new version.

    \b
      kanary simulate -f web.yaml --rate 50/s --fail web-v1=0.1% --fail web-v2=3%

    Proxies serve each step at once, and pods are never missing. Windows,
    freezes, pauses, webhooks and Prometheus queries are left out. No cluster is
    needed.
    """
    from kanary.cli.simulate import simulate

    simulate(filename, **options)


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(f"kanary {VERSION}")


_STEERING = (orders.promote, orders.pause, orders.resume, orders.abort, orders.retry)
_OTHERS = (
    commands.history,
    commands.diff,
    commands.undo,
    commands.webhook_key,
    commands.completion,
    commands.db,
)
for command in (*looking.COMMANDS, *status_commands.COMMANDS, *_STEERING, *_OTHERS):
    cli.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
