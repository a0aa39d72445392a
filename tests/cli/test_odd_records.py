"""Entries of newer operators and hostile users are shown and do no harm."""

from pathlib import Path

import pytest

from engine.model.entries import Entry, Share
from kanary.history.pending import Pending
from tests.cli.record import NAME, START, at, change, history_of, record, story


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_a_phase_change_of_another_shape_is_shown(tmp_path: Path, kanary, output: str) -> None:
    newer = Entry.model_validate({"number": 50, "at": at(1), "kind": "PhaseChange", "to": "Ready"})
    url = record(tmp_path / "history.db", [Pending("u-1", "shop", NAME, START, (*story().entries, newer))])
    done = kanary("history", NAME, "-n", "shop", "--db", url, "--transitions", "-o", output)
    assert done.code == 0
    assert "50" in done.out


def test_a_backend_is_no_formula_for_a_spreadsheet(tmp_path: Path, kanary) -> None:
    formula = Share(backend="=cmd|'/c calc'!A0", weight=100)
    url = record(tmp_path / "history.db", [history_of(change(1, 0, (formula,), "created"))])
    done = kanary("history", NAME, "-n", "shop", "--db", url, "-o", "csv")
    assert "'=cmd" in done.out
    assert "=cmd" not in done.out.replace("'=cmd", "")


def test_any_age_may_be_pruned(kanary, url: str) -> None:
    assert kanary("db", "prune", "--db", url, "--older-than", "999999d", "--dry-run").code == 0
