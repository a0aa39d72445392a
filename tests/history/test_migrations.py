"""Migrations between the versions of the schema, up and down, with data."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

import migrations
from kanary.history import schema
from kanary.history.address import parse_address
from kanary.history.connecting import writer_engine
from kanary.history.database import open_database
from kanary.history.faults import FaultReason, HistoryError
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from kanary.history.schema import migrate, version_of
from kanary.history.tables import METADATA
from migrations import VERSION_TABLE, VERSIONS
from tests.history.entries import change, seen

TIME = "2026-01-02T03:04:05.678Z"
BODY = {
    "number": 1, "at": TIME, "kind": "WeightChange", "revision": 1, "generation": 1, "cause": "é",
    "after": [{"backend": "v1:80", "weight": 100}],
}  # fmt: skip
ROWS: dict[str, list[dict[str, Any]]] = {
    "kanaries": [
        {"uid": "u-1", "namespace": "shop", "name": "web", "first_seen": TIME, "deleted_at": None, "pruned": 0},
        {"uid": "u-2", "namespace": "shop", "name": "web", "first_seen": TIME, "deleted_at": TIME, "pruned": 0},
    ],
    "entries": [
        {"uid": uid, "number": 1, "at": TIME, "kind": "WeightChange", "revision": 1, "body": BODY}
        for uid in ("u-1", "u-2")
    ],
    "configurations": [{"uid": "u-1", "digest": "abc", "number": 1, "body": b"x\x9c\x03\x00\x00\x00\x00\x01"}],
}
"""Rows of every table of any version."""


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    engine = writer_engine(parse_address(url))
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


def go(url: str, version: str = VERSIONS[-1]) -> None:
    with transaction(url) as connection, pytest.MonkeyPatch.context() as patched:
        patched.setattr(schema, "NEWEST", version)
        migrate(connection, parse_address(url))


def fill(url: str) -> None:
    """Insert at least one row into every table."""
    with transaction(url) as connection:
        for table in tables(connection).values():
            connection.execute(table.insert(), ROWS[table.name])


def tables(connection: Connection) -> dict[str, sa.Table]:
    """The tables as the database reports them, with its own column types."""
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
        return version_of(connection, parse_address(url))


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


@pytest.mark.parametrize("old", [None, *VERSIONS])
def test_the_program_goes_on_with_what_every_version_has_left(url: str, old: str | None) -> None:
    if old:
        go(url, old)
        fill(url)
    database = open_database(url)
    database.write([seen("u-1", first=3, last=4)])
    database.close()
    reader = Reader(url)
    revisions = [item.change.revision for item in reader.changes(ChangeQuery(namespace="shop", name="web")).items]
    assert revisions == ([4, 3, 1] if old else [4, 3])
    assert reader.changes(ChangeQuery(namespace="shop", name="web")).items[0].change == change(4)
    reader.close()


@pytest.mark.parametrize(("old", "new"), list(pairwise((None, *VERSIONS))))
def test_a_migration_that_fails_at_any_statement_leaves_nothing_half_done(url: str, old: str | None, new: str) -> None:
    if old:
        go(url, old)
        fill(url)
    before = content(url)
    for failing in count(1):
        try:
            with failing_at(failing):
                go(url, new)
            break
        except RuntimeError:
            assert content(url) == before
            assert version(url) == old
    assert failing > 3
    assert version(url) == new


@contextmanager
def failing_at(number: int) -> Iterator[None]:
    """Raise before the writing statement with this number."""
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
    for use in (lambda: open_database(url), lambda: Reader(url).changes(ChangeQuery())):
        with pytest.raises(
            HistoryError, match=f"has schema 9999 and this program knows 0001 to {VERSIONS[-1]}"
        ) as caught:
            use()
        assert caught.value.fault.reason is FaultReason.TOO_NEW
    if path:
        assert path.read_bytes() == as_it_was
        assert sorted(file.name for file in path.parent.iterdir() if "corrupt" in file.name) == []
    assert content(url) == before


def test_a_database_that_becomes_newer_while_it_is_open_is_left_alone(url: str) -> None:
    """A newer replica that shares the database may migrate it."""
    database = open_database(url)
    database.write([seen(last=1)])
    with transaction(url) as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(HistoryError) as caught:
        database.write([seen(last=2)])
    assert caught.value.fault.reason is FaultReason.TOO_NEW
    database.close()
    assert len(content(url)["entries"]) == 1


def test_a_reader_migrates_nothing(url: str) -> None:
    with transaction(url) as connection:
        connection.execute(sa.text("CREATE TABLE other (id INTEGER)"))
    with pytest.raises(HistoryError, match="has no history in it yet: the operator migrates it") as caught:
        Reader(url).changes(ChangeQuery())
    assert caught.value.fault.reason is FaultReason.TOO_OLD
    assert version(url) is None


def test_two_operators_that_start_at_once_migrate_once(postgres: Any) -> None:
    url = postgres.new_database()
    gate = threading.Barrier(4)
    problems: list[Exception] = []

    def start() -> None:
        gate.wait()
        try:
            open_database(url).close()
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
    open_database(sqlite_url).close()
    monkeypatch.setitem(__import__("sys").modules, "alembic", None)
    open_database(sqlite_url).close()


def test_a_migration_leaves_the_logging_as_it_was(sqlite_url: str) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("kanary").disabled)
    open_database(sqlite_url).close()
    assert (root.level, list(root.handlers), logging.getLogger("kanary").disabled) == before
    assert VERSIONS[-1] == schema.NEWEST
