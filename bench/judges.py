"""Ways to judge a canary: Kanary's and those of its peers, on the same simulated failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, floor, lgamma, sqrt
from statistics import NormalDist

from bench.failures import Failure
from states.evidence import Analysis, Counts, Sample, chance_of_evidence

INTERVAL = 1000
"""Connections to the canary and the others that the peers judge together."""
THRESHOLD = 0.01
"""The failing fraction of the canary's connections in an interval that peers take for bad."""
CONFIDENCE = 0.01
"""The p-value that counts as a difference for the Mann-Whitney U test."""
LOOKS_EVERY = 10
"""Intervals between two Mann-Whitney U tests: fewer say nothing."""

_NEGLIGIBLE = 1e-12

Judge = Callable[[Iterable[Failure], float, int], int | None]
"""From failures, the canary's share and the number of connections: after how many of them the canary is convicted."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The counts up to its end, and its own failures."""

    end: int
    canary: Counts
    others: Counts
    of_canary: int
    of_others: int


def kanary(analysis: Analysis, steps: int) -> Judge:
    """Looked at after each failure of the canary: no other report increases the evidence."""

    def judge(failures: Iterable[Failure], share: float, _: int) -> int | None:
        canary = others = 0
        for failure in failures:
            canary += failure.is_canary
            others += not failure.is_canary
            if failure.is_canary:
                counts = Counts(failure.of_canary, canary), Counts(failure.connections - failure.of_canary, others)
                if chance_of_evidence([Sample(*counts, share)], analysis, steps) <= analysis.false_alarms:
                    return failure.connections
        return None

    return judge


def threshold(failures: Iterable[Failure], share: float, total: int) -> int | None:
    """Convicts a canary of which more than THRESHOLD failed in one interval."""
    for interval in _intervals(failures, share, total):
        if interval.of_canary > THRESHOLD * share * INTERVAL:
            return interval.end
    return None


def mann_whitney(failures: Iterable[Failure], share: float, total: int) -> int | None:
    """Convicts a canary whose failure rates per interval are greater than those of the others by rank."""
    canary: list[int] = []
    others: list[float] = []
    for number, interval in enumerate(_intervals(failures, share, total), start=1):
        canary.append(interval.of_canary)
        others.append(interval.of_others * share / (1 - share))
        if number % LOOKS_EVERY == 0 and rank_test(canary, others) < CONFIDENCE:
            return interval.end
    return None


def repeated_fisher(level: float) -> Judge:
    """Fisher's exact test, repeated after each interval."""

    def judge(failures: Iterable[Failure], share: float, total: int) -> int | None:
        for interval in _intervals(failures, share, total):
            if interval.of_canary and fisher(interval.canary, interval.others) < level:
                return interval.end
        return None

    return judge


def fisher(canary: Counts, others: Counts) -> float:
    """The one-sided p-value of Fisher's exact test: so many of all failures are the canary's, or more."""
    failed = canary.failed + others.failed
    rest = canary.connections + others.connections - failed
    first = _log_comb(canary.connections, canary.failed)
    first += _log_comb(others.connections, others.failed) - _log_comb(failed + rest, failed)
    term = total = exp(first)
    for hits in range(canary.failed, min(failed, canary.connections)):
        misses = failed - hits
        term *= (canary.connections - hits) / (hits + 1) * misses / (others.connections - misses + 1)
        total += term
        if term < _NEGLIGIBLE * total:
            break
    return min(1.0, total)


def rank_test(ones: Sequence[float], others: Sequence[float]) -> float:
    """The p-value of the Mann-Whitney U test that the first numbers are greater: normal approximation, with ties."""
    tied = Counter([*ones, *others])
    ranks: dict[float, float] = {}
    below = 0
    for number, times in sorted(tied.items()):
        ranks[number] = below + (times + 1) / 2
        below += times
    wins = sum(ranks[number] for number in ones) - len(ones) * (len(ones) + 1) / 2
    ties = sum(times**3 - times for times in tied.values()) / (below * (below - 1))
    spread = sqrt(len(ones) * len(others) / 12 * (below + 1 - ties))
    return 1 - NormalDist().cdf((wins - len(ones) * len(others) / 2 - 0.5) / spread) if spread else 1.0


def _intervals(failures: Iterable[Failure], share: float, total: int) -> Iterator[Interval]:
    """All of them, as soon as they have ended."""
    following = iter(failures)
    failure = next(following, None)
    canary = others = 0
    for end in range(INTERVAL, total + 1, INTERVAL):
        of_canary = of_others = 0
        while failure and failure.connections <= end:
            of_canary += failure.is_canary
            of_others += not failure.is_canary
            failure = next(following, None)
        canary += of_canary
        others += of_others
        to_canary = floor(end * share)
        yield Interval(end, Counts(to_canary, canary), Counts(end - to_canary, others), of_canary, of_others)


def _log_comb(total: int, chosen: int) -> float:
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)
