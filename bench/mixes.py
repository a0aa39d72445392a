"""Mixes of weights and pods, and where their pods are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mix:
    """The weight of each route, in percent, and the number of its pods."""

    weights: tuple[int, ...]
    pods: tuple[int, ...]

    def __str__(self) -> str:
        if len(self.weights) > 3 and len(set(self.weights)) == 1:  # noqa: PLR2004 -- three can be read one by one
            pods = f"{self.pods[0]} to {self.pods[-1]} pods" if len(set(self.pods)) > 1 else f"{self.pods[0]} pod each"
            return f"{len(self.weights)} routes of {self.weights[0]} over {pods}"
        return f"{'/'.join(map(str, self.weights))} over {'/'.join(map(str, self.pods))} pods"

    def routes(self) -> Iterator[tuple[int, list[str]]]:
        """Each route's weight and the addresses of its pods."""
        for route, (weight, count) in enumerate(zip(self.weights, self.pods, strict=True)):
            yield weight, [address(route, pod) for pod in range(count)]


def address(route: int, pod: int) -> str:
    """All of 127/8 is this machine: one listening socket stands for any number of pods, each with its own address."""
    return f"127.{route + 1}.{pod // 250}.{pod % 250 + 1}"


def route_of(pod: str) -> int:
    """The route of the pod with this address."""
    return int(pod.split(".")[1]) - 1


TWO = Mix((80, 20), (3, 1))
THREE = Mix((33, 33, 34), (2, 5, 1))
TEN = Mix((10,) * 10, tuple(range(1, 11)))
HUNDRED = Mix((1,) * 100, (1,) * 100)
SIX = (TWO, Mix((99, 1), (1, 50)), Mix((50, 50), (1, 10)), THREE, TEN, Mix((90, 9, 1), (5, 3, 2)))
