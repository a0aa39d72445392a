"""`kanary db`: maintenance of the database itself."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kanary.cli.access import reported
from kanary.cli.failure import CommandError
from kanary.cli.parameters import IN_THE_POD
from kanary.cli.text import Table
from kanary.history import backup as backups
from kanary.history import retention as limits
from kanary.history.address import parse_address
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.opening import open_database
from kanary.history.reader import Reader
from kanary.history.retention import Pruned, Retention
from kanary.operator.settings import DEFAULT_HISTORY_URL, BadSettingError, Settings

_OWN = Path(DEFAULT_HISTORY_URL.removeprefix("sqlite:///"))
"""Where the operator has its database by default."""


def prune(url: str | None, older_than: timedelta | None, keep: int | None, *, is_dry_run: bool) -> None:
    """Delete what is beyond the limits, or report what would be deleted."""
    retention, url, now = _retention(older_than, keep), _url(url), datetime.now(UTC)
    with reported():
        if is_dry_run:
            print(f"dry run: would delete {_total(_plan(url, retention, now))}")
        else:
            print(f"deleted {_total(_prune(url, retention, now))}")


def backup(url: str | None, file: str) -> None:
    """Copy the database."""
    with reported():
        made = backups.backup(_url(url), Path(file))
    print(f"{made.file}: {made.size} bytes with {made.changes} weight changes, checked")


def _plan(url: str, retention: Retention, now: datetime) -> Pruned:
    with closing(Reader(url)) as reader:
        found = limits.plan(reader, retention, now)
    Table(("NAMESPACE", "NAME", "CHANGES", "ENTRIES", "KANARY"), sys.stdout).write(
        (kanary.namespace, kanary.name, str(part.changes), str(part.entries), "deleted" if part.kanaries else "")
        for kanary, part in found.by_kanary
    )
    return found.total


def _prune(url: str, retention: Retention, now: datetime) -> Pruned:
    address = parse_address(url)
    if address.path is not None:
        # Opening a database to write makes it where there is none, and here a wrong name would.
        with closing(Reader(address)) as reader, reader.connection():
            pass
    try:
        # The operator replaces a corrupt database: here the URL may be that of anything.
        database = open_database(address, replaces_corrupt=False)
    except HistoryError as error:
        if error.fault.reason is not FaultReason.LOCKED:
            raise
        raise CommandError(
            f"{address} is open for writing already, for example by an operator, which prunes it once an hour "
            "(KANARY_HISTORY_DAYS, KANARY_HISTORY_CHANGES): use --dry-run"
        ) from error
    with closing(database):
        return limits.prune(database, retention, now)


def _retention(older_than: timedelta | None, keep: int | None) -> Retention:
    """What the options say, and the operator's settings where they say nothing. Raises CommandError."""
    try:
        settings = Settings.load()
    except BadSettingError as error:
        raise CommandError(str(error)) from error
    retention = limits.retention_of(settings.history_days, settings.history_changes)
    if keep is not None:
        retention = replace(retention, changes=keep, others=10 * keep)
    return replace(retention, age=older_than) if older_than else retention


def _url(url: str | None) -> str:
    """The database that is meant. Raises CommandError where there is none here."""
    if found := url or os.environ.get("KANARY_HISTORY_URL"):
        return found
    if os.access(_OWN, os.F_OK):
        return f"sqlite:///{_OWN}"
    raise CommandError(f"there is no history database here: name it with --db URL, or run this with {IN_THE_POD}")


def _total(pruned: Pruned) -> str:
    others = pruned.entries - pruned.changes
    return f"weight changes: {pruned.changes}, other entries: {others}, Kanaries: {pruned.kanaries}"
