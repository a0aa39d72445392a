"""`kanary explain`: the catalogue of reasons on the command line."""

from __future__ import annotations

import pytest

from kanary.cli import completion
from kanary.reasons_page import ALL
from tests.cli.conftest import Kanary

EVERY = [reason for found in ALL.values() for reason in found]


@pytest.mark.parametrize("reason", EVERY)
def test_each_reason_is_explained_with_its_cause_and_remedy(kanary: Kanary, reason: str) -> None:
    printed = kanary("explain", reason)
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.startswith(f"{reason}\n")
    explanation = next(found[reason] for found in ALL.values() if reason in found)
    text = " ".join(printed.out.split())
    assert all(part in text for part in (explanation.meaning, explanation.cause, explanation.remedy))


def test_without_a_reason_all_are_listed(kanary: Kanary) -> None:
    listed = [line.split()[0] for line in kanary("explain").out.splitlines() if line.startswith("  ")]
    assert [name for name in listed if name != "REASON"] == EVERY


def test_upper_and_lower_case_do_not_matter(kanary: Kanary) -> None:
    assert kanary("explain", "routeunreachable").out == kanary("explain", "RouteUnreachable").out


def test_an_unknown_reason_is_wrong_usage_and_the_nearest_one_is_named(kanary: Kanary) -> None:
    printed = kanary("explain", "RouteUnreacheable")
    assert (printed.code, printed.out) == (2, "")
    assert "RouteUnreachable" in printed.err


def test_a_text_that_is_like_no_reason_leads_to_the_list(kanary: Kanary) -> None:
    printed = kanary("explain", "\x1b[31m" + "q" * 1000)
    assert printed.code == 2
    assert "`kanary explain` lists all" in printed.err
    assert "\x1b" not in printed.err


@pytest.mark.parametrize("columns", ["30", "40", "100"])
def test_no_line_is_wider_than_a_terminal_of_usual_width(
    kanary: Kanary, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = kanary("explain", "VerdictFailed").out.splitlines()
    assert max(map(len, lines)) <= int(columns)


def test_a_reason_is_completed(capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.main(["explain", "RouteU"]) == 0
    assert capsys.readouterr().out.startswith("RouteUnreachable")
