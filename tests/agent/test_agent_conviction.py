"""The verdict of one proxy alone, and how often good canaries get it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from kanary_agent.conviction import Conviction, conviction_of
from kanary_agent.revisions import Counted
from kanary_agent.rollback_plan import RollbackPlan

V1, V2, V3 = "v1:http", "v2:http", "v3:http"


def plan_of(share: float = 0.1, **changes: Any) -> RollbackPlan:
    """A plan for revision 7, in which one canary has this share."""
    plan = RollbackPlan(7, "", {V2: {7: share}}, [V1], steps=4, false_alarms=1e-5, ratio=1.5, fraction=0.001)
    return plan._replace(**changes)


def convicted(plan: RollbackPlan, counts: Mapping[str, tuple[int, int]], **former: tuple[int, int]) -> bool:
    """Whether the counts (all, failed) by version convict; `former` are those of revision 6."""
    found = {7: {f"{name}:http": Counted(*of) for name, of in counts.items()}}
    found |= {6: {f"{name}:http": Counted(*of) for name, of in former.items()}}
    return conviction_of(plan, found) is not None


def test_a_canary_that_fails_always_is_convicted_by_a_handful_of_its_connections() -> None:
    counts = {7: {V1: Counted(90, 0), V2: Counted(10, 10)}}
    conviction = conviction_of(plan_of(), counts)
    assert conviction
    assert conviction == Conviction(7, V2, Counted(10, 10), Counted(90, 0), conviction.chance)
    assert 0 < conviction.chance < 1e-5
    assert not convicted(plan_of(), {"v1": (18, 0), "v2": (2, 2)})


def test_failures_of_all_versions_convict_nobody() -> None:
    assert not convicted(plan_of(), {"v1": (900, 900), "v2": (100, 100)})
    assert not convicted(plan_of(), {"v1": (900, 9), "v2": (100, 1)})


def test_counts_that_are_not_split_by_the_weights_convict_nobody() -> None:
    assert convicted(plan_of(), {"v1": (95, 0), "v2": (13, 13)})
    assert not convicted(plan_of(), {"v1": (95, 0), "v2": (16, 16)})
    assert not convicted(plan_of(), {"v1": (0, 0), "v2": (13, 13)})


def test_former_revisions_count() -> None:
    plan = plan_of(canaries={V2: {6: 0.1, 7: 0.1}})
    half = {"v1": (45, 0), "v2": (5, 5)}
    assert not convicted(plan, half)
    assert convicted(plan, half, v1=(45, 0), v2=(5, 5))


def test_without_others_a_canary_is_compared_with_what_they_did_before() -> None:
    plan = plan_of(canaries={V2: {6: 0.5, 7: 1.0}})
    assert convicted(plan, {"v2": (100, 50)}, v1=(1000, 10), v2=(1000, 10))
    assert not convicted(plan, {"v2": (10_000, 110)}, v1=(1000, 10), v2=(1000, 10))


def test_a_proxy_that_has_counted_no_others_convicts_nobody_in_a_step_without_them() -> None:
    """Unless the rollout never had any."""
    assert not convicted(plan_of(canaries={V2: {6: 0.5, 7: 1.0}}), {"v2": (100, 50)})
    assert convicted(plan_of(canaries={V2: {7: 1.0}}), {"v2": (100, 50)})


def test_of_several_canaries_the_bad_one_is_convicted() -> None:
    plan = plan_of(canaries={V2: {7: 0.1}, V3: {7: 0.1}})
    counts = {7: {V1: Counted(90, 0), V2: Counted(10, 0), V3: Counted(10, 10)}}
    conviction = conviction_of(plan, counts)
    assert conviction
    assert conviction.canary == V3


@pytest.mark.parametrize("burst", [False, True])
def test_good_canaries_are_rolled_back_by_any_of_their_proxies_no_more_often_than_declared(burst: bool) -> None:
    """Of rollouts with three proxies, each of which is replaced once: looked at after every failure."""
    dice, alarms, rollouts, declared = random.Random(7), 0, 300, 0.3
    plan = plan_of(steps=1, false_alarms=declared / 6, ratio=1.0, fraction=1e-6)
    for _ in range(rollouts):
        alarms += any(_is_convicted(plan, dice, burst) for _ in range(6))
    # Three standard deviations.
    assert alarms <= rollouts * declared + 3 * (rollouts * declared * (1 - declared)) ** 0.5


def _is_convicted(plan: RollbackPlan, dice: random.Random, burst: bool) -> bool:
    found = {V1: [0, 0], V2: [0, 0]}
    for number in range(2000):
        rate = 0.5 if burst and 500 <= number < 550 else 0.02
        counts = found[V2 if number % 10 == 5 else V1]
        counts[0] += 1
        if dice.random() < rate:
            counts[1] += 1
            if conviction_of(plan, {7: {name: Counted(*of) for name, of in found.items()}}):
                return True
    return False
