"""The series of all Kanaries, as text: the metrics library would keep 3 KB for each."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from engine.fleet.reports import Report, RouteReport
from engine.model.spec import KanarySpec
from engine.model.status import KanaryStatus
from kanary.operator.families import COUNTERS, GAUGES, Facts, RouteCounts, common_labels


@dataclass(slots=True)
class _Series:
    labels: str
    content: int | None = None
    """See `KanarySeries.set`."""
    gauges: tuple[bytes, ...] = ()
    """The samples of each of `GAUGES`."""
    counts: dict[str, RouteCounts] = field(default_factory=dict)
    """By backend."""


class KanarySeries:
    """The series of the Kanaries that this process leads. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kanaries: dict[tuple[str, str], _Series] = {}

    def set(
        self, namespace: str, name: str, status: KanaryStatus, spec: KanarySpec | None, *, content: int | None = None
    ) -> None:
        """Set the gauges of a Kanary. Its counters are those of the backends that the status has, if proxies report.

        `content` is a hash of the object that has this spec and this status; None if none has.
        """
        labels, facts = common_labels(namespace, name), Facts(status, spec)
        gauges = tuple(family.lines(labels, facts).encode() for family in GAUGES)
        with self._lock:
            series = self._kanaries.setdefault((namespace, name), _Series(labels))
            series.content, series.gauges = content, gauges
            series.counts = {
                route.backend: series.counts.get(route.backend, RouteCounts())
                for route in status.weights
                if route.connections is not None or route.backend in series.counts
            }

    def content(self, namespace: str, name: str) -> int | None:
        """The `content` of the gauges of a Kanary; None if there are none."""
        with self._lock:
            series = self._kanaries.get((namespace, name))
            return series.content if series else None

    def count(self, namespace: str, name: str, former: Report, report: Report) -> None:
        """Count what the report of a proxy of this Kanary has in addition to its former one.

        What a proxy has counted before its first report to this process is left out, as is that of a route.
        """
        with self._lock:
            series = self._kanaries.get((namespace, name))
            for backend, counts in series.counts.items() if series else ():
                known, now = former.routes.get(backend), report.routes.get(backend)
                if series and known and now:
                    series.counts[backend] = _sum(counts, known, now)

    def forget(self, namespace: str, name: str) -> None:
        """Delete the series of a Kanary, if there are any."""
        with self._lock:
            self._kanaries.pop((namespace, name), None)

    def clear(self) -> None:
        """Delete the series of all Kanaries."""
        with self._lock:
            self._kanaries.clear()

    def parts(self) -> list[bytes]:
        """All of them in the text format, in pieces: there may be megabytes."""
        with self._lock:
            kanaries = [*self._kanaries.values()]
            gauges = [series.gauges for series in kanaries]
            counts = [(series.labels, {**series.counts}) for series in kanaries]
        parts: list[bytes] = []
        for family, *texts in zip(GAUGES, *gauges, strict=True):
            parts += [family.head.encode(), *texts]
        for counter in COUNTERS:
            parts += [counter.head.encode(), *(counter.lines(labels, each).encode() for labels, each in counts)]
        return parts


def _sum(counts: RouteCounts, former: RouteReport, report: RouteReport) -> RouteCounts:
    return RouteCounts(*map(_grown, counts, _counts(former), _counts(report)))


def _counts(report: RouteReport) -> RouteCounts:
    return RouteCounts(report.connections, report.failed - report.reset, report.reset)


def _grown(total: int, former: int, now: int) -> int:
    # A proxy that has lost its counts begins at 0.
    return total + (now - former if now >= former else now)
