"""The leader's recording of the history: owns the writer and connects it with the engine, watches and metrics."""

from datetime import timedelta

from engine.ports import History
from kanary.history.faults import Fault
from kanary.history.records import KnownKanary
from kanary.history.retention import Retention
from kanary.history.writer import HistoryWriter, Hooks
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient, ClusterError, Timeouts
from kanary.kube.errors import NotFound
from kanary.kube.resources import Key
from kanary.operator.history_recorder import HistoryRecorder, NoHistory
from kanary.operator.metrics import Metrics
from kanary.operator.settings import Settings
from kanary.operator.watches import Watches
from states.timing import HISTORY_START_LIMIT, HISTORY_STOP_LIMIT

_TIMEOUTS = Timeouts(connect=5.0, read=5.0)
"""Of requests by the writer's thread, which records nothing in the meantime."""


class RecordFeed:
    """Owns one history writer. Only the leader starts it: an SQLite file has one writer."""

    def __init__(self, client: ClusterClient, settings: Settings, metrics: Metrics) -> None:
        self._client = client.with_timeouts(_TIMEOUTS)
        self._settings = settings
        self._metrics = metrics
        self._writer: HistoryWriter | None = None
        self._recorder: HistoryRecorder | None = None
        self._watches: Watches | None = None
        if settings.history_url:
            self._make(settings)

    def _make(self, settings: Settings) -> None:
        hooks = Hooks(
            on_change=self._on_change,
            on_refused=self._on_refused,
            on_rows=self._metrics.history_rows,
            on_failure=self._metrics.history_failed,
            on_dropped=self._metrics.history_dropped,
        )
        now = self._client.clock.now
        retention = Retention(timedelta(days=settings.history_days), settings.history_changes)
        self._writer = HistoryWriter(
            settings.history_url, retention=retention, hooks=hooks, is_deleted=self._is_deleted, now=now
        )
        self._recorder = HistoryRecorder(self._writer, now)
        self._metrics.observe_history(
            is_recorded=lambda: self.fault() is None, lag=self._writer.lag, size=self._size, oldest=self._oldest
        )

    def fault(self) -> Fault | None:
        """Why this process cannot record, or None."""
        return self._writer.fault() if self._writer else None

    def start(self, watches: Watches) -> History:
        """Open the database and return the history for the engine. The watches must be synced."""
        if self._writer is None or self._recorder is None:
            return NoHistory()
        self._watches = watches
        self._recorder.observe(watches.kanaries.values())
        self._writer.start(wait=HISTORY_START_LIMIT.total_seconds())
        return self._recorder

    def stop(self) -> None:
        """Write pending entries, for HISTORY_STOP_LIMIT at most."""
        if self._writer and self._watches:
            self._writer.stop(HISTORY_STOP_LIMIT.total_seconds())

    def _is_deleted(self, kanary: KnownKanary) -> bool | None:
        """Whether a Kanary is deleted, None if unknown. The API server decides, because the cache may be stale."""
        if self._settings.namespace not in (None, kanary.namespace):
            return False
        cached = self._watches.kanaries.get(kanary.namespace, kanary.name) if self._watches else None
        if cached and cached["metadata"]["uid"] == kanary.uid:
            return False
        try:
            found = self._client.get(KANARIES, kanary.namespace, kanary.name)
        except NotFound as error:
            # The reason is another one while the API server does not serve the CRD.
            return True if error.reason == "NotFound" else None
        except ClusterError:
            return None
        return bool(found["metadata"]["uid"] != kanary.uid)

    def _on_change(self) -> None:
        """Reconcile every Kanary, which updates its condition and passes its entries again."""
        if self._recorder and self._watches:
            self._recorder.forget()
            self._watches.enqueue_all()

    def _on_refused(self, namespace: str, name: str) -> None:
        """Reconcile this Kanary, which updates its condition."""
        if self._watches:
            self._watches.enqueue(Key(namespace, name))

    def _size(self) -> int:
        figures = self._writer.figures if self._writer else None
        return figures.size if figures else 0

    def _oldest(self) -> float:
        figures = self._writer.figures if self._writer else None
        return figures.oldest.timestamp() if figures and figures.oldest else 0.0
