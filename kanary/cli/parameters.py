"""How arguments and options are read, and the options that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from kanary.cli.times import EXPECTED, local_text, read_duration, read_time

Command = TypeVar("Command", bound=Callable[..., Any])

OPERATOR_NAMESPACE = "kanary-system"
IN_THE_POD = f"kubectl -n {OPERATOR_NAMESPACE} exec deploy/kanary --"
NUMBER = click.IntRange(1, 10**9)

_TYPE = re.compile(r"(?:ky|kanary|kanaries)(?:\.kanary\.k8s\.io)?/")


def text(value: str) -> str:
    """A text that is not empty, as one from a variable that is not set would be."""
    if not value.strip():
        raise click.BadParameter("it is empty: give a value, or leave it out")
    return value


def kanary_name(value: str) -> str:
    """The name of a Kanary, without the type that may be before it, as for kubectl: `ky/web`."""
    name = _TYPE.sub("", value, count=1)
    if not name or "/" in name:
        raise click.BadParameter(f"invalid Kanary name {value!r}")
    return name


def past_time(value: str, *, through_second: bool = False) -> datetime:
    """A time up to now, in UTC; see `read_time` for the rest."""
    now = datetime.now(UTC)
    try:
        time = read_time(value, now, through_second=through_second)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"invalid time {value[:60]!r}, expected {EXPECTED}") from None
    if time.replace(microsecond=0) > now:
        raise click.BadParameter(f"{local_text(time)} is in the future")
    return time


def past_second(value: str) -> datetime:
    """The same, to the end of the second."""
    return past_time(value, through_second=True)


def age(value: str) -> timedelta:
    """A duration such as `7d`, not zero."""
    try:
        found = read_duration(value)
    except (ValueError, OverflowError):
        found = None
    if not found:
        raise click.BadParameter(f"invalid age {value[:40]!r}, expected one like 400d, 26w or 36h")
    return found


def complete_name(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The Kanaries of the cluster whose names begin like this."""
    from kanary.cli.access import kanary_names  # noqa: PLC0415 -- loads what only completion needs here

    options = (ctx.params.get(option) for option in ("kubeconfig", "context", "namespace"))
    return [name for name in kanary_names(*options) if name.startswith(incomplete)]


def cluster_options(command: Command) -> Command:
    """Add --kubeconfig and --context."""
    command = click.option("--context", help="Context of the kubeconfig.  [default: the current one]")(command)
    return click.option("--kubeconfig", metavar="FILE", help="[default: KUBECONFIG, then ~/.kube/config]")(command)


def source_options(command: Command) -> Command:
    """Add the options that say where the history is read, and of which namespace: the arguments of `opened`."""
    command = click.option("--db", type=text, metavar="URL", help="Read the history from this database.")(command)
    command = click.option(
        "--operator-namespace", type=text, default=OPERATOR_NAMESPACE, show_default=True, help="Where the operator is."
    )(command)
    command = cluster_options(command)
    return click.option("-n", "--namespace", type=text, help="[default: the context's; with --db: default]")(command)
