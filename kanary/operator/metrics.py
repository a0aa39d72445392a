"""The operator's metrics for Prometheus. The only importer of `prometheus_client`."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

from kanary.operator.series import KanarySeries
from kanary.version import VERSION

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of `Metrics.expose`: the text format, which every version of Prometheus reads."""

# Seconds. A reconcile without changes takes a millisecond, one with a dozen slow writes some seconds.
_RECONCILE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# From a change that running proxies load to one that waits for pods until the progress deadline.
_CHANGE_SECONDS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Description(NamedTuple):
    """What a metric is, for the documentation."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Metrics:
    """The operator's metrics, in their own registry. Thread-safe."""

    def __init__(self) -> None:
        # The library would add a series with the time of creation to each counter.
        disable: Callable[[], None] = disable_created_metrics  # with a type, which the library does not declare
        disable()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.of_operator: list[Description] = []
        """The metrics of the operator itself."""
        self.kanaries = KanarySeries()
        self._make_process_metrics()
        self._make_cluster_metrics()
        self._make_history_metrics()

    def _make_process_metrics(self) -> None:
        build = self._gauge("kanary_build_info", "1 for the version of the operator", "version", "python")
        build.labels(VERSION, platform.python_version()).set(1)
        self._leader = self._gauge("kanary_leader", "1 if this process is the leader, otherwise 0")
        self._queue_depth = self._gauge("kanary_queue_depth", "Kanaries in the work queue")
        self._reconciles = self._counter(
            "kanary_reconcile",
            "Reconciles by result: success, retry (the cluster could not be read or written), rejected (by the API "
            "server) or error (a defect of the operator)",
            "result",
        )
        self._duration = self._histogram(
            "kanary_reconcile_duration_seconds", "Duration of a reconcile", _RECONCILE_SECONDS
        )
        self._transitions = self._counter("kanary_transitions", "Transitions of phases by trigger", "trigger")
        self._rollout_transitions = self._counter(
            "kanary_rollout_transitions", "Transitions of rollouts by trigger", "trigger"
        )
        self._changes = self._histogram(
            "kanary_change_duration_seconds",
            "Time from the decision about weights until every proxy serves them",
            _CHANGE_SECONDS,
        )

    def _make_cluster_metrics(self) -> None:
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
        self._history_ok = self._gauge(
            "kanary_history_recorded", "1 if history writes succeed or history is disabled, otherwise 0"
        )
        self._history_lag = self._gauge(
            "kanary_history_lag_seconds", "How long the oldest entry has been waiting for the database; 0 if none is"
        )
        self._history_size = self._gauge("kanary_history_size_bytes", "Size of the history database")
        self._history_oldest = self._gauge(
            "kanary_history_oldest_timestamp_seconds", "Time of the oldest history entry; 0 if there is none"
        )
        self._history_ok.set(1)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        self.of_operator.append(Description(f"{name}_total", "counter", labels, meaning))
        return Counter(name, meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        self.of_operator.append(Description(name, "gauge", labels, meaning))
        return Gauge(name, meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        self.of_operator.append(Description(name, "histogram", (), meaning))
        return Histogram(name, meaning, buckets=buckets, registry=self._registry)

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
        """Count a transition of a phase."""
        self._transitions.labels(trigger).inc()

    def rollout_transition(self, trigger: str) -> None:
        """Count a transition of a rollout."""
        self._rollout_transitions.labels(trigger).inc()

    def served(self, seconds: float) -> None:
        """Observe how long a change of weights took from the decision until every proxy serves it."""
        self._changes.observe(seconds)

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
        self,
        *,
        is_recorded: Callable[[], bool],
        lag: Callable[[], float],
        size: Callable[[], int],
        oldest: Callable[[], float],
    ) -> None:
        """Read the state of the history from these functions at each scrape; lag in s, size in bytes, Unix time."""
        self._history_ok.set_function(lambda: float(is_recorded()))
        self._history_lag.set_function(lag)
        self._history_size.set_function(lambda: float(size()))
        self._history_oldest.set_function(oldest)

    def expose(self) -> bytes:
        """All metrics in the format CONTENT_TYPE."""
        return b"".join([generate_latest(self._registry), *self.kanaries.parts()])
