"""Connections to the database, with all that has to be set on each."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from kanary.history.address import Address

_WRITER_BUSY_MS = 2_000
_READER_BUSY_MS = 5_000

# libpq's own settings, in seconds and milliseconds: a server that is away or silent is noticed within seconds.
_POSTGRESQL_ARGUMENTS = {"connect_timeout": "5", "tcp_user_timeout": "10000", "application_name": "kanary"}
_STATEMENT_MS = 30_000
_LOCK_MS = 5_000


def writer_engine(address: Address) -> Engine:
    """For the one connection that writes; each transaction takes the write lock at its beginning."""
    path = address.path
    if path is None:
        return _postgresql(address, read_only=False)
    # Not pooled: a connection that failed is closed for good.
    engine = sa.create_engine("sqlite://", creator=lambda: _open_writer(path), poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that turns to writing fails at once where another has written, whatever the timeout.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reader_engine(address: Address) -> Engine:
    """For any number of connections that can only read; each transaction sees one state of the record."""
    path = address.path
    if path is None:
        return _postgresql(address, read_only=True)
    # Not pooled: a file that has been moved aside or replaced must not be read on.
    engine = sa.create_engine(
        "sqlite://", creator=lambda: open_sqlite_reader(path), poolclass=NullPool, hide_parameters=True
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _connect(path: Path, mode: str, busy_ms: int) -> sqlite3.Connection:
    # Transactions are begun and ended by SQLAlchemy, never by the driver's own guesses.
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute(f"PRAGMA busy_timeout = {busy_ms:d}")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _open_writer(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "mode=rwc", _WRITER_BUSY_MS)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # A record for auditors: what is confirmed has to outlive the power.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 8388608")
    except BaseException:
        connection.close()
        raise
    return connection


def open_sqlite_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, and on which nothing has begun."""
    connection = _connect(path, "mode=ro", _READER_BUSY_MS)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # Beside a file in WAL mode SQLite makes others, which a folder that is read-only does not allow. If there is
        # no log beside it either, the file is all there is, and nobody can be changing it.
        with suppress(OSError):
            if path.with_name(f"{path.name}-wal").stat().st_size:
                raise
        if not path.is_file():
            raise
        connection = _connect(path, "mode=ro&immutable=1", _READER_BUSY_MS)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _postgresql(address: Address, *, read_only: bool) -> Engine:
    arguments = {key: value for key, value in _POSTGRESQL_ARGUMENTS.items() if key not in address.url.query}
    options: dict[str, Any] = {"poolclass": NullPool}
    if read_only:
        options = {"pool_size": 4, "max_overflow": 4, "pool_timeout": 5, "pool_pre_ping": True, "pool_recycle": 300}
    engine = sa.create_engine(address.url, connect_args=arguments, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {_STATEMENT_MS:d}")
            cursor.execute(f"SET lock_timeout = {_LOCK_MS:d}")
            if read_only:
                cursor.execute("SET default_transaction_read_only = on")
                cursor.execute("SET default_transaction_isolation = 'repeatable read'")
        connection.commit()

    return engine
