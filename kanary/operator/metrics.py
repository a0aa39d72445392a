"""The operator's metrics for Prometheus. The only importer of `prometheus_client`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

from states import Phase

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of `Metrics.expose`: the text format, which every version of Prometheus reads."""

# Seconds. A reconcile without changes takes a millisecond, one with a dozen slow writes some seconds.
_RECONCILE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_PHASE = "# HELP kanary_phase 1 for the current phase of a Kanary\n# TYPE kanary_phase gauge\n"
_WEIGHT = (
    "# HELP kanary_route_weight Weight of a backend in percent of the connections\n# TYPE kanary_route_weight gauge\n"
)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metrics:
    """The operator's metrics, in their own registry. Thread-safe."""

    def __init__(self) -> None:
        # The library would add a series with the time of creation to each counter.
        disable: Callable[[], None] = disable_created_metrics  # with a type, which the library does not declare
        disable()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._kanaries: dict[tuple[str, str], tuple[str, str]] = {}
        """The samples of each Kanary as text, of `_PHASE` and of `_WEIGHT`: the library would keep 3 KB for each."""
        self._make_process_metrics()
        self._make_history_metrics()

    def _make_process_metrics(self) -> None:
        self._reconciles = self._counter("kanary_reconcile", "Reconciles by result", "result")
        self._duration = Histogram(
            "kanary_reconcile_duration_seconds",
            "Duration of a reconcile",
            buckets=_RECONCILE_SECONDS,
            registry=self._registry,
        )
        self._queue_depth = self._gauge("kanary_queue_depth", "Kanaries in the work queue")
        self._leader = self._gauge("kanary_leader", "1 if this process is the leader, otherwise 0")
        self._transitions = self._counter("kanary_transitions", "Phase transitions by trigger", "trigger")
        self._events_dropped = self._counter("kanary_events_dropped", "Events that were not sent to the API server")
        self._watch_restarts = self._counter("kanary_watch_restarts", "Restarts of watches by resource", "resource")
        self._watch_age = self._gauge(
            "kanary_watch_age_seconds", "Time since the last data of a watch by resource", "resource"
        )
        self._requests = self._counter(
            "kanary_api_requests",
            "Requests to the API server by verb and status; code 0 means no response",
            "verb",
            "code",
        )

    def _make_history_metrics(self) -> None:
        self._history_rows = self._counter("kanary_history_rows", "Rows written to the history by table", "table")
        self._history_failures = self._counter(
            "kanary_history_failures", "Failed writes to the history by reason", "reason"
        )
        self._history_dropped = self._counter(
            "kanary_history_entries_dropped",
            "Entries lost because the queue was full, or because the operator stopped and the Kanary was deleted",
        )
        self._history_ok = self._gauge("kanary_history_recorded", "1 if history writes succeed, otherwise 0")
        self._history_size = self._gauge("kanary_history_size_bytes", "Size of the history database")
        self._history_oldest = self._gauge(
            "kanary_history_oldest_timestamp_seconds", "Time of the oldest history entry; 0 if there is none"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def observe_queue(self, depth: Callable[[], int]) -> None:
        """Read the depth of the queue from this function at each scrape."""
        self._queue_depth.set_function(depth)

    def observe_leadership(self, is_leader: Callable[[], bool]) -> None:
        """Read the leadership from this function at each scrape."""
        self._leader.set_function(lambda: float(is_leader()))

    def observe_watch(self, resource: str, age: Callable[[], float]) -> None:
        """Read the age of a watch, in seconds, from this function at each scrape."""
        self._watch_restarts.labels(resource)
        self._watch_age.labels(resource).set_function(age)

    def reconciled(self, result: str, seconds: float) -> None:
        """Count a reconcile and its duration."""
        self._reconciles.labels(result).inc()
        self._duration.observe(seconds)

    def transition(self, trigger: str) -> None:
        """Count a phase transition."""
        self._transitions.labels(trigger).inc()

    def event_dropped(self) -> None:
        """Count a dropped Event."""
        self._events_dropped.inc()

    def watch_restarted(self, resource: str) -> None:
        """Count a restart of a watch."""
        self._watch_restarts.labels(resource).inc()

    def requested(self, verb: str, status: int | None) -> None:
        """Count a request to the API server; the status is None without a response."""
        self._requests.labels(verb, str(status or 0)).inc()

    def history_rows(self, table: str, count: int) -> None:
        """Count rows written to the history."""
        self._history_rows.labels(table).inc(count)

    def history_failed(self, reason: str) -> None:
        """Count a failed write to the history."""
        self._history_failures.labels(reason).inc()

    def history_dropped(self) -> None:
        """Count a lost history entry."""
        self._history_dropped.inc()

    def observe_history(
        self, is_recorded: Callable[[], bool], size: Callable[[], int], oldest: Callable[[], float]
    ) -> None:
        """Read the state of the history from these functions at each scrape; size in bytes, Unix time in s."""
        self._history_ok.set_function(lambda: float(is_recorded()))
        self._history_size.set_function(lambda: float(size()))
        self._history_oldest.set_function(oldest)

    def set_kanary(self, namespace: str, name: str, *, phase: Phase, weights: Mapping[str, Decimal]) -> None:
        """Set the metrics of a Kanary: its phase, and the weight of each backend in percent."""
        labels = f'namespace="{_escaped(namespace)}",name="{_escaped(name)}"'
        phase_sample = f'kanary_phase{{{labels},phase="{phase.value}"}} 1\n'
        weight_samples = "".join(
            f'kanary_route_weight{{{labels},backend="{_escaped(backend)}"}} {weight}\n'
            for backend, weight in weights.items()
        )
        with self._lock:
            self._kanaries[namespace, name] = phase_sample, weight_samples

    def forget_kanary(self, namespace: str, name: str) -> None:
        """Delete the metrics of a Kanary, if there are any."""
        with self._lock:
            self._kanaries.pop((namespace, name), None)

    def forget_kanaries(self) -> None:
        """Delete the metrics of all Kanaries: their states are those of the leader, which this process is no longer."""
        with self._lock:
            self._kanaries.clear()

    def expose(self) -> bytes:
        """All metrics in the format CONTENT_TYPE."""
        with self._lock:
            kanaries = list(self._kanaries.values())
        phases, weights = (phase for phase, _ in kanaries), (weight for _, weight in kanaries)
        return generate_latest(self._registry) + "".join((_PHASE, *phases, _WEIGHT, *weights)).encode()


def _escaped(label: str) -> str:
    return label.translate(_ESCAPES)
