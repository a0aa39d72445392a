"""Opening a database to write: created where there is none, migrated, and moved aside where it is corrupt."""

from __future__ import annotations

from pathlib import Path

from kanary.history.address import Address, parse_address
from kanary.history.connecting import reader_engine, writer_engine
from kanary.history.database import Database
from kanary.history.driver_errors import translated
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.files import WriterLock, move_aside, move_stray_log_aside
from kanary.history.schema import migrate, refuse_newer, version_of


def open_database(url: str | Address, *, replaces_corrupt: bool = True, is_corrupt: bool = False) -> Database:
    """Open the database, create it where there is none, and take its schema to the newest version.

    A corrupt SQLite file, or one that was found to be while it was in use, is moved aside and kept, and a new one is
    created: see `moved_aside`. Without `replaces_corrupt` it is an error. Raises BadAddressError for an invalid URL,
    and HistoryError for all else that is wrong.
    """
    address = url if isinstance(url, Address) else parse_address(url)
    if address.path is None:
        return _open(address, None, None)
    lock = _lock(address, address.path)
    try:
        return _open_file(address, address.path, lock, replaces_corrupt=replaces_corrupt, is_corrupt=is_corrupt)
    except BaseException:
        lock.release()
        raise


def _lock(address: Address, path: Path) -> WriterLock:
    with translated(address):
        if not path.parent.is_dir():
            message = f"the folder {path.parent} of the history database does not exist: create it, or mount a volume"
            raise HistoryError(FaultReason.UNAVAILABLE, message)
        return WriterLock(path)


def _open_file(address: Address, path: Path, lock: WriterLock, *, replaces_corrupt: bool, is_corrupt: bool) -> Database:
    if not is_corrupt:
        try:
            _look_first(address, path)
            return _open(address, lock, None)
        except HistoryError as error:
            if error.fault.reason is not FaultReason.CORRUPT or not replaces_corrupt:
                raise
    with translated(address):
        aside = move_aside(path)
    if aside is None and path.exists():
        raise HistoryError(FaultReason.UNAVAILABLE, f"{path} is not a regular file: name another history database")
    return _open(address, lock, aside)


def _look_first(address: Address, path: Path) -> None:
    """Read before anything is written: a database that is newer or corrupt stays as it is, to the byte."""
    with translated(address):
        move_stray_log_aside(path)
        if not path.exists():
            return
        engine = reader_engine(address)
        with engine.connect() as connection:
            refuse_newer(address, version_of(connection))
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise HistoryError(FaultReason.CORRUPT, f"the history database {address} is corrupt ({found})")


def _open(address: Address, lock: WriterLock | None, aside: Path | None) -> Database:
    engine = writer_engine(address)
    with translated(address):
        connection = engine.connect()
        try:
            with connection.begin():
                migrate(connection, address)
        except BaseException:
            connection.close()
            engine.dispose()
            raise
    return Database(address, connection, lock, aside)
