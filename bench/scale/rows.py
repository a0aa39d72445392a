"""The figures in the order of the tables, each with its bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.stats import figures, table

Values = Mapping[str, float]
"""Figures by the names of their rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; the bars are upper bounds."""

    what: str
    unit: str = ""
    bar: float | None = None
    """For any number of Kanaries."""
    bars: Mapping[int, float] = field(default_factory=dict)
    """For these numbers."""

    def cell(self, value: float | None, kanaries: int) -> str:
        """The figure, and whether it keeps to its bar."""
        if value is None:
            return ""
        bar = self.bars.get(kanaries, self.bar)
        text = f"{value:,.0f}{self.unit}" if value == round(value) else f"{figures(value)}{self.unit}"
        return text if bar is None else f"{text}, {'met' if value <= bar else '**missed**'}"

    @property
    def bounds(self) -> str:
        """Its bars, in one cell."""
        if self.bar is not None:
            return f"{self.bar:g}{self.unit}"
        return ", ".join(f"{bar:.0f}{self.unit} at {kanaries:,}" for kanaries, bar in self.bars.items())


_LIMIT = 512 * 2**20 / 1e6
"""The memory limit of manifests/base/operator.yaml, in MB."""

MANY = {
    "idle": Row("idle: CPU, of a core", " %", bars={1_000: 1}),
    "settled": Row("memory after a restart, settled", " MB", bars={1_000: 200, 3_000: _LIMIT}),
    "peak": Row("memory after a restart, peak", " MB", bars={1_000: 200, 3_000: _LIMIT}),
    "restart_writes": Row("a restart: writes", bar=0),
    "start": Row("a restart: CPU until all Kanaries are reconciled", " s"),
    "scrape_size": Row("/metrics: size", " kB"),
    "scrape_cpu": Row("/metrics: CPU for each request", " ms"),
    "change_writes": Row("a change of weights: writes", bar=4),
    "change_cpu": Row("a change of weights: CPU", " ms"),
    "change_ready": Row("a change of weights: time until Ready, median", " s"),
    "event_cpu": Row("an event that the engine does not read: CPU", " ms", bar=1),
    "event_rate": Row("such events, handled", "/s"),
    "kopf_cpu": Row("the same events with kopf and an empty handler: CPU", " ms"),
    "kopf_rate": Row("the same with kopf: handled", "/s"),
    "look_cpu": Row("an event without effect that the engine reads: CPU, with its reconcile", " ms", bar=1),
    "look_duration": Row("such an event: mean duration of its reconcile", " ms"),
    "look_rate": Row("such events, handled", "/s"),
    **{
        f"update_{rate}{name}": Row(f"{rate} endpoint updates/s: {what}", unit, bar)
        for rate in (20, 50, 100)
        for name, what, unit, bar in (
            ("", "EndpointSlice to ConfigMap, median", " s", 1),
            ("_p99", "EndpointSlice to ConfigMap, p99", " s", None),
            ("_queue", "Kanaries in the queue, at most", "", None),
            ("_cpu", "CPU for each", " ms", None),
        )
    },
    "growth": Row("memory: growth over the last four fifths of the changes", " %", bar=5),
    "growth_changes": Row("changes of weights of that measurement"),
}
ONE = {
    "large_look": Row("CPU of a reconcile without effect", " ms", bar=10),
    "large_change": Row("CPU when one pod changes", " ms", bar=100),
    "large_latency": Row("EndpointSlice to ConfigMap, median", " s"),
    "large_peak": Row("memory, peak", " MB"),
}


def many(measured: Mapping[int, Values]) -> str:
    """The table by numbers of Kanaries, in Markdown."""
    found = [name for name in MANY if any(name in values for values in measured.values())]
    header = ["", *(f"{kanaries:,} Kanaries" for kanaries in measured), "at most"]
    return table(header, [_cells(MANY[name], name, measured) for name in found])


def one(values: Values) -> str:
    """The table for one Kanary of 5,000 endpoints, in Markdown."""
    found = [(row, name) for name, row in ONE.items() if name in values]
    header = ["", "one Kanary of 5,000 endpoints", "at most"]
    return table(header, [_cells(row, name, {1: values}) for row, name in found])


def _cells(row: Row, name: str, measured: Mapping[int, Values]) -> Sequence[str]:
    cells = [row.cell(values.get(name), kanaries) for kanaries, values in measured.items()]
    return [row.what, *cells, row.bounds]
