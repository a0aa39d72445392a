"""Simulates which connections of a rollout fail, one failure at a time: what lies between costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import floor, log, log1p
from random import Random
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Stretch:
    """So many connections to the canary and the others, each of which fails with the probability of its version."""

    connections: int
    canary: float
    others: float


class Failure(NamedTuple):
    """A failed connection, and how many connections there have been, this one included."""

    connections: int
    """To the canary and the others together."""
    of_canary: int
    is_canary: bool


def failures(stretches: Iterable[Stretch], share: float, random: Random) -> Iterator[Failure]:
    """The failures in their order, where the canary's turns are its share, spread evenly from a random phase."""
    phase = random.random()
    begun = 0
    for stretch in stretches:
        end = begun + stretch.connections
        rate = max(stretch.canary, stretch.others)
        position = begun
        while (position := position + _gap(rate, random)) <= end:
            of_canary = floor(position * share + phase)
            is_canary = of_canary > floor((position - 1) * share + phase)
            own_rate = stretch.canary if is_canary else stretch.others
            if own_rate == rate or random.random() * rate < own_rate:
                yield Failure(position, of_canary, is_canary)
        begun = end


def _gap(rate: float, random: Random) -> int:
    """How many connections further the next failure is: geometrically distributed, from 1."""
    if rate >= 1:
        return 1
    return 1 + int(log(1 - random.random()) / log1p(-rate)) if rate > 0 else 2**62
