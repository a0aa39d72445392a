"""`kanary db`: maintenance of the database."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kanary.cli.access import reported
from kanary.cli.failure import CommandError, note
from kanary.cli.parameters import IN_THE_POD
from kanary.history import backup as backups
from kanary.history import retention as limits
from kanary.history.database import open_database
from kanary.history.reader import Reader
from kanary.history.retention import Retention, counts_text
from kanary.operator.settings import DEFAULT_HISTORY_URL, BadSettingError, Settings

_OWN = Path(DEFAULT_HISTORY_URL.removeprefix("sqlite:///"))
"""The operator's default database."""


def prune(url: str | None, older_than: timedelta | None, keep: int | None, *, is_dry_run: bool) -> None:
    """Delete history beyond the limits, or only report what would be deleted. Raises CommandError."""
    retention, url = _retention(older_than, keep), _url(url)
    with reported():
        # Plan first in any case: this fails for a wrong URL, where opening for writing would create a database.
        with closing(Reader(url)) as reader:
            reference = limits.age_reference(reader, datetime.now(UTC))
            planned = limits.plan(reader, retention, reference.time)
            is_bounded = limits.plan(reader, retention, reference.clock) != planned
        if is_bounded and (doubt := reference.doubt()):
            note(f"{doubt}; if it is right, and nothing has changed since, choose a shorter age, or --keep")
        if is_dry_run:
            print(f"dry run: would delete {counts_text(planned)}")
            return
        with closing(open_database(url)) as database:
            print(f"deleted {counts_text(limits.prune(database, retention, reference.time))}")


def backup(url: str | None, file: str) -> None:
    """Copy the database to a new file. Raises CommandError."""
    path = Path(file)
    with reported():
        changes = backups.backup(_url(url), path)
    print(f"{path}: {path.stat().st_size} bytes with {changes} weight changes, checked")


def _retention(older_than: timedelta | None, keep: int | None) -> Retention:
    """The limits of the options, with the operator's settings as defaults. Raises CommandError."""
    try:
        settings = Settings.load()
    except BadSettingError as error:
        raise CommandError(str(error)) from error
    age = timedelta(days=settings.history_days) if older_than is None else older_than
    return Retention(age, settings.history_changes if keep is None else keep)


def _url(url: str | None) -> str:
    """The URL of the option, the environment or the default database. Raises CommandError if there is none."""
    if found := url or os.environ.get("KANARY_HISTORY_URL"):
        return found
    if os.access(_OWN, os.F_OK):
        return f"sqlite:///{_OWN}"
    raise CommandError(f"there is no history database here: name it with --db URL, or run this with {IN_THE_POD}")
