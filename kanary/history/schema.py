"""The version of a database's schema: read, compared with what this program knows, and migrated."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

import migrations
from kanary.history.address import Address
from kanary.history.problems import HistoryError, Problem, Reason
from migrations import VERSION_TABLE, VERSIONS

NEWEST = VERSIONS[-1]
NOTHING = "base"
"""Alembic's word for a database without a schema."""

_VERSION = sa.table(VERSION_TABLE, sa.column("version_num", sa.Text))
# Any number that nobody else is likely to lock: the program's name, as bytes. The one after it guards configurations.
_MIGRATION_LOCK = int.from_bytes(b"kanary", "big")
# Alembic keeps what it is at in variables of its module.
_alembic = threading.Lock()


def version_of(connection: Connection) -> str | None:
    """The schema's version; None where no schema has been made yet."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(sa.select(_VERSION.c.version_num))


def refuse_newer(address: Address, version: str | None) -> None:
    """Raise where this program does not know the version."""
    if version is None or version in VERSIONS:
        return
    raise HistoryError(
        Problem(
            Reason.TOO_NEW,
            f"the history database {address} has schema {version} and this program knows {VERSIONS[0]} to {NEWEST}: "
            "run the newer Kanary that wrote it, or name another database. It was left as it is",
        )
    )


def require_newest(connection: Connection, address: Address) -> None:
    """Raise unless the schema is the one that this program reads and writes: one cheap query."""
    version = connection.scalar(sa.select(_VERSION.c.version_num))
    if version == NEWEST:
        return
    refuse_newer(address, version)
    raise HistoryError(_too_old(address, version))


def require_readable(connection: Connection, address: Address) -> None:
    """Raise unless there is a schema, and one that this program reads."""
    version = version_of(connection)
    refuse_newer(address, version)
    if version != NEWEST:
        raise HistoryError(_too_old(address, version))


def _too_old(address: Address, version: str | None) -> Problem:
    has = f"has schema {version}, and this program reads {NEWEST}" if version else "has no history in it yet"
    return Problem(Reason.TOO_OLD, f"the history database {address} {has}: the operator makes it so when it starts")


def migrate(connection: Connection, address: Address, target: str = NEWEST) -> None:
    """Take the schema to a version, up or down, in the transaction that is open: whole, or not at all.

    On SQLite that transaction holds the write lock; on PostgreSQL a lock is taken that all migrations wait for.
    Raises HistoryError for a version that this program does not know.
    """
    if connection.dialect.name == "postgresql":
        # A migration of a large database takes as long as it takes.
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    version = version_of(connection)
    refuse_newer(address, version)
    if (version or NOTHING) == target:
        return
    # Loaded here: where there is nothing to migrate, nothing is to be waited for.
    from alembic import command  # noqa: PLC0415 -- see above
    from alembic.config import Config  # noqa: PLC0415 -- see above

    config = Config(attributes={"connection": connection})
    # A % in the folder's name would be taken for the beginning of a variable.
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    with _alembic:
        if _rank(target) < _rank(version or NOTHING):
            command.downgrade(config, target)
        else:
            command.upgrade(config, target)


def _rank(version: str) -> int:
    return (NOTHING, *VERSIONS).index(version)


def share_configurations(connection: Connection) -> None:
    """Keep configurations that are there from being taken as orphans until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_MIGRATION_LOCK + 1)))


def claim_configurations(connection: Connection) -> None:
    """Wait until nobody is recording a change that may name a configuration which is there."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK + 1)))
