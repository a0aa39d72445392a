"""The history as the leading operator records it: its writer, from the first reconcile to the last."""

from datetime import timedelta

from engine.ports import History
from kanary.history.faults import Fault
from kanary.history.records import KnownKanary
from kanary.history.retention import Retention
from kanary.history.writer import HistoryWriter, Hooks
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient, ClusterError, Timeouts
from kanary.kube.errors import NotFound
from kanary.operator.historian import Historian, NoHistory
from kanary.operator.metrics import Metrics
from kanary.operator.settings import Settings
from kanary.operator.watches import Watches
from states.timing import HISTORY_START_LIMIT, HISTORY_STOP_LIMIT

_TIMEOUTS = Timeouts(connect=5.0, read=5.0)
"""Of a request by the writer's thread, which records nothing meanwhile."""


class RecordFeed:
    """Has at most one writer at a time. Only the leader starts it: a file has one writer."""

    def __init__(self, client: ClusterClient, settings: Settings, metrics: Metrics) -> None:
        self._client = client.with_timeouts(_TIMEOUTS)
        self._settings = settings
        self._metrics = metrics
        self._writer: HistoryWriter | None = None
        self._historian: Historian | None = None
        self._watches: Watches | None = None
        if settings.history_url:
            self._make(settings)

    def _make(self, settings: Settings) -> None:
        hooks = Hooks(
            on_change=self._on_change,
            on_rows=self._metrics.history_rows,
            on_failure=self._metrics.history_failed,
            on_dropped=self._metrics.history_dropped,
        )
        retention = Retention(timedelta(days=settings.history_days), settings.history_changes)
        self._writer = HistoryWriter(
            settings.history_url, retention=retention, hooks=hooks, is_deleted=self._is_deleted
        )
        self._historian = Historian(self._writer)
        self._metrics.observe_history(lambda: self.fault() is None, self._size, self._oldest)

    def fault(self) -> Fault | None:
        """What keeps this process from recording, or None."""
        return self._writer.fault() if self._writer else None

    def start(self, watches: Watches) -> History:
        """Open the database, and return what the engine is given. The watches must have listed everything."""
        if self._writer is None or self._historian is None:
            return NoHistory()
        self._watches = watches
        self._historian.observe(watches.kanaries.values())
        self._writer.start(wait=HISTORY_START_LIMIT.total_seconds())
        return self._historian

    def stop(self) -> None:
        """Write what waits, for some seconds at most."""
        if self._writer and self._watches:
            self._writer.stop(HISTORY_STOP_LIMIT.total_seconds())

    def _is_deleted(self, kanary: KnownKanary) -> bool | None:
        """Whether the API server says so of one that the cache lacks: a cache that is behind lacks some that exist."""
        if self._settings.namespace not in (None, kanary.namespace):
            return False
        cached = self._watches.kanaries.get(kanary.namespace, kanary.name) if self._watches else None
        if cached and cached["metadata"]["uid"] == kanary.uid:
            return False
        try:
            found = self._client.get(KANARIES, kanary.namespace, kanary.name)
        except NotFound as error:
            # Where the whole kind is not served, which passes, the reason is another one.
            return True if error.reason == "NotFound" else None
        except ClusterError:
            return None
        return bool(found["metadata"]["uid"] != kanary.uid)

    def _on_change(self) -> None:
        """Have every Kanary report whether it is recorded, and hand on its entries again."""
        if self._historian and self._watches:
            self._historian.forget()
            self._watches.enqueue_all()

    def _size(self) -> int:
        figures = self._writer.figures if self._writer else None
        return figures.size if figures else 0

    def _oldest(self) -> float:
        figures = self._writer.figures if self._writer else None
        return figures.oldest.timestamp() if figures and figures.oldest else 0.0
