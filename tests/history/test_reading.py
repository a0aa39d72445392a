"""Reading: correct rows in the correct order, page by page, even if entries are recorded in the meantime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from engine.model.entries import Result, WeightChange
from engine.model.times import exact_time_text
from kanary.history.database import Database, open_database
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery, every
from kanary.history.reader import Reader
from kanary.history.tables import KANARIES, entry_row
from tests.history.entries import at, change, deleted, phase_change, result, seen, with_entries

WEB = {"namespace": "shop", "name": "web"}
PAGE = 7
ROOT = Path(__file__).parents[2]


def shifted(revision: int, minutes: float) -> WeightChange:
    return change(revision, minutes=minutes)


def fill(database: Database) -> None:
    """Three existing Kanaries in two namespaces, with alternating changes, and a deleted one named as the first."""
    for number, (uid, namespace, name) in enumerate(
        (("u-1", "shop", "web"), ("u-2", "shop", "api"), ("u-3", "bank", "web"))
    ):
        changes = [shifted(revision, 100 + 3 * revision + number) for revision in range(1, 11)]
        moves = [phase_change(revision) for revision in range(1, 11)]
        database.write([with_entries(seen(uid, namespace=namespace, name=name, last=10), *changes, *moves)])
    database.write([with_entries(seen("u-0"), *(shifted(revision, revision) for revision in range(1, 6)))])
    database.write([deleted("u-0", minutes=50)])


def keys(reader: Reader, *, limit: int = PAGE, **query: Any) -> list[tuple[str, int]]:
    found = every(reader.changes, ChangeQuery(**query, limit=limit))
    return [(item.kanary.uid, item.change.revision) for item in found]


def down(uid: str, first: int, last: int) -> list[tuple[str, int]]:
    return [(uid, revision) for revision in range(first, last - 1, -1)]


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_one_kanary_is_read_from_its_newest_revision(database: Database, reader: Reader, limit: int) -> None:
    fill(database)
    assert keys(reader, **WEB, limit=limit) == down("u-1", 10, 1)
    assert keys(reader, **WEB, deleted=True, limit=limit) == [*down("u-1", 10, 1), *down("u-0", 5, 1)]
    assert keys(reader, uid="u-1", limit=limit) == down("u-1", 10, 1)


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_all_are_read_from_the_newest_change(database: Database, reader: Reader, limit: int) -> None:
    fill(database)
    living = [(uid, revision) for revision in range(10, 0, -1) for uid in ("u-3", "u-2", "u-1")]
    assert keys(reader, limit=limit) == living
    assert keys(reader, deleted=True, limit=limit) == [*living, *down("u-0", 5, 1)]
    assert keys(reader, namespace="shop", limit=limit) == [key for key in living if key[0] != "u-3"]


def test_a_uid_is_enough_for_one_that_is_deleted(database: Database, reader: Reader) -> None:
    fill(database)
    assert keys(reader, uid="u-0") == down("u-0", 5, 1)
    assert [kanary.name for kanary in reader.kanaries(KanaryQuery(uid="u-0")).items] == ["web"]
    assert keys(reader, uid="u-0", namespace="bank") == []


def test_changes_of_the_same_time_are_all_read(database: Database, reader: Reader) -> None:
    """Several changes may occur in the same millisecond."""
    for uid in ("u-2", "u-1"):
        database.write([with_entries(seen(uid, name=uid), *(shifted(revision, 1) for revision in range(1, 21)))])
    assert keys(reader) == [*down("u-2", 20, 1), *down("u-1", 20, 1)]


def test_a_clock_that_went_back_does_not_disturb_the_order_of_revisions(database: Database, reader: Reader) -> None:
    database.write([with_entries(seen(), shifted(1, 10), shifted(2, 5), shifted(3, 7))])
    assert keys(reader, **WEB, limit=1) == down("u-1", 3, 1)


def test_times_select(database: Database, reader: Reader) -> None:
    fill(database)
    within = {"since": at(106), "until": at(112)}
    assert keys(reader, **WEB, **within) == down("u-1", 4, 2)
    assert keys(reader, namespace="bank", **within) == down("u-3", 3, 2)
    assert keys(reader, **within, limit=2)[0] == ("u-1", 4)


def test_entries_of_a_kind_are_read_alike(database: Database, reader: Reader) -> None:
    fill(database)

    def numbers(**query: Any) -> list[int]:
        return [item.entry.number for item in every(reader.entries, EntryQuery(**query))]

    assert numbers(**WEB, kinds="PhaseChange", limit=3) == [10 * revision + 1 for revision in range(10, 0, -1)]
    assert len(numbers(kinds="PhaseChange", limit=4)) == 30
    assert len(numbers(kinds="PhaseChange,WeightChange", limit=4)) == 60
    assert numbers(**WEB, kinds="PhaseChange", since=at(9)) == [101, 91]
    assert len(numbers(deleted=True, limit=7)) == 65
    assert numbers(**WEB, kinds="") == []


def test_kanaries_are_told_by_name(database: Database, reader: Reader) -> None:
    fill(database)
    found = list(every(reader.kanaries, KanaryQuery(deleted=True, limit=1)))
    assert [(k.namespace, k.name, k.uid, k.first_revision, k.last_revision) for k in found] == [
        ("bank", "web", "u-3", 1, 10),
        ("shop", "api", "u-2", 1, 10),
        ("shop", "web", "u-0", 1, 5),
        ("shop", "web", "u-1", 1, 10),
    ]
    assert [k.uid for k in reader.kanaries(KanaryQuery(**WEB)).items] == ["u-1"]
    assert reader.kanaries(KanaryQuery(namespace="shop", name="nobody")).items == ()


def test_a_kanary_without_weight_changes_has_no_revisions(database: Database, reader: Reader) -> None:
    database.write([with_entries(seen(), phase_change(1))])
    (found,) = reader.kanaries(KanaryQuery(**WEB)).items
    assert (found.first_revision, found.last_revision) == (None, None)


def test_what_was_in_force_at_a_time(database: Database, reader: Reader) -> None:
    fill(database)

    def in_force(minutes: float, **query: Any) -> list[tuple[str, int]]:
        return keys(reader, at=at(minutes), **query, limit=1)

    assert in_force(106, **WEB) == [("u-1", 2)]
    assert in_force(105.9, **WEB) == [("u-1", 1)]
    assert in_force(102, **WEB) == []
    assert in_force(106) == [("u-1", 2), ("u-3", 1), ("u-2", 1)]
    assert in_force(106, namespace="bank") == [("u-3", 1)]
    assert in_force(49, **WEB, deleted=True) == [("u-0", 5)]
    assert in_force(51, **WEB, deleted=True) == []
    assert in_force(49, uid="u-0") == [("u-0", 5)]
    assert in_force(49, **WEB) == []


def test_what_was_in_force_counts_whether_proxies_served_it_yet_or_not(database: Database, reader: Reader) -> None:
    """The next change came 0.1 minutes after the second, which is superseded."""
    changes = [shifted(1, 1), shifted(2, 5), shifted(3, 5.1)]
    database.write([with_entries(seen(), *changes, result(1), result(2, Result.SUPERSEDED))])
    for minutes, revision in ((4.9, 1), (5, 2), (5.1, 3)):
        assert keys(reader, at=at(minutes)) == keys(reader, **WEB, at=at(minutes)) == [("u-1", revision)]


def test_one_revision_is_told_with_its_configuration(database: Database, reader: Reader) -> None:
    fill(database)
    (found,) = reader.changes(ChangeQuery(**WEB, revision=3)).items
    assert (found.kanary.uid, found.change.revision, found.result) == ("u-1", 3, None)
    (newest,) = reader.changes(ChangeQuery(uid="u-1", revision=10)).items
    assert newest.change.digest is not None
    kept = reader.configuration(newest.change.digest)
    assert kept is not None
    assert kept.digest in kept.text
    assert reader.changes(ChangeQuery(**WEB, revision=11)).items == ()
    assert keys(reader, **WEB, deleted=True, revision=2) == [("u-1", 2), ("u-0", 2)]


def test_the_first_result_of_a_change_counts(database: Database, reader: Reader) -> None:
    again = result(1, Result.SUPERSEDED).model_copy(update={"number": 25, "at": at(90), "seconds": 5000.0})
    database.write([seen(last=2), with_entries(seen(), again)])
    found = reader.changes(ChangeQuery(**WEB)).items[-1]
    assert found.change.revision == 1
    assert found.result
    assert (found.result.result, found.result.seconds) == ("Ready", 6.125)


def test_what_is_recorded_while_pages_are_read_shifts_nothing(database: Database, reader: Reader) -> None:
    fill(database)
    for number, query in enumerate((ChangeQuery(**WEB, limit=4), ChangeQuery(limit=4))):
        before = [(item.kanary.uid, item.change.revision) for item in every(reader.changes, query)]
        first = reader.changes(query)
        database.write([with_entries(seen(), *(shifted(n, 200 + n) for n in range(11, 21)))])
        database.write([seen(f"u-new-{number}", name=f"new-{number}", last=0)])
        rest = every(reader.changes, query.model_copy(update={"after": first.next}))
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

    query = (ChangeQuery if read == "changes" else EntryQuery)(**WEB, limit=4)
    before = numbers(*every(read_page, query))
    first = read_page(query)
    database.write([deleted("u-1", minutes=1000)])
    database.write([seen("u-4", phase_changes=1)])
    rest = every(read_page, query.model_copy(update={"after": first.next}))
    assert numbers(*first.items, *rest) == before


def test_a_place_in_another_kanary_is_none_of_this_one(database: Database, reader: Reader) -> None:
    fill(database)
    elsewhere = reader.changes(ChangeQuery(namespace="bank", name="web", limit=4)).next
    assert reader.changes(ChangeQuery(**WEB, after=elsewhere)).items == ()


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "{}", "null", "[1,2,3]", '["2026-01-01","u",1]', '["2026-01-01T00:00:00Z","u",true]',
     '["2026-01-01T00:00:00Z","u",99999999999999999999]', '["2026-01-01T00:00:00Z",1,1]', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_place_to_read_on_from_is_refused(text: str) -> None:
    for query in (KanaryQuery, ChangeQuery, EntryQuery):
        with pytest.raises(ValidationError, match=r"^1 validation error for \w+\nafter\n"):
            query(after=text)


# Many entries


MANY = 20_000

READ_ALL = """
import resource, sys
from kanary.history.queries import ChangeQuery, EntryQuery, KanaryQuery, every
from kanary.history.reader import Reader
from kanary.history.queries import ChangeQuery, every

reader = Reader(sys.argv[1])
last = None
for read, item in enumerate(every(reader.changes, ChangeQuery()), start=1):
    assert last is None or item.change.at < last
    last = item.change.at
    if read == 3000:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The changes of ten Kanaries, one of which has half of them."""
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
            # PostgreSQL does this automatically some time later; SQLite never does.
            connection.exec_driver_sql("ANALYZE")
    database.close()
    return url


def _insert_many(connection: sa.Connection) -> None:
    """Insert without the models and SQLAlchemy, which would take a minute."""
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
    "chosen",
    [{}, {"deleted": True}, {"namespace": "n-0"}, {"namespace": "n-0", "name": "k-0"}, {"uid": "u-0"}],
    ids=str,
)
def test_no_page_sorts_or_scans_all_that_there_is(many: str, chosen: dict[str, Any]) -> None:
    reader = Reader(many)
    place = reader.changes(ChangeQuery(**chosen, limit=100)).next
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, statement: str, parameters: object, *_: object) -> None:
        if "FROM entries" in statement:
            asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert len(reader.changes(ChangeQuery(**chosen, limit=100, after=place)).items) == 100
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
