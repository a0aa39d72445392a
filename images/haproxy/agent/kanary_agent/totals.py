"""Adds up the counters of all HAProxy workers of the pod: they never decrease, also if the agent is restarted.

They are in a file beside HAProxy's, with the counters of each worker at that time: a restarted agent adds what the
workers have counted since then.
"""

import json
from collections.abc import Iterable

from kanary_agent import files
from kanary_agent.counters import Counts, RouteFigures, Summary

NONE = Counts(0, 0, 0, 0, 0)


class Totals:
    """The counters of each route since the file at `path` was written first, and of the workers of that time.

    A former worker still counts while it drains. What it counts between the last reading and its end is lost.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._totals: dict[str, Counts] = {}
        self._seen: dict[str, dict[str, RouteFigures]] = {}
        """The last figures of each worker."""
        self._saved = self._content()
        self._load()

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

    def save(self) -> None:
        """Write what has changed since the last time. Before it is reported: what was reported never decreases."""
        content = self._content()
        if content != self._saved:
            self._saved = content
            try:
                files.write(self._path, json.dumps(content))
            except OSError as error:
                # A restarted agent would start with the counters of the workers that run then.
                print(f"cannot write {self._path}: {error}", flush=True)

    def _content(self) -> dict[str, dict[str, object]]:
        counts = {worker: {name: each.counts for name, each in routes.items()} for worker, routes in self._seen.items()}
        return {"totals": {**self._totals}, "workers": {**counts}}

    def _load(self) -> None:
        """Continue with the counters in the file. A damaged one counts as none."""
        try:
            with open(self._path, encoding="utf-8") as file:
                content = json.load(file)
            totals = {name: _counts(raw) for name, raw in content["totals"].items()}
            workers = content["workers"].items()
            seen = {worker: {name: _seen(raw) for name, raw in routes.items()} for worker, routes in workers}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        self._totals, self._seen = totals, seen


def _counts(raw: list[int]) -> Counts:
    counts = Counts(*raw)
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"{raw!r} are not counts")
    return counts


def _seen(raw: list[int]) -> RouteFigures:
    return RouteFigures(up=0, unchanged=0, open=0, counts=_counts(raw))
