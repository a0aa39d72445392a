"""A database that hangs: nothing waits for it, it is reported in time, and what waited is written afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from kanary.history import connecting
from kanary.history.database import open_database
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.pending import Queue
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from kanary.history.writer import HistoryWriter
from tests.history.conftest import ALL, Heard, Make, revisions
from tests.history.entries import seen
from tests.history.postgres import Server
from tests.waiting import PATIENCE, await_that

LATE = 0.3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement takes longer than four seconds."""
    for name, seconds in {"_WRITER_SECONDS": 3.0, "_READER_SECONDS": 3.0, "_GRACE_SECONDS": 1.0}.items():
        monkeypatch.setattr(connecting, name, seconds)
    monkeypatch.setitem(connecting._POSTGRESQL_ARGUMENTS, "connect_timeout", "2")


@contextmanager
def hung_disk() -> Iterator[threading.Event]:
    """Each statement that SQLite executes for a writer waits until the disk answers, and cannot be cancelled."""
    answers, is_hit = threading.Event(), threading.Event()

    def hang(_connection: Any, _cursor: Any, _statement: str, *_: Any) -> None:
        if threading.current_thread().name == "history":
            is_hit.set()
            answers.wait()

    # It stays: the thread may be about to call it.
    sa.event.listen(sa.Engine, "before_cursor_execute", hang)
    try:
        yield is_hit
    finally:
        answers.set()


def test_a_server_that_hangs_is_reported_and_given_up_by_the_client(
    make: Make,
    postgres: Server,
    heard: Heard,
    impatient: None,
) -> None:
    """It is stopped; its kernel acknowledges whatever it is sent."""
    url = postgres.new_database()
    writer = make(url, late_seconds=LATE)
    writer.record(seen(last=1))
    assert writer.flush(PATIENCE)
    with postgres.paused():
        writer.record(seen(last=2))
        await_that(writer.fault)
        # The client's limit passes, and so does that for new connections, again and again.
        await_that(lambda: heard.failures[FaultReason.UNAVAILABLE] >= 3)
        fault = writer.fault()
        assert fault
        assert fault.reason is FaultReason.UNAVAILABLE
        began = time.monotonic()
        with pytest.raises(HistoryError) as caught:
            Reader(url).changes(ChangeQuery(**ALL))
        assert caught.value.fault.reason is FaultReason.UNAVAILABLE
        assert time.monotonic() - began < PATIENCE
    assert writer.flush(PATIENCE)
    await_that(lambda: writer.fault() is None)
    await_that(lambda: is_answered(lambda: revisions(url)))
    assert revisions(url) == [2, 1]


def is_answered(read: Callable[[], object]) -> bool:
    """A server that was stopped a moment ago may still be late."""
    try:
        read()
    except HistoryError:
        return False
    return True


def test_a_connection_without_an_answer_is_closed_and_the_next_one_works(postgres: Server, impatient: None) -> None:
    """The pool of the readers has a connection, which the server accepted before it was stopped."""
    url = postgres.new_database()
    open_database(url).close()
    reader = Reader(url)
    assert reader.changes(ChangeQuery(**ALL)).items == ()
    with postgres.paused(), pytest.raises(HistoryError, match=r"no answer within 4 s|connection timeout"):
        reader.changes(ChangeQuery(**ALL))
    await_that(lambda: is_answered(lambda: reader.changes(ChangeQuery(**ALL))))
    reader.close()


def test_a_migration_may_take_longer_and_is_limited_as_well(
    postgres: Server,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = open_database(postgres.new_database())
    with database.transaction() as connection, connecting.with_migration_limits(connection):
        connection.exec_driver_sql("SELECT pg_sleep(5)")
    monkeypatch.setattr(connecting, "_MIGRATION_SECONDS", 0.5)
    # The server ends it, and its error may be late.
    monkeypatch.setattr(connecting, "_GRACE_SECONDS", PATIENCE)
    with (
        database.transaction() as connection,
        pytest.raises(sa.exc.OperationalError, match="statement timeout"),
        connecting.with_migration_limits(connection),
    ):
        connection.exec_driver_sql("SELECT pg_sleep(60)")


@pytest.mark.parametrize("is_open", [False, True])
def test_a_disk_that_hangs_is_reported_and_nothing_waits_for_it(
    sqlite_url: str,
    heard: Heard,
    is_open: bool,
) -> None:
    writer = HistoryWriter(sqlite_url, hooks=heard.hooks(), late_seconds=LATE)
    if is_open:
        writer.start(PATIENCE)
        await_that(lambda: writer.fault() is None and writer.figures)
    with hung_disk() as is_hit:
        changes = heard.changes
        if not is_open:
            writer.start()
        writer.record(seen(last=1))
        assert is_hit.wait(PATIENCE)
        await_that(lambda: heard.changes > changes and writer.fault())
        fault = writer.fault()
        assert fault
        assert fault.reason is FaultReason.UNAVAILABLE
        assert f"has not answered for {LATE:g} s" in fault.message
        writer.record(seen(last=2))
        assert (writer.confirmed("u-1"), writer.fault("u-1")) == (0, fault)
        # Nothing ends the call of the thread, and the process does not wait for it.
        assert not writer.stop(0.1)
    assert writer.flush(PATIENCE)


def test_a_disk_that_answers_again_is_recorded_on(sqlite_url: str, heard: Heard) -> None:
    writer = HistoryWriter(sqlite_url, hooks=heard.hooks(), late_seconds=LATE)
    with hung_disk():
        writer.start()
        writer.record(seen(last=2))
        await_that(lambda: heard.changes)
    assert writer.flush(PATIENCE)
    await_that(lambda: writer.fault() is None)
    await_that(lambda: heard.changes >= 2)
    assert revisions(sqlite_url) == [2, 1]
    writer.stop()


def test_a_kanary_that_changes_all_the_time_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state in the queue is replaced before each write ends: only what was not written has waited."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    queue = Queue()
    queue.add(seen(last=1))
    for last in range(2, 50):
        batch = queue.waiting()
        clock[0] += 1
        queue.add(seen(last=last))
        queue.remove(batch)
    assert queue.lag() <= 1


def test_what_waits_for_the_database_waits_for_one_that_works(make: Make, url: str) -> None:
    writer = make(url)
    for number in range(1, 21):
        pending = seen(last=number)
        writer.record(pending)
        assert writer.wait(pending.uid, pending.last(), PATIENCE)
        assert revisions(url)[0] == number


def test_a_database_that_hangs_delays_what_waits_for_it_once(make: Make, sqlite_url: str) -> None:
    writer = make(sqlite_url)
    writer.record(seen(last=1))
    assert writer.flush(PATIENCE)
    # It may still read the figures, and that time would count.
    await_that(lambda: writer.figures and writer._busy_since is None)
    with hung_disk() as is_hit:
        began = time.monotonic()
        for number in range(2, 12):
            pending = seen(last=number)
            writer.record(pending)
            assert not writer.wait(pending.uid, pending.last(), 2.0)
        assert 1.0 <= time.monotonic() - began < 10.0
        assert is_hit.wait(PATIENCE)
    assert writer.wait(pending.uid, pending.last(), PATIENCE)


def test_nothing_waits_for_a_database_with_a_fault(make: Make, sqlite_url: str) -> None:
    """Not even one that waits already."""
    writer = make(sqlite_url, late_seconds=LATE)
    writer.record(seen(last=1))
    assert writer.flush(PATIENCE)
    with hung_disk():
        pending = seen(last=2)
        writer.record(pending)
        began = time.monotonic()
        for _ in range(3):
            assert not writer.wait(pending.uid, pending.last(), PATIENCE)
        assert time.monotonic() - began < PATIENCE / 2
