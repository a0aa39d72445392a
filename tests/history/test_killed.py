"""A process may be killed at any point: confirmed entries are kept, and every entry is recorded exactly once."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from kanary.history.database import open_database
from kanary.history.queries import ChangeQuery, every
from kanary.history.reader import Reader
from tests.history.entries import change
from tests.history.killed import live, many_lives, one_life, start, state
from tests.history.postgres import Server

ALL = {"deleted": True}
KILLED = -9


class Databases:
    """New databases of one kind, empty or with the schema."""

    def __init__(self, folder: Path, server: Server | None) -> None:
        self._folder = folder
        self._server = server
        self.are_files = server is None
        self._numbers = count()
        self._template = self.new()
        open_database(self._template).close()

    def new(self) -> str:
        return self._server.new_database() if self._server else str(self._folder / f"{next(self._numbers)}.db")

    def prepared(self) -> str:
        if self._server:
            return self._server.new_database(template=self._template)
        return str(shutil.copy(self._template, self.new()))


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Databases:
    return Databases(tmp_path, request.getfixturevalue("postgres") if request.param == "postgresql" else None)


def revisions(url: str) -> dict[str, list[int]]:
    """The revisions of each Kanary, the oldest first; checks that each is complete."""
    reader = Reader(url)
    found: dict[str, list[int]] = {}
    for item in every(reader.changes, ChangeQuery(**ALL)):
        uid = item.kanary.uid
        found.setdefault(uid, []).append(item.change.revision)
        assert item.change == change(item.change.revision)
    reader.close()
    return {uid: numbers[::-1] for uid, numbers in found.items()}


def assert_whole(url: str) -> None:
    """Check that no reference is broken and no page is corrupt."""
    reader = Reader(url)
    with reader.connection() as connection:
        for table in ("entries", "configurations"):
            stray = f"SELECT count(*) FROM {table} WHERE uid NOT IN (SELECT uid FROM kanaries)"
            assert connection.exec_driver_sql(stray).scalar() == 0
    reader.close()
    if "://" not in url:
        with closing(sqlite3.connect(url)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert list(Path(url).parent.glob("*.corrupt-*")) == []


@pytest.mark.parametrize("has_schema", [False, True])
def test_killed_at_every_boundary_nothing_confirmed_is_lost_and_a_restart_completes_it(
    databases: Databases, has_schema: bool, record_property: Callable[[str, object], None]
) -> None:
    kills = 0
    # A sample is enough for the one transaction that creates the schema, and for PostgreSQL with its proven log.
    step = 1 if databases.are_files else 3
    for boundary in count(1, step) if has_schema else range(1, 15, 3):
        url = databases.prepared() if has_schema else databases.new()
        process, said = start(one_life, url, boundary)
        confirmed = [number // 10 for number in rest(said)]
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == KILLED
        kills += 1
        found = revisions_if_any(url).get("u-1", [])
        assert found in ([], [1], [1, 2], [2])
        assert max(found, default=0) >= max(confirmed, default=0)
        live(url, lambda _: None)
        assert revisions(url) == {"u-1": [2], "u-2": [1]}
        assert_whole(url)
    record_property("kills", kills)
    assert kills >= (35 // step if has_schema else 5)


def revisions_if_any(url: str) -> dict[str, list[int]]:
    """As `revisions`, after an operator has opened the database: the process may have ended before it had a schema."""
    open_database(url).close()
    return revisions(url)


def test_killed_at_random_moments_two_operators_leave_every_change_once(
    databases: Databases, record_property: Callable[[str, object], None]
) -> None:
    url = databases.new()
    moments = random.Random(20261124)
    last = dict.fromkeys(("u-1", "u-2", "u-3"), 0)
    confirmed = dict(last)
    kills = 0
    while kills < 20:
        first = {uid: number + 1 for uid, number in confirmed.items()}
        pair = [start(many_lives, url, first, dict(last)) for _ in range(2)]
        hears = moments.randrange(20, 120)
        for heard in range(hears):
            # The other process is killed a little later, so that it may take over in between.
            for _, said in pair[: 1 if heard < hears // 2 else 2]:
                kind, uid, number = said.recv()
                told = last if kind == "status" else confirmed
                told[uid] = max(told[uid], number)
        for process, said in pair:
            process.kill()
            process.join()
            kills += 1
            for kind, uid, number in rest(said):
                told = last if kind == "status" else confirmed
                told[uid] = max(told[uid], number)
        if kills % 10 == 0:
            found = revisions_if_any(url)
            for uid, number in confirmed.items():
                assert found.get(uid, [])[:number] == list(range(1, number + 1))
    database = open_database(url)
    for uid in last:
        database.write([state(uid, confirmed[uid] + 1, last[uid])])
    database.close()
    assert revisions(url) == {uid: list(range(1, number + 1)) for uid, number in last.items()}
    assert_whole(url)
    assert sum(confirmed.values()) > kills
    record_property("kills", kills)
    record_property("changes", sum(last.values()))


def rest(said: Connection) -> list[Any]:
    """Everything that a process reports until its end."""
    found = []
    while True:
        try:
            found.append(said.recv())
        except (EOFError, OSError):
            return found


def test_a_server_that_is_killed_keeps_what_was_confirmed(postgres: Server) -> None:
    url = postgres.new_database()
    process, said = start(many_lives, url, {"u-1": 1}, {"u-1": 0})
    confirmed = last = 0
    while confirmed < 20:
        kind, _, number = said.recv()
        confirmed, last = (number, last) if kind == "confirmed" else (confirmed, number)
    postgres.kill()
    postgres.start()
    process.kill()
    process.join()
    for kind, _, number in rest(said):
        confirmed, last = (number, last) if kind == "confirmed" else (confirmed, number)
    found = revisions(url)["u-1"]
    assert found == list(range(1, len(found) + 1))
    assert confirmed <= len(found) <= last
