"""The order in which routes take turns, for mixes of every kind: in no needless runs, and close to their shares."""

from __future__ import annotations

from itertools import groupby
from math import ceil, gcd

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.render.schedule import schedule


@st.composite
def mixes(draw: st.DrawFn) -> list[int]:
    """Weights of up to 100 routes that sum to up to 1000, of which one may outweigh all others, and some may be 0."""
    total = draw(st.integers(1, 100) | st.integers(1, 1000) | st.just(1000))
    most = draw(st.sampled_from([2, 4, 12, 100]))
    cuts = sorted(draw(st.lists(st.integers(0, total), max_size=most - 1)))
    return [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]


def all_mixes(total: int, most: int, heaviest: int = 100) -> list[list[int]]:
    """All ways to share a total among at most so many routes, the heaviest first."""
    if most == 0 or total == 0:
        return [] if total else [[]]
    return [
        [weight, *lighter]
        for weight in range(min(total, heaviest), 0, -1)
        for lighter in all_mixes(total - weight, most - 1, weight)
    ]


def share_of_a_round(weights: list[int]) -> list[int]:
    return [weight // gcd(*weights) for weight in weights]


def longest_runs(order: list[int]) -> dict[int, int]:
    """The longest run of each route when the round is repeated without end."""
    runs: dict[int, int] = {}
    for route, run in groupby(order * 2):
        runs[route] = max(runs.get(route, 0), len(list(run)))
    return runs


def worst_deviation(order: list[int], weights: list[int]) -> float:
    """Of any route in any stretch of repeated rounds, how far its turns are from its share of the stretch.

    The surplus over the share is followed from the round's start: what a stretch gains or loses is a difference of two.
    """
    worst = 0.0
    for route, weight in enumerate(weights):
        surplus = highest = lowest = 0
        for taken in order:
            surplus += (len(order) if taken == route else 0) - weight
            highest, lowest = max(highest, surplus), min(lowest, surplus)
        worst = max(worst, (highest - lowest) / len(order))
    return worst


def assert_smooth(weights: list[int]) -> None:
    order, share = schedule(weights), share_of_a_round(weights)
    assert [order.count(route) for route in range(len(weights))] == share
    for route, run in longest_runs(order).items():
        others = len(order) - share[route]
        assert others == 0 or run <= ceil(share[route] / others), (weights, route)
    assert worst_deviation(order, share) < 2, weights


@settings(max_examples=300, deadline=None)
@given(mixes())
@example([1] * 100)
@example([99, 1])
@example([50] + [1] * 50)
@example([51] + [1] * 49)
@example([49] + [1] * 51)
@example([49, 43, 7, 1])
@example([999, 1])
@example([501] + [1] * 499)
@example([10] * 98 + [11, 9])
@example([973, 26, 1])
@example([737, 137, 103, 17, 5, 1])
def test_every_mix_is_exact_in_a_round_without_needless_runs_and_within_2_turns_of_its_shares(
    weights: list[int],
) -> None:
    assert_smooth(weights)


def test_so_is_every_mix_of_up_to_three_routes() -> None:
    tried = all_mixes(100, most=3)
    assert len(tried) == 884
    for weights in tried:
        assert_smooth(weights)


def test_so_is_every_mix_of_small_rounds() -> None:
    for total in range(1, 17):
        for weights in all_mixes(total, most=total):
            assert_smooth(weights)


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ([80, 20], [0, 0, 0, 0, 1]),
        ([20, 80], [1, 1, 1, 1, 0]),
        ([50, 50], [0, 1]),
        ([70, 30], [0, 0, 1, 0, 0, 1, 0, 0, 0, 1]),
        ([60, 30, 10], [0, 0, 1, 0, 1, 0, 0, 1, 0, 2]),
        ([0, 100, 0], [1]),
        ([99, 1], [0] * 99 + [1]),
        ([125, 875], [1] * 7 + [0]),
        ([1, 999], [1] * 999 + [0]),
    ],
)
def test_routes_take_turns_as_evenly_as_they_can(weights: list[int], order: list[int]) -> None:
    assert schedule(weights) == order


@given(mixes())
def test_routes_that_change_places_keep_their_turns_unless_their_weights_are_equal(weights: list[int]) -> None:
    """So a Kanary whose routes are written in another order is split as smoothly."""
    backwards = schedule(weights[::-1])
    turned = [weights[::-1][route] for route in backwards]
    assert turned == [weights[route] for route in schedule(weights)]


def test_a_control_with_long_runs_is_noticed() -> None:
    """What the properties rely on."""
    assert longest_runs([0, 0, 1, 0]) == {0: 3, 1: 1}
    assert worst_deviation([0, 0, 1, 1], [2, 2]) == 1
    assert worst_deviation([0] * 10 + [1] * 10, [10, 10]) == 5
