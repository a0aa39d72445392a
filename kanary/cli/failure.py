"""How a command reports that it failed."""

import click

from kanary.cli.text import one_line


class CommandError(click.ClickException):
    """The command failed; the message says why and what to do. It is shown on one line, and the exit code is 1."""

    def show(self, file: object = None) -> None:  # noqa: ARG002 -- always the standard error output
        """Print the message."""
        note(self.message)


def note(message: str) -> None:
    """Print a line to the standard error output."""
    click.echo(f"kanary: {one_line(message)}", err=True)


def listed(names: list[str], *, shown: int = 5) -> str:
    """`a`, `a and b`, `a, b, c and 4 more`."""
    rest = [f"{len(names) - shown} more"] if len(names) > shown else []
    *first, last = names[:shown] + rest
    return f"{', '.join(first)} and {last}" if first else last
