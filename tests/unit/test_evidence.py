"""Verdicts on counts: exact formulas, what convicts and what does not, and numbers of every size."""

from __future__ import annotations

from itertools import pairwise
from math import comb, exp, isclose, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from states.evidence import (
    RISES,
    Analysis,
    Counts,
    Sample,
    Tolerance,
    Verdict,
    VerdictKind,
    highest_rate,
    judge,
    kind_of_verdict,
    log_evidence,
    probable_failures,
)

ANALYSIS = Analysis(false_alarms=0.001, tolerance=Tolerance(ratio=1.5, fraction=0.001), detect=0.01)
FAILED, PASSED, INCONCLUSIVE = VerdictKind.FAILED, VerdictKind.PASSED, VerdictKind.INCONCLUSIVE

probabilities = st.floats(0, 1)
shares = st.floats(1e-300, 1, exclude_min=False)


@st.composite
def counts(draw: st.DrawFn, most: int = 2**53) -> Counts:
    connections = draw(st.integers(0, 100) | st.integers(0, most))
    return Counts(connections, draw(st.integers(0, connections)))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    share = draw(shares | st.just(1.0))
    return Sample(draw(counts()), Counts() if share == 1 else draw(counts()), share)


def sample(canary: tuple[int, int], others: tuple[int, int] = (0, 0), share: float = 1) -> Sample:
    """From connections and failures."""
    return Sample(Counts(*canary), Counts(*others), share)


def verdict(*steps: Sample, analysis: Analysis = ANALYSIS, canaries: int = 1) -> Verdict:
    return judge(steps, analysis, steps=4, canaries=canaries)


# Evidence


@given(st.integers(0, 2000), st.data(), st.floats(0, 1))
def test_evidence_is_a_fair_bet_at_the_tolerated_probability(total: int, data: st.DataObject, tolerated: float) -> None:
    hits = data.draw(st.integers(0, total))
    now = log_evidence(hits, total, tolerated)
    hit, miss = log_evidence(hits + 1, total + 1, tolerated), log_evidence(hits, total + 1, tolerated)
    assert isclose(tolerated * exp(hit - now) + (1 - tolerated) * exp(miss - now), 1, rel_tol=1e-9)


@given(st.integers(0, 1000), st.data(), st.floats(0, 1), st.floats(0, 1))
def test_less_frequent_hits_are_a_losing_bet(total: int, data: st.DataObject, one: float, other: float) -> None:
    hits = data.draw(st.integers(0, total))
    actual, tolerated = sorted((one, other))
    now = log_evidence(hits, total, tolerated)
    hit, miss = log_evidence(hits + 1, total + 1, tolerated), log_evidence(hits, total + 1, tolerated)
    assert actual * exp(hit - now) + (1 - actual) * exp(miss - now) <= 1 + 1e-9


def test_evidence_is_a_mean_of_likelihood_ratios() -> None:
    assert log_evidence(0, 0, 0.3) == 0
    ratios = [(1 + rise) ** 3 / (1 + 0.25 * rise) ** 5 for rise in RISES]
    assert isclose(log_evidence(3, 5, 0.25), log(sum(ratios) / len(ratios)), rel_tol=1e-12)


@given(counts(10**9), probabilities, probabilities)
def test_evidence_grows_with_hits_and_falls_with_what_is_tolerated(seen: Counts, one: float, other: float) -> None:
    strict, lenient = sorted((one, other))
    evidence = log_evidence(seen.failed, seen.connections, lenient)
    rounding = 1e-6
    assert log_evidence(seen.failed + 1, seen.connections + 1, lenient) >= evidence - rounding
    assert log_evidence(seen.failed, seen.connections, strict) >= evidence - rounding


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05, 0.5, 0.999])
def test_probable_failures_are_exact_to_one(rate: float) -> None:
    for connections in (1, 2, 5, 60, 100, 299, 300, 1000):
        masses = [comb(connections, k) * rate**k * (1 - rate) ** (connections - k) for k in range(connections + 1)]
        found = probable_failures(connections, rate)
        assert sum(masses[found:]) >= 0.95
        assert sum(masses[found + 2 :]) < 0.95


def test_all_connections_fail_at_a_rate_of_1() -> None:
    assert [probable_failures(number, 1) for number in (0, 1, 2**53)] == [0, 1, 2**53]


@given(st.integers(0, 10**9), st.floats(1e-9, 1))
def test_probable_failures_are_fewer_than_the_mean(connections: int, rate: float) -> None:
    assert 0 <= probable_failures(connections, rate) <= connections * rate


@given(counts(10**9), st.floats(1e-9, 0.1))
def test_the_highest_rate_exceeds_what_was_seen_and_falls_as_more_is_seen(seen: Counts, chance: float) -> None:
    if seen.connections:
        bound = highest_rate(seen.failed, seen.connections, chance)
        assert seen.failed / seen.connections <= bound <= 1
        assert highest_rate(seen.failed * 4, seen.connections * 4, chance) <= bound


def test_the_highest_rate_approaches_the_true_one() -> None:
    bounds = [highest_rate(number // 200, number, 1e-5) for number in (1000, 10_000, 100_000, 10_000_000)]
    assert all(more > less for more, less in pairwise(bounds))
    assert 0.005 < bounds[-1] < 0.0055


@given(st.lists(samples(), min_size=1, max_size=4), st.integers(1, 3))
def test_the_kind_of_a_verdict_needs_no_search_for_missing_connections(steps: list[Sample], canaries: int) -> None:
    assert kind_of_verdict(steps, ANALYSIS, 4, canaries) is judge(steps, ANALYSIS, 4, canaries).kind


# Failed


def test_a_dead_canary_fails_within_seven_of_its_connections() -> None:
    assert verdict(sample((6, 6), (24, 0), 0.2)).kind is INCONCLUSIVE
    failed = verdict(sample((7, 7), (28, 0), 0.2))
    assert failed.kind is FAILED
    assert failed.chance < 0.001
    assert failed.rollouts > 1000


def test_a_canary_that_fails_as_often_as_the_others_is_good_however_often_that_is() -> None:
    for failed in (100, 300, 1000):
        assert verdict(sample((1000, failed), (4000, 4 * failed), 0.2)).kind is not FAILED


def test_a_canary_that_fails_seldom_is_good_however_seldom_the_others_fail() -> None:
    assert verdict(sample((100_000, 90), (400_000, 0), 0.2)).kind is PASSED


def test_a_canary_that_exceeds_both_tolerances_fails() -> None:
    assert verdict(sample((20_000, 80), (80_000, 80), 0.2)).kind is FAILED


def test_without_others_only_the_tolerated_fraction_counts() -> None:
    assert verdict(sample((10_000, 5))).kind is PASSED
    assert verdict(sample((10_000, 50))).kind is FAILED


def test_a_second_failure_is_not_tolerated_without_others_at_zero_per_cent() -> None:
    strict = Analysis(0.001, Tolerance(ratio=1, fraction=0), detect=0.01)
    assert verdict(sample((1000, 2)), analysis=strict).kind is FAILED
    assert verdict(sample((1000, 0)), analysis=strict).kind is PASSED


def test_a_service_that_always_fails_a_little_does_not_fail_once_the_others_have_no_weight() -> None:
    before = sample((20_000, 100), (180_000, 900), 0.1)
    assert verdict(before, sample((50_000, 250))).kind is not FAILED
    assert verdict(before, sample((50_000, 750))).kind is FAILED
    assert verdict(sample((50_000, 250))).kind is FAILED


def test_many_good_steps_do_not_hide_a_bad_one() -> None:
    good, bad = sample((10**6, 900), (10**6, 1000), 0.5), sample((200, 20), (200, 0), 0.5)
    assert verdict(bad).kind is FAILED
    assert verdict(good, good, good, bad).kind is FAILED


def test_evidence_of_several_steps_adds_up() -> None:
    suspicious = sample((1000, 7), (4000, 2), 0.2)
    assert verdict(suspicious).kind is INCONCLUSIVE
    assert verdict(suspicious, suspicious, suspicious).kind is FAILED


def test_a_burst_in_one_step_and_a_tolerable_difference_in_the_next_are_both_good() -> None:
    burst, tolerable = sample((1000, 100), (4000, 400), 0.2), sample((100_000, 50), (400_000, 0), 0.2)
    assert verdict(burst, tolerable).kind is not FAILED


def test_the_chance_of_a_false_alarm_is_shared_by_all_canaries() -> None:
    seen = sample((7, 7), (28, 0), 0.2)
    assert verdict(seen, canaries=5).kind is INCONCLUSIVE
    assert isclose(verdict(seen, canaries=5).chance, 5 * verdict(seen).chance, rel_tol=0.1)


@given(st.lists(samples(), min_size=1, max_size=4), st.integers(0, 100))
def test_more_failures_of_the_canary_never_help_it(steps: list[Sample], more: int) -> None:
    canary = steps[-1].canary
    worse = Sample(Counts(canary.connections, canary.failed + more), steps[-1].others, steps[-1].share)
    if max(canary.connections, steps[-1].others.connections) < 10**9:
        assert verdict(*steps[:-1], worse).chance <= verdict(*steps).chance * (1 + 1e-6)


# Passed and inconclusive


def test_a_step_passes_once_it_would_have_found_a_bad_canary() -> None:
    assert verdict(sample((1000, 1), (9000, 9), 0.1)).kind is INCONCLUSIVE
    assert verdict(sample((5000, 5), (45_000, 45), 0.1)).kind is PASSED


def test_failures_of_former_steps_do_not_delay_a_pass() -> None:
    now = sample((5000, 5), (45_000, 45), 0.1)
    assert verdict(sample((5000, 50), (45_000, 450), 0.1), now).kind is PASSED


@pytest.mark.parametrize("share", [0.001, 0.01, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("rate", [0, 0.001, 0.003])
def test_a_step_passes_with_the_connections_that_it_misses(share: float, rate: float) -> None:
    def after(connections: int) -> Sample:
        canary, others = round(connections * share), round(connections * (1 - share))
        return sample((canary, round(canary * rate)), (others, round(others * rate)), share)

    begun = verdict(after(100_000 if rate else 100))
    missing = begun.missing or 0
    assert (begun.kind, missing > 0) in {(PASSED, False), (INCONCLUSIVE, True)}
    if missing:
        total = missing + (100_000 if rate else 100)
        assert verdict(after(int(total * 1.1))).kind is PASSED
        assert verdict(after(int(total * 0.9))).kind is INCONCLUSIVE


def test_a_step_without_connections_misses_those_of_a_service_that_does_not_fail() -> None:
    empty = verdict(sample((0, 0), (0, 0), 0.1))
    assert empty.kind is INCONCLUSIVE
    assert empty.missing is not None
    assert verdict(sample((empty.missing // 10, 0), (empty.missing * 9 // 10, 0), 0.1)).kind is PASSED


def test_no_number_of_connections_is_enough_if_the_others_fail_as_often_as_what_is_to_be_found() -> None:
    seen = verdict(sample((1000, 8), (9000, 72), 0.1))
    assert (seen.kind, seen.missing) == (INCONCLUSIVE, None)


def test_more_steps_and_more_canaries_need_more_connections() -> None:
    empty = [sample((0, 0), (0, 0), 0.1)]
    missing = [judge(empty, ANALYSIS, steps, canaries).missing or 0 for steps, canaries in ((1, 1), (8, 1), (8, 4))]
    assert sorted(missing) == missing
    assert missing[2] < 2 * missing[0]


# Bad input, and extremes


@pytest.mark.parametrize("number", [0, 3])
def test_a_rollout_has_one_to_as_many_samples_as_steps(number: int) -> None:
    with pytest.raises(ValueError, match=f"{number} samples of a rollout that has 2 steps"):
        judge([sample((1, 0))] * number, ANALYSIS, steps=2)


@given(
    st.lists(samples(), min_size=1, max_size=6),
    st.builds(
        Analysis,
        false_alarms=st.floats(1e-12, 0.5),
        tolerance=st.builds(Tolerance, ratio=st.floats(1, 1e6), fraction=st.floats(0, 1)),
        detect=st.floats(1e-9, 1),
    ),
    st.integers(1, 100),
)
def test_any_counts_have_a_verdict(steps: list[Sample], analysis: Analysis, canaries: int) -> None:
    found = judge(steps, analysis, len(steps), canaries)
    assert isfinite(found.chance)
    assert 0 < found.chance <= 1
    assert found.rollouts >= 1
    assert (found.kind is FAILED) == (found.chance <= analysis.false_alarms)
    assert found.missing is None or (found.missing > 0 and found.kind is INCONCLUSIVE)
