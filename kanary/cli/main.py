"""The command line `kanary`. Each command imports what it needs when it runs, so that `--help` is fast."""

from __future__ import annotations

import io
import os
import sys

import click

from kanary.cli import commands, looking, manifests, orders, shells, status_commands
from kanary.cli.failure import CommandError
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
        try:
            # Earlier output must appear before the error.
            sys.stdout.flush()
            error.show()
        except BrokenPipeError:
            # Nobody reads it, and it is an error nevertheless.
            _discard_output()
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
for command in (*looking.COMMANDS, *manifests.COMMANDS, *status_commands.COMMANDS, *_STEERING, *_OTHERS):
    cli.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
