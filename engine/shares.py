"""Weights on the way from one set of routes to another."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from engine.model.spec import Backend, Route
from engine.model.weight import TENTHS

Weights = Mapping[Backend, Decimal]


def weights_of(routes: Iterable[Route]) -> Weights:
    """The weight of each backend that has one."""
    return {route.backend: route.weight for route in routes if route.weight}


def between(start: Weights, goal: Weights, percent: Decimal) -> Weights:
    """The weights on this part of the way, in tenths of a percent; they sum to 100 as both ends do.

    By the method of the largest remainder; of equal ones, the backend that comes first in the goal.
    """
    backends = dict.fromkeys([*goal, *start])
    exact = {
        each: 10
        * (start.get(each, Decimal()) + (goal.get(each, Decimal()) - start.get(each, Decimal())) * percent / 100)
        for each in backends
    }
    tenths = {each: int(share) for each, share in exact.items()}
    by_remainder = sorted(backends, key=lambda each: tenths[each] - exact[each])
    for each in by_remainder[: TENTHS - sum(tenths.values())]:
        tenths[each] += 1
    return {each: Decimal(count) / 10 for each, count in tenths.items()}


def with_weights(routes: Iterable[Route], weights: Weights, former: Iterable[Route]) -> tuple[Route, ...]:
    """These routes with these weights, followed by those former ones that are not among them."""
    declared = {route.backend: route for route in routes}
    others = {route.backend: route for route in former if route.backend not in declared}
    return tuple(
        route.model_copy(update={"weight": weights.get(route.backend, Decimal())})
        for route in (*declared.values(), *others.values())
    )
