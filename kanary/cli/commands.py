"""The commands about Kanaries: what they accept, and their help. Each imports its code when it runs."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

import click

from kanary.cli import suggest
from kanary.cli.parameters import (
    IN_THE_POD,
    NUMBER,
    age,
    cluster_options,
    name_argument,
    namespace_option,
    past_second,
    past_time,
    source_options,
    text,
)
from kanary.cli.shells import SHELLS, script

_TERMINAL = "-"

_HISTORY_END = """\
The history is read from the operator, through the API server and with your
own rights, or with --db from a database: sqlite:////path/of/history.db or
postgresql://user:password@host/database.

A TIME is a date, a date with a time such as 2026-11-23T13:35 (local, unless
Z or +01:00 follows), or an age such as 90m, 7d or 1d12h. With --at, it means
the end of that second, unless it has a fraction of a second. Tables show local
time, the other formats UTC.
"""


@click.command(epilog=_HISTORY_END)
@name_argument("Kanary name.  [default: all of the namespace]", required=False)
@click.option("--transitions", is_flag=True, help="Show the moves of the phase and of rollouts instead.")
@click.option("--at", type=past_second, metavar="TIME", help="Show the newest change up to that time.")
@click.option("--since", type=past_time, metavar="TIME", help="Show only what happened since then.")
@click.option("--deleted", is_flag=True, help="Include deleted Kanaries.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml", "csv"]), default="table", show_default=True)
@click.option(
    "--plot",
    type=text,
    is_flag=False,
    flag_value=_TERMINAL,
    metavar="[FILE.svg]",
    help="Draw the weights over time, in the terminal or into a file.",
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Show the Kanaries of every namespace.")
@source_options
def history(
    *,
    name: str | None,
    transitions: bool,
    at: datetime | None,
    since: datetime | None,
    deleted: bool,
    output: str,
    plot: str | None,
    all_namespaces: bool,
    **source_of: Any,
) -> None:
    """Show who changed which weight when, why and with what result.

    \b
      kanary history web                   the weight changes of one Kanary
      kanary history -n shop               those of every Kanary in a namespace
      kanary history web --transitions     moves of phase and rollouts, and why
      kanary history web --at 2026-11-23   the newest change up to that day
      kanary history -A --since 7d -o csv  the last week, for a spreadsheet
      kanary history web --plot            drawn in the terminal
      kanary history web --plot web.svg    drawn as a picture
    """
    conflicts = {
        "--at and --since": at and since,
        "--at and --transitions": at and transitions,
        "--plot and --at": plot and at,
        "--plot and --transitions": plot and transitions,
        "--plot and --output": plot and output != "table",
        "NAME and --all-namespaces": name and all_namespaces,
        "--namespace and --all-namespaces": source_of["namespace"] and all_namespaces,
    }
    for pair, are_given in conflicts.items():
        if are_given:
            raise click.UsageError(f"{pair} exclude each other: leave one out")
    if plot and not name:
        raise click.UsageError("--plot draws one Kanary: name it, as in: kanary history NAME --plot FILE.svg")
    from kanary.cli.access import opened
    from kanary.cli.history import MOVES, show
    from kanary.history.queries import ChangeQuery, EntryQuery

    with opened(**source_of) as (source, namespace):
        chosen: Any = {"name": name, "deleted": deleted, "since": since}
        chosen["namespace"] = None if all_namespaces else namespace
        if plot:
            from kanary.cli.plot import draw

            draw(source, ChangeQuery(**chosen), None if plot == _TERMINAL else plot)
        elif transitions:
            show(source, EntryQuery(**chosen, kinds=",".join(kind.__name__ for kind in MOVES)), output)
        else:
            show(source, ChangeQuery(**chosen, at=at), output)


@click.command()
@name_argument("Kanary name; of deleted ones the most recent.")
@click.argument("revision", type=NUMBER, shell_complete=suggest.revisions, help="Revision to compare.")
@click.argument(
    "other",
    type=NUMBER,
    required=False,
    metavar="[REVISION]",
    shell_complete=suggest.revisions,
    help="Revision to compare it with.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@source_options
def diff(*, name: str, revision: int, other: int | None, output: str, **source_of: Any) -> None:
    """Compare two revisions: weights, endpoints and configuration.

    \b
      kanary diff web 2 3    from revision 2 to 3
      kanary diff web 3      from the revision before 3 to 3
    """
    from kanary.cli.access import opened
    from kanary.cli.diff import show_difference

    with opened(**source_of) as (source, namespace):
        show_difference(source, namespace, name, (revision, other), output)


@click.command()
@name_argument("Kanary name.")
@click.option(
    "--to-revision",
    type=NUMBER,
    metavar="N",
    shell_complete=suggest.revisions,
    help="[default: the revision before the current one]",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a weight changes by more than 50 points.")
@source_options
def undo(*, name: str, to_revision: int | None, yes: bool, **source_of: Any) -> None:
    """Restore the weights of an earlier revision.

    They are written into the spec: the operator validates, applies and records
    them as a new revision. Everything else in the spec is kept. Nothing is
    written if a backend of that revision does not exist any more, or if the
    Kanary is changed at the same time. If a GitOps tool manages the Kanary,
    change the weights in its manifest as well.

    \b
      kanary undo web                  the revision before the current one;
                                       run it again to redo the change
      kanary undo web --to-revision 2  revision 2
    """
    from kanary.cli.access import connect, opened, reported
    from kanary.cli.undo import Undo

    with reported():
        client = connect(source_of["kubeconfig"], source_of["context"])
        with opened(**source_of, client=client) as (source, namespace):
            Undo(client, source, namespace, name).restore(to_revision, is_confirmed=yes)


@click.command("webhook-key")
@namespace_option()
@cluster_options
def webhook_key(*, namespace: str | None, kubeconfig: str | None, context: str | None) -> None:
    """Print the public key with which receivers verify webhooks.

    It is whpk_ with the key, as Standard Webhooks writes it. It is read from the
    ConfigMap of a Kanary, with the right to list ConfigMaps. While Kanaries still
    have a former key, each key is a line.
    """
    from kanary.cli.access import connect, reported
    from kanary.cli.webhook_key import print_keys

    with reported():
        client = connect(kubeconfig, context)
        print_keys(client, namespace or client.namespace)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), help="Shell to complete in.")
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
      source <(kanary completion bash)             # in ~/.bashrc
      source <(kanary completion zsh)              # in ~/.zshrc, after compinit
      kanary completion fish > ~/.config/fish/completions/kanary.fish

    It completes commands, options, and the names of Kanaries, namespaces,
    contexts, revisions, steps and reasons. Names are read from the cluster, for
    at most 1.5 s. kubectl completes `kubectl kanary` with its own script, for
    which kubectl_complete-kanary must be on the PATH (kubectl 1.26 or later).
    """
    sys.stdout.write(script(shell))


@click.group(epilog=f"\b\nThe database is in the operator's pod:\n  {IN_THE_POD} kanary db prune --dry-run")
def db() -> None:
    """Maintain the database of the history."""


_own_database = click.option(
    "--db", "url", type=text, metavar="URL", help="[default: KANARY_HISTORY_URL, then the volume of the operator]"
)


@db.command()
@click.option("--older-than", type=age, metavar="AGE", help="Age limit.  [default: KANARY_HISTORY_DAYS]")
@click.option("--keep", type=NUMBER, metavar="N", help="Changes of each Kanary.  [default: KANARY_HISTORY_CHANGES]")
@click.option("--dry-run", is_flag=True, help="Only report what would be deleted.")
@_own_database
def prune(older_than: timedelta | None, keep: int | None, dry_run: bool, url: str | None) -> None:
    """Delete history older than the retention limits.

    The newest change of an existing Kanary always stays. The operator prunes
    once an hour. SQLite has one writer: while an operator has the database
    open, only --dry-run works.
    """
    from kanary.cli.database import prune

    prune(url, older_than, keep, is_dry_run=dry_run)


@db.command()
@click.argument("file", type=text, shell_complete=suggest.files, help="The copy; it must not exist yet.")
@_own_database
def backup(file: str, url: str | None) -> None:
    """Copy an SQLite database to a file.

    The operator may write meanwhile. The copy is checked. To restore it, stop
    the operator and put the file in the place of the database, with no -wal or
    -shm file beside it. For PostgreSQL use pg_dump.
    """
    from kanary.cli.database import backup

    backup(url, file)
