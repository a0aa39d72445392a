"""Adds up what the proxies have counted in one step of a rollout, each connection at most once.

The counts of a ledger never decrease, and a proxy that loses its ledger starts another one. So the highest counts of
each ledger are right in whatever order its reports arrive, and however often.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.model.shape import Shape
from engine.model.weight import Weight
from states.evidence import Counts

TOLERANCE = 3
"""How many connections more or less than its share a route may have got between two reports of a proxy."""
TOLERANCE_PERCENT = 1
"""The same, in addition, in percent of its share."""
LEDGERS = 500
"""Beyond this number, the ledgers that are not reported any more are dropped."""

_Count = Annotated[int, Field(ge=0)]
Ledgers = Mapping[str, Mapping[str, Counts]]
"""The counts of each proxy for one revision, by ledger and backend."""


class RouteTally(Shape):
    """What a route has received in a step."""

    weight: Weight
    """Its share of the connections in percent."""
    connections: _Count = 0
    """Connections that began in this step."""
    failed: _Count = 0
    """Those of them that have failed."""


class Tally(Shape):
    """What all proxies have counted in a step, those included that have ended.

    Raises ValueError for a ledger without the two counts of each route.
    """

    routes: dict[str, RouteTally]
    """The routes that are compared, by backend."""
    ledgers: dict[str, tuple[_Count, ...]] = Field(default_factory=dict)
    """What was counted of each proxy: first the connections of each route, then the failures, sorted by backend."""
    left_out: _Count = 0
    """Connections that were not split by the weights, for example because a route had no pod that was up."""

    @model_validator(mode="after")
    def _has_counts_of_each_route(self) -> Self:
        for ledger, counts in self.ledgers.items():
            if len(counts) != 2 * len(self.routes):
                raise ValueError(f"ledger {ledger} has {len(counts)} counts: it must have 2 for each route")
        return self

    def of(self, backend: str) -> Counts:
        """The counts of a route; zeros if it is not compared."""
        route = self.routes.get(backend)
        return Counts(route.connections, route.failed) if route else Counts()


def begin(weights: Mapping[str, Weight]) -> Tally:
    """An empty tally of these routes, by backend. Those of weight 0 are not compared."""
    return Tally(routes={backend: RouteTally(weight=weight) for backend, weight in weights.items() if weight})


def add(tally: Tally, reported: Ledgers) -> Tally:
    """The tally with the reported counts of its step; the same one if they have nothing new.

    Connections that a proxy has counted since its last report are left out, with the failures of that time, if they are
    not split by the weights: verdicts depend on the split. A shift of a few connections is within the tolerance;
    agents leave out the time in which HAProxy itself redistributes connections.
    """
    backends = sorted(tally.routes)
    weights = [tally.routes[backend].weight for backend in backends]
    ledgers, new, left_out = dict(tally.ledgers), [0] * 2 * len(backends), 0
    for ledger, counts in reported.items():
        found = [counts.get(backend, Counts()) for backend in backends]
        latest = [*(each.connections for each in found), *(each.failed for each in found)]
        former = ledgers.get(ledger, [0] * len(latest))
        grown = [max(0, count - known) for count, known in zip(latest, former, strict=True)]
        if not any(grown):
            continue
        ledgers[ledger] = tuple(map(max, latest, former))
        connections = grown[: len(backends)]
        if is_split(connections, weights):
            new = [sum_ + more for sum_, more in zip(new, grown, strict=True)]
        else:
            left_out += sum(connections)
    if ledgers == tally.ledgers:
        return tally
    if len(ledgers) > LEDGERS:
        ledgers = {ledger: counts for ledger, counts in ledgers.items() if ledger in reported}
    more = zip(backends, new, new[len(backends) :], strict=False)
    routes = {backend: _grown(tally.routes[backend], *counts) for backend, *counts in more}
    return Tally(routes=routes, ledgers=ledgers, left_out=tally.left_out + left_out)


def is_split(connections: Sequence[int], weights: Sequence[Weight]) -> bool:
    """Whether connections are split by these weights, within the tolerance."""
    shares = [sum(connections) * weight / sum(weights) for weight in weights]
    pairs = zip(connections, shares, strict=True)
    return all(abs(count - share) <= TOLERANCE + share * TOLERANCE_PERCENT / 100 for count, share in pairs)


def _grown(route: RouteTally, connections: int, failed: int) -> RouteTally:
    """Failures of connections that were left out do not exceed the others."""
    total = route.connections + connections
    return RouteTally(weight=route.weight, connections=total, failed=min(total, route.failed + failed))
