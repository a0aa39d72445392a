"""Faults of the database file: each is reported with a reason and a remedy, and the file is never deleted."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kanary.history.backup import backup
from kanary.history.database import Database, FileId, file_id, open_database
from kanary.history.faults import Fault, FaultReason, HistoryError
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from tests.history.conftest import Volume
from tests.history.entries import seen

PAGE = 4096


def fault_of(path: Path) -> Fault:
    with pytest.raises(HistoryError) as caught:
        open_database(str(path))
    assert caught.value.__cause__ is None
    return caught.value.fault


def fill(path: Path, last: int = 3) -> None:
    database = open_database(str(path))
    database.write([seen(last=last)])
    database.close()


def open_corrupt(path: Path, known: FileId | None = None) -> tuple[Database, Path]:
    """A new database, and the new path of the corrupt one that it replaces."""
    kept: list[Path] = []
    database = open_database(str(path), on_corrupt=kept.append, corrupt=known)
    assert len(kept) == 1
    return database, kept[0]


def test_a_file_that_took_the_place_of_a_corrupt_one_is_not_moved_aside(tmp_path: Path) -> None:
    """Another operator may create a file between the error and the next attempt."""
    path = tmp_path / "history.db"
    fill(path)
    known = file_id(path)
    path.rename(tmp_path / "before.db")
    fill(path, last=2)
    open_database(str(path), on_corrupt=lambda _: pytest.fail("moved aside"), corrupt=known).close()
    assert revisions(path) == [2, 1]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def aside(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if ".corrupt-" in file.name)


def revisions(path: Path) -> list[int]:
    reader = Reader(str(path))
    return [item.change.revision for item in reader.changes(ChangeQuery()).items]


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    fault = fault_of(tmp_path / "volume" / "history.db")
    assert fault.reason is FaultReason.UNAVAILABLE
    assert f"the folder {tmp_path}/volume" in fault.message
    assert "mount a volume" in fault.message
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["x" * 300, "x" * 300 + "/history.db"])
def test_a_path_that_cannot_be_looked_at_is_told(tmp_path: Path, place: str) -> None:
    assert "File name too long" in fault_of(tmp_path / place).message
    with pytest.raises(HistoryError, match="File name too long"):
        revisions(tmp_path / place)


def test_a_name_need_not_be_valid_unicode(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"h\xff.db")
    fill(path)
    assert revisions(path) == [3, 2, 1]
    copy = tmp_path / os.fsdecode(b"\xfe.db")
    assert backup(str(path), copy) == 3
    assert revisions(copy) == [3, 2, 1]


def test_a_folder_is_no_database_to_read(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=f"there is no history database {tmp_path}") as caught:
        revisions(tmp_path)
    assert caught.value.fault.reason is FaultReason.UNAVAILABLE


def test_a_folder_in_the_database_s_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    assert fault_of(tmp_path / "history.db").reason is FaultReason.UNAVAILABLE
    assert (tmp_path / "history.db").is_dir()
    assert aside(tmp_path) == []


@pytest.mark.parametrize("device", ["/dev/full", "/dev/zero"])
def test_a_device_in_the_database_s_place_is_left_alone(tmp_path: Path, device: str) -> None:
    (tmp_path / "history.db").symlink_to(device)
    assert fault_of(tmp_path / "history.db").reason in FaultReason
    assert names(tmp_path) == ["history.db", "history.db.lock"]
    assert Path(device).is_char_device()


def test_a_read_only_volume_is_told_and_can_still_be_read(volume: Volume) -> None:
    path = volume.folder / "history.db"
    fill(path)
    volume.mount("-o", "remount,ro", str(volume.folder))
    fault = fault_of(path)
    assert fault.reason is FaultReason.READ_ONLY
    assert "make it and its folder writable" in fault.message
    assert revisions(path) == [3, 2, 1]


@pytest.mark.skipif(os.getuid() == 0, reason="permissions do not bind root")
@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_file_without_permission_is_told(tmp_path: Path, mode: int) -> None:
    fill(tmp_path / "history.db")
    (tmp_path / "history.db").chmod(mode)
    assert fault_of(tmp_path / "history.db").reason in (FaultReason.READ_ONLY, FaultReason.UNAVAILABLE)


def test_a_full_volume_is_told_from_the_first(volume: Volume) -> None:
    filler = volume.fill()
    fault = fault_of(volume.folder / "history.db")
    assert fault.reason is FaultReason.FULL
    assert "larger volume" in fault.message
    filler.unlink()
    fill(volume.folder / "history.db")
    assert aside(volume.folder) == []


def test_a_volume_that_fills_up_loses_nothing_that_was_confirmed(volume: Volume) -> None:
    path = volume.folder / "history.db"
    database = open_database(str(path))
    database.write([seen(last=3)])
    filler = volume.fill()
    confirmed = 3
    with pytest.raises(HistoryError) as caught:
        for last in range(4, 1000):
            database.write([seen(first=last, last=last)])
            confirmed = last
    assert caught.value.fault.reason is FaultReason.FULL
    database.close()
    filler.unlink()
    assert revisions(path) == list(range(confirmed, 0, -1))
    database = open_database(str(path))
    database.write([seen(first=1, last=confirmed + 1)])
    database.close()
    assert revisions(path) == list(range(confirmed + 1, 0, -1))


def test_a_database_that_may_not_grow_is_full(tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "history.db"))
    with database.transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 30")
    with pytest.raises(HistoryError) as caught:
        database.write([seen(last=1000)])
    assert caught.value.fault.reason is FaultReason.FULL
    database.close()
    assert revisions(tmp_path / "history.db") == []


def test_only_one_process_writes_and_the_other_is_told(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    database = open_database(str(path))
    script = "import sys; from kanary.history.database import open_database; open_database(sys.argv[1])"
    other = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert f"has the history database {path} open for writing, and only one can" in other.stderr
    assert fault_of(path).reason is FaultReason.LOCKED
    database.close()
    subprocess.run([sys.executable, "-c", script, path], check=True)


def test_a_lock_that_somebody_else_holds_is_told_and_the_store_goes_on_after_it(tmp_path: Path) -> None:
    """As `sqlite3 history.db` with an open transaction does."""
    path = tmp_path / "history.db"
    database = open_database(str(path))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HistoryError) as caught:
        database.write([seen()])
    assert caught.value.fault.reason is FaultReason.LOCKED
    other.execute("ROLLBACK")
    database.write([seen()])
    database.close()
    other.close()
    assert revisions(path) == [3, 2, 1]


def test_a_reader_that_is_slow_does_not_hold_up_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    database = open_database(str(path))
    database.write([seen()])
    reader = Reader(str(path))
    with reader.connection() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM entries").scalar() == 5
        database.write([seen(last=4)])
        assert connection.exec_driver_sql("SELECT count(*) FROM entries").scalar() == 5
    assert revisions(path) == [4, 3, 2, 1]
    database.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    fill(tmp_path / "history.db")
    with (
        pytest.raises(HistoryError) as caught,
        Reader(str(tmp_path / "history.db")).connection() as connection,
    ):
        connection.exec_driver_sql("DELETE FROM entries")
    assert caught.value.fault.reason is FaultReason.READ_ONLY


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="there is no history database"):
        revisions(tmp_path / "history.db")
    assert names(tmp_path) == []


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "history.db").touch()
    fill(tmp_path / "history.db")
    assert aside(tmp_path) == []


@pytest.mark.parametrize("header", [b"\0" * 100, b"#!/bin/sh\necho not a database\n" * 10, b"x"])
def test_a_corrupt_header_is_moved_aside_kept_and_told(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "history.db"
    fill(path)
    with path.open("r+b") as file:
        file.write(header)
    spoilt = path.read_bytes()
    if header == b"x":
        path.write_bytes(spoilt := b"x" * 700)
    database, kept = open_corrupt(path)
    assert kept.name.startswith("history.db.corrupt-20")
    assert kept.read_bytes() == spoilt
    database.write([seen(last=1)])
    database.close()
    assert revisions(path) == [1]


def test_a_corrupt_page_in_the_middle_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    fill(path, last=500)
    pages = path.stat().st_size // PAGE
    assert pages > 50
    with path.open("r+b") as file:
        file.seek(pages // 2 * PAGE)
        file.write(random.Random(1).randbytes(PAGE))
    database, kept = open_corrupt(path)
    assert kept.stat().st_size == pages * PAGE
    database.close()


def test_a_corrupt_database_is_an_error_and_left_as_it_is_where_it_is_not_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"x" * 700)
    assert fault_of(path).reason is FaultReason.CORRUPT
    assert path.read_bytes() == b"x" * 700
    assert aside(tmp_path) == []


def test_a_page_that_becomes_corrupt_while_the_database_is_open_is_told(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    fill(path, last=500)
    database = open_database(str(path))
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(random.Random(1).randbytes(path.stat().st_size - PAGE))
    with pytest.raises(HistoryError) as caught:
        database.write([seen(first=501, last=600)])
    assert caught.value.fault.reason is FaultReason.CORRUPT
    database.close()
    # A file that is known to be corrupt is moved aside, even if the check finds nothing.
    database, kept = open_corrupt(path, known=file_id(path))
    assert aside(tmp_path)[0] == kept
    database.close()
    assert revisions(path) == []
    fill(path)
    assert revisions(path) == [3, 2, 1]


def test_the_log_of_a_corrupt_database_is_kept_with_it(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    script = (
        "import os, sys; from kanary.history.database import open_database; from tests.history.entries import seen;"
        "database = open_database(sys.argv[1]); database.write([seen(last=501)]); os.kill(os.getpid(), 9)"
    )
    fill(path, last=500)
    subprocess.run([sys.executable, "-c", script, path], check=False, cwd=Path(__file__).parents[2])
    log = (tmp_path / "history.db-wal").read_bytes()
    assert log
    path.write_bytes(b"x" * 700)
    database, kept = open_corrupt(path)
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == log
    database.close()


def test_the_log_of_a_database_that_is_gone_is_kept(tmp_path: Path) -> None:
    """SQLite would delete the log, which may be all that is left of the confirmed entries."""
    (tmp_path / "history.db-wal").write_bytes(b"what was confirmed last")
    fill(tmp_path / "history.db")
    assert [file.read_bytes() for file in aside(tmp_path)] == [b"what was confirmed last"]


def test_two_corrupt_databases_of_the_same_second_are_both_kept(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    for text in (b"first" * 200, b"second" * 200, b"third" * 200):
        path.write_bytes(text)
        open_corrupt(path)[0].close()
    assert sorted(file.read_bytes()[:5] for file in aside(tmp_path)) == [b"first", b"secon", b"third"]


def test_a_file_that_was_removed_or_replaced_is_not_written_on(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    database = open_database(str(path))
    path.rename(tmp_path / "moved.db")
    for _ in range(2):
        with pytest.raises(HistoryError, match="was removed or replaced"):
            database.write([seen()])
        path.touch()
    database.close()


def test_every_connection_has_what_it_needs(tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    database = open_database(path)
    with database.transaction() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 2000}
    with Reader(path).connection() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 2000
    database.close()
