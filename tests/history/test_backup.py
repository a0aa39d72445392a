"""Backups: made during writes, and restored."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from kanary.history.backup import backup
from kanary.history.database import open_database
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from kanary.history.writer import HistoryWriter
from tests.history.conftest import Volume
from tests.history.entries import seen
from tests.history.postgres import Server
from tests.waiting import PATIENCE


def revisions(path: Path) -> list[int]:
    return [item.change.revision for item in Reader(str(path)).changes(ChangeQuery()).items]


def fill(path: Path) -> None:
    database = open_database(str(path))
    database.write([seen()])
    database.close()


def refusal(url: str, file: Path) -> HistoryError:
    with pytest.raises(HistoryError) as caught:
        backup(url, file)
    return caught.value


def test_a_backup_is_made_while_the_operator_writes_and_restored_it_is_gone_on_with(tmp_path: Path) -> None:
    path, file = tmp_path / "history.db", tmp_path / "backup.db"
    writer = HistoryWriter(str(path))
    writer.start()
    stop = threading.Event()

    def go_on() -> None:
        last = 0
        while not stop.is_set():
            last += 1
            writer.record(seen(last=last))
            writer.flush(PATIENCE)

    writing = threading.Thread(target=go_on)
    writing.start()
    try:
        while writer.confirmed("u-1") < 50:
            writer.flush(PATIENCE)
        before = writer.confirmed("u-1") // 10
        copied = backup(str(path), file)
        after = writer.confirmed("u-1") // 10 + 1
    finally:
        stop.set()
        writing.join()
        writer.stop()
    assert before <= copied <= after
    assert revisions(file) == list(range(copied, 0, -1))

    for name in ("history.db", "history.db-wal", "history.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(file, path)
    restored = HistoryWriter(str(path))
    restored.start()
    restored.record(seen(last=copied + 2))
    assert restored.stop(PATIENCE)
    assert revisions(path) == list(range(copied + 2, 0, -1))
    assert revisions(file) == list(range(copied, 0, -1))


@pytest.mark.parametrize("text", [b"", b"something that is kept"])
def test_no_file_is_overwritten(tmp_path: Path, text: bytes) -> None:
    fill(tmp_path / "history.db")
    (tmp_path / "backup.db").write_bytes(text)
    error = refusal(str(tmp_path / "history.db"), tmp_path / "backup.db")
    assert error.fault.reason is FaultReason.REFUSED
    assert f"to {tmp_path}/backup.db (File exists): name a new file" in str(error)
    assert (tmp_path / "backup.db").read_bytes() == text


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "history.db")
    error = refusal(str(tmp_path / "history.db"), tmp_path / "none" / "backup.db")
    assert f"{tmp_path}/none/backup.db (No such file or directory): name a new file in a folder" in str(error)


def test_what_is_not_there_is_not_backed_up(tmp_path: Path) -> None:
    assert "there is no history database" in str(refusal(str(tmp_path / "none.db"), tmp_path / "backup.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_volume_without_space_is_told_and_left_as_it_was(tmp_path: Path, volume: Volume) -> None:
    fill(tmp_path / "history.db")
    filler = volume.fill()
    error = refusal(str(tmp_path / "history.db"), volume.folder / "backup.db")
    assert error.fault.reason is FaultReason.REFUSED
    assert f"cannot back up {tmp_path}/history.db to {volume.folder}/backup.db" in str(error)
    assert list(volume.folder.iterdir()) == [filler]


def test_a_volume_that_fills_up_is_not_taken_for_the_database_s(tmp_path: Path, volume: Volume) -> None:
    database = open_database(str(tmp_path / "history.db"))
    database.write([seen(last=5000)])
    database.close()
    error = refusal(str(tmp_path / "history.db"), volume.folder / "backup.db")
    assert error.fault.reason is FaultReason.REFUSED
    assert f"to {volume.folder}/backup.db (database or disk is full): name a new file" in str(error)
    assert list(volume.folder.iterdir()) == []


def test_a_name_that_cannot_be_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "history.db")
    assert "(File name too long)" in str(refusal(str(tmp_path / "history.db"), tmp_path / ("x" * 300)))


def test_a_corrupt_database_makes_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    database = open_database(str(path))
    database.write([seen(last=500)])
    database.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\x55" * 4096)
    assert refusal(str(path), tmp_path / "backup.db").fault.reason is FaultReason.CORRUPT
    assert not (tmp_path / "backup.db").exists()


def test_a_server_is_backed_up_by_its_own_tools(postgres: Server, tmp_path: Path) -> None:
    url = postgres.new_database()
    error = refusal(url, tmp_path / "backup.db")
    assert error.fault.reason is FaultReason.REFUSED
    assert f'pg_dump --format=custom --file={tmp_path}/backup.db "postgresql://kanary@' in str(error)
    assert "s3cr3t" not in str(error)
