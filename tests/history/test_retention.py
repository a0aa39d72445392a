"""Retention: what goes, what stays, and that it does not come back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from kanary.history.model import Configuration
from kanary.history.store import Store

from kanary.history.opening import open_store
from kanary.history.reader import Reader
from kanary.history.retention import Pruned, Retention, plan, prune, prune_steps
from kanary.history.rows import Pending, pending_entry
from kanary.history.selection import Selection
from kanary.history.tables import METADATA
from tests.history.entries import at, change, entry

EVERYTHING = Selection(include_deleted=True)
NO_LIMIT = Retention(None, None, None)


def revisions(reader: Reader, uid: str = "u-1") -> list[int]:
    return [i.change.revision for i in reader.changes(EVERYTHING).items if i.kanary.uid == uid]


def numbers(reader: Reader, uid: str = "u-1") -> list[int]:
    return [i.transition.number for i in reader.transitions(EVERYTHING).items if i.kanary.uid == uid]


def counts(reader: Reader) -> dict[str, int]:
    with reader.connection() as connection:
        return {
            name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for name, table in METADATA.tables.items()
        }


def planned_and_pruned(store: Store, reader: Reader, retention: Retention, minutes: float) -> Pruned:
    """What went, which is what was foretold; and of which nothing is left to go."""
    foretold = plan(reader, retention, at(minutes))
    before = counts(reader)
    pruned = prune(store, retention, at(minutes))
    after = counts(reader)
    assert foretold.total == pruned
    for name in ("kanaries", "changes", "transitions", "configurations"):
        assert before[name] - after[name] == getattr(pruned, name)
    assert sum((share for _, share in foretold.by_kanary), Pruned()) == replace(pruned, configurations=0)
    assert plan(reader, retention, at(minutes)).total == prune(store, retention, at(minutes)) == Pruned()
    return pruned


def test_the_defaults_are_generous() -> None:
    assert Retention() == Retention(timedelta(days=400), 1000, 10_000)


def test_without_limits_everything_stays(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry(last=5, moves=5))])
    assert planned_and_pruned(store, reader, NO_LIMIT, 10**7) == Pruned()


def test_by_count_the_newest_stay(store: Store, reader: Reader) -> None:
    for uid, last in (("u-1", 10), ("u-2", 3)):
        store.write([pending_entry(entry(uid, name=uid, last=last, moves=10))])
    pruned = planned_and_pruned(store, reader, Retention(None, 4, 6), 100)
    assert pruned == Pruned(changes=6, transitions=8)
    assert (revisions(reader), revisions(reader, "u-2")) == ([10, 9, 8, 7], [3, 2, 1])
    assert numbers(reader) == [10, 9, 8, 7, 6, 5]
    assert counts(reader)["outcomes"] == 3 + 2


def test_by_age_the_young_stay_and_the_newest_change_of_one_that_lives(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry(last=10, moves=3))])
    retention = Retention(timedelta(minutes=5), None, None)
    assert planned_and_pruned(store, reader, retention, 12.5) == Pruned(changes=7, transitions=2)
    assert revisions(reader) == [10, 9, 8]
    assert planned_and_pruned(store, reader, retention, 1000) == Pruned(changes=2)
    assert (revisions(reader), numbers(reader)) == ([10], [3])


def test_one_that_is_gone_goes_altogether_when_it_has_been_for_long(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry(last=3, moves=3)), Pending("u-1", deleted_at=at(10))])
    store.write([Pending("u-1", deleted_at=at(10))])
    retention = Retention(timedelta(minutes=5), None, None)
    assert planned_and_pruned(store, reader, retention, 14) == Pruned(changes=3, transitions=3, configurations=1)
    assert [kanary.uid for kanary in reader.kanaries(EVERYTHING).items] == ["u-1"]
    assert planned_and_pruned(store, reader, retention, 16) == Pruned(kanaries=1)
    assert set(counts(reader).values()) == {0}


def test_one_that_is_gone_and_old_goes_in_one_sweep(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry(last=3, moves=3)), pending_entry(entry("u-2", name="other"))])
    store.write([Pending("u-1", deleted_at=at(10))])
    pruned = planned_and_pruned(store, reader, Retention(timedelta(minutes=5), None, None), 16)
    # The configuration stays: the newest change of the other one has the same.
    assert pruned == Pruned(kanaries=1, changes=5, transitions=3)
    assert revisions(reader, "u-2") == [3]


def test_configurations_go_with_the_last_change_that_names_them(store: Store, reader: Reader) -> None:
    for revision, name in enumerate(("a", "b", "a", "c"), start=1):
        one = replace(entry(last=0), changes=(change(revision, config_hash=name),))
        store.write([pending_entry(replace(one, configuration=Configuration(name, f"text {name}")))])
    assert planned_and_pruned(store, reader, Retention(None, 2, None), 100) == Pruned(changes=2, configurations=1)
    assert [reader.configuration(name) for name in "abc"] == ["text a", None, "text c"]


def test_what_went_does_not_come_back_with_a_status_that_still_has_it(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry(last=5, moves=5))])
    prune(store, Retention(None, 2, 3), at(100))
    store.write([pending_entry(entry(last=6, moves=6))])
    assert (revisions(reader), numbers(reader)) == ([6, 5, 4], [6, 5, 4, 3])
    assert counts(reader)["outcomes"] == 2


def test_a_clock_that_went_back_takes_no_change_out_of_the_middle(store: Store, reader: Reader) -> None:
    changes = tuple(change(n, minutes=m) for n, m in ((1, 50), (2, 10), (3, 60), (4, 20)))
    store.write([pending_entry(replace(entry(), changes=changes))])
    prune(store, Retention(timedelta(minutes=5), None, None), at(56))
    assert [item.change.revision for item in reader.changes(Selection("shop", "web")).items] == [4, 3]


def test_a_big_sweep_takes_short_steps_and_recording_goes_on_between_them(store: Store, reader: Reader) -> None:
    store.write([pending_entry(entry(last=3000))])
    taken = []
    for step, pruned in enumerate(prune_steps(store, Retention(None, 10, None), at(10_000))):
        taken.append(pruned.changes)
        store.write([pending_entry(entry("u-2", name="other", last=step + 1))])
    assert max(taken) == 500
    assert sum(taken) == 2990
    assert len(revisions(reader, "u-2")) == step + 1


def test_two_operators_that_prune_at_once_do_not_disturb_each_other(postgres: Any) -> None:
    url = postgres.new_database()
    first, second = open_store(url), open_store(url)
    first.write([pending_entry(entry(last=1600, moves=10))])
    retention = Retention(None, 10, 5)
    sweeps = [prune_steps(store, retention, at(10_000)) for store in (first, second)]
    total = Pruned()
    while sweeps:
        for sweep in list(sweeps):
            if (pruned := next(sweep, None)) is None:
                sweeps.remove(sweep)
            else:
                total += pruned
    assert total == Pruned(changes=1590, transitions=5)
    first.close()
    second.close()
