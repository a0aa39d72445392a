"""Simulated failures, and the ways to judge them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from bench.choices import choices
from bench.failures import Failure, Stretch, failures
from bench.judges import fisher, kanary, mann_whitney, rank_test, repeated_fisher, threshold
from bench.verdicts import PAGE, STRICT, TABLES, false_alarms
from states.evidence import Counts


def every(number: int, total: int, share: float = 0.5) -> list[Failure]:
    """Each so-manieth connection fails, and is the canary's."""
    return [Failure(position, int(position * share), is_canary=True) for position in range(number, total + 1, number)]


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.999])
def test_if_all_connections_fail_exactly_its_share_is_the_canarys(share: float) -> None:
    found = list(failures([Stretch(1000, 1, 1)], share, Random(1)))
    assert [failure.connections for failure in found] == list(range(1, 1001))
    assert sum(failure.is_canary for failure in found) == found[-1].of_canary == pytest.approx(1000 * share, abs=1)


def test_each_version_fails_at_its_own_rate_in_each_stretch() -> None:
    stretches = [Stretch(100_000, 0.01, 0.02), Stretch(1000, 0, 0), Stretch(100_000, 0.1, 0)]
    found = list(failures(stretches, 0.25, Random(1)))
    counts = Counter((failure.connections > 100_500, failure.is_canary) for failure in found)
    assert counts[False, True] == pytest.approx(250, abs=50)
    assert counts[False, False] == pytest.approx(1500, abs=120)
    assert counts[True, True] == pytest.approx(2500, abs=150)
    assert counts[True, False] == 0


def test_fishers_test_is_exact() -> None:
    assert fisher(Counts(10, 3), Counts(10, 0)) == pytest.approx(120 / 1140)
    assert fisher(Counts(10, 2), Counts(10, 1)) == pytest.approx((45 * 10 + 120) / 1140)
    assert fisher(Counts(10, 0), Counts(10, 3)) == pytest.approx(1)


def test_the_rank_test_is_that_of_mann_and_whitney() -> None:
    assert rank_test([4, 5, 6], [1, 2, 3]) == pytest.approx(0.0404, abs=0.0001)
    assert rank_test([1, 2, 3], [4, 5, 6]) == pytest.approx(0.9855, abs=0.0001)
    assert rank_test([1, 1], [1, 1]) == 1


def test_the_threshold_convicts_after_the_first_interval_that_exceeds_it() -> None:
    assert threshold(every(200, 5000), 0.5, 5000) is None
    assert threshold([*every(200, 2999), *every(50, 5000)[60:]], 0.5, 5000) == 4000


def test_each_judge_convicts_a_dead_canary() -> None:
    dead = every(2, 50_000)
    judges = kanary(STRICT, 1), threshold, repeated_fisher(0.001), mann_whitney
    assert [judge(dead, 0.5, 50_000) for judge in judges] == [22, 1000, 1000, 10_000]


def test_no_judge_convicts_a_canary_without_failures() -> None:
    judges = kanary(STRICT, 1), threshold, repeated_fisher(0.001), mann_whitney
    assert [judge([], 0.5, 50_000) for judge in judges] == [None] * 4


def test_a_burst_is_a_false_alarm_for_a_threshold_alone() -> None:
    rows = [line.split("|")[1:-1] for line in false_alarms(3).splitlines()]
    burst = {row[0].strip().split(",")[0].split(" of")[0]: row[3].strip() for row in rows[2:]}
    assert burst["threshold"] == "3"
    assert burst["Kanary"] == "0"


def test_of_each_choice_of_steps_a_dead_canary_is_rolled_back_and_a_good_one_is_not() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in choices(1).splitlines()]
    assert [row[:3] for row in rows if "back" not in row[6]] == [rows[0][:3], rows[1][:3]]
    assert [row[:3] for row in rows if "back" in row[3]] == []


def test_the_page_has_a_place_for_every_table() -> None:
    text = PAGE.read_text()
    assert [name for name in TABLES if f"<!-- begin {name} -->\n" not in text] == []
