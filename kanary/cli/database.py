"""`kanary db`: maintenance of the database itself."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kanary.cli.access import reported
from kanary.cli.failure import CommandError
from kanary.cli.parameters import IN_THE_POD
from kanary.history import backup as backups
from kanary.history import retention as limits
from kanary.history.database import open_database
from kanary.history.reader import Reader
from kanary.history.retention import Pruned, Retention
from kanary.operator.settings import DEFAULT_HISTORY_URL, BadSettingError, Settings

_OWN = Path(DEFAULT_HISTORY_URL.removeprefix("sqlite:///"))
"""Where the operator has its database by default."""


def prune(url: str | None, older_than: timedelta | None, keep: int | None, *, is_dry_run: bool) -> None:
    """Delete what is beyond the limits, or report what would be deleted."""
    retention, url, now = _retention(older_than, keep), _url(url), datetime.now(UTC)
    with reported():
        # Planned in any case: opening a database to write creates it where there is none, and a wrong URL would.
        with closing(Reader(url)) as reader:
            planned = limits.plan(reader, retention, now)
        if is_dry_run:
            print(f"dry run: would delete {_counts(planned)}")
            return
        with closing(open_database(url)) as database:
            print(f"deleted {_counts(limits.prune(database, retention, now))}")


def backup(url: str | None, file: str) -> None:
    """Copy the database."""
    path = Path(file)
    with reported():
        changes = backups.backup(_url(url), path)
    print(f"{path}: {path.stat().st_size} bytes with {changes} weight changes, checked")


def _retention(older_than: timedelta | None, keep: int | None) -> Retention:
    """What the options say, and the operator's settings where they say nothing. Raises CommandError."""
    try:
        settings = Settings.load()
    except BadSettingError as error:
        raise CommandError(str(error)) from error
    age = timedelta(days=settings.history_days) if older_than is None else older_than
    return Retention(age, settings.history_changes if keep is None else keep)


def _url(url: str | None) -> str:
    """The database that is meant. Raises CommandError where there is none here."""
    if found := url or os.environ.get("KANARY_HISTORY_URL"):
        return found
    if os.access(_OWN, os.F_OK):
        return f"sqlite:///{_OWN}"
    raise CommandError(f"there is no history database here: name it with --db URL, or run this with {IN_THE_POD}")


def _counts(pruned: Pruned) -> str:
    """By kind, such as `1 ChangeResult, 2 WeightChange`."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(pruned.items())) or "nothing"
