"""Recording: entries are stored unchanged and once, on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
import sqlalchemy as sa

from engine.model.entries import Entry, Result, WeightChange, read_entry
from kanary.history.database import Database
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery
from kanary.history.reader import Reader
from kanary.history.tables import CONFIGURATIONS
from tests.history.entries import at, change, configuration, deleted, phase_change, result, seen, with_entries

WEB = {"namespace": "shop", "name": "web"}
ALL = {"deleted": True}


def test_what_is_recorded_is_read_as_it_was(database: Database, reader: Reader) -> None:
    recorded = seen(last=3, phase_changes=2)
    database.write([recorded])
    found = reader.changes(ChangeQuery(**WEB)).items
    assert [item.change for item in found] == [change(3), change(2), change(1)]
    assert [item.result for item in found] == [None, result(2), result(1)]
    assert {item.kanary for item in found} == {found[0].kanary}
    kanary = found[0].kanary
    assert (kanary.namespace, kanary.name, kanary.uid, kanary.deleted_at) == ("shop", "web", "u-1", None)
    assert kanary.first_seen == at(1)
    assert [item.entry for item in reader.entries(EntryQuery(**WEB)).items] == list(recorded.entries[::-1])
    assert reader.configuration(recorded.configurations[0].digest) == recorded.configurations[0]
    assert reader.configuration("another") is None


def test_recording_again_changes_nothing_and_counts_nothing(database: Database, reader: Reader) -> None:
    assert database.write([seen(phase_changes=2)]) == {"kanaries": 1, "configurations": 1, "entries": 11}
    assert set(database.write([seen(phase_changes=2)]).values()) == {0}
    assert len(reader.entries(EntryQuery(**WEB)).items) == 11


def test_what_was_recorded_first_stays(database: Database, reader: Reader) -> None:
    """The history is append-only: a later version of an entry is ignored."""
    database.write([seen(last=2)])
    other = change(2).model_copy(update={"cause": "rewritten"})
    database.write([with_entries(seen(), other, change(3))])
    assert [item.change for item in reader.changes(ChangeQuery(**WEB)).items] == [change(3), change(2), change(1)]


def test_times_of_another_zone_are_kept_in_utc(database: Database, reader: Reader) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    moved = WeightChange.model_validate(change(1).model_dump() | {"at": change(1).at.astimezone(east)})
    database.write([with_entries(seen(), moved)])
    found = reader.changes(ChangeQuery(**WEB)).items[0].change.at
    assert (found, found.utcoffset()) == (change(1).at, timedelta(0))


def test_texts_are_bounded_and_made_valid(database: Database, reader: Reader) -> None:
    """A NUL, which PostgreSQL rejects, and a million characters."""
    odd = change(1).model_copy(update={"cause": "nul \0, long " + "x" * 1_000_000})
    database.write([with_entries(seen(), odd)])
    found = reader.changes(ChangeQuery(**WEB)).items[0].change
    assert found.cause.startswith("nul \ufffd, long xxx")
    assert len(found.cause) == 4096


def test_an_entry_as_large_as_an_object_may_be_is_kept_whole(database: Database, reader: Reader) -> None:
    large = Entry(number=1, at=at(1), kind="Verdict", revision=7, rows=["x" * 1000] * 1500)
    database.write([with_entries(seen(), large)])
    (found,) = reader.entries(EntryQuery(**WEB)).items
    assert found.entry == large


def test_a_change_of_a_hundred_routes_is_kept_whole(database: Database, reader: Reader) -> None:
    shares = [{"backend": f"{'s' * 61}{n:02}:{'p' * 63}", "weight": 1} for n in range(100)]
    wide = WeightChange.model_validate(change(1).model_dump() | {"before": shares, "after": shares})
    database.write([with_entries(seen(), wide)])
    assert reader.changes(ChangeQuery(**WEB)).items[0].change == wide


def test_a_configuration_of_thousands_of_endpoints_is_kept_whole(database: Database, reader: Reader) -> None:
    many = tuple(f"10.0.{n // 250}.{n % 250}:80" for n in range(5000))
    large = configuration(f"{1:016x}").model_copy(update={"endpoints": {"myapp-v1:http": many}})
    database.write([replace(seen(last=1), configurations=(large,))])
    found = reader.configuration(f"{1:016x}")
    assert found == large


# Entries of newer versions


NEWER = [
    {"number": 1, "at": "2026-11-23T14:00:00Z", "kind": "Verdict", "verdict": {"metric": "p99", "is": [1, None]}},
    {"number": 2, "at": "2026-11-23T14:00:01Z", "kind": "PhaseChange", "step": "a kind with other fields"},
    {"number": 3, "at": "2026-11-23T14:00:02Z", "kind": "WeightChange", "revision": 1, "shares": {}},
]


def test_kinds_and_fields_of_a_newer_version_are_passed_on(database: Database, reader: Reader) -> None:
    """Its field for a change's result, too; and a change that lacks what this one knows is an entry all the same."""
    entries = [Entry.model_validate(raw) for raw in NEWER]
    other_result = result(2, "RolledBack").model_copy(update={"to_revision": 1})
    newer = read_entry({**change(2).model_dump(by_alias=True, mode="json"), "newField": 3})
    database.write([with_entries(seen(), *entries, newer, other_result)])
    found = reader.entries(EntryQuery(**WEB)).items
    assert [item.entry.model_dump(mode="json", by_alias=True) for item in found[2:]] == [
        {**raw, "at": str(raw["at"]).replace("Z", ".000Z")} for raw in NEWER[::-1]
    ]
    (item,) = reader.changes(ChangeQuery(**WEB)).items
    assert item.change.model_extra == {"newField": 3}
    assert item.result is not None
    assert item.result.result == "RolledBack"
    assert [e.entry.number for e in reader.entries(EntryQuery(**WEB, kinds="Verdict")).items] == [1]
    (known,) = reader.kanaries(KanaryQuery(**WEB)).items
    assert (known.first_revision, known.last_revision) == (1, 2)
    assert reader.changes(ChangeQuery(**WEB, revision=1)).items == ()


# Values that no database accepts


def test_what_no_database_takes_is_refused_and_leaves_the_others_untouched(database: Database, reader: Reader) -> None:
    bad = with_entries(seen("u-2", name="bad"), change(1).model_copy(update={"number": 10**30}))
    with pytest.raises(HistoryError) as caught:
        database.write([seen(), bad])
    assert caught.value.fault.reason is FaultReason.ENTRY_REFUSED
    assert reader.changes(ChangeQuery()).items == ()
    database.write([seen()])
    assert len(reader.changes(ChangeQuery()).items) == 3


@pytest.mark.parametrize("spoilt", [{"at": None}, {"number": None}, {"kind": None}])
def test_what_lacks_a_field_is_refused(database: Database, spoilt: dict[str, object]) -> None:
    with pytest.raises(HistoryError) as caught:
        database.write([with_entries(seen(), change(1).model_copy(update=spoilt))])
    assert caught.value.fault.reason is FaultReason.ENTRY_REFUSED


# Configurations


def test_a_configuration_that_no_change_names_is_not_kept(database: Database, reader: Reader) -> None:
    database.write([replace(seen(), configurations=(configuration("stray"),))])
    assert reader.configuration("stray") is None


def test_a_configuration_is_kept_once_for_all_changes_that_name_it(database: Database, reader: Reader) -> None:
    for last in (1, 2, 3):
        entries = [change(revision, digest="same") for revision in range(1, last + 1)]
        database.write([replace(with_entries(seen(), *entries), configurations=(configuration("same"),))])
    with reader.connection() as connection:
        assert connection.execute(sa.select(CONFIGURATIONS.c.digest, CONFIGURATIONS.c.number)).all() == [("same", 30)]


# Deleted Kanaries


def test_a_deleted_kanary_takes_its_unfinished_change_with_it(database: Database, reader: Reader) -> None:
    database.write([seen()])
    database.write([deleted(minutes=10)])
    database.write([deleted(minutes=20), deleted("u-unknown", name="unknown")])
    assert reader.changes(ChangeQuery(**WEB)).items == ()
    found = reader.changes(ChangeQuery(**ALL)).items
    assert [item.kanary.deleted_at for item in found] == [at(10)] * 3
    assert [item.result.result for item in found if item.result] == [Result.DELETED, Result.READY, Result.READY]
    assert found[0].result is not None
    assert (found[0].result.at, found[0].result.seconds) == (at(10), 7 * 60)
    assert [kanary.uid for kanary in reader.kanaries(KanaryQuery(**ALL)).items] == ["u-1"]


def test_an_earlier_change_without_a_result_is_not_the_deletion_s(database: Database, reader: Reader) -> None:
    """Its result was lost while the database was unavailable."""
    database.write([with_entries(seen(), change(1), change(2)), deleted()])
    database.write([deleted()])
    assert [item.result and item.result.result for item in reader.changes(ChangeQuery(**ALL)).items] == [
        Result.DELETED,
        None,
    ]


def test_a_kanary_that_is_seen_again_is_not_deleted_and_its_entries_go_on(database: Database, reader: Reader) -> None:
    """The result derived from the deletion does not use the number of the next entry."""
    database.write([seen(last=2)])
    database.write([deleted(minutes=10)])
    taken = reader.changes(ChangeQuery(**ALL)).items[0].result
    assert taken is not None
    next_one = phase_change(2).model_copy(update={"number": taken.number})
    database.write([replace(with_entries(seen(), next_one), at=at(11))])
    found = reader.changes(ChangeQuery(**WEB)).items
    assert [(item.change.revision, item.kanary.deleted_at) for item in found] == [(2, None), (1, None)]
    assert found[0].result is None
    assert reader.entries(EntryQuery(**WEB)).items[0].entry == next_one


def test_a_late_record_of_a_kanary_does_not_undo_its_deletion(database: Database, reader: Reader) -> None:
    """A former leader may write late, because it waited for the database."""
    database.write([seen(last=1)])
    database.write([deleted(minutes=10)])
    database.write([replace(seen(last=2), at=at(9))])
    assert [(item.kanary.deleted_at, item.change.revision) for item in reader.changes(ChangeQuery(**ALL)).items] == [
        (at(10), 2),
        (at(10), 1),
    ]


def test_entries_and_deletion_can_be_recorded_at_once(database: Database, reader: Reader) -> None:
    database.write([seen().followed_by(deleted(minutes=10))])
    assert [item.change.revision for item in reader.changes(ChangeQuery(**ALL)).items] == [3, 2, 1]
    assert database.living() == []


def test_the_living_are_listed(database: Database) -> None:
    database.write([seen("u-1"), seen("u-2", namespace="other"), seen("u-3", name="third")])
    database.write([deleted("u-3")])
    assert sorted(kanary.uid for kanary in database.living()) == ["u-1", "u-2"]


def test_figures_say_size_and_the_oldest_entry(database: Database) -> None:
    assert database.figures().oldest is None
    database.write([seen()])
    figures = database.figures()
    assert figures.oldest == at(1)
    assert figures.size > 4096
