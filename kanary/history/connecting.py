"""Connections to the database, with their settings."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from kanary.history.address import Address
from kanary.history.faults import FaultReason, HistoryError

_BUSY_SECONDS = 2.0  # maximum wait for another program's lock
# Auditors rely on the history: confirmed entries must survive a power failure.
_WRITER_SETTINGS = "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA journal_size_limit = 8388608"
_READER_TEST = "SELECT count(*) FROM sqlite_master"
# Settings of libpq, in seconds and milliseconds: they detect an absent server within seconds.
_POSTGRESQL_ARGUMENTS = {"connect_timeout": "5", "tcp_user_timeout": "10000", "application_name": "kanary"}
_WRITER_SECONDS, _READER_SECONDS, _MIGRATION_SECONDS = 30.0, 10.0, 3600.0
"""Maximum duration of a statement. Somebody waits for those of a reader."""
_GRACE_SECONDS = 5.0
"""The server ends a statement, with an error that names the cause. If it hangs it does not, although its kernel still
acknowledges what it receives: the client ends it so much later."""
_LIMIT = "seconds"
_POSTGRESQL_POOL = {"pool_size": 4, "max_overflow": 4, "pool_timeout": 5, "pool_pre_ping": True, "pool_recycle": 300}


def writer_engine(address: Address) -> Engine:
    """The engine of the one connection that writes; each transaction takes the write lock when it begins."""
    if address.path is None:
        return _postgresql(address, _WRITER_SECONDS, poolclass=NullPool)
    # A deferred transaction fails at its first write if another one has written since, whatever the time-out.
    return _sqlite(partial(_connect, address.path, "mode=rwc", *_WRITER_SETTINGS), "BEGIN IMMEDIATE")


def reader_engine(address: Address) -> Engine:
    """The engine of any number of read-only connections; each transaction sees one snapshot of the history."""
    if address.path is None:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        return _postgresql(address, _READER_SECONDS, execution_options=options, **_POSTGRESQL_POOL)
    return _sqlite(partial(open_sqlite_reader, address.path), "BEGIN")


def open_sqlite_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection without an open transaction.

    Raises HistoryError if the file does not exist, sqlite3.Error and OSError if it cannot be read.
    """
    if not path.is_file():
        message = f"there is no history database {path}: the operator creates it when it starts, or name another"
        raise HistoryError(FaultReason.UNAVAILABLE, message)
    try:
        return _connect(path, "mode=ro", _READER_TEST)
    except sqlite3.OperationalError:
        # In WAL mode SQLite creates files beside the database, which fails in a read-only folder. If the folder has
        # no log either, the file is the whole database, and no process can be writing it.
        if has_log(path):
            raise
        return _connect(path, "mode=ro&immutable=1", _READER_TEST)


def has_log(path: Path) -> bool:
    """Whether this SQLite database has a write-ahead log that is not empty."""
    log = beside(path, "-wal")
    return log.exists() and log.stat().st_size > 0


def beside(path: Path, suffix: str) -> Path:
    """The file named like the database, with this suffix after the whole name."""
    return path.with_name(path.name + suffix)


def _connect(path: Path, mode: str, *statements: str) -> sqlite3.Connection:
    # Only SQLAlchemy begins and ends transactions: without isolation_level=None the driver would do so implicitly.
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
    # No pool: it would reuse connections that failed, or that read a file replaced since.
    engine = sa.create_engine("sqlite://", creator=creator, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _postgresql(address: Address, seconds: float, **options: Any) -> Engine:
    arguments = {key: value for key, value in _POSTGRESQL_ARGUMENTS.items() if key not in address.url.query}
    engine = sa.create_engine(address.url, connect_args=arguments, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def _set(connection: Any, record: Any) -> None:
        record.info[_LIMIT] = seconds + _GRACE_SECONDS
        _limit(connection, record.info)
        connection.execute(f"SET statement_timeout = {1000 * seconds:.0f}; SET lock_timeout = 5000")
        connection.commit()

    return engine


def _limit(connection: Any, info: Any) -> None:
    """Limit how long this connection of psycopg waits for an answer; then it is closed."""
    unlimited = connection.wait

    def wait(steps: Any, **options: Any) -> Any:
        began, seconds = time.monotonic(), info[_LIMIT]
        try:
            return unlimited(steps, **{"timeout": seconds, **options})
        except Exception as error:
            if time.monotonic() - began < seconds:
                raise
            # Otherwise, a rollback would wait as long again.
            connection.pgconn.finish()
            raise type(error)(f"no answer within {seconds:g} s") from error

    connection.wait = wait


@contextmanager
def with_migration_limits(connection: Connection) -> Iterator[None]:
    """Raise the limits of PostgreSQL's statements in this transaction to those of a migration."""
    if connection.dialect.name != "postgresql":
        yield
        return
    usual = connection.info[_LIMIT]
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {1000 * _MIGRATION_SECONDS:.0f}")
    connection.info[_LIMIT] = _MIGRATION_SECONDS + _GRACE_SECONDS
    yield
    connection.info[_LIMIT] = usual
