"""The cluster's time, from the header `Date` of the API server's responses.

Times in objects come from the API server's clock: with this machine's clock, durations since then would include its
offset.
"""

import threading
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_RESOLUTION = timedelta(seconds=2)
"""The header has whole seconds, and some servers write it once a second."""
_YEARS = range(2000, 9000)


class ClusterClock:
    """The API server's time. Thread-safe.

    It is this machine's time as long as the responses are consistent with that: then it may be ahead of the API server
    by up to two seconds, the resolution of the header. A corrected time is never ahead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = timedelta()

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC) + self._offset

    def observe(self, date: str | None, sent: datetime, received: datetime) -> None:
        """Correct the offset by a response's header `Date`, with this machine's times of the request and the response.

        A missing or invalid header is ignored, and so is a time from which none can be counted on.
        """
        try:
            server_time = parsedate_to_datetime(date or "")
        except (ValueError, TypeError, OverflowError):
            return
        if server_time.year not in _YEARS:
            return
        server_time = server_time if server_time.tzinfo else server_time.replace(tzinfo=UTC)
        earliest, latest = server_time - received, server_time + _RESOLUTION - sent
        with self._lock:
            if not earliest <= self._offset <= latest:
                self._offset = earliest
