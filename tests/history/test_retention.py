"""Retention: which entries are pruned, which are kept, and that pruned entries do not return."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from engine.model.entries import Entry
from kanary.history.database import Database, open_database
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery, every
from kanary.history.reader import Reader
from kanary.history.retention import Pruned, Retention, plan, prune, prune_steps
from kanary.history.tables import METADATA
from kanary.history.writer import HistoryWriter
from tests.history.entries import at, change, configuration, deleted, phase_change, result, seen, with_entries
from tests.waiting import PATIENCE, await_that

EVERYTHING = {"deleted": True}
FOREVER = timedelta()


def revisions(reader: Reader, uid: str = "u-1") -> list[int]:
    found = every(reader.changes, ChangeQuery(**EVERYTHING))
    return [item.change.revision for item in found if item.kanary.uid == uid]


def numbers(reader: Reader, kind: str, uid: str = "u-1") -> list[int]:
    found = every(reader.entries, EntryQuery(**EVERYTHING, kinds=kind))
    return [item.entry.number for item in found if item.kanary.uid == uid]


def counts(reader: Reader) -> dict[str, int]:
    with reader.connection() as connection:
        return {
            name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for name, table in METADATA.tables.items()
        }


def planned_and_pruned(database: Database, reader: Reader, retention: Retention, minutes: float) -> Pruned:
    """The pruned entries; checks that they were planned, and that a second run prunes nothing."""
    planned = plan(reader, retention, at(minutes))
    before = counts(reader)
    pruned = prune(database, retention, at(minutes))
    after = counts(reader)
    assert planned == pruned
    assert before["kanaries"] - after["kanaries"] == pruned["Kanary"]
    assert before["entries"] - after["entries"] == pruned.total() - pruned["Kanary"]
    assert plan(reader, retention, at(minutes)) == prune(database, retention, at(minutes)) == Pruned()
    return pruned


def test_without_limits_everything_stays(database: Database, reader: Reader) -> None:
    database.write([seen(last=5, phase_changes=5)])
    assert planned_and_pruned(database, reader, Retention(), 10**7) == Pruned()


def test_by_count_the_newest_changes_stay_each_with_its_result(database: Database, reader: Reader) -> None:
    for uid, last in (("u-1", 10), ("u-2", 3)):
        database.write([seen(uid, name=uid, last=last, phase_changes=1)])
    pruned = planned_and_pruned(database, reader, Retention(FOREVER, 4), 100)
    assert pruned == Pruned(WeightChange=6, ChangeResult=6)
    assert (revisions(reader), revisions(reader, "u-2")) == ([10, 9, 8, 7], [3, 2, 1])
    assert numbers(reader, "ChangeResult") == [99, 89, 79]
    assert len(numbers(reader, "PhaseChange")) == 10


def test_by_count_other_entries_go_without_the_changes_among_them(database: Database, reader: Reader) -> None:
    """A Kanary that flaps must not push its weight changes out of the history."""
    others = [phase_change(10 + n // 8, n % 8 + 1) for n in range(40)]
    about_a_revision = phase_change(9).model_copy(update={"revision": 1})
    verdict = Entry(number=5, at=at(0.5), kind="Verdict")
    database.write([with_entries(seen(), verdict, change(1), result(1), change(2), about_a_revision, *others)])
    assert planned_and_pruned(database, reader, Retention(FOREVER, 2), 100) == Pruned(PhaseChange=20, Verdict=1)
    assert revisions(reader) == [2, 1]
    assert numbers(reader, "PhaseChange") == [entry.number for entry in (about_a_revision, *others[20:])][::-1]


def test_by_age_the_young_stay_and_the_newest_change_of_one_that_exists(database: Database, reader: Reader) -> None:
    database.write([seen(last=10, phase_changes=1)])
    retention = Retention(timedelta(minutes=5), 0)
    older = Pruned(WeightChange=7, ChangeResult=7, PhaseChange=7)
    assert planned_and_pruned(database, reader, retention, 12.5) == older
    assert (revisions(reader), numbers(reader, "PhaseChange")) == ([10, 9, 8], [101, 91, 81])
    rest = Pruned(WeightChange=2, ChangeResult=2, PhaseChange=3)
    assert planned_and_pruned(database, reader, retention, 1000) == rest
    assert (revisions(reader), numbers(reader, "PhaseChange")) == ([10], [])
    assert reader.configuration(f"{10:016x}") is not None


def test_a_deleted_kanary_is_removed_when_it_has_been_deleted_for_long(database: Database, reader: Reader) -> None:
    database.write([seen(last=3, phase_changes=3)])
    database.write([deleted(minutes=10)])
    retention = Retention(timedelta(minutes=5), 0)
    assert planned_and_pruned(database, reader, retention, 14) == Pruned(WeightChange=3, ChangeResult=2, PhaseChange=9)
    assert [kanary.uid for kanary in reader.kanaries(KanaryQuery(**EVERYTHING)).items] == ["u-1"]
    assert planned_and_pruned(database, reader, retention, 16) == Pruned(Kanary=1)
    assert set(counts(reader).values()) == {0}


def test_a_kanary_of_whose_changes_only_results_are_left_is_removed_as_well(database: Database, reader: Reader) -> None:
    database.write([with_entries(seen(), result(1)), seen("u-2", name="other")])
    database.write([deleted(minutes=10)])
    retention = Retention(timedelta(minutes=5), 0)
    assert planned_and_pruned(database, reader, retention, 16) == Pruned(Kanary=1, WeightChange=2, ChangeResult=3)
    assert revisions(reader, "u-2") == [3]


def test_configurations_are_deleted_with_the_last_change_that_names_them(database: Database, reader: Reader) -> None:
    for revision, name in enumerate(("a", "b", "a", "c"), start=1):
        one = with_entries(seen(), change(revision, digest=name))
        database.write([replace(one, configurations=(configuration(name),))])
    assert planned_and_pruned(database, reader, Retention(FOREVER, 2), 100) == Pruned(WeightChange=2)
    assert [reader.configuration(name) is not None for name in "abc"] == [True, False, True]


def test_what_was_deleted_does_not_come_back_with_a_status_that_still_has_it(
    database: Database, reader: Reader
) -> None:
    database.write([seen(last=5, phase_changes=1)])
    prune(database, Retention(timedelta(minutes=5), 0), at(8))
    database.write([seen(last=6, phase_changes=1)])
    assert revisions(reader) == [6, 5, 4, 3]
    assert numbers(reader, "PhaseChange") == [61, 51, 41, 31]
    assert numbers(reader, "ChangeResult") == [59, 49, 39]


def test_a_clock_that_went_back_deletes_no_change_out_of_the_middle(database: Database, reader: Reader) -> None:
    changes = [change(n, minutes=m) for n, m in ((1, 50), (2, 10), (3, 60), (4, 20))]
    database.write([with_entries(seen(), *changes)])
    prune(database, Retention(timedelta(minutes=5), 0), at(56))
    assert [item.change.revision for item in reader.changes(ChangeQuery(namespace="shop", name="web")).items] == [4, 3]


def test_pruning_takes_short_steps_and_recording_goes_on_between_them(database: Database, reader: Reader) -> None:
    database.write([with_entries(seen(), *(change(n) for n in range(1, 3001)))])
    taken = []
    for step, pruned in enumerate(prune_steps(database, Retention(FOREVER, 10), at(10_000))):
        taken.append(pruned["WeightChange"])
        database.write([seen("u-2", name="other", last=step + 1)])
    assert max(taken) == 500
    assert sum(taken) == 2990
    assert len(revisions(reader, "u-2")) == step + 1


def test_two_operators_that_prune_at_once_do_not_disturb_each_other(postgres: Any) -> None:
    url = postgres.new_database()
    first, second = open_database(url), open_database(url)
    first.write([with_entries(seen(), *(change(n) for n in range(1, 1601)))])
    sweeps = [prune_steps(database, Retention(FOREVER, 10), at(10_000)) for database in (first, second)]
    total = Pruned()
    while sweeps:
        for sweep in list(sweeps):
            if (pruned := next(sweep, None)) is None:
                sweeps.remove(sweep)
            else:
                total += pruned
    assert total == Pruned(WeightChange=1590)
    first.close()
    second.close()


def test_a_clock_that_is_ahead_deletes_nothing(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The operator starts with a clock that is 500 days ahead, records a change by it, and prunes again and again."""
    caplog.set_level(logging.INFO)
    database = open_database(url)
    database.write([seen(last=3)])
    database.close()
    ahead = at(500 * 24 * 60)
    prunes = 0

    def now() -> datetime:
        nonlocal prunes
        prunes += 1
        return ahead

    writer = HistoryWriter(url, retention=Retention(timedelta(days=365)), now=now, prune_seconds=0.01)
    writer.start(PATIENCE)
    later = change(4).model_copy(update={"at": ahead})
    writer.record(with_entries(seen(), later))
    assert writer.flush(PATIENCE)
    done = prunes
    await_that(lambda: prunes >= done + 3)
    writer.stop()
    reader = Reader(url)
    assert revisions(reader) == [4, 3, 2, 1]
    reader.close()
    doubt = "the clock says 2028-04-06T13:31:02Z, and the newest entry of the history is of 2026-11-23T13:34:02Z"
    assert caplog.text.count(doubt) == 1
    assert "deleted from the history" not in caplog.text


def test_a_kanary_that_is_quiet_is_pruned_by_age_as_long_as_another_one_changes(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    database = open_database(url)
    day = 24 * 60
    recent = change(1).model_copy(update={"at": at(500 * day)})
    database.write([seen(last=3, phase_changes=1), with_entries(seen("u-2", name="other"), recent)])
    database.close()
    writer = HistoryWriter(url, retention=Retention(timedelta(days=365)), now=lambda: at(500 * day + 1))
    writer.start(PATIENCE)
    await_that(lambda: "deleted from the history" in caplog.text)
    writer.stop()
    reader = Reader(url)
    assert (revisions(reader), revisions(reader, "u-2")) == ([3], [1])
    reader.close()
    lines = [record.getMessage() for record in caplog.records if "deleted from" in record.getMessage()]
    assert lines == [
        "deleted from the history, beyond the retention limits: 2 ChangeResult, 3 PhaseChange, 2 WeightChange"
    ]
    assert "the clock says" not in caplog.text
