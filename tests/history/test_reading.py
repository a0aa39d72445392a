"""Reading: the right rows in the right order, page by page, whatever is recorded meanwhile."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from kanary.history.model import Change
from kanary.history.store import Store

from kanary.history.opening import open_store
from kanary.history.reader import Reader, every
from kanary.history.rows import Pending, change_row, pending_entry
from kanary.history.selection import BadCursorError, Selection
from kanary.history.tables import CHANGES, KANARIES
from tests.history.entries import at, change, entry

WEB = Selection("shop", "web")
EVERYTHING = Selection(include_deleted=True)
PAGE = 7
ROOT = Path(__file__).parents[2]


def shifted(revision: int, minutes: float) -> Change:
    return replace(change(revision), at=at(minutes))


def fill(store: Store) -> None:
    """Three that live, in two namespaces, with changes in turn; and one that had the name of the first before it."""
    for number, (uid, namespace, name) in enumerate(
        (("u-1", "shop", "web"), ("u-2", "shop", "api"), ("u-3", "bank", "web"))
    ):
        changes = tuple(shifted(revision, 100 + 3 * revision + number) for revision in range(1, 11))
        store.write([pending_entry(replace(entry(uid, namespace=namespace, name=name, moves=10), changes=changes))])
    earlier = tuple(shifted(revision, revision) for revision in range(1, 6))
    store.write([pending_entry(replace(entry("u-0"), changes=earlier))])
    store.write([Pending("u-0", deleted_at=at(50))])


def keys(reader: Reader, selection: Selection, limit: int = PAGE) -> list[tuple[str, int]]:
    found = every(lambda after: reader.changes(selection, after, limit))
    return [(item.kanary.uid, item.change.revision) for item in found]


def down(uid: str, first: int, last: int) -> list[tuple[str, int]]:
    return [(uid, revision) for revision in range(first, last - 1, -1)]


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_one_kanary_is_read_from_its_newest_revision(store: Store, reader: Reader, limit: int) -> None:
    fill(store)
    assert keys(reader, WEB, limit) == down("u-1", 10, 1)
    assert keys(reader, replace(WEB, include_deleted=True), limit) == [*down("u-1", 10, 1), *down("u-0", 5, 1)]


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_all_are_read_from_the_newest_change(store: Store, reader: Reader, limit: int) -> None:
    fill(store)
    living = [(uid, revision) for revision in range(10, 0, -1) for uid in ("u-3", "u-2", "u-1")]
    assert keys(reader, Selection(), limit) == living
    assert keys(reader, EVERYTHING, limit) == [*living, *down("u-0", 5, 1)]
    assert keys(reader, Selection("shop"), limit) == [key for key in living if key[0] != "u-3"]


def test_changes_of_the_same_time_are_all_read(store: Store, reader: Reader) -> None:
    """The status tells times to the second, and several changes fit into one."""
    for uid in ("u-2", "u-1"):
        changes = tuple(shifted(revision, 1) for revision in range(1, 21))
        store.write([pending_entry(replace(entry(uid, name=uid), changes=changes))])
    assert keys(reader, EVERYTHING) == [*down("u-2", 20, 1), *down("u-1", 20, 1)]


def test_a_clock_that_went_back_does_not_disturb_the_order_of_revisions(store: Store, reader: Reader) -> None:
    changes = (shifted(1, 10), shifted(2, 5), shifted(3, 7))
    store.write([pending_entry(replace(entry(), changes=changes))])
    assert keys(reader, WEB, 1) == down("u-1", 3, 1)


def test_times_select(store: Store, reader: Reader) -> None:
    fill(store)
    within = {"since": at(106), "until": at(112)}
    assert keys(reader, replace(WEB, **within)) == down("u-1", 4, 2)
    assert keys(reader, Selection("bank", **within)) == down("u-3", 3, 2)
    assert keys(reader, Selection(**within), 2)[0] == ("u-1", 4)


def test_transitions_are_read_alike(store: Store, reader: Reader) -> None:
    fill(store)
    found = list(every(lambda after: reader.transitions(WEB, after, 3)))
    assert [item.transition.number for item in found] == list(range(10, 0, -1))
    assert len(list(every(lambda after: reader.transitions(Selection(), after, 4)))) == 30
    late = reader.transitions(replace(WEB, since=at(0.85))).items
    assert [item.transition.number for item in late] == [10, 9]


def test_kanaries_are_told_by_name(store: Store, reader: Reader) -> None:
    fill(store)
    found = list(every(lambda after: reader.kanaries(EVERYTHING, after, 1)))
    assert [(k.namespace, k.name, k.uid) for k in found] == [
        ("bank", "web", "u-3"),
        ("shop", "api", "u-2"),
        ("shop", "web", "u-0"),
        ("shop", "web", "u-1"),
    ]
    assert [k.uid for k in reader.kanaries(WEB).items] == ["u-1"]
    assert reader.kanaries(Selection("shop", "nobody")).items == ()


def test_what_was_in_force_at_a_time(store: Store, reader: Reader) -> None:
    fill(store)

    def in_force(selection: Selection, minutes: float) -> list[tuple[str, int]]:
        found = every(lambda after: reader.in_force(selection, at(minutes), after, 1))
        return [(item.kanary.uid, item.change.revision) for item in found]

    assert in_force(WEB, 106) == [("u-1", 2)]
    assert in_force(WEB, 105.9) == [("u-1", 1)]
    assert in_force(WEB, 102) == []
    assert in_force(Selection(), 106) == [("u-3", 1), ("u-2", 1), ("u-1", 2)]
    with_deleted = replace(WEB, include_deleted=True)
    assert in_force(with_deleted, 49) == [("u-0", 5)]
    assert in_force(with_deleted, 51) == []
    assert in_force(WEB, 49) == []


def test_one_revision_is_told_with_its_configuration(store: Store, reader: Reader) -> None:
    fill(store)
    (web,) = reader.kanaries(WEB).items
    found = reader.revision(web, 3)
    assert found is not None
    assert (found.kanary, found.change.revision, found.outcome) == (web, 3, None)
    assert found.change.config_hash is not None
    assert "configuration 3" in (reader.configuration(found.change.config_hash) or "")
    assert reader.revision(web, 11) is None
    assert reader.revisions(web) == (1, 10)
    assert reader.revisions(replace(web, uid="nobody")) is None


def test_what_is_recorded_while_pages_are_read_shifts_nothing(store: Store, reader: Reader) -> None:
    fill(store)
    for selection in (WEB, Selection()):
        before = keys(reader, selection)
        first = reader.changes(selection, None, 4)
        newer = replace(entry(first=11, last=20), changes=tuple(shifted(n, 200 + n) for n in range(11, 21)))
        store.write([pending_entry(newer)])
        store.write([pending_entry(entry(f"u-new-{selection.name}", name=f"new-{selection.name}", last=0))])
        rest = list(every(lambda after: reader.changes(selection, after or first.next, 4)))  # noqa: B023 -- read at once
        read = [(item.kanary.uid, item.change.revision) for item in (*first.items, *rest)]
        assert read == before


@pytest.mark.parametrize("read", ["changes", "transitions"])
def test_one_that_is_deleted_while_its_pages_are_read_is_read_to_its_end(
    store: Store, reader: Reader, read: str
) -> None:
    fill(store)
    read_page = getattr(reader, read)
    before = list(every(lambda after: read_page(WEB, after)))
    first = read_page(WEB, None, 4)
    store.write([Pending("u-1", deleted_at=at(1000))])
    store.write([pending_entry(entry("u-4", moves=1))])
    rest = list(every(lambda after: read_page(WEB, after or first.next, 4)))
    numbers = [getattr(item, read.removesuffix("s")) for item in (*first.items, *rest)]
    assert numbers == [getattr(item, read.removesuffix("s")) for item in before]


def test_a_place_in_another_kanary_is_none_of_this_one(store: Store, reader: Reader) -> None:
    fill(store)
    elsewhere = reader.changes(Selection("bank", "web"), None, 4).next
    assert reader.changes(WEB, elsewhere).items == ()


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "{}", "null", "[1,2,3]", '["2026-01-01","u",1]', '["2026-01-01T00:00:00Z","u",true]',
     '["2026-01-01T00:00:00Z","u",99999999999999999999]', '["2026-01-01T00:00:00Z",1,1]', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_place_to_read_on_from_is_refused(store: Store, reader: Reader, text: str) -> None:
    with pytest.raises(BadCursorError, match="is no place to read on from"):
        reader.changes(Selection(), text)
    with pytest.raises(BadCursorError, match="is no place to read on from"):
        reader.kanaries(Selection(), text)


def test_a_name_needs_its_namespace() -> None:
    with pytest.raises(ValueError, match="of which namespace is web"):
        Selection(name="web")


# A hundred thousand


MANY = 100_000

READ_ALL = """
import resource, sys
from kanary.history.reader import Reader, every
from kanary.history.selection import Selection

reader = Reader(sys.argv[1])
last = None
for read, item in enumerate(every(lambda after: reader.changes(Selection(), after)), start=1):
    assert last is None or item.change.at < last
    last = item.change.at
    if read == 3000:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of ten Kanaries, one of which has half of the changes."""
    url = str(tmp_path_factory.mktemp("many") / "history.db")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    store = open_store(url)
    kanaries = [
        {"uid": f"u-{n}", "namespace": f"n-{n % 2}", "name": f"k-{n}", "first_seen": at(0), "deleted_at": None}
        for n in range(10)
    ]
    row = change_row("", change(1))
    with store.transaction() as connection:
        connection.execute(KANARIES.insert(), kanaries)
        for start in range(0, MANY, 5000):
            rows = [
                {
                    **row,
                    "uid": "u-0" if n % 2 else f"u-{n // 2 % 9 + 1}",
                    "revision": n + 1,
                    "at": at(0) + timedelta(seconds=n),
                }
                for n in range(start, start + 5000)
            ]
            connection.execute(CHANGES.insert(), rows)
        if request.param == "postgresql":
            # As the server does by itself, later; SQLite never does.
            connection.exec_driver_sql("ANALYZE")
    store.close()
    return url


def test_a_hundred_thousand_changes_are_read_in_constant_memory(many: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", READ_ALL, many], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    read, kilobytes = map(int, child.stdout.split())
    assert read == MANY
    assert kilobytes < 10_000, "all of them take ten times that"


@pytest.mark.parametrize(
    "selection", [Selection(), EVERYTHING, Selection("n-0"), Selection("n-0", "k-0")], ids=lambda s: str(s)[:40]
)
def test_no_page_sorts_or_scans_all_that_there_is(many: str, selection: Selection) -> None:
    reader = Reader(many)
    place = reader.changes(selection, None, 100).next
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, statement: str, parameters: object, *_: object) -> None:
        if "FROM changes" in statement:
            asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert len(reader.changes(selection, place, 100).items) == 100
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    (statement, parameters) = asked[0]
    explain = "EXPLAIN" if reader.address.is_postgresql else "EXPLAIN QUERY PLAN"
    with reader.connection() as connection:
        plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
    reader.close()
    assert "TEMP B-TREE" not in plan
    assert "Sort Key: changes" not in plan
    assert "SCAN changes" not in plan.replace("SCAN changes USING INDEX changes_by_time", "")
    assert "Seq Scan on changes" not in plan
