"""The cluster's time, from the header `Date` of the API server's answers.

Times in objects come from the API server's clock. Durations since then are wrong by as much as this machine's clock is.
"""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_RESOLUTION = timedelta(seconds=2)
"""The header has whole seconds, and some servers write it once a second."""


class ClusterClock:
    """The API server's time as far as its answers say, and never ahead of it; for any number of threads.

    This machine's clock is right as long as it agrees with the answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = timedelta()

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC) + self._offset

    def observe(self, date: str | None, sent: datetime, received: datetime) -> None:
        """Take an answer's header `Date` into account, with this machine's times of the request and of the answer.

        A header that is missing or invalid changes nothing.
        """
        try:
            told = parsedate_to_datetime(date or "")
        except (ValueError, TypeError):
            return
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        earliest, latest = told - received, told + _RESOLUTION - sent
        with self._lock:
            if not earliest <= self._offset <= latest:
                self._offset = earliest
