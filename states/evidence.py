"""Verdicts on a canary from counts of failed connections, for any number of looks. docs/verdicts.md explains them.

The proxies' agent runs this file as well: it imports the standard library alone.

While a canary is good, the probability that it ever fails is at most `Analysis.false_alarms`: of failures that have
nothing to do with the version, exactly the canary's share of the connections falls on it, whatever their rate and its
changes, and the evidence against that is a test martingale (Ville 1939). The test of the share is that of M. Lindon
and A. Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022), with other alternatives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import ceil, exp, inf, log, log1p, sqrt

POWER_QUANTILE = 1.6448536269514722
"""The quantile of the normal distribution for 95 %: with this probability, a step that passes finds a bad canary."""

ENDLESS = 10**12
"""A number of connections that no step waits for."""

RESERVED = 0.01
"""The part of the false alarms that is left to the bound of the others' failure rate."""

AGENTS = 0.01
"""The part of the false alarms that is left to the proxies' agents, which judge alone while the operator is gone.

They need one or two failures more than with half of it; the operator, which judges all rollouts, hardly more than with
all of it.
"""

RISES = tuple(2**power / 8 for power in range(20))
"""By how many times the tolerated odds of a failure those of a bad canary may exceed them: from 1/8 to 65,536.

Between two of them, the evidence grows at most 11 % slower than it could; with more of them, it starts lower.
"""
_ALTERNATIVES = tuple((rise, log1p(rise)) for rise in RISES)


class VerdictKind(StrEnum):
    """What the evidence says about a canary."""

    FAILED = "Failed"
    PASSED = "Passed"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True, slots=True)
class Counts:
    """Connections that began in one step, and how many of them have failed."""

    connections: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """The counts of one step: of the canary, and of the others together."""

    canary: Counts
    others: Counts
    share: float
    """The canary's part of the weights of the canary and the others: over 0, and 1 if the others have no weight.

    The caller checks that connections were split like that.
    """


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A canary is good in a step if it fails at most `ratio` times as often as the others, or at most `fraction`."""

    ratio: float
    """1 or more."""
    fraction: float
    """Of the canary's connections, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """When a canary fails or passes."""

    false_alarms: float
    """The highest probability that a rollout of good canaries ever fails; over 0, under 1."""
    tolerance: Tolerance
    detect: float
    """A step passes once it would have found a canary that fails in this fraction of its connections; up to 1."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all steps so far say about a canary."""

    kind: VerdictKind
    chance: float
    """At most this is the probability that a rollout of good canaries ever has as much evidence against one; to 1."""
    missing: int | None = None
    """How many connections to the canary and the others together the step still needs to pass, at the rates so far.

    None if it does not wait for any, or no number is enough: the others fail about as often as `Analysis.detect`.
    """

    @property
    def rollouts(self) -> int:
        """Of so many rollouts of good canaries, at most one on average has as much evidence against one."""
        return int((1 + 1e-9) / self.chance)


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a good canary does not exceed in a step: one of them at least."""

    share: float | None
    """Of all failures; None without others."""
    fraction: float
    """Of the canary's connections."""

    def log_evidence(self, failed: float, connections: float, others_failed: float) -> float:
        """The logarithm of the evidence that a canary with these counts exceeds both."""
        of_connections = log_evidence(failed, connections, self.fraction)
        of_failures = inf if self.share is None else log_evidence(failed, failed + others_failed, self.share)
        return min(of_connections, of_failures)


def judge(samples: Sequence[Sample], analysis: Analysis, steps: int, canaries: int = 1) -> Verdict:
    """The verdict on one canary from the steps of its rollout so far, of which the last one is the current one.

    `steps` is how many the rollout has, and `canaries` how many are judged, each by itself. Raises ValueError for no
    samples, or more than steps.
    """
    kind, chance, finds = _judged(samples, analysis, steps, canaries)
    return Verdict(kind, chance, _missing(finds) if kind is VerdictKind.INCONCLUSIVE else None)


def kind_of_verdict(samples: Sequence[Sample], analysis: Analysis, steps: int, canaries: int = 1) -> VerdictKind:
    """`Verdict.kind`, without the search for `Verdict.missing`; arguments and errors are those of `judge`."""
    kind, _, _ = _judged(samples, analysis, steps, canaries)
    return kind


def _judged(
    samples: Sequence[Sample], analysis: Analysis, steps: int, canaries: int
) -> tuple[VerdictKind, float, Callable[[int], bool]]:
    chance = chance_of_evidence(samples, analysis, steps, canaries)
    finds = _detector(samples, analysis, steps, canaries)
    if chance <= analysis.false_alarms:
        return VerdictKind.FAILED, chance, finds
    return VerdictKind.PASSED if finds(0) else VerdictKind.INCONCLUSIVE, chance, finds


def chance_of_evidence(samples: Sequence[Sample], analysis: Analysis, steps: int, canaries: int = 1) -> float:
    """`Verdict.chance`, which alone decides whether a canary fails; arguments and errors are those of `judge`."""
    if not 1 <= len(samples) <= steps:
        raise ValueError(f"{len(samples)} samples of a rollout that has {steps} steps; there must be 1 to {steps}")
    total = -inf
    for number, sample in enumerate(samples, start=1):
        counts = sample.canary.failed, sample.canary.connections, sample.others.failed
        # A sum over the step with which the canary became bad, because no earlier step has evidence against it.
        total = _log_sum(0, total) + _limits(samples[:number], analysis, canaries).log_evidence(*counts)
    return min(1.0, canaries * (steps * exp(-max(total, 0.0)) + _reserved(analysis, canaries)))


def log_evidence(hits: float, total: float, tolerated: float) -> float:
    """The logarithm of the evidence that more than `tolerated` (a probability, from 0 to 1) of all are hits.

    A mean of likelihood ratios, over RISES: while the probability of a hit is at most `tolerated`, the probability that
    the evidence ever reaches N is at most 1/N. Precise to 1e-6 for totals up to 1e9.
    """
    logs = [hits * log_odds - total * log1p(tolerated * rise) for rise, log_odds in _ALTERNATIVES]
    highest = max(logs)
    return highest + log(sum(exp(each - highest) for each in logs) / len(logs))


@lru_cache(maxsize=1000)
def highest_rate(failed: int, connections: int, chance: float) -> float:
    """An upper bound of a constant failure rate, from 0 to 1.

    The probability that it is ever wrong, with whatever number of connections, is at most `chance`.
    """
    low, high = 1e-18, 1.0
    while high > low * 1.001:
        middle = sqrt(low * high)
        if log_evidence(connections - failed, connections, 1 - middle) < -log(chance):
            low = middle
        else:
            high = middle
    return high


def probable_failures(connections: int, rate: float) -> int:
    """How many of these connections fail at least, with 95 %, if each fails with this probability (0 to 1).

    By the inequality of A. M. Zubkov and A. A. Serov, "A complete proof of universal inequalities for the distribution
    function of the binomial law" (2013): never too many, and at most one too few.
    """
    if rate >= 1:
        return connections
    low, high = 0, int(connections * rate)
    while low < high:
        middle = (low + high + 1) // 2
        if sqrt(2 * _divergence(middle, connections, rate)) >= POWER_QUANTILE:
            low = middle
        else:
            high = middle - 1
    return low


def _divergence(hits: int, total: int, rate: float) -> float:
    """The logarithm of the likelihood ratio of the observed share of hits, over 0, to a greater rate."""
    misses = total - hits
    return max(0.0, hits * log(hits / (total * rate)) + misses * log(misses / (total * (1 - rate))))


def _reserved(analysis: Analysis, canaries: int) -> float:
    """How probable it may be that the bound of the others' failure rate is wrong."""
    return RESERVED * analysis.false_alarms / canaries


def _limits(samples: Sequence[Sample], analysis: Analysis, canaries: int) -> _Limits:
    """Those of the last step."""
    *former, sample = samples
    tolerance = analysis.tolerance
    if sample.share < 1:
        odds = sample.share * tolerance.ratio
        return _Limits(odds / (odds + 1 - sample.share), tolerance.fraction)
    # Otherwise, a service that always has some failures would fail as soon as the others have no weight.
    failed = sum(each.others.failed for each in former)
    connections = sum(each.others.connections for each in former)
    rate = highest_rate(failed, connections, _reserved(analysis, canaries)) if connections else 0.0
    return _Limits(None, max(tolerance.fraction, min(1.0, tolerance.ratio * rate)))


def _detector(samples: Sequence[Sample], analysis: Analysis, steps: int, canaries: int) -> Callable[[int], bool]:
    """Whether a step finds a canary that fails in `detect` of its connections, with so many more connections."""
    sample, limits = samples[-1], _limits(samples, analysis, canaries)
    needed = log(steps / (analysis.false_alarms / canaries - _reserved(analysis, canaries)))
    others_rate = sample.others.failed / max(sample.others.connections, 1)

    def finds(more: int) -> bool:
        connections = sample.canary.connections + int(more * sample.share)
        others_failed = sample.others.failed + more * (1 - sample.share) * others_rate
        failed = probable_failures(connections, analysis.detect)
        return limits.log_evidence(failed, connections, others_failed) >= needed

    return finds


def _missing(finds: Callable[[int], bool]) -> int | None:
    """How many more connections are needed at least, to 1 %; None if no number is enough."""
    if not finds(ENDLESS):
        return None
    low, high = 0, 1
    while not finds(high):
        low, high = high, 2 * high
    while high - low > ceil(high / 100):
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high


def _log_sum(one: float, other: float) -> float:
    """The logarithm of the sum of two numbers, from their logarithms."""
    return max(one, other) + log1p(exp(-abs(one - other)))
