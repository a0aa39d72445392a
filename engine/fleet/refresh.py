"""When the kubelet of a proxy's pod is requested to update the mounted configuration, and when the proxy is late.

A kubelet updates the volumes of a pod at once when the pod changes, otherwise about once a minute. The request is an
annotation of the pod, with the configuration, the time of the first request and that of the last: a new leader reads it
there. It follows the write of the configuration: without a request no pod is late.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.model.times import exact_time_text, read_time
from engine.render.haproxy import split_of
from states.timing import (
    ANSWER_TIME,
    LATE_REFRESH_INTERVAL,
    LOAD_LIMIT,
    REFRESH_INTERVAL,
    REQUEST_LIFETIME,
    SETTLE_LIMIT,
)


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """The first and the last of the consecutive requests for one configuration."""

    digest: str
    first: datetime
    last: datetime

    def __str__(self) -> str:
        return f"{self.digest} {exact_time_text(self.first)} {exact_time_text(self.last)}"

    @property
    def interval(self) -> timedelta:
        """How long after the last request the next one is due."""
        return REFRESH_INTERVAL if self.last - self.first < SETTLE_LIMIT else LATE_REFRESH_INTERVAL

    def is_active(self, digest: str, now: datetime) -> bool:
        """Whether a leader still waits for the result.

        A leader that ended does not. A time in the future comes from a clock that is ahead, and does not count.
        """
        is_valid = self.digest == digest and self.first <= self.last <= now
        return is_valid and now - self.last <= self.interval + REQUEST_LIFETIME

    def next_limit(self, now: datetime, ready_since: datetime | None) -> timedelta:
        """When the next request is due, or one of the limits has passed."""
        since = max(self.first, ready_since or self.first)
        moments = (self.last + self.interval, since + LOAD_LIMIT, since + SETTLE_LIMIT, self.last + ANSWER_TIME)
        return min((moment - now for moment in moments if moment > now), default=timedelta())

    def has_missed(
        self, digest: str, now: datetime, ready_since: datetime | None, limit: timedelta = LOAD_LIMIT
    ) -> bool:
        """Whether the proxy was requested, and ready, for the whole limit."""
        since = max(self.first, ready_since or self.first)
        return self.is_active(digest, now) and now - since >= limit

    def is_late(self, digest: str, now: datetime, ready_since: datetime | None, limit: timedelta = LOAD_LIMIT) -> bool:
        """Whether it also had time to report after the last request."""
        return self.has_missed(digest, now, ready_since, limit) and ANSWER_TIME <= now - self.last <= REQUEST_LIFETIME


def read_request(text: str | None) -> RefreshRequest | None:
    """The request in an annotation; None if it is invalid."""
    digest, first, last, *_ = *(text or "").split(), "", "", ""
    since, latest = read_time(first), read_time(last)
    return RefreshRequest(digest, since, latest) if since and latest else None


def next_request(request: RefreshRequest | None, digest: str, now: datetime, serves: str = "") -> RefreshRequest:
    """The request for the annotation: the same until the next one is due.

    While a proxy has not loaded new weights, changes of their endpoints do not restart its time limit.
    """
    lacks_weights = request and split_of(request.digest) == split_of(digest) != split_of(serves)
    if request and lacks_weights and digest != request.digest and request.is_active(request.digest, now):
        return RefreshRequest(digest, request.first, now)
    if request is None or not request.is_active(digest, now):
        return RefreshRequest(digest, now, now)
    return request if now - request.last < request.interval else RefreshRequest(digest, request.first, now)
