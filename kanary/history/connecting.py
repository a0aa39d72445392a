"""Connections to the database, with all that has to be set on each."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from kanary.history.address import Address
from kanary.history.faults import FaultReason, HistoryError

_BUSY_SECONDS = 2.0  # so long a lock of another program is waited for
# A record for auditors: what is confirmed has to survive a power failure.
_WRITER_SETTINGS = "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA journal_size_limit = 8388608"
_READER_TEST = "SELECT count(*) FROM sqlite_master"
# libpq's own settings, in seconds and milliseconds: a server that is away or silent is noticed within seconds.
_POSTGRESQL_ARGUMENTS = {"connect_timeout": "5", "tcp_user_timeout": "10000", "application_name": "kanary"}
_POSTGRESQL_SETTINGS = "SET statement_timeout = 30000; SET lock_timeout = 5000"
_POSTGRESQL_POOL = {"pool_size": 4, "max_overflow": 4, "pool_timeout": 5, "pool_pre_ping": True, "pool_recycle": 300}


def writer_engine(address: Address) -> Engine:
    """For the one connection that writes; each transaction takes the write lock at its beginning."""
    if address.path is None:
        return _postgresql(address, poolclass=NullPool)
    # A deferred transaction that turns to writing fails at once where another has written, whatever the timeout.
    return _sqlite(partial(_connect, address.path, "mode=rwc", *_WRITER_SETTINGS), "BEGIN IMMEDIATE")


def reader_engine(address: Address) -> Engine:
    """For any number of connections that can only read; each transaction sees one state of the record."""
    if address.path is None:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return _postgresql(address, execution_options=options, **_POSTGRESQL_POOL)
    return _sqlite(partial(open_sqlite_reader, address.path), "BEGIN")


def open_sqlite_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, and on which nothing has begun.

    Raises HistoryError where there is no file, sqlite3.Error and OSError where it cannot be read.
    """
    if not path.is_file():
        message = f"there is no history database {path}: the operator creates it when it starts, or name another"
        raise HistoryError(FaultReason.UNAVAILABLE, message)
    try:
        return _connect(path, "mode=ro", _READER_TEST)
    except sqlite3.OperationalError:
        # Beside a file in WAL mode SQLite makes others, which a folder that is read-only does not allow. If there is
        # no log beside it either, the file is all there is, and nobody can be changing it.
        if has_log(path):
            raise
        return _connect(path, "mode=ro&immutable=1", _READER_TEST)


def has_log(path: Path) -> bool:
    """Whether the write-ahead log of this SQLite database holds anything."""
    log = beside(path, "-wal")
    return log.exists() and log.stat().st_size > 0


def beside(path: Path, suffix: str) -> Path:
    """The file that has this suffix after the database's whole name."""
    return path.with_name(path.name + suffix)


def _connect(path: Path, mode: str, *statements: str) -> sqlite3.Connection:
    # Transactions are begun and ended by SQLAlchemy, never by the driver's own guesses.
    uri = f"file:{quote(os.fsencode(path))}?{mode}"
    connection = sqlite3.connect(uri, _BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)
    try:
        for statement in ("PRAGMA foreign_keys = ON", *statements):
            connection.execute(statement).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _sqlite(creator: Callable[[], sqlite3.Connection], begin: str) -> Engine:
    # Not pooled: a connection that failed is closed for good, and a file that was replaced is not read on.
    engine = sa.create_engine("sqlite://", creator=creator, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _postgresql(address: Address, **options: Any) -> Engine:
    arguments = {key: value for key, value in _POSTGRESQL_ARGUMENTS.items() if key not in address.url.query}
    engine = sa.create_engine(address.url, connect_args=arguments, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _record: Any) -> None:
        connection.execute(_POSTGRESQL_SETTINGS)
        connection.commit()

    return engine
