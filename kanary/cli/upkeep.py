"""`kanary history prune` and `kanary history backup`: for those who look after the database."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kanary.cli.access import told
from kanary.cli.arguments import IN_THE_POD
from kanary.cli.failure import CommandError
from kanary.cli.text import Table
from kanary.cli.times import read_duration
from kanary.history.address import parse_address
from kanary.history.backup import backup
from kanary.history.opening import open_store
from kanary.history.problems import HistoryError, Reason
from kanary.history.reader import Reader
from kanary.history.retention import Pruned, Retention, plan, prune, retention_of
from kanary.operator.settings import DEFAULT_HISTORY_URL, BadSettingError, Settings

_OWN = Path(DEFAULT_HISTORY_URL.removeprefix("sqlite:///"))
"""Where the operator has its database unless it is told otherwise."""


def run_prune(options: argparse.Namespace) -> int:
    """Take what is beyond the limits, or say what would go."""
    retention = _retention(options)
    url = _url(options, "prune")
    now = datetime.now(UTC)
    with told():
        if options.dry_run:
            return _plan(url, retention, now)
        return _prune(url, retention, now)


def run_backup(options: argparse.Namespace) -> int:
    """Copy the database."""
    url = _url(options, "backup FILE")
    with told():
        made = backup(url, Path(options.file))
    print(f"{made.file}: {_counted(made.changes, 'change')}, {_size(made.size)}, checked")
    return 0


def _plan(url: str, retention: Retention, now: datetime) -> int:
    reader = Reader(url)
    try:
        found = plan(reader, retention, now)
    finally:
        reader.close()
    if found.by_kanary:
        table = Table(("NAMESPACE", "NAME", "CHANGES", "TRANSITIONS", "KANARY"), sys.stdout)
        table.write(
            (kanary.namespace, kanary.name, str(gone.changes), str(gone.transitions), "goes" if gone.kanaries else "")
            for kanary, gone in found.by_kanary
        )
    print(f"would go: {_total(found.total)}; nothing was changed")
    return 0


def _prune(url: str, retention: Retention, now: datetime) -> int:
    address = parse_address(url)
    if address.path is not None:
        # Opening a store makes the database where there is none, and here a wrong name would.
        with Reader(address).connection():
            pass
    try:
        # A database that is corrupt is the operator's to begin anew: here the URL may be that of anything.
        store = open_store(address, replaces_corrupt=False)
    except HistoryError as error:
        if error.problem.reason is not Reason.LOCKED:
            raise
        raise CommandError(
            f"{address} is open for writing already, as by an operator, which prunes it by itself once an hour "
            "(KANARY_HISTORY_DAYS, KANARY_HISTORY_CHANGES): see what would go by --dry-run"
        ) from error
    try:
        gone = prune(store, retention, now)
    finally:
        store.close()
    print(f"gone: {_total(gone)}")
    return 0


def _retention(options: argparse.Namespace) -> Retention:
    """What the options say, and the operator's settings where they say nothing. Raises CommandError."""
    try:
        settings = Settings.from_environment()
    except BadSettingError as error:
        raise CommandError(str(error)) from error
    retention = retention_of(settings.history_days, settings.history_changes)
    if options.keep is not None:
        retention = replace(retention, changes=options.keep, transitions=10 * options.keep)
    if options.older_than is not None:
        retention = replace(retention, age=_age(options.older_than))
    return retention


def _age(text: str) -> timedelta:
    try:
        age = read_duration(text)
    except OverflowError:
        age = None
    if not age:
        raise CommandError(f"--older-than {text[:40]!r} is no age: give one like 400d, 26w or 36h")
    return age


def _url(options: argparse.Namespace, what: str) -> str:
    """The database that is meant. Raises CommandError where there is none here."""
    url = options.db or os.environ.get("KANARY_HISTORY_URL")
    if url:
        return str(url)
    if os.access(_OWN, os.F_OK):
        return f"sqlite:///{_OWN}"
    raise CommandError(
        f"this needs the history's database itself: name it by --db URL, or run it where the operator has it: "
        f"{IN_THE_POD} kanary history {what}"
    )


def _total(gone: Pruned) -> str:
    return (
        f"{_counted(gone.changes, 'change')}, {_counted(gone.transitions, 'transition')}, "
        f"{_counted(gone.configurations, 'configuration')}, {gone.kanaries} deleted Kanaries"
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _size(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004 -- what the units are about
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size = size / 1024  # type: ignore[assignment] # shown with one digit
    return f"{size:.1f} GiB"
