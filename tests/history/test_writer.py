"""The writer: callers never wait, faults are reported, and entries are written after a fault."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model.entries import Result
from kanary.history.database import open_database
from kanary.history.faults import BadAddressError, FaultReason
from kanary.history.pending import Queue
from kanary.history.queries import ChangeQuery, KanaryQuery
from kanary.history.reader import Reader
from kanary.history.records import KnownKanary
from kanary.history.retention import Retention
from kanary.history.writer import HistoryWriter, Hooks
from kanary.kube.backoff import Backoff
from tests.history.conftest import ALL, Heard, Make, Volume, fault_of, revisions
from tests.history.entries import at, change, configuration, deleted, seen, with_entries
from tests.history.postgres import QUOTED_PASSWORD, Server, name_of
from tests.waiting import PATIENCE, await_that


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No opening of the database is reported because it takes long: on a busy machine each may."""
    monkeypatch.setattr("kanary.history.writer._ANNOUNCE_SECONDS", PATIENCE)


# Without faults


@pytest.mark.usefixtures("unhurried")
def test_what_is_recorded_is_written_and_confirmed(make: Make, url: str, heard: Heard) -> None:
    writer = make(url)
    assert writer.confirmed("u-1") == 0
    writer.record(seen(last=3, phase_changes=5))
    assert writer.flush(PATIENCE)
    assert writer.confirmed("u-1") == 35
    assert writer.fault() is None
    assert writer.notice is None
    assert revisions(url) == [3, 2, 1]
    assert heard.rows == {"kanaries": 1, "configurations": 1, "entries": 20}
    await_that(lambda: heard.changes == 1)


def test_the_start_waits_until_the_database_is_open_or_cannot_be_opened(sqlite_url: str, tmp_path: Path) -> None:
    writer = HistoryWriter(sqlite_url)
    writer.start(wait=PATIENCE)
    assert writer.fault() is None
    writer.stop()
    away = HistoryWriter(f"{tmp_path}/volume/history.db")
    away.start(wait=PATIENCE)
    assert fault_of(away).reason is FaultReason.UNAVAILABLE
    away.stop()


def test_figures_are_told_without_asking_the_database(make: Make, url: str) -> None:
    database = open_database(url)
    database.write([seen()])
    database.close()
    writer = make(url)
    await_that(lambda: writer.figures)
    figures = writer.figures
    assert figures is not None
    assert (figures.oldest, figures.size > 4096) == (at(1), True)


def test_after_a_restart_all_is_recorded_again_and_is_there_once(make: Make, url: str, heard: Heard) -> None:
    for last in (3, 3, 4):
        writer = make(url)
        writer.record(seen(last=last))
        assert writer.stop()
    assert revisions(url) == [4, 3, 2, 1]
    assert heard.rows["entries"] == 7


def test_two_operators_at_once_record_each_change_once(make: Make, postgres: Server, heard: Heard) -> None:
    url = postgres.new_database()
    writers = [make(url), make(url)]
    for last in range(1, 40):
        for writer in writers:
            for uid in ("u-2", "u-1", "u-3"):
                writer.record(seen(uid, name=uid, last=last))
    for writer in writers:
        assert writer.flush(PATIENCE)
        assert writer.fault() is None
        assert writer.confirmed("u-2") == 390
    assert heard.rows["entries"] == 3 * (39 + 38)
    assert heard.failures == {}
    for uid in ("u-1", "u-2", "u-3"):
        assert revisions(url, uid) == list(range(39, 0, -1))


def test_the_deleted_are_marked_and_forgotten(make: Make, url: str) -> None:
    writer = make(url)
    writer.record(seen())
    assert writer.flush(PATIENCE)
    writer.record(deleted(minutes=60))
    writer.record(deleted("u-never-seen", 60, name="never-seen"))
    assert writer.flush(PATIENCE)
    assert writer.confirmed("u-1") == 0
    newest = Reader(url).changes(ChangeQuery(**ALL)).items[0]
    assert newest.kanary.deleted_at == at(60)
    assert newest.result is not None
    assert newest.result.result == Result.DELETED


def test_at_the_start_the_deleted_are_marked(make: Make, url: str) -> None:
    """Each Kanary that is not marked as deleted is checked until the result is known."""
    database = open_database(url)
    for uid in ("u-gone", "u-unseen"):
        database.write([seen(uid, name=uid)])
    database.close()
    asked: list[str] = []

    def is_deleted(kanary: KnownKanary) -> bool | None:
        asked.append(kanary.name)
        return None if len(asked) in (1, 3) else kanary.uid == "u-gone"

    make(url, is_deleted=is_deleted)
    await_that(lambda: len(asked) == 4)
    reader = Reader(url)
    await_that(
        lambda: [k.uid for k in reader.kanaries(KanaryQuery(**ALL)).items if k.deleted_at == at(10_000)] == ["u-gone"]
    )
    assert sorted(asked) == ["u-gone", "u-gone", "u-unseen", "u-unseen"]
    reader.close()


def test_in_a_database_that_takes_the_place_of_another_the_deleted_are_marked_as_well(
    make: Make, sqlite_url: str, tmp_path: Path
) -> None:
    """A backup may be restored while the operator runs."""
    restored = open_database(str(tmp_path / "restored.db"))
    restored.write([seen("u-gone", name="gone")])
    restored.close()
    writer = make(sqlite_url, is_deleted=lambda kanary: kanary.uid == "u-gone")
    for file in tmp_path.glob("history.db*"):
        file.unlink()
    (tmp_path / "restored.db").rename(tmp_path / "history.db")
    writer.record(seen())
    await_that(
        lambda: [k.uid for k in Reader(sqlite_url).kanaries(KanaryQuery(**ALL)).items if k.deleted_at] == ["u-gone"]
    )


def test_recording_goes_on_while_the_cluster_does_not_answer(make: Make, sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    database.write([seen("u-gone", name="gone")])
    database.close()
    asked = threading.Event()

    def is_deleted(_: KnownKanary) -> None:
        asked.set()

    writer = make(sqlite_url, is_deleted=is_deleted, backoff=Backoff(base=PATIENCE, cap=PATIENCE))
    assert asked.wait(PATIENCE)
    writer.record(seen())
    assert writer.flush(PATIENCE / 2)
    assert writer.stop(PATIENCE / 2)
    assert [kanary.deleted_at for kanary in Reader(sqlite_url).kanaries(KanaryQuery(**ALL)).items] == [None, None]


def test_a_kanary_that_was_marked_and_is_recorded_again_is_not_deleted(make: Make, sqlite_url: str) -> None:
    writer = make(sqlite_url)
    for pending in (seen(), deleted(minutes=10), seen(last=4, minutes=11)):
        writer.record(pending)
        assert writer.flush(PATIENCE)
    assert revisions(sqlite_url) == [4, 3, 2, 1]
    assert Reader(sqlite_url).changes(ChangeQuery(**ALL)).items[0].kanary.deleted_at is None
    assert writer.confirmed("u-1") == 40


def test_retention_goes_on_beside_recording(make: Make, url: str) -> None:
    database = open_database(url)
    database.write([seen(last=1200)])
    database.close()
    writer = make(url, retention=Retention(changes=100))
    writer.record(seen("u-2", name="other"))
    await_that(lambda: revisions(url) == list(range(1200, 1100, -1)))
    writer.record(seen(first=1000, last=1201))
    assert writer.flush(PATIENCE)
    assert revisions(url) == list(range(1201, 1100, -1))


def test_retention_is_repeated(make: Make, sqlite_url: str) -> None:
    writer = make(sqlite_url, retention=Retention(changes=2), prune_seconds=0.01)
    for last in (5, 9):
        writer.record(seen(last=last))
        assert writer.flush(PATIENCE)
        await_that(lambda: revisions(sqlite_url) == [last, last - 1])  # noqa: B023 -- it is waited for at once


# The queue


def test_the_newest_entry_takes_the_place_of_those_that_wait(sqlite_url: str) -> None:
    """It keeps the configurations of the replaced ones, because each state has only its own."""
    writer = HistoryWriter(sqlite_url)
    for last in range(1, 6):
        writer.record(seen(last=last))
    writer.start()
    assert writer.stop(PATIENCE)
    assert revisions(sqlite_url) == [5, 4, 3, 2, 1]
    assert [Reader(sqlite_url).configuration(f"{n:016x}") is not None for n in range(1, 6)] == [True] * 5


def test_of_what_waits_the_latest_says_whether_the_kanary_is_deleted(sqlite_url: str) -> None:
    writer = HistoryWriter(sqlite_url)
    for pending in (seen("u-1"), deleted("u-1", 60), deleted("u-1", 70), deleted("u-2", 60), seen("u-2", minutes=70)):
        writer.record(pending)
    writer.start()
    assert writer.stop(PATIENCE)
    known = Reader(sqlite_url).kanaries(KanaryQuery(**ALL)).items
    assert {kanary.uid: kanary.deleted_at for kanary in known} == {"u-1": at(60), "u-2": None}
    assert revisions(sqlite_url, "u-1") == revisions(sqlite_url, "u-2") == [3, 2, 1]


def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    queue = Queue(most=3)
    dropped = sum(queue.add(seen(f"u-{n}")) for n in range(5))
    assert dropped == 2
    assert [pending.uid for pending in queue.waiting()] == ["u-2", "u-3", "u-4"]


def test_configurations_that_wait_are_bounded() -> None:
    queue = Queue()
    for n in range(100):
        queue.add(replace(seen(), configurations=(configuration(str(n)),)))
    assert [c.digest for c in queue.waiting()[0].configurations] == [str(n) for n in range(84, 100)]


def test_what_is_added_while_the_former_is_written_still_waits() -> None:
    queue = Queue()
    queue.add(seen(last=1))
    former = queue.waiting()
    queue.add(seen(last=2))
    queue.remove(former)
    (latest,) = queue.waiting()
    assert latest.last() == 20
    queue.remove([latest])
    assert queue.wait_until_empty(0)


def test_recording_neither_raises_nor_ends_the_writer_whatever_it_is_given(make: Make, sqlite_url: str) -> None:
    writer = make(sqlite_url)
    writer.record(with_entries(seen("u-2", name="odd"), "no entry"))  # type: ignore[arg-type]
    assert fault_of(writer, "u-2")
    writer.record(with_entries(seen("u-2", name="odd")))
    writer.record(seen())
    assert writer.flush(PATIENCE)
    assert revisions(sqlite_url) == [3, 2, 1]


def test_recording_never_waits_for_the_database(make: Make, sqlite_url: str, tmp_path: Path) -> None:
    writer = make(sqlite_url)
    writer.record(seen(last=1))
    assert writer.flush(PATIENCE)
    other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    # If each call waited for the lock, as the writer does, this would take half an hour.
    for n in range(1000):
        writer.record(seen(f"u-{n}"))
        writer.confirmed(f"u-{n}")
        writer.fault()
    assert writer.confirmed("u-999") == 0
    other.close()
    assert writer.flush(PATIENCE)


# Faults


def test_a_bad_url_is_refused_at_once() -> None:
    with pytest.raises(BadAddressError):
        HistoryWriter("mysql://db/history")


@pytest.mark.usefixtures("unhurried")
def test_a_missing_folder_is_told_and_made_up_for(make: Make, tmp_path: Path, heard: Heard) -> None:
    url = f"sqlite:///{tmp_path}/volume/history.db"
    writer = make(url)
    fault = fault_of(writer)
    assert fault.reason is FaultReason.UNAVAILABLE
    writer.record(seen())
    await_that(lambda: heard.failures[FaultReason.UNAVAILABLE] > 3)
    assert (heard.changes, writer.confirmed("u-1")) == (1, 0)
    (tmp_path / "volume").mkdir()
    assert writer.flush(PATIENCE)
    await_that(lambda: heard.changes == 2)
    assert writer.fault() is None
    assert revisions(url) == [3, 2, 1]


def test_a_lock_is_told_and_made_up_for(make: Make, sqlite_url: str, tmp_path: Path, heard: Heard) -> None:
    writer = make(sqlite_url)
    await_that(lambda: writer.figures)
    other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer.record(seen(last=1))
    await_that(writer.fault)
    writer.record(seen(last=2))
    fault = fault_of(writer)
    assert fault.reason is FaultReason.LOCKED
    other.close()
    assert writer.flush(PATIENCE)
    await_that(lambda: writer.fault() is None)
    assert revisions(sqlite_url) == [2, 1]
    assert writer.confirmed("u-1") == 20


def test_two_operators_on_one_file_take_turns(make: Make, sqlite_url: str) -> None:
    first = make(sqlite_url)
    first.record(seen(last=1))
    assert first.flush(PATIENCE)
    second = make(sqlite_url)
    second.record(seen(last=2))
    fault = fault_of(second)
    assert fault.reason is FaultReason.LOCKED
    assert revisions(sqlite_url) == [1]
    first.stop()
    assert second.flush(PATIENCE)
    assert revisions(sqlite_url) == [2, 1]


def test_a_full_volume_is_told_and_made_up_for(make: Make, volume: Volume) -> None:
    url = f"sqlite:///{volume.folder}/history.db"
    writer = make(url)
    writer.record(seen(last=1))
    assert writer.flush(PATIENCE)
    filler = volume.fill()
    last = 1
    while writer.fault() is None:
        last += 1
        writer.record(seen(last=last))
        writer.flush(0.02)
    fault = fault_of(writer)
    assert fault.reason is FaultReason.FULL
    writer.record(seen(last=last + 1))
    filler.unlink()
    assert writer.flush(PATIENCE)
    await_that(lambda: writer.fault() is None)
    assert revisions(url) == list(range(last + 1, 0, -1))


@pytest.mark.usefixtures("unhurried")
def test_a_file_that_is_removed_is_begun_anew_and_nothing_counts_as_confirmed(
    make: Make, sqlite_url: str, tmp_path: Path, heard: Heard
) -> None:
    writer = make(sqlite_url)
    writer.record(seen(last=2))
    writer.record(seen("u-2", name="other"))
    assert writer.flush(PATIENCE)
    for file in tmp_path.iterdir():
        file.unlink()
    writer.record(seen(last=3))
    assert writer.flush(PATIENCE)
    assert heard.failures[FaultReason.UNAVAILABLE] == 1
    assert revisions(sqlite_url) == [3, 2, 1]
    assert (writer.confirmed("u-1"), writer.confirmed("u-2")) == (30, 0)
    await_that(lambda: heard.changes == 3)


@pytest.mark.usefixtures("unhurried")
def test_a_corrupt_file_at_the_start_is_told_kept_and_followed_by_a_new_one(
    make: Make, sqlite_url: str, tmp_path: Path, heard: Heard
) -> None:
    (tmp_path / "history.db").write_bytes(b"x" * 10_000)
    writer = make(sqlite_url)
    writer.record(seen())
    assert writer.flush(PATIENCE)
    writer.stop()
    assert heard.failures == {FaultReason.CORRUPT: 1}
    assert heard.changes == 1
    assert writer.fault() is None
    (kept,) = [file for file in tmp_path.iterdir() if "corrupt" in file.name]
    assert kept.read_bytes() == b"x" * 10_000
    notice = writer.notice
    assert notice is not None
    assert notice.reason is FaultReason.CORRUPT
    assert f"it is kept as {kept}, and a new one was created" in notice.message
    assert revisions(sqlite_url) == [3, 2, 1]


def test_a_file_that_becomes_corrupt_is_told_kept_and_followed_by_a_new_one(
    make: Make, sqlite_url: str, tmp_path: Path, heard: Heard
) -> None:
    database = open_database(sqlite_url)
    database.write([seen(last=500)])
    database.close()
    writer = make(sqlite_url)
    await_that(lambda: writer.figures)
    with (tmp_path / "history.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\x55" * 4096 * 50)
    while not writer.notice:
        writer.record(seen("u-2"))
        writer.flush(0.02)
    assert heard.failures[FaultReason.CORRUPT] == 1
    writer.record(seen("u-2"))
    assert writer.flush(PATIENCE)
    assert revisions(sqlite_url, "u-2") == [3, 2, 1]
    await_that(lambda: writer.fault() is None)
    assert writer.notice
    assert [file for file in tmp_path.iterdir() if "corrupt" in file.name]


def test_a_backup_that_is_restored_after_a_corruption_is_kept(make: Make, sqlite_url: str, tmp_path: Path) -> None:
    """The file system may reuse the inode number of the corrupt file."""
    file, backup = tmp_path / "history.db", tmp_path / "backup.db"
    database = open_database(sqlite_url)
    database.write([seen(last=500)])
    database.close()
    shutil.copy(file, backup)
    writer = make(sqlite_url)
    await_that(lambda: writer.figures)
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\x55" * 4096 * 50)
    while not writer.notice:
        writer.record(seen("u-2"))
        writer.flush(0.02)
    await_that(lambda: writer.fault() is None)
    (kept,) = tmp_path.glob("*.corrupt-*Z")
    shutil.copyfile(backup, kept)
    for each in tmp_path.glob("history.db-*"):
        each.unlink()
    kept.rename(file)
    writer.record(seen("u-3"))
    assert writer.flush(PATIENCE)
    assert revisions(sqlite_url)[0] == 500


def test_a_newer_database_is_told_and_left_alone(make: Make, url: str) -> None:
    database = open_database(url)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE kanary_history_version SET version_num = '9999'")
    database.close()
    writer = make(url)
    writer.record(seen())
    fault = fault_of(writer)
    assert fault.reason is FaultReason.TOO_NEW
    assert not writer.stop(0.1)


def test_kanaries_that_wait_are_written_together(make: Make, url: str, heard: Heard) -> None:
    """After an outage thousands may be queued: a transaction for each would take minutes."""
    transactions = Counter[str]()
    hooks = replace(heard.hooks(), on_rows=lambda table, _: transactions.update([table]))
    writer = HistoryWriter(url, hooks=hooks)
    for number in range(250):
        writer.record(seen(f"u-{number}"))
    writer.start(PATIENCE)
    assert writer.flush(PATIENCE)
    assert all(writer.confirmed(f"u-{number}") == 30 for number in range(250))
    assert transactions["kanaries"] == 3
    writer.stop()


@pytest.mark.usefixtures("unhurried")
def test_one_bad_entry_is_told_and_the_others_are_written(make: Make, url: str, heard: Heard) -> None:
    writer = make(url)
    bad = with_entries(seen("u-bad", name="bad"), change(1).model_copy(update={"number": 10**30}))
    for uid in ("u-1", "u-bad", "u-2"):
        writer.record(bad if uid == "u-bad" else seen(uid, name=uid))
    assert writer.flush(PATIENCE)
    fault = fault_of(writer, "u-bad")
    assert fault.reason is FaultReason.ENTRY_REFUSED
    assert "shop/bad" in fault.message
    assert (writer.fault(), writer.fault("u-1"), heard.refused) == (None, None, ["shop/bad"])
    assert (writer.confirmed("u-1"), writer.confirmed("u-2"), writer.confirmed("u-bad")) == (30, 30, 0)
    writer.record(seen("u-bad", name="bad"))
    assert writer.flush(PATIENCE)
    await_that(lambda: writer.fault("u-bad") is None)
    assert writer.confirmed("u-bad") == 30
    await_that(lambda: heard.refused == ["shop/bad", "shop/bad"])
    assert heard.changes == 1


def test_the_deletion_of_a_kanary_is_recorded_although_its_last_entries_are_refused(
    make: Make, url: str, heard: Heard
) -> None:
    writer = make(url)
    writer.record(seen("u-bad", name="bad"))
    assert writer.flush(PATIENCE)
    bad = with_entries(seen("u-bad", name="bad"), change(1).model_copy(update={"number": 10**30}))
    # As both wait while the database is away.
    writer.record(bad.followed_by(deleted("u-bad", 10_001, name="bad")))
    assert writer.flush(PATIENCE)
    reader = Reader(url)
    await_that(lambda: [kanary.deleted_at for kanary in reader.kanaries(KanaryQuery(**ALL)).items] != [None])
    reader.close()
    await_that(lambda: writer.fault("u-bad") is None)
    assert heard.failures == {FaultReason.ENTRY_REFUSED: 1}


def test_a_hook_that_raises_is_not_the_record_s_end(make: Make, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    hooks = Hooks(fail, fail, fail, fail, fail)
    writer = make(f"{tmp_path}/volume/history.db", hooks=hooks)
    await_that(writer.fault)
    (tmp_path / "volume").mkdir()
    writer.record(seen())
    assert writer.flush(PATIENCE)


def test_a_defect_is_told_and_does_not_end_the_writer(
    make: Make, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr("kanary.history.database._insert", fail)
        writer = make(sqlite_url)
        writer.record(seen())
        fault = fault_of(writer)
    assert "internal error: KeyError: 'a defect'" in fault.message
    assert writer.flush(PATIENCE)


# PostgreSQL


def test_a_server_that_crashes_is_made_up_for(make: Make, postgres: Server, caplog: pytest.LogCaptureFixture) -> None:
    url = postgres.new_database()
    caplog.set_level(logging.DEBUG)
    writer = make(url)
    writer.record(seen(last=1))
    assert writer.flush(PATIENCE)
    postgres.kill()
    try:
        for last in range(2, 5):
            writer.record(seen(last=last))
        fault = fault_of(writer)
        assert fault.reason is FaultReason.UNAVAILABLE
        assert QUOTED_PASSWORD not in caplog.text + fault.message
        assert "s3cr3t" not in caplog.text + fault.message
    finally:
        postgres.start()
    assert writer.flush(PATIENCE)
    await_that(lambda: writer.fault() is None)
    assert revisions(url) == [4, 3, 2, 1]


def test_a_lock_on_the_server_is_told_and_made_up_for(make: Make, postgres: Server) -> None:
    url = postgres.new_database()
    writer = make(url)
    await_that(lambda: writer.figures)
    with postgres.connect(name_of(url)) as other, other.transaction():
        other.execute("LOCK TABLE entries")
        writer.record(seen())
        fault = fault_of(writer)
        assert fault.reason is FaultReason.LOCKED
    assert writer.flush(PATIENCE)


def test_a_server_that_takes_no_writes_is_told(make: Make, postgres: Server) -> None:
    url = postgres.new_database()
    name = name_of(url)
    open_database(url).close()
    with postgres.connect("postgres") as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        writer = make(url)
        writer.record(seen())
        fault = fault_of(writer)
        assert fault.reason is FaultReason.READ_ONLY
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    assert writer.flush(PATIENCE)


# Stopping


def test_stopping_writes_what_waits(make: Make, url: str) -> None:
    writer = make(url)
    for n in range(250):
        writer.record(seen(f"u-{n}", name=f"n-{n}"))
    assert writer.stop(PATIENCE)
    assert len(Reader(url).kanaries(KanaryQuery(**ALL)).items) == 250


def test_stopping_does_not_wait_for_a_database_that_is_away(make: Make, tmp_path: Path) -> None:
    others = threading.enumerate()
    writer = make(f"{tmp_path}/volume/history.db", backoff=Backoff(base=PATIENCE, cap=PATIENCE))
    writer.record(seen())
    await_that(writer.fault)
    assert not writer.stop(PATIENCE / 2)
    assert not any(thread.name == "history" for thread in threading.enumerate() if thread not in others)


def test_what_stopping_loses_of_a_deleted_kanary_is_told_and_counted(
    make: Make, sqlite_url: str, tmp_path: Path, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """Its status is deleted, so nothing records it again. The status of the other Kanary still has all entries."""
    writer = make(sqlite_url)
    writer.record(seen(last=2))
    assert writer.flush(PATIENCE)
    with sqlite3.connect(tmp_path / "history.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        writer.record(seen(last=5))
        writer.record(seen("u-2", name="lives"))
        writer.record(deleted(minutes=6))
        await_that(writer.fault)
        assert not writer.stop(PATIENCE)
        other.execute("ROLLBACK")
    lost = [record.getMessage() for record in caplog.records if "lacks" in record.getMessage()]
    assert lost == ["the history lacks 6 entries of shop/web (uid u-1), which is deleted: not written in time"]
    assert heard.dropped == 1


def test_a_deletion_that_waits_at_the_end_loses_nothing(make: Make, sqlite_url: str, heard: Heard) -> None:
    """The next operator detects that the Kanary is deleted."""
    writer = HistoryWriter(sqlite_url, hooks=heard.hooks())
    writer.record(deleted(minutes=6))
    writer.stop()
    assert heard.dropped == 0


def test_stopping_before_the_start_is_nothing(sqlite_url: str) -> None:
    assert HistoryWriter(sqlite_url).stop()
