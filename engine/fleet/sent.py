"""What this process has sent to the agents of running proxies, and when a proxy is late.

The operator writes a configuration first, and then sends it to each proxy until the proxy's report contains it. The
time limit of a proxy starts with the first attempt of this process: a new leader starts it again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.render.haproxy import split_of
from states.timing import left


@dataclass(frozen=True, slots=True)
class Sent:
    """A configuration that is being sent to a proxy."""

    digest: str
    since: datetime
    """When the time that the proxy has to load it began."""

    def left(
        self, limit: timedelta, digest: str, now: datetime, ready_since: datetime | None = None
    ) -> timedelta | None:
        """How much of the limit is left, since the proxy is ready; None if this configuration is not being sent."""
        if self.digest != digest:
            return None
        # A time in the future comes from a node's clock that is ahead.
        is_later = ready_since is not None and self.since < ready_since <= now
        return left(limit, ready_since if is_later else self.since, now)


def send(sent: Sent | None, digest: str, now: datetime, serves: str) -> Sent:
    """The configuration to send to a proxy, while it has not loaded it.

    While a proxy has not loaded new weights, changes of their endpoints do not restart its time limit.
    """
    if sent and sent.digest == digest:
        return sent
    lacks_weights = sent is not None and split_of(sent.digest) == split_of(digest) != split_of(serves)
    return Sent(digest, sent.since if sent and lacks_weights else now)
