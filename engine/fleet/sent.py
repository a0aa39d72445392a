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
    was_ready: bool
    """Whether the proxy was ready when it was observed last."""

    def left(self, limit: timedelta, digest: str, now: datetime, *, is_ready: bool) -> timedelta | None:
        """How much of the limit is left; None if this configuration is not being sent.

        A proxy that becomes ready has the whole limit from then on. When its node says that this was does not count:
        the clock of the node may be wrong.
        """
        if self.digest != digest:
            return None
        return limit if is_ready and not self.was_ready else left(limit, self.since, now)


def send(sent: Sent | None, digest: str, now: datetime, serves: str, *, is_ready: bool) -> Sent:
    """The configuration to send to a proxy, while it has not loaded it.

    While a proxy has not loaded new weights, changes of their endpoints do not restart its time limit.
    """
    if sent is None:
        return Sent(digest, now, is_ready)
    lacks_weights = split_of(sent.digest) == split_of(digest) != split_of(serves)
    is_same = (sent.digest == digest or lacks_weights) and (sent.was_ready or not is_ready)
    found = Sent(digest, sent.since if is_same else now, is_ready)
    return sent if found == sent else found
