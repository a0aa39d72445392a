"""A model of traffic: connections at a constant rate, each of which fails independently of the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import inf, log, log1p
from random import Random

from kanary.cli.times import read_duration

_FEW = 16
"""So many failures are drawn one by one."""
_TENTHS = 1000
"""The sum of all weights, in tenths of a percent."""

_RATE = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)/s", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,9})?) ?%", re.ASCII)
_BURST = re.compile(r"([^@]+)@([^+]+)\+(.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Burst:
    """A time in which connections to all versions fail with the same probability, beside their own failures."""

    fraction: float
    """From 0 to 1."""
    start: float
    """In seconds since the rollout began."""
    end: float


@dataclass(frozen=True, slots=True)
class TrafficModel:
    """The connections of a service."""

    rate: float
    """Connections per second, over 0."""
    failing: Mapping[str, float]
    """By backend, the fraction of its connections that fail, from 0 to 1; 0 if it is not named."""
    bursts: tuple[Burst, ...] = ()

    def failing_at(self, backend: str, time: float) -> float:
        """The probability that a connection to this backend fails, `time` seconds after the rollout began."""
        good = 1 - self.failing.get(backend, 0.0)
        for burst in self.bursts:
            if burst.start <= time < burst.end:
                good *= 1 - burst.fraction
        return 1 - good

    def constant_until(self, time: float) -> float:
        """When the probabilities change next after this time, in seconds; infinite if they do not."""
        edges = (edge for burst in self.bursts for edge in (burst.start, burst.end))
        return min((edge for edge in edges if edge > time), default=inf)


class Flow:
    """Counts the connections of one step, split exactly by its weights, and their failures."""

    def __init__(self, traffic: TrafficModel, weights: Mapping[str, Decimal], begun: float, random: Random) -> None:
        """`weights` are in percent, by backend; `begun` is in seconds since the rollout began."""
        self.begun = begun
        self.connections = dict.fromkeys(weights, 0)
        self.failed = dict.fromkeys(weights, 0)
        self._traffic = traffic
        self._tenths = {backend: int(10 * weight) for backend, weight in weights.items()}
        self._random = random
        self._now = begun

    def advance(self, now: float) -> None:
        """Add the connections up to this time. Probabilities are those of the last time."""
        total = int(self._traffic.rate * (now - self.begun))
        for backend, tenths in self._tenths.items():
            connections = total * tenths // _TENTHS
            new = connections - self.connections[backend]
            probability = self._traffic.failing_at(backend, self._now)
            self.failed[backend] += binomial(new, probability, self._random)
            self.connections[backend] = connections
        self._now = now

    def failures(self, backends: Iterable[str]) -> int:
        """How many connections to these backends have failed."""
        return sum(self.failed.get(backend, 0) for backend in backends)


def binomial(total: int, probability: float, random: Random) -> int:
    """How many of so many events occur, each with this probability; as `random.binomialvariate` of Python 3.12."""
    hits = 0
    while total * probability > _FEW:
        # Of `total` uniform numbers, the one in the middle says on which side half of them are (L. Devroye, 1986, X.4).
        middle = total // 2 + 1
        value = random.betavariate(middle, total + 1 - middle)
        if value <= probability:
            hits, total = hits + middle, total - middle
            probability = (probability - value) / (1 - value) if value < probability else 0.0
        else:
            total, probability = middle - 1, probability / value
    if probability >= 1:
        return hits + total
    if probability <= 0:
        return hits
    scale, position = log1p(-probability), 0.0
    while (position := position + 1 + log(1 - random.random()) // scale) <= total:
        hits += 1
    return hits


def read_rate(text: str) -> float:
    """A rate such as `50/s`. This and the functions below raise ValueError."""
    match = _RATE.fullmatch(text)
    if not match or not float(match[1]):
        raise ValueError(f"invalid rate {text[:40]!r}, expected connections per second such as 50/s or 0.5/s")
    return float(match[1])


def read_failing(text: str) -> tuple[str, float]:
    """The failing connections of a version, such as `myapp-v2=3%`: the backend, and the fraction from 0 to 1."""
    name, _, percent = text.partition("=")
    fraction = _fraction(percent)
    if not name or fraction is None:
        raise ValueError(f"invalid value {text[:80]!r}, expected BACKEND=PERCENT% such as myapp-v2=3%, from 0% to 100%")
    return name, fraction


def read_burst(text: str) -> Burst:
    """A burst such as `5%@10m+30s`: 5 % fail, from 10 minutes after the begin of the rollout, for 30 seconds."""
    match = _BURST.fullmatch(text)
    fraction, start, lasts = (_fraction(match[1]), _seconds(match[2]), _seconds(match[3])) if match else (None,) * 3
    if fraction is None or start is None or not lasts:
        raise ValueError(f"invalid burst {text[:40]!r}, expected PERCENT%@START+DURATION such as 5%@10m+30s")
    return Burst(fraction, start, start + lasts)


def _fraction(percent: str) -> float | None:
    match = _PERCENT.fullmatch(percent)
    fraction = float(match[1]) / 100 if match else None
    return fraction if fraction is not None and fraction <= 1 else None


def _seconds(text: str) -> float | None:
    duration = read_duration(text)
    return None if duration is None else duration.total_seconds()
