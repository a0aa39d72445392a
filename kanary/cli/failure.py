"""The errors and notes of commands."""

import click

from states.texts import one_line


class CommandError(click.ClickException):
    """The command failed with exit code 1; the message says why and what to do, and is printed on one line."""

    def show(self, file: object = None) -> None:  # noqa: ARG002 -- always the standard error output
        """Print the message."""
        note(self.message)


def note(message: str) -> None:
    """Print a line to the standard error output."""
    click.echo(f"kanary: {one_line(message)}", err=True)


def listed(names: list[str], *, shown: int = 5) -> str:
    """Names as text: `a`, `a and b`, or `a, b, c and 4 more`."""
    rest = [f"{len(names) - shown} more"] if len(names) > shown else []
    *first, last = names[:shown] + rest
    return f"{', '.join(first)} and {last}" if first else last
