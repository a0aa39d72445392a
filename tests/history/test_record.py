"""What is recorded is there as it was, once, on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from kanary.history.model import Configuration, Result, Route
from kanary.history.store import Store

from kanary.history.faults import RefusedEntryError
from kanary.history.reader import Reader
from kanary.history.rows import Pending, pending_entry
from kanary.history.selection import Selection
from tests.history.entries import at, change, entry, outcome, transition

WEB = Selection("shop", "web")


def test_what_is_recorded_is_read_as_it_was(store: Store, reader: Reader) -> None:
    recorded = entry(last=3, moves=2)
    store.write([pending_entry(recorded)])
    found = reader.changes(WEB).items
    assert [item.change for item in found] == [change(3), change(2), change(1)]
    assert [item.outcome for item in found] == [None, outcome(2), outcome(1)]
    assert {item.kanary for item in found} == {found[0].kanary}
    kanary = found[0].kanary
    assert (kanary.namespace, kanary.name, kanary.uid, kanary.deleted_at) == ("shop", "web", "u-1", None)
    assert kanary.first_seen == at(0.1)
    assert [item.transition for item in reader.transitions(WEB).items] == [transition(2), transition(1)]
    assert recorded.configuration is not None
    assert reader.configuration(recorded.configuration.hash) == recorded.configuration.text
    assert reader.configuration("another") is None


def test_recording_again_changes_nothing_and_counts_nothing(store: Store, reader: Reader) -> None:
    first = store.write([pending_entry(entry(moves=2))])
    assert first == {"kanaries": 1, "configurations": 1, "changes": 3, "outcomes": 2, "transitions": 2}
    again = store.write([pending_entry(entry(moves=2)), Pending("u-1")])
    assert set(again.values()) == {0}
    assert len(reader.changes(WEB).items) == 3


def test_what_was_recorded_first_stays(store: Store, reader: Reader) -> None:
    """The record is append-only: whoever says something else later is not heard."""
    store.write([pending_entry(entry(last=2))])
    other = replace(change(2), cause="rewritten")
    store.write([pending_entry(replace(entry(last=2), changes=(other, change(3))))])
    assert [item.change for item in reader.changes(WEB).items] == [change(3), change(2), change(1)]


def test_times_of_another_zone_are_kept_in_utc(store: Store, reader: Reader) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    moved = replace(change(1), at=change(1).at.astimezone(east))
    store.write([pending_entry(replace(entry(last=1), changes=(moved,)))])
    found = reader.changes(WEB).items[0].change.at
    assert (found, found.utcoffset()) == (change(1).at, timedelta(0))


def test_texts_are_bounded_and_made_valid(store: Store, reader: Reader) -> None:
    """A NUL that PostgreSQL does not take, half a surrogate pair that no encoding does, and a million characters."""
    odd = replace(
        change(1),
        cause="nul \0, half \ud83d, long " + "x" * 1_000_000,
        manager="m" * 1000,
        after=(Route("b\0", 100, "s" * 300, "p\0"),),
        endpoints=(tuple(f"10.0.{n // 250}.{n % 250}:80" for n in range(1500)),),
    )
    store.write([pending_entry(replace(entry(last=1), changes=(odd,)))])
    found = reader.changes(WEB).items[0].change
    assert found.cause.startswith("nul \ufffd, half ?, long xxx")
    assert (len(found.cause), len(found.manager)) == (1024, 128)
    assert found.after == (Route("b\ufffd", 100, "s" * 252 + "…", "p\ufffd"),)
    assert len(found.endpoints[0]) == 1001
    assert found.endpoints[0][-1] == "and 500 more"


def test_what_no_database_takes_is_refused_and_leaves_the_others_untouched(store: Store, reader: Reader) -> None:
    bad = replace(entry("u-2", name="bad"), changes=(replace(change(1), revision=10**30),))
    with pytest.raises(RefusedEntryError):
        store.write([pending_entry(entry()), pending_entry(bad)])
    assert reader.changes(Selection()).items == ()
    store.write([pending_entry(entry())])
    assert len(reader.changes(Selection()).items) == 3


@pytest.mark.parametrize("spoilt", [{"at": None}, {"at": at(0).replace(tzinfo=None)}, {"generation": None}])
def test_what_lacks_a_field_or_its_zone_is_refused(store: Store, spoilt: dict[str, object]) -> None:
    with pytest.raises(RefusedEntryError):
        store.write([pending_entry(replace(entry(last=1), changes=(replace(change(1), **spoilt),)))])  # type: ignore[arg-type]


def test_a_configuration_that_no_change_names_is_not_kept(store: Store, reader: Reader) -> None:
    store.write([pending_entry(replace(entry(), configuration=Configuration("stray", "text")))])
    assert reader.configuration("stray") is None


def test_a_configuration_is_kept_once_for_all_changes_that_name_it(store: Store) -> None:
    shared = Configuration("same", "text")
    for uid in ("u-1", "u-2"):
        one = replace(entry(uid), changes=(change(1, config_hash="same"),), configuration=shared)
        written = store.write([pending_entry(one)])
    assert written["configurations"] == 0


def test_a_deleted_kanary_takes_its_unfinished_change_with_it(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry())])
    store.write([Pending("u-1", deleted_at=at(10))])
    store.write([Pending("u-1", deleted_at=at(20)), Pending("u-unknown", deleted_at=at(20))])
    assert reader.changes(WEB).items == ()
    found = reader.changes(Selection("shop", "web", include_deleted=True)).items
    assert found[0].kanary.deleted_at == at(10)
    assert [item.outcome.result for item in found if item.outcome] == [Result.DELETED, Result.READY, Result.READY]
    assert found[0].outcome is not None
    assert found[0].outcome.seconds == pytest.approx(7 * 60)


def test_entry_and_deletion_can_be_recorded_at_once(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry()).followed_by(Pending("u-1", deleted_at=at(10)))])
    assert [item.change.revision for item in reader.changes(replace(WEB, include_deleted=True)).items] == [3, 2, 1]
    assert store.living() == set()


def test_the_living_are_told_by_namespace_and_time(store: Store) -> None:
    store.write([pending_entry(entry("u-1")), pending_entry(entry("u-2", namespace="other"))])
    assert store.living() == {"u-1", "u-2"}
    assert store.living("shop") == {"u-1"}
    assert store.living(before=at(1)) == set()
    assert store.living(before=at(1.1)) == {"u-1", "u-2"}


def test_figures_tell_size_and_the_oldest_change(store: Store) -> None:
    assert store.figures().oldest is None
    store.write([pending_entry(entry())])
    figures = store.figures()
    assert figures.oldest == at(1)
    assert figures.size > 4096
