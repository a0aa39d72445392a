"""Types of arguments and options, and the options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, TypeVar

import click

from kanary.cli import suggest
from kanary.cli.times import local_text, read_duration, read_time
from states.texts import one_line

Command = TypeVar("Command", bound=Callable[..., Any])

OPERATOR_NAMESPACE = "kanary-system"
LONGEST_REASON = 200
"""Characters, as `engine.model.commands` allows."""
IN_THE_POD = f"kubectl -n {OPERATOR_NAMESPACE} exec deploy/kanary --"

_TYPE = re.compile(r"(?:ky|kanary|kanaries)(?:\.kanary\.k8s\.io)?/")
_NAME = re.compile(r"[a-z0-9][-a-z0-9.]{0,252}")


class WholeNumber(click.IntRange):
    """An integer within bounds; click's errors would call it `integer range`."""

    name = "whole number"


NUMBER = WholeNumber(1, 10**9)


def text(value: str) -> str:
    """A text that is not empty, as an unset variable would be. This and the types below raise ValueError."""
    if not value.strip():
        raise ValueError("it is empty: give a value, or leave it out")
    return value


def name(value: str) -> str:
    """The name of a Kubernetes object."""
    if not _NAME.fullmatch(value):
        raise ValueError(f"invalid name {value[:60]!r}, expected lower-case letters, digits, - and . (253 at most)")
    return value


def kanary_name(value: str) -> str:
    """The name of a Kanary, without the type that kubectl allows before it: `ky/web`."""
    return name(_TYPE.sub("", value, count=1))


def past_time(value: str) -> datetime:
    """A time up to now, in UTC."""
    now = datetime.now(UTC)
    time = read_time(value, now)
    if time > now:
        raise ValueError(f"{local_text(time)} is in the future")
    return time


def past_second(value: str) -> datetime:
    """As `past_time`, but a time without a fraction means the end of its second: tables show whole seconds only."""
    time = past_time(value)
    return time if time.microsecond else time.replace(microsecond=999_999)


def age(value: str) -> timedelta:
    """A duration such as `7d`, greater than zero."""
    if found := read_duration(value):
        return found
    raise ValueError(f"invalid time {value[:40]!r}, expected a number with a unit, such as 30s, 5m, 36h or 400d")


def reason(value: str) -> str:
    """Why a person does something, on one line."""
    line = one_line(value)
    if len(line) > LONGEST_REASON:
        raise ValueError(f"it has {len(line)} characters, {LONGEST_REASON} are allowed: shorten it")
    return text(line)


def name_argument(help_text: str, *, required: bool = True) -> Callable[[Command], Command]:
    """Add NAME."""
    return click.argument("name", required=required, type=kanary_name, shell_complete=suggest.kanaries, help=help_text)


def namespace_option(default: str = "the context's") -> Callable[[Command], Command]:
    """Add -n, --namespace."""
    return click.option("-n", "--namespace", type=name, shell_complete=suggest.namespaces, help=f"[default: {default}]")


def file_option(help_text: str) -> Callable[[Command], Command]:
    """Add -f, --filename."""
    return click.option("-f", "--filename", required=True, metavar="FILE", shell_complete=suggest.files, help=help_text)


def together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Combine options into one decorator; `--help` lists them in this order."""
    return lambda command: reduce(lambda decorated, add: add(decorated), reversed(decorators), command)


cluster_options = together(
    click.option(
        "--kubeconfig",
        metavar="FILE",
        shell_complete=suggest.files,
        help="[default: KUBECONFIG, then ~/.kube/config]",
    ),
    click.option(
        "--context", shell_complete=suggest.contexts, help="Context of the kubeconfig.  [default: the current one]"
    ),
)
source_options = together(
    namespace_option("the context's; with --db: default"),
    cluster_options,
    click.option(
        "--operator-namespace",
        type=name,
        default=OPERATOR_NAMESPACE,
        show_default=True,
        shell_complete=suggest.namespaces,
    ),
    click.option("--db", type=text, metavar="URL", help="Read the history from this database."),
)
"""The source of the history and the namespace: the arguments of `opened`."""
