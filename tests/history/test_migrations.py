"""The schema's versions, with data in them, up and down."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from kanary.history.problems import HistoryError, Reason
from sqlalchemy.engine import Connection

import migrations
from kanary.history import schema
from kanary.history.address import parse_address
from kanary.history.connecting import writer_engine
from kanary.history.opening import open_store
from kanary.history.reader import Reader
from kanary.history.rows import pending_entry
from kanary.history.schema import NOTHING, migrate, version_of
from kanary.history.selection import Selection
from kanary.history.tables import METADATA
from migrations import VERSION_TABLE, VERSIONS
from tests.history.entries import change, entry

MOVES = [(old, new) for old in VERSIONS for new in (NOTHING, *VERSIONS) if old != new]

TIME = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ROWS: dict[str, list[dict[str, Any]]] = {
    "kanaries": [
        {"uid": "u-1", "namespace": "shop", "name": "web", "first_seen": TIME, "deleted_at": None},
        {"uid": "u-2", "namespace": "shop", "name": "web", "first_seen": TIME, "deleted_at": TIME},
    ],
    "changes": [
        {
            "uid": uid, "revision": revision, "at": TIME, "generation": revision, "before": [], "cause": "é",
            "after": [{"backend": "v1", "weight": 100, "serviceName": "v1", "servicePort": 80}],
            "manager": "kubectl", "config_hash": "abc", "endpoints": [["10.0.0.1:80"]],
        }
        for uid in ("u-1", "u-2")
        for revision in range(1, 4)
    ],
    "outcomes": [{"uid": "u-1", "revision": 1, "result": "Ready", "at": TIME, "seconds": 1.5}],
    "transitions": [
        {
            "uid": "u-1", "number": 1, "at": TIME, "source": "Pending", "destination": "Rendering",
            "trigger": "admit", "reason": "Admitted", "message": "m",
        }
    ],
    "configurations": [{"hash": "abc", "text": b"x\x9c\x03\x00\x00\x00\x00\x01"}],
    "pruned": [{"uid": "u-2", "revision": 0, "number": 3}],
}  # fmt: skip
"""Of every table that any version has."""


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    engine = writer_engine(parse_address(url))
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


def go(url: str, version: str) -> None:
    with transaction(url) as connection:
        migrate(connection, parse_address(url), version)


def fill(url: str) -> None:
    """Put a row or more into every table that there is."""
    with transaction(url) as connection:
        for table in tables(connection).values():
            connection.execute(table.insert(), ROWS[table.name])


def tables(connection: Connection) -> dict[str, sa.Table]:
    """As they are: the versions' own column types, with those of times and texts that each database takes."""
    found = sa.MetaData()
    found.reflect(connection)
    ours = [table for table in found.sorted_tables if table.name != VERSION_TABLE]
    return {table.name: table for table in ours}


def content(url: str) -> dict[str, list[dict[str, Any]]]:
    with transaction(url) as connection:
        found = tables(connection)
        return {
            name: [dict(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()]
            for name, table in found.items()
        }


def version(url: str) -> str | None:
    with transaction(url) as connection:
        return version_of(connection)


def test_the_versions_are_those_in_the_folder_each_after_the_one_before() -> None:
    folder = Path(migrations.__file__).parent / "versions"
    texts = [path.read_text() for path in sorted(folder.glob("v*.py"))]
    numbers = [re.search(r'^revision = "(\d+)"$', text, re.M)[1] for text in texts]  # type: ignore[index]
    before = [re.search(r"^down_revision = (.*)$", text, re.M)[1].strip('"') for text in texts]  # type: ignore[index]
    assert tuple(numbers) == VERSIONS
    assert before == ["None", *VERSIONS[:-1]]


def test_the_newest_version_has_the_tables_that_the_program_uses(url: str) -> None:
    go(url, VERSIONS[-1])
    with transaction(url) as connection:
        inspected = sa.inspect(connection)
        for table in METADATA.sorted_tables:
            columns = {column["name"]: column["nullable"] for column in inspected.get_columns(table.name)}
            assert columns == {column.name: bool(column.nullable) for column in table.columns}
            assert inspected.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
            indexes = {index["name"]: index["column_names"] for index in inspected.get_indexes(table.name)}
            assert indexes == {index.name: [c.name for c in index.columns] for index in table.indexes}
        assert set(tables(connection)) == set(METADATA.tables)


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_data_outlives_the_way_from_every_version_to_every_other(url: str, old: str, new: str) -> None:
    go(url, old)
    fill(url)
    before = content(url)
    go(url, new)
    after = content(url)
    if new == NOTHING:
        assert after == {}
        return
    assert {name: before[name] for name in before if name in after} == {
        name: after[name] for name in after if name in before
    }
    assert [after[name] for name in after if name not in before] == [[] for name in after if name not in before]
    assert version(url) == new


@pytest.mark.parametrize("old", [NOTHING, *VERSIONS])
def test_the_program_goes_on_with_what_every_version_has_left(url: str, old: str) -> None:
    if old != NOTHING:
        go(url, old)
        fill(url)
    store = open_store(url)
    store.write([pending_entry(entry("u-1", first=3, last=4))])
    store.close()
    reader = Reader(url)
    revisions = [item.change.revision for item in reader.changes(Selection("shop", "web")).items]
    assert revisions == ([4, 3] if old == NOTHING else [4, 3, 2, 1])
    assert reader.changes(Selection("shop", "web")).items[0].change == change(4)
    reader.close()


@pytest.mark.parametrize(("old", "new"), list(pairwise((NOTHING, *VERSIONS))))
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_migration_that_fails_at_any_statement_leaves_nothing_half_done(
    url: str, old: str, new: str, way: str
) -> None:
    start, target = (old, new) if way == "up" else (new, old)
    if start != NOTHING:
        go(url, start)
        fill(url)
    before = content(url)
    for failing in count(1):
        try:
            with failing_at(failing):
                go(url, target)
            break
        except RuntimeError:
            assert content(url) == before
            assert version(url) == (None if start == NOTHING else start)
    assert failing > 3
    assert version(url) == (None if target == NOTHING else target)


@contextmanager
def failing_at(number: int) -> Iterator[None]:
    """Raise before the statement of this number that changes anything."""
    seen = 0

    def before(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        if re.match(r"\s*(CREATE|DROP|ALTER|INSERT|UPDATE|DELETE)", statement):
            seen += 1
            if seen == number:
                raise RuntimeError("pulled the plug")

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)


def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    go(url, VERSIONS[-1])
    fill(url)
    with transaction(url) as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    before = content(url)
    path = parse_address(url).path
    as_it_was = path.read_bytes() if path else b""
    for use in (lambda: open_store(url), lambda: Reader(url).changes(Selection())):
        with pytest.raises(
            HistoryError, match=f"has schema 9999 and this program knows 0001 to {VERSIONS[-1]}"
        ) as caught:
            use()
        assert caught.value.problem.reason is Reason.TOO_NEW
    if path:
        assert path.read_bytes() == as_it_was
        assert sorted(file.name for file in path.parent.iterdir() if "corrupt" in file.name) == []
    assert content(url) == before


def test_a_database_that_becomes_newer_while_it_is_open_is_left_alone(url: str) -> None:
    """As by a newer replica that shares it."""
    store = open_store(url)
    store.write([pending_entry(entry(last=1))])
    with transaction(url) as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(HistoryError) as caught:
        store.write([pending_entry(entry(last=2))])
    assert caught.value.problem.reason is Reason.TOO_NEW
    store.close()
    assert len(content(url)["changes"]) == 1


@pytest.mark.parametrize("old", VERSIONS[:-1])
def test_a_reader_migrates_nothing(url: str, old: str) -> None:
    go(url, old)
    with pytest.raises(HistoryError, match=f"has schema {old}, and this program reads {VERSIONS[-1]}") as caught:
        Reader(url).changes(Selection())
    assert caught.value.problem.reason is Reason.TOO_OLD
    assert version(url) == old


def test_two_operators_that_start_at_once_migrate_once(postgres: Any) -> None:
    url = postgres.new_database()
    gate = threading.Barrier(4)
    problems: list[Exception] = []

    def start() -> None:
        gate.wait()
        try:
            open_store(url).close()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert version(url) == VERSIONS[-1]


def test_opening_what_is_up_to_date_does_not_load_alembic(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(sqlite_url).close()
    monkeypatch.setitem(__import__("sys").modules, "alembic", None)
    open_store(sqlite_url).close()


def test_a_migration_leaves_the_logging_as_it_was(sqlite_url: str) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("kanary").disabled)
    open_store(sqlite_url).close()
    assert (root.level, list(root.handlers), logging.getLogger("kanary").disabled) == before
    assert VERSIONS[-1] == schema.NEWEST
