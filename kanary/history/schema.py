"""Reads the version of a database's schema, compares it with the supported ones, and migrates it."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

import migrations
from kanary.history.address import Address
from kanary.history.connecting import with_migration_limits
from kanary.history.faults import FaultReason, HistoryError
from migrations import VERSION_TABLE, VERSIONS

NEWEST = VERSIONS[-1]

# Any number that no other program is likely to lock: the bytes of this program's name.
_MIGRATION_LOCK = int.from_bytes(b"kanary", "big")
# Alembic keeps its state in module variables.
_alembic = threading.Lock()


def version_of(connection: Connection, address: Address) -> str | None:
    """The version of the schema; None if the database has none yet.

    Raises HistoryError for an unknown version.
    """
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.scalar(sa.select(sa.column("version_num", sa.Text)).select_from(sa.table(VERSION_TABLE)))
    if version is None or version in VERSIONS:
        return version
    message = (
        f"the history database {address} has schema {version} and this program knows {VERSIONS[0]} to {NEWEST}: "
        "run the newer Kanary that wrote it, or name another database. It was not changed"
    )
    raise HistoryError(FaultReason.TOO_NEW, message)


def require_newest(connection: Connection, address: Address) -> None:
    """Raise HistoryError unless the schema has the newest version."""
    version = version_of(connection, address)
    if version != NEWEST:
        has = f"has schema {version}, and this program reads {NEWEST}" if version else "has no history in it yet"
        message = f"the history database {address} {has}: the operator migrates it when it starts"
        raise HistoryError(FaultReason.TOO_OLD, message)


def migrate(connection: Connection, address: Address) -> None:
    """Migrate the schema to the newest version in the open transaction: completely or not at all.

    On SQLite that transaction holds the write lock; on PostgreSQL an advisory lock excludes other migrations.
    Raises HistoryError for an unknown version.
    """
    if address.path is None:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    if version_of(connection, address) == NEWEST:
        return
    # Loaded here: it takes half a second, and most starts migrate nothing.
    from alembic import command  # noqa: PLC0415 -- see above
    from alembic.config import Config  # noqa: PLC0415 -- see above

    config = Config(attributes={"connection": connection})
    # Alembic would read a % in the folder's name as the beginning of a variable.
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    with _alembic, with_migration_limits(connection):
        command.upgrade(config, NEWEST)
