"""What the commands of the history take, and their help. Loads nothing but `argparse`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

UPKEEP = ("prune", "backup")
"""Words that are commands where they stand right after `history`."""

OPERATOR_NAMESPACE = "kanary-system"
IN_THE_POD = f"kubectl -n {OPERATOR_NAMESPACE} exec deploy/kanary --"

_TYPES = re.compile(r"(?:ky|kanary|kanaries)(?:\.kanary\.k8s\.io)?/(?=.)")

_HISTORY = """\
Shows who changed which weight when, why, and what came of it, newest first.

  kanary history web                   the changes of one Kanary
  kanary history -n shop               those of every Kanary in a namespace
  kanary history web --transitions     its changes of phase, and why
  kanary history web --at 2026-11-23   what was in force at that time
  kanary history -A --since 7d -o csv  the last week, for a spreadsheet
  kanary history web --plot            drawn in the terminal
  kanary history web --plot web.svg    drawn as a picture
"""
_HISTORY_END = """\
The operator is asked, through the API server and with your own rights (the
cluster role kanary-viewer has them). With --db a database is read directly,
and no cluster is needed: sqlite:////path/of/history.db, or
postgresql://user:password@host/database.

A TIME is like 2026-11-23T13:35, with seconds and with a zone (Z, +01:00) if
you like; without a zone it is local. A date is its beginning. An age such as
90m, 12h, 7d, 2w or 1d12h is a time so long ago. Tables show local time, the
other formats UTC. A time that a table shows is good for --at: without a
fraction of a second it means the end of its second, and its beginning for
--since.

"in progress" is a change of which nothing has come yet. The words prune and
backup right after "history" are commands; a Kanary of such a name is written
ky/prune, as for kubectl. ky/NAME will do for every NAME.
"""
_DIFF = """\
Compares two revisions: their weights, the endpoints that came and went, and
the configuration.

  kanary diff web 2 3    from revision 2 to 3
  kanary diff web 3      from the revision before 3 to 3
"""
_UNDO = """\
Writes the weights of an earlier revision back into a Kanary's spec. That is a
change like any other: the operator checks it, carries it out and records it
as a new revision. Pods are not touched.

  kanary undo web                  back to the revision before the current one;
                                   the same again goes forth again
  kanary undo web --to-revision 2  back to revision 2

Routes are written as that revision had them; what else a route of the same
backend says now is kept. Nothing is written where a backend of that revision
is gone, or where somebody changes the Kanary at the same moment. Whoever
applies the manifest next (a GitOps tool does at once) writes its weights
again: change it there too.
"""
_PRUNE = f"""\
Takes what is older, or more, than is to be kept. Of a Kanary that exists the
newest change always stays. The operator does the same by itself once an hour.
An SQLite database has one writer: while an operator has it open, only
--dry-run works.

This needs the database itself, which the operator's pod has:
  {IN_THE_POD} \\
    kanary history prune --dry-run
"""
_BACKUP = f"""\
Copies an SQLite database to a new file while the operator writes on. The copy
is checked, and there only once it is whole. To restore it, stop the operator
and put the file where the database was, with no -wal or -shm file beside it.
PostgreSQL is backed up by pg_dump.

This needs the database itself, which the operator's pod has:
  {IN_THE_POD} \\
    kanary history backup /var/lib/kanary/backup.db
"""


def add_commands(commands: Commands) -> None:
    """Add the commands of the history."""
    _add_history(commands)
    _add_prune(commands)
    _add_backup(commands)
    _add_diff(commands)
    _add_undo(commands)


def joined(arguments: list[str]) -> list[str]:
    """With `history prune` and `history backup` as one word each, which is what these commands are called here."""
    if len(arguments) > 1 and arguments[0] == "history" and arguments[1] in UPKEEP:
        return [" ".join(arguments[:2]), *arguments[2:]]
    return arguments


def _add_history(commands: Commands) -> None:
    history = _add(commands, "history", "show every change of weights that was ever made", _HISTORY, _HISTORY_END)
    history.add_argument("name", nargs="?", type=_name, metavar="NAME", help="a Kanary (default: all of the namespace)")
    history.add_argument("--transitions", action="store_true", help="show changes of phase, not of weights")
    when = history.add_mutually_exclusive_group()
    when.add_argument("--at", type=_given, metavar="TIME", help="show what was in force at that time")
    when.add_argument("--since", type=_given, metavar="TIME", help="show what has been since then")
    history.add_argument("--deleted", action="store_true", help="show Kanaries that are gone as well")
    history.add_argument(
        "-o", "--output", default="table", metavar="FORMAT", help="table, json, yaml or csv (default: table)"
    )
    history.add_argument(
        "--plot",
        nargs="?",
        type=_given,
        const=True,
        metavar="FILE.svg",
        help="draw the weights over time, in the terminal or into a file",
    )
    where = history.add_mutually_exclusive_group()
    _add_namespace(where)
    where.add_argument("-A", "--all-namespaces", action="store_true", help="show the Kanaries of every namespace")
    _add_source(history)
    history.set_defaults(run=_checked(history, _history_problem))


def _history_problem(options: argparse.Namespace) -> str | None:
    """What does not go together."""
    if options.name and options.all_namespaces:
        return "NAME is a Kanary of one namespace: name it by -n, or leave out -A"
    if options.transitions and options.at:
        return "--at shows what was in force, which transitions are not: take --since"
    if options.plot is None:
        return None
    if options.plot is not True and not options.name:
        return f"--plot needs a NAME before it, as in: kanary history {options.plot} --plot"
    if not options.name:
        return "--plot draws one Kanary: name it"
    others = {"--transitions": options.transitions, "--at": options.at, "--output": options.output != "table"}
    given = [option for option, value in others.items() if value]
    return f"--plot draws, and {given[0]} does not go with it" if given else None


def _add_prune(commands: Commands) -> None:
    prune = _add(commands, "history prune", "take what is older than is to be kept", _PRUNE)
    prune.add_argument(
        "--older-than",
        metavar="AGE",
        help="keep changes and transitions for so long (default: KANARY_HISTORY_DAYS, then 400d)",
    )
    prune.add_argument(
        "--keep",
        type=_count,
        metavar="N",
        help="keep so many changes of each Kanary, and ten times as many transitions (default: KANARY_HISTORY_CHANGES, "
        "then 1000; and 10000 transitions)",
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    _add_own_database(prune)
    prune.set_defaults(run=_loaded("upkeep", "run_prune"))


def _add_backup(commands: Commands) -> None:
    backup = _add(commands, "history backup", "copy the history's database to a file", _BACKUP)
    backup.add_argument("file", type=_given, metavar="FILE", help="the copy; it must not be there yet")
    _add_own_database(backup)
    backup.set_defaults(run=_loaded("upkeep", "run_backup"))


def _add_diff(commands: Commands) -> None:
    diff = _add(commands, "diff", "compare two revisions of a Kanary", _DIFF)
    diff.add_argument("name", type=_name, metavar="NAME", help="a Kanary; of several of that name the last")
    diff.add_argument("revision", type=_revision, metavar="REVISION", help="a revision")
    diff.add_argument(
        "other", nargs="?", type=_revision, metavar="REVISION", help="a second one, which the first is compared with"
    )
    diff.add_argument("-o", "--output", default="text", metavar="FORMAT", help="text or json (default: text)")
    _add_namespace(diff)
    _add_source(diff)
    diff.set_defaults(run=_loaded("diff"))


def _add_undo(commands: Commands) -> None:
    undo = _add(commands, "undo", "go back to the weights of an earlier revision", _UNDO)
    undo.add_argument("name", type=_name, metavar="NAME", help="a Kanary")
    undo.add_argument(
        "--to-revision", type=_revision, metavar="N", help="the revision (default: the one before the current)"
    )
    undo.add_argument(
        "-y", "--yes", action="store_true", help="do not ask, even if a route changes by more than 50 percentage points"
    )
    undo.add_argument("-n", "--namespace", type=_given, metavar="NAMESPACE", help="default: the context's")
    _add_source(undo, "where the Kanary is, and its history")
    undo.set_defaults(run=_loaded("undo"))


def _add(commands: Commands, name: str, title: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=title,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_namespace(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "-n", "--namespace", type=_given, metavar="NAMESPACE", help="default: the context's; with --db: default"
    )


def _add_source(parser: argparse.ArgumentParser, title: str = "where the history is read") -> None:
    source = parser.add_argument_group(title)
    source.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, then ~/.kube/config")
    source.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    source.add_argument(
        "--operator-namespace",
        type=_given,
        default=OPERATOR_NAMESPACE,
        metavar="NAMESPACE",
        help=f"where the operator runs (default: {OPERATOR_NAMESPACE})",
    )
    source.add_argument(
        "--db", type=_given, metavar="URL", help="read the history in this database, and do not ask the operator"
    )


def _add_own_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--db",
        type=_given,
        metavar="URL",
        help="the database (default: KANARY_HISTORY_URL, then the operator's own volume)",
    )


def _loaded(module: str, function: str = "run") -> Callable[[argparse.Namespace], int]:
    """The command's code, loaded when it runs."""

    def run(options: argparse.Namespace) -> int:
        return int(getattr(import_module(f"kanary.cli.{module}"), function)(options))

    return run


def _checked(
    parser: argparse.ArgumentParser, problem_of: Callable[[argparse.Namespace], str | None]
) -> Callable[[argparse.Namespace], int]:
    """The same, once the options are known to go together."""

    def run(options: argparse.Namespace) -> int:
        problem = problem_of(options)
        if problem:
            parser.error(problem)
        return _loaded("history")(options)

    return run


def _name(text: str) -> str:
    """A Kanary's name, which may be written with its type before it, as kubectl has it."""
    name = _TYPES.sub("", text, count=1) if _TYPES.match(text) else text
    if not name or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a Kanary")
    return name


def _given(text: str) -> str:
    """A text that is none, as from a variable that is not set, is a mistake and not the default."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: give a value, or leave it out")
    return text


def _revision(text: str) -> int:
    return _whole(text, "revision")


def _count(text: str) -> int:
    return _whole(text, "number")


def _whole(text: str, what: str) -> int:
    # Looked at before it is read: Python refuses to read very long numbers.
    digits = text.lstrip("0") if text.isascii() and text.isdecimal() else ""
    if not (0 < len(digits) <= len(str(2**63)) and int(digits) < 2**63):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no {what}: give a whole number from 1 to {2**63 - 1}")
    return int(digits)
