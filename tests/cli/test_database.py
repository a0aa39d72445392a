"""`kanary db prune` and `kanary db backup` with a database written by an operator."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kanary.cli import database
from kanary.history.database import open_database
from kanary.history.queries import ChangeQuery
from kanary.history.reader import Reader
from tests.cli.conftest import Kanary
from tests.cli.record import CHANGES, ONE, change, history_of, record


def revisions(url: str) -> list[int]:
    reader = Reader(url)
    try:
        return [item.change.revision for item in reader.changes(ChangeQuery()).items]
    finally:
        reader.close()


PLAN = "dry run: would delete 2 ChangeResult, 2 WeightChange\n"
NOTHING = "dry run: would delete nothing\n"


def test_a_dry_run_says_what_would_go_and_takes_nothing(kanary: Kanary, url: str) -> None:
    printed = kanary("db", "prune", "--keep", "1", "--dry-run", "--db", url)
    assert (printed.code, printed.out, printed.err) == (0, PLAN, "")
    assert revisions(url) == [3, 2, 1]


def test_a_dry_run_works_while_an_operator_writes(kanary: Kanary, url: str) -> None:
    writer = open_database(url)
    try:
        assert kanary("db", "prune", "--keep", "1", "--dry-run", "--db", url).out == PLAN
    finally:
        writer.close()


def test_pruning_takes_it(kanary: Kanary, url: str) -> None:
    printed = kanary("db", "prune", "--keep", "1", "--db", url)
    assert printed.out == "deleted 2 ChangeResult, 2 WeightChange\n"
    assert revisions(url) == [3]


def test_by_default_much_is_kept(kanary: Kanary, url: str) -> None:
    printed = kanary("db", "prune", "--db", url)
    assert printed.out == "deleted nothing\n"


def test_by_default_as_much_is_kept_as_the_operator_keeps(
    kanary: Kanary, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KANARY_HISTORY_CHANGES", "1")
    assert kanary("db", "prune", "--dry-run", "--db", url).out == PLAN
    assert kanary("db", "prune", "--keep", "3", "--dry-run", "--db", url).out == NOTHING


def test_what_the_operator_keeps_without_limit_is_not_pruned(
    kanary: Kanary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = change(1, 0, ONE).model_copy(update={"at": datetime(2001, 1, 1, tzinfo=UTC)})
    url = record(tmp_path / "old.db", [history_of(old, *CHANGES[1:])])
    assert kanary("db", "prune", "--dry-run", "--db", url).out == "dry run: would delete 1 WeightChange\n"
    monkeypatch.setenv("KANARY_HISTORY_DAYS", "0")
    assert kanary("db", "prune", "--dry-run", "--db", url).out == NOTHING


def test_a_clock_that_is_ahead_prunes_nothing(kanary: Kanary, tmp_path: Path) -> None:
    old = [entry.model_copy(update={"at": datetime(2001, 1, 1, tzinfo=UTC)}) for entry in CHANGES]
    url = record(tmp_path / "old.db", [history_of(*old)])
    printed = kanary("db", "prune", "--older-than", "30d", "--db", url)
    assert printed.out == "deleted nothing\n"
    assert "and the newest entry of the history is of 2001-01-01T00:00:00Z: ages count from that entry" in printed.err
    assert "--keep" in printed.err
    assert revisions(url) == [3, 2, 1]


def test_a_bad_setting_of_the_operator_is_told(kanary: Kanary, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KANARY_HISTORY_DAYS", "many")
    printed = kanary("db", "prune", "--db", url)
    assert (printed.code, printed.out) == (1, "")
    assert printed.err == ("kanary: KANARY_HISTORY_DAYS: expected a whole number from 0 to 1000000, not 'many'\n")


def test_pruning_beside_a_writer_is_refused_with_the_way_out(kanary: Kanary, url: str) -> None:
    writer = open_database(url)
    try:
        printed = kanary("db", "prune", "--keep", "1", "--db", url)
    finally:
        writer.close()
    assert (printed.code, printed.out) == (1, "")
    assert "another process, such as an operator, has the history database" in printed.err
    assert "wait until it ends, or stop it" in printed.err
    assert revisions(url) == [3, 2, 1]


def test_pruning_makes_no_database_where_there_is_none(kanary: Kanary, tmp_path: Path) -> None:
    printed = kanary("db", "prune", "--db", f"sqlite:///{tmp_path}/none.db")
    assert printed.code == 1
    assert "there is no history database" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_database_is_told_and_left_as_it_is(kanary: Kanary, tmp_path: Path) -> None:
    """The corrupt page is in the middle: only a check of the whole file finds it."""
    file = tmp_path / "history.db"
    url = record(file, [history_of(*(change(n, n, ONE) for n in range(1, 500)))])
    with file.open("r+b") as database:
        database.seek(file.stat().st_size // 4096 // 2 * 4096)
        database.write(b"\x55" * 4096)
    spoilt = file.read_bytes()
    printed = kanary("db", "prune", "--db", url)
    assert (printed.code, printed.out) == (1, "")
    assert printed.err.startswith(f"kanary: the history database {file} is corrupt: restore a backup")
    assert printed.err.count("\n") == 1
    assert file.read_bytes() == spoilt
    assert not list(tmp_path.glob("*.corrupt-*"))


@pytest.mark.parametrize("age", ["", "soon", "7", "0d", "2026-01-01", "9" * 40 + "d"])
def test_an_age_that_is_none_is_refused(kanary: Kanary, url: str, age: str) -> None:
    printed = kanary("db", "prune", "--older-than", age, "--db", url)
    assert (printed.code, printed.out) == (2, "")
    assert f"invalid time {age[:40]!r}, expected a number with a unit, such as 30s, 5m, 36h or 400d" in printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["prune", "--keep", "0"],
        ["prune", "--keep", "many"],
        ["prune", "web"],
        ["prune", "--db", ""],
        ["backup"],
        ["backup", ""],
    ],
)
def test_wrong_usage_exits_with_2(kanary: Kanary, url: str, arguments: list[str]) -> None:
    printed = kanary("db", arguments[0], "--db", url, *arguments[1:])
    assert (printed.code, printed.out) == (2, "")


def test_a_backup_is_a_database_like_the_first(kanary: Kanary, url: str, tmp_path: Path) -> None:
    writer = open_database(url)
    try:
        printed = kanary("db", "backup", str(tmp_path / "copy.db"), "--db", url)
    finally:
        writer.close()
    assert printed.code == 0
    assert printed.out.startswith(f"{tmp_path}/copy.db: ")
    assert printed.out.endswith(" bytes with 3 weight changes, checked\n")
    assert revisions(f"sqlite:///{tmp_path}/copy.db") == [3, 2, 1]


def test_a_backup_never_replaces_a_file(kanary: Kanary, url: str, tmp_path: Path) -> None:
    printed = kanary("db", "backup", str(tmp_path / "history.db"), "--db", url)
    assert (printed.code, printed.out) == (1, "")
    assert "(File exists): name a new file" in printed.err


@pytest.mark.parametrize("arguments", [["prune", "--dry-run"], ["backup", "x"]])
def test_without_a_database_it_is_said_where_there_is_one(
    kanary: Kanary, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(database, "_OWN", Path("/nowhere/history.db"))
    printed = kanary("db", *arguments)
    assert printed.code == 1
    assert "--db URL, or run this with kubectl -n kanary-system exec deploy/kanary --\n" in printed.err


def test_a_place_that_may_not_be_looked_at_is_no_database_of_one_s_own(
    kanary: Kanary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_OWN", Path("/" + "x" * 300))
    assert "name it with --db URL" in kanary("db", "prune").err


def test_in_the_operators_pod_its_own_database_is_meant(
    kanary: Kanary, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(database, "_OWN", tmp_path / "history.db")
    assert kanary("db", "prune", "--keep", "1", "--dry-run").out == PLAN
    other = record(tmp_path / "other.db", [history_of(CHANGES[0])])
    monkeypatch.setenv("KANARY_HISTORY_URL", other)
    assert kanary("db", "prune", "--keep", "1", "--dry-run").out == NOTHING
