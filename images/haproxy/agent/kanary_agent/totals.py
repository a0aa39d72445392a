"""Adds up the counters of all HAProxy workers of the pod: they never decrease while the agent runs."""

from collections.abc import Iterable

from kanary_agent.counters import Counts, RouteFigures, Summary

NONE = Counts(0, 0, 0, 0, 0)


class Totals:
    """The counters of each route since the agent started, with those that the workers of that time already had.

    A former worker still counts while it drains. What it counts between the last reading and its end is lost.
    """

    def __init__(self) -> None:
        self._totals: dict[str, Counts] = {}
        self._seen: dict[str, dict[str, RouteFigures]] = {}
        """The last figures of each worker."""

    def add(self, summary: Summary) -> None:
        """Add what this worker has counted since its last summary."""
        known = self._seen.get(summary.worker, {})
        for name, figures in summary.routes.items():
            former = known[name].counts if name in known else NONE
            if figures.counts != former:
                total = zip(self._totals.get(name, NONE), figures.counts, former, strict=True)
                self._totals[name] = Counts(*(sum_ + max(0, new - old) for sum_, new, old in total))
        self._seen[summary.worker] = summary.routes

    def forget_all_but(self, workers: Iterable[str], routes: Iterable[str]) -> None:
        """Forget the workers that have ended, and the counters of removed routes."""
        self._seen = {worker: self._seen[worker] for worker in workers if worker in self._seen}
        self._totals = {name: self._totals[name] for name in routes if name in self._totals}

    def of(self, route: str) -> Counts:
        """The counters of a route."""
        return self._totals.get(route, NONE)

    def open(self, route: str) -> int:
        """The open connections of a route, in all workers at their last summary."""
        return sum(routes[route].open for routes in self._seen.values() if route in routes)
