"""The history as the leading operator keeps it: its writer, from the first reconcile to the last."""

from collections.abc import Mapping

from engine.ports import History
from kanary.history.api import history_routes
from kanary.history.problems import BadAddressError
from kanary.history.retention import retention_of
from kanary.history.writer import HistoryWriter, Hooks
from kanary.operator.historian import Historian, NoHistory
from kanary.operator.metrics import Metrics
from kanary.operator.settings import BadSettingError, Settings
from kanary.operator.watches import Watches
from kanary.web.server import Tree

_STOP_SECONDS = 5.0
"""How long what waits to be written may hold up the end of the process; the next leader writes it again."""


class Keeping:
    """Has at most one writer at a time. Only who leads starts it: a file has one writer."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Raises BadSettingError for a database URL or a limit that is none."""
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
        retention = retention_of(settings.history_days, settings.history_changes)
        try:
            self._writer = HistoryWriter(settings.history_url, retention=retention, hooks=hooks)
        except BadAddressError as error:
            raise BadSettingError(f"KANARY_HISTORY_URL: {error}") from error
        self._historian = Historian(self._writer)
        self._metrics.observe_history(self._is_recorded, self._size, self._oldest)

    def routes(self) -> Mapping[str, Tree]:
        """What serves the history over HTTP; nothing where none is kept."""
        return history_routes(self._settings.history_url) if self._writer else {}

    def start(self, watches: Watches) -> History:
        """Open the database, and return what the engine is given."""
        if self._writer is None or self._historian is None:
            return NoHistory()
        self._watches = watches
        self._writer.start()
        self._historian.present(watches.kanaries.values(), self._settings.namespace)
        return self._historian

    def stop(self) -> None:
        """Write what waits, for some seconds at most."""
        if self._writer and self._watches:
            self._writer.stop(_STOP_SECONDS)

    def _on_change(self) -> None:
        """Have every Kanary tell whether the history takes what happens, and hand on what it has."""
        if self._historian and self._watches:
            self._historian.forget()
            self._watches.enqueue_all()

    def _is_recorded(self) -> bool:
        return self._writer is not None and self._writer.problem() is None

    def _size(self) -> int:
        figures = self._writer.figures() if self._writer else None
        return figures.size if figures else 0

    def _oldest(self) -> float:
        figures = self._writer.figures() if self._writer else None
        return figures.oldest.timestamp() if figures and figures.oldest else 0.0
