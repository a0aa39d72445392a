"""How often canaries fail, good and bad ones: exactly for a constant share, and in simulated rollouts of every kind.

Rollouts are looked at after every failure of the canary, because the evidence against it only falls between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import exp, inf, log, sqrt
from random import Random
from typing import NamedTuple

import pytest

from bench.failures import Failure, Stretch, failures
from states.evidence import Analysis, Counts, Sample, Tolerance, chance_of_evidence, judge, log_evidence

LEVELS = 0.05, 0.01, 0.001
ROLLOUTS = 600
"""Of each history in each of the circumstances: together 10,800."""
STRICT = Tolerance(ratio=1, fraction=0)
TOLERANT = Tolerance(ratio=1.5, fraction=0.001)


# Exactly


def chance_of_failing(share: float, looks: int, threshold: float) -> float:
    """The probability that the evidence ever reaches a threshold in so many looks, each of them a hit with `share`."""
    alive, lost, boundary = [1.0], 0.0, 1
    for look in range(1, looks + 1):
        after = [0.0] * (look + 1)
        for hits, probability in enumerate(alive):
            after[hits] += probability * (1 - share)
            after[hits + 1] += probability * share
        while boundary <= look and log_evidence(boundary, look, share) < log(threshold):
            boundary += 1
        lost += sum(after[boundary:])
        alive = after[:boundary]
    return lost


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("level", LEVELS)
def test_evidence_is_rarely_strong_by_chance_and_not_much_more_rarely_than_allowed(share: float, level: float) -> None:
    found = chance_of_failing(share, 500, 1 / level)
    assert found <= level
    if share < 0.9:
        assert found > level / 20


# Simulated

History = Callable[[Random], list[Stretch]]


def alike(connections: int, rate: float) -> Stretch:
    return Stretch(connections, rate, rate)


def constant(random: Random) -> list[Stretch]:
    return [alike(60_000, 0.001)]


def bursts(random: Random) -> list[Stretch]:
    """A good service, of which from time to time up to all connections fail."""
    return [
        stretch
        for _ in range(8)
        for stretch in (
            alike(random.randrange(10_000), 0.0005),
            alike(random.randrange(1, 60), random.choice((0.1, 0.5, 1))),
        )
    ]


def drift(random: Random) -> list[Stretch]:
    """A rate that grows and falls without a bound but 1."""
    rates, rate = [], 0.001
    for _ in range(60):
        rate = min(1, rate * exp(random.gauss(0, 0.5)))
        rates.append(rate)
    return [alike(max(1, int(random.expovariate(1 / 2) / rate)), rate) for rate in rates]


def anything(random: Random) -> list[Stretch]:
    """Stretches of every length, at every rate."""
    rates = [10 ** random.uniform(-5, 0) for _ in range(30)]
    return [alike(1 + int(random.expovariate(1 / 4) / rate), rate) for rate in rates]


def outage(random: Random) -> list[Stretch]:
    """Nothing works any more."""
    return [alike(1000, 0.001), alike(100, 1)]


def often(random: Random) -> list[Stretch]:
    """A service that fails in every third connection."""
    return [alike(300, 1 / 3)]


HISTORIES: tuple[History, ...] = (constant, bursts, drift, anything, outage, often)


def just_tolerable(random: Random) -> list[Stretch]:
    """A canary that is as bad as TOLERANT allows: by the ratio, or by the fraction."""
    rates = [10 ** random.uniform(-4, -0.5) for _ in range(10)]
    by_ratio = [Stretch(1 + int(5 / rate), 1.5 * rate, rate) for rate in rates]
    return random.choice([by_ratio, [Stretch(100_000, 0.001, 0)]])


def steady(random: Random) -> list[Stretch]:
    """A service that always fails in 2 % of its connections."""
    return [alike(1500, 0.02)]


class Seen(NamedTuple):
    """A failure that is counted, and the step in which its connection began."""

    step: int
    failure: Failure


def rollout(
    history: History, shares: Sequence[float], random: Random, delay: float = 0, lost: float = 0
) -> Iterator[Seen]:
    """What is counted if the history takes place in each step.

    Failures are counted up to some times `delay` connections late, be it in a later step, and a part of them never:
    a proxy that restarts loses what it has counted since its last report.
    """
    found, begun, is_lost = [], 0, False
    for step, share in enumerate(shares):
        stretches = history(random)
        for failure in failures(stretches, share, random):
            is_lost = random.random() < lost if random.random() < 0.1 else is_lost
            if not is_lost:
                late = random.expovariate(1 / delay) if delay else 0
                found.append((begun + failure.connections + late, Seen(step, failure)))
        begun += sum(stretch.connections for stretch in stretches)
    found.sort()
    return (seen for _, seen in found)


def counted(seen: Iterable[Seen], shares: Sequence[float]) -> Iterator[list[Sample]]:
    """The samples after each failure of the canary."""
    samples: list[Sample] = []
    for step, failure in seen:
        samples += [Sample(Counts(), Counts(), share) for share in shares[len(samples) : step + 1]]
        canary, others, share = samples[step].canary, samples[step].others, shares[step]
        of_canary = max(canary.connections, failure.of_canary)
        of_others = max(others.connections, failure.connections - failure.of_canary)
        samples[step] = Sample(
            Counts(of_canary, canary.failed + failure.is_canary),
            Counts(of_others, others.failed + (not failure.is_canary)),
            share,
        )
        if failure.is_canary:
            yield samples


def alarms(seen: Iterable[Seen], shares: Sequence[float], tolerance: Tolerance) -> set[float]:
    """The levels at which the canary fails."""
    found: set[float] = set()
    for samples in counted(seen, shares):
        highest = sum(map(highest_evidence, samples))
        for level in LEVELS:
            if level not in found and highest >= -log(level):
                asked = Analysis(level, tolerance, detect=0.01)
                if chance_of_evidence(samples, asked, len(shares)) <= level:
                    found.add(level)
    return found


def highest_evidence(sample: Sample) -> float:
    """No mean of likelihood ratios exceeds the greatest one, which is quickly computed: most looks end here."""
    hits, misses = sample.canary.failed, sample.others.failed
    if sample.share == 1:
        return inf
    if hits <= (hits + misses) * sample.share:
        return 0
    total = hits + misses
    return hits * log(hits / (total * sample.share)) + misses * log(max(misses, 1) / (total * (1 - sample.share)))


def most_expected(level: float) -> float:
    """A test with this probability of a false alarm has at most so many of them in 999 of 1,000 runs."""
    return ROLLOUTS * level + 3.1 * sqrt(ROLLOUTS * level) + 1


def false_alarms(
    history: History, of_shares: Sequence[Sequence[float]], tolerance: Tolerance, **circumstances: float
) -> Counter[float]:
    """At how many of the rollouts the canary fails, by level."""
    random = Random(f"{history.__name__} {circumstances}")
    found: Counter[float] = Counter()
    for _ in range(ROLLOUTS):
        shares = random.choice(of_shares)
        found.update(alarms(rollout(history, shares, random, **circumstances), shares, tolerance))
    return found


def excessive(found: Counter[float]) -> list[float]:
    """The levels that the false alarms exceed."""
    return [level for level in LEVELS if found[level] > most_expected(level)]


CIRCUMSTANCES: dict[str, dict[str, float]] = {
    "counted at once": {},
    "counted late": {"delay": 3000},
    "lost by restarts": {"lost": 0.5},
}
SHARES = (0.1,), (0.5,), (0.001, 0.999), (0.01, 0.1, 0.5)


@pytest.mark.parametrize("circumstances", CIRCUMSTANCES.values(), ids=CIRCUMSTANCES.keys())
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
def test_good_canaries_fail_no_more_often_than_declared(history: History, circumstances: dict[str, float]) -> None:
    found = false_alarms(history, SHARES, STRICT, **circumstances)
    assert excessive(found) == []
    assert found[0.05] > 0


def test_canaries_fail_no_more_often_if_each_step_is_as_bad_as_is_tolerated() -> None:
    assert excessive(false_alarms(just_tolerable, SHARES, TOLERANT)) == []


def test_a_service_that_always_fails_a_little_fails_no_more_often_once_the_others_have_no_weight() -> None:
    assert excessive(false_alarms(steady, [(0.1, 1), (0.1, 0.5, 1), (0.9, 1)], STRICT)) == []


@pytest.mark.parametrize("history", [constant, drift], ids=lambda history: history.__name__)
def test_a_test_for_one_look_is_wrong_too_often_if_it_is_repeated(history: History) -> None:
    """So these rollouts would show it."""
    random = Random(1)
    wrong = 0
    for _ in range(ROLLOUTS):
        share = random.choice((0.1, 0.5))
        wrong += any(is_unusual(samples[0]) for samples in counted(rollout(history, [share], random), [share]))
    assert wrong > most_expected(0.05)


def is_unusual(sample: Sample) -> bool:
    """The binomial test for a single look, at 5 %, with the normal approximation where that is good."""
    failed = sample.canary.failed + sample.others.failed
    excess = sample.canary.failed - failed * sample.share
    return failed >= 30 and excess > 1.645 * sqrt(failed * sample.share * (1 - sample.share))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_a_canary_as_bad_as_what_is_to_be_detected_fails_with_95_per_cent_until_the_step_could_pass(
    share: float,
) -> None:
    """With others that fail as seldom as is expected."""
    asked = Analysis(0.001, TOLERANT, detect=0.02)
    connections = judge([Sample(Counts(), Counts(), share)], asked, steps=1).missing
    assert connections is not None
    random = Random(2)
    failed = 0
    for _ in range(ROLLOUTS):
        seen = rollout(lambda _: [Stretch(connections, asked.detect, 0)], [share], random)
        failed += 0.001 in alarms(seen, [share], TOLERANT)
    assert failed > 0.95 * ROLLOUTS - 3.1 * sqrt(0.05 * 0.95 * ROLLOUTS)
    assert failed < 0.99 * ROLLOUTS
