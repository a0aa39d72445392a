"""The types of arguments and options, and the options that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kanary.cli.times import EXPECTED, local_text, read_duration, read_time
from kanary.cli.where import OPERATOR_NAMESPACE, Where

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., Any])

_TYPE = re.compile(r"(?:ky|kanary|kanaries)(?:\.kanary\.k8s\.io)?/")


class Text(click.ParamType[str]):
    """A text that is not empty, as one from a variable that is not set would be."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an empty text."""
        if not value.strip():
            self.fail("it is empty: give a value, or leave it out", param, ctx)
        return value


class KanaryName(Text):
    """The name of a Kanary, which may have its type before it, as for kubectl: `ky/web`."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name alone."""
        name = _TYPE.sub("", value, count=1)
        if not name or "/" in name:
            self.fail(f"invalid Kanary name {value!r}", param, ctx)
        return name

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 -- click passes it
        incomplete: str,
    ) -> list[CompletionItem]:
        """The Kanaries of the cluster."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 -- only completion needs it

        from kanary.cli.access import kanary_names  # noqa: PLC0415 -- as above

        options = (ctx.params.get(option) for option in ("kubeconfig", "context", "namespace"))
        return [CompletionItem(name) for name in kanary_names(*options) if name.startswith(incomplete)]


class PastTime(click.ParamType[datetime]):
    """A time up to now, in UTC."""

    name = "time"

    def __init__(self, *, through_second: bool = False) -> None:
        self._through_second = through_second

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        now = datetime.now(UTC)
        try:
            time = read_time(value, now, through_second=self._through_second)
        except (ValueError, OverflowError):
            self.fail(f"invalid time {value[:60]!r}, expected {EXPECTED}", param, ctx)
        if time.replace(microsecond=0) > now:
            self.fail(f"{local_text(time)} is in the future", param, ctx)
        return time


class Age(click.ParamType[timedelta]):
    """A duration such as `7d`, not zero."""

    name = "age"

    def convert(self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it."""
        try:
            age = value if isinstance(value, timedelta) else read_duration(value)
        except (ValueError, OverflowError):
            age = None
        if not age:
            self.fail(f"invalid age {str(value)[:40]!r}, expected one like 400d, 26w or 36h", param, ctx)
        return age


TEXT = Text()
KANARY = KanaryName()
NUMBER = click.IntRange(1, 10**9)


def cluster_options(command: Command) -> Command:
    """Add --kubeconfig and --context."""
    for option in (
        click.option("--context", metavar="CONTEXT", help="Context of the kubeconfig.  [default: the current one]"),
        click.option("--kubeconfig", metavar="FILE", help="[default: KUBECONFIG, then ~/.kube/config]"),
    ):
        command = option(command)
    return command


def where_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `Where`, and pass it to the command as `where`."""

    @wraps(command)
    def bundled(
        kubeconfig: str | None,
        context: str | None,
        namespace: str | None,
        operator_namespace: str,
        db: str | None,
        **options: Any,
    ) -> None:
        command(where=Where(kubeconfig, context, namespace, operator_namespace, db), **options)

    for option in (
        click.option("--db", type=TEXT, metavar="URL", help="Read the history from this database."),
        click.option(
            "--operator-namespace",
            type=TEXT,
            metavar="NAMESPACE",
            default=OPERATOR_NAMESPACE,
            show_default=True,
            help="Namespace of the operator.",
        ),
        cluster_options,
        click.option(
            "-n", "--namespace", type=TEXT, metavar="NAMESPACE", help="[default: the context's; with --db: default]"
        ),
    ):
        bundled = option(bundled)
    return bundled
