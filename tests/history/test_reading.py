"""Reading: the right rows in the right order, page by page, whatever is recorded meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engine.model.entries import Result, WeightChange
from engine.model.times import exact_time_text
from kanary.history.database import Database
from kanary.history.opening import open_database
from kanary.history.reader import Reader
from kanary.history.rows import entry_row
from kanary.history.selection import BadCursorError, Selection, every
from kanary.history.tables import KANARIES
from tests.history.entries import at, change, deleted, phase_change, result, seen, with_entries

WEB = Selection("shop", "web")
EVERYTHING = Selection(include_deleted=True)
PAGE = 7
ROOT = Path(__file__).parents[2]


def shifted(revision: int, minutes: float) -> WeightChange:
    return change(revision, minutes=minutes)


def fill(database: Database) -> None:
    """Three that exist, in two namespaces, with changes in turn; and one that had the name of the first before it."""
    for number, (uid, namespace, name) in enumerate(
        (("u-1", "shop", "web"), ("u-2", "shop", "api"), ("u-3", "bank", "web"))
    ):
        changes = [shifted(revision, 100 + 3 * revision + number) for revision in range(1, 11)]
        moves = [phase_change(revision) for revision in range(1, 11)]
        database.write([with_entries(seen(uid, namespace=namespace, name=name, last=10), *changes, *moves)])
    database.write([with_entries(seen("u-0"), *(shifted(revision, revision) for revision in range(1, 6)))])
    database.write([deleted("u-0", minutes=50)])


def keys(reader: Reader, selection: Selection, limit: int = PAGE) -> list[tuple[str, int]]:
    found = every(lambda after: reader.changes(selection, after, limit))
    return [(item.kanary.uid, item.change.revision) for item in found]


def down(uid: str, first: int, last: int) -> list[tuple[str, int]]:
    return [(uid, revision) for revision in range(first, last - 1, -1)]


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_one_kanary_is_read_from_its_newest_revision(database: Database, reader: Reader, limit: int) -> None:
    fill(database)
    assert keys(reader, WEB, limit) == down("u-1", 10, 1)
    assert keys(reader, replace(WEB, include_deleted=True), limit) == [*down("u-1", 10, 1), *down("u-0", 5, 1)]


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_all_are_read_from_the_newest_change(database: Database, reader: Reader, limit: int) -> None:
    fill(database)
    living = [(uid, revision) for revision in range(10, 0, -1) for uid in ("u-3", "u-2", "u-1")]
    assert keys(reader, Selection(), limit) == living
    assert keys(reader, EVERYTHING, limit) == [*living, *down("u-0", 5, 1)]
    assert keys(reader, Selection("shop"), limit) == [key for key in living if key[0] != "u-3"]


def test_changes_of_the_same_time_are_all_read(database: Database, reader: Reader) -> None:
    """Several changes fit into a millisecond."""
    for uid in ("u-2", "u-1"):
        database.write([with_entries(seen(uid, name=uid), *(shifted(revision, 1) for revision in range(1, 21)))])
    assert keys(reader, EVERYTHING) == [*down("u-2", 20, 1), *down("u-1", 20, 1)]


def test_a_clock_that_went_back_does_not_disturb_the_order_of_revisions(database: Database, reader: Reader) -> None:
    database.write([with_entries(seen(), shifted(1, 10), shifted(2, 5), shifted(3, 7))])
    assert keys(reader, WEB, 1) == down("u-1", 3, 1)


def test_times_select(database: Database, reader: Reader) -> None:
    fill(database)
    within = Selection(since=at(106), until=at(112))
    assert keys(reader, replace(within, namespace="shop", name="web")) == down("u-1", 4, 2)
    assert keys(reader, replace(within, namespace="bank")) == down("u-3", 3, 2)
    assert keys(reader, within, 2)[0] == ("u-1", 4)


def test_entries_of_a_kind_are_read_alike(database: Database, reader: Reader) -> None:
    fill(database)
    moves = frozenset({"PhaseChange"})

    def numbers(selection: Selection, limit: int) -> list[int]:
        return [item.entry.number for item in every(lambda after: reader.entries(selection, after, limit, kinds=moves))]

    assert numbers(WEB, 3) == [10 * revision + 1 for revision in range(10, 0, -1)]
    assert len(numbers(Selection(), 4)) == 30
    assert numbers(replace(WEB, since=at(9)), 100) == [101, 91]
    assert len(list(every(lambda after: reader.entries(EVERYTHING, after, 7)))) == 65
    assert reader.entries(WEB, kinds=frozenset()).items == ()


def test_kanaries_are_told_by_name(database: Database, reader: Reader) -> None:
    fill(database)
    found = list(every(lambda after: reader.kanaries(EVERYTHING, after, 1)))
    assert [(k.namespace, k.name, k.uid) for k in found] == [
        ("bank", "web", "u-3"),
        ("shop", "api", "u-2"),
        ("shop", "web", "u-0"),
        ("shop", "web", "u-1"),
    ]
    assert [k.uid for k in reader.kanaries(WEB).items] == ["u-1"]
    assert reader.kanaries(Selection("shop", "nobody")).items == ()


def test_what_was_in_force_at_a_time(database: Database, reader: Reader) -> None:
    fill(database)

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


def test_one_revision_is_told_with_its_configuration(database: Database, reader: Reader) -> None:
    fill(database)
    (web,) = reader.kanaries(WEB).items
    found = reader.revision(web, 3)
    assert found is not None
    assert (found.kanary, found.change.revision, found.result) == (web, 3, None)
    newest = reader.revision(web, 10)
    assert newest is not None
    assert newest.change.digest is not None
    kept = reader.configuration(newest.change.digest)
    assert kept is not None
    assert kept.digest in kept.text
    assert reader.revision(web, 11) is None
    assert reader.revisions(web) == (1, 10)
    assert reader.revisions(web.model_copy(update={"uid": "nobody"})) is None


def test_the_first_result_of_a_change_counts(database: Database, reader: Reader) -> None:
    again = result(1, Result.SUPERSEDED).model_copy(update={"number": 25, "at": at(90), "seconds": 5000.0})
    database.write([seen(last=2), with_entries(seen(), again)])
    found = reader.changes(Selection("shop", "web")).items[-1]
    assert found.change.revision == 1
    assert found.result
    assert (found.result.result, found.result.seconds) == ("Ready", 6.125)


def test_what_is_recorded_while_pages_are_read_shifts_nothing(database: Database, reader: Reader) -> None:
    fill(database)
    for selection in (WEB, Selection()):
        before = keys(reader, selection)
        first = reader.changes(selection, None, 4)
        database.write([with_entries(seen(), *(shifted(n, 200 + n) for n in range(11, 21)))])
        database.write([seen(f"u-new-{selection.name}", name=f"new-{selection.name}", last=0)])
        rest = list(every(lambda after: reader.changes(selection, after or first.next, 4)))  # noqa: B023 -- read at once
        read = [(item.kanary.uid, item.change.revision) for item in (*first.items, *rest)]
        assert read == before


@pytest.mark.parametrize("read", ["changes", "entries"])
def test_one_that_is_deleted_while_its_pages_are_read_is_read_to_its_end(
    database: Database, reader: Reader, read: str
) -> None:
    fill(database)
    read_page = getattr(reader, read)

    def numbers(*items: Any) -> list[int]:
        return [(item.change if read == "changes" else item.entry).number for item in items]

    before = numbers(*every(lambda after: read_page(WEB, after)))
    first = read_page(WEB, None, 4)
    database.write([deleted("u-1", minutes=1000)])
    database.write([seen("u-4", phase_changes=1)])
    rest = list(every(lambda after: read_page(WEB, after or first.next, 4)))
    assert numbers(*first.items, *rest) == before


def test_a_place_in_another_kanary_is_none_of_this_one(database: Database, reader: Reader) -> None:
    fill(database)
    elsewhere = reader.changes(Selection("bank", "web"), None, 4).next
    assert reader.changes(WEB, elsewhere).items == ()


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "{}", "null", "[1,2,3]", '["2026-01-01","u",1]', '["2026-01-01T00:00:00Z","u",true]',
     '["2026-01-01T00:00:00Z","u",99999999999999999999]', '["2026-01-01T00:00:00Z",1,1]', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_place_to_read_on_from_is_refused(database: Database, reader: Reader, text: str) -> None:
    with pytest.raises(BadCursorError, match="is no place to read on from"):
        reader.changes(Selection(), text)
    with pytest.raises(BadCursorError, match="is no place to read on from"):
        reader.kanaries(Selection(), text)


def test_a_name_needs_its_namespace() -> None:
    with pytest.raises(ValueError, match="of which namespace is web"):
        Selection(name="web")


# Many


MANY = 20_000

READ_ALL = """
import resource, sys
from kanary.history.reader import Reader
from kanary.history.selection import Selection, every

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
    database = open_database(url)
    kanaries = [
        {"uid": f"u-{n}", "namespace": f"n-{n % 2}", "name": f"k-{n}", "first_seen": at(0), "pruned": 0}
        for n in range(10)
    ]
    with database.transaction() as connection:
        connection.execute(KANARIES.insert(), kanaries)
        _insert_many(connection)
        if request.param == "postgresql":
            # As the server does by itself, later; SQLite never does.
            connection.exec_driver_sql("ANALYZE")
    database.close()
    return url


def _insert_many(connection: sa.Connection) -> None:
    """Past the models and SQLAlchemy, which would take a minute."""
    row = entry_row("", change(1))
    body = json.dumps(row["body"]).replace(exact_time_text(row["at"]), "{}")
    rows = []
    for n in range(MANY):
        time = exact_time_text(at(n / 60))
        uid = "u-0" if n % 2 else f"u-{n // 2 % 9 + 1}"
        rows.append((uid, n + 1, time, row["kind"], n + 1, body.replace("{}", time)))
    place = "?" if connection.dialect.name == "sqlite" else "%s"
    values = ", ".join([place] * 6)
    connection.exec_driver_sql(
        f"INSERT INTO entries (uid, number, at, kind, revision, body) VALUES ({values})",
        rows,
    )


def test_many_changes_are_read_in_constant_memory(many: str) -> None:
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
        if "FROM entries" in statement:
            asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert len(reader.changes(selection, place, 100).items) == 100
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    (statement, parameters) = asked[0]
    explain = "EXPLAIN QUERY PLAN" if many.endswith(".db") else "EXPLAIN"
    with reader.connection() as connection:
        plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
    reader.close()
    by_revision = ("USING INDEX entries_by_revision (uid=? AND kind=? AND revision=?)", "using entries_by_revision on")
    assert any(text in plan for text in by_revision)
    assert "TEMP B-TREE" not in plan
    assert "Sort Key: entries" not in plan
    assert "SCAN entries" not in plan.replace("SCAN entries USING INDEX entries_by_time", "")
    assert "Seq Scan on entries" not in plan
