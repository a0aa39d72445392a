"""When the kubelet of a proxy's pod is requested to renew what the pod mounts, and when the proxy has had time enough.

A kubelet looks at a pod's volumes at once when the pod changes, whatever the change; otherwise once in a minute. So the
request is an annotation, which says for which configuration, since when, and when last: the next leader finds it there.
It is only written once the configuration is: a pod that nobody could ask is not late.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.model.times import exact_time_text, read_time
from engine.render.haproxy import split_of
from states.timing import ANSWER_TIME, LOAD_LIMIT, REFRESH_INTERVAL, REFRESH_INTERVAL_LIMIT, REQUEST_LIFETIME


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """Since when a pod has been asked for one configuration, without a break, and when it was asked last."""

    digest: str
    first: datetime
    last: datetime

    def __str__(self) -> str:
        return f"{self.digest} {exact_time_text(self.first)} {exact_time_text(self.last)}"

    @property
    def interval(self) -> timedelta:
        """How long after the last request the next one is due."""
        passed = self.last - self.first
        return min(passed, REFRESH_INTERVAL_LIMIT) if passed >= LOAD_LIMIT else REFRESH_INTERVAL

    def is_active(self, digest: str, now: datetime) -> bool:
        """Whether somebody still waits for the result.

        A leader that ended does not, and one whose clock is ahead of this one has not done so yet.
        """
        is_told = self.digest == digest and self.first <= self.last <= now
        return is_told and now - self.last <= self.interval + REQUEST_LIFETIME

    def is_in_time(self, digest: str, now: datetime) -> bool:
        """Whether the proxy may be about to load the configuration."""
        return not self.is_active(digest, now) or now - self.first < LOAD_LIMIT

    def has_missed(
        self, digest: str, now: datetime, ready_since: datetime | None, limit: timedelta = LOAD_LIMIT
    ) -> bool:
        """Whether the proxy has been asked, and ready, for long enough to have loaded it."""
        since = max(self.first, ready_since or self.first)
        return self.is_active(digest, now) and now - since >= limit

    def is_late(self, digest: str, now: datetime, ready_since: datetime | None, limit: timedelta = LOAD_LIMIT) -> bool:
        """Whether it also had the time to react to the last request."""
        return self.has_missed(digest, now, ready_since, limit) and ANSWER_TIME <= now - self.last <= REQUEST_LIFETIME


def read_request(text: str | None) -> RefreshRequest | None:
    """The request in an annotation; None where it is none."""
    digest, first, last, *_ = *(text or "").split(), "", "", ""
    since, latest = read_time(first), read_time(last)
    return RefreshRequest(digest, since, latest) if since and latest else None


def next_request(request: RefreshRequest | None, digest: str, now: datetime, serves: str = "") -> RefreshRequest:
    """What the annotation is to say now: the same until the next request is due.

    A proxy that has not even loaded the weights is not given more time for them with each change of their endpoints.
    """
    lacks_weights = request and split_of(request.digest) == split_of(digest) != split_of(serves)
    if request and lacks_weights and digest != request.digest and request.is_active(request.digest, now):
        return RefreshRequest(digest, request.first, now)
    if request is None or not request.is_active(digest, now):
        return RefreshRequest(digest, now, now)
    return request if now - request.last < request.interval else RefreshRequest(digest, request.first, now)
