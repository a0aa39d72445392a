"""The report of the sidecar agent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from engine.render.haproxy import split_of
from states.timing import STATUS_INTERVAL

_MAX_TEXT = 400
_MAX_COUNT = 2**31


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one proxy."""

    digest: str
    """Digest of the configuration that it serves; empty while HAProxy does not answer."""
    rejected_digest: str = ""
    """Digest of the configuration that HAProxy rejects, if any."""
    rejection: str = ""
    """The message of HAProxy about that."""
    draining: int = 0
    """HAProxy processes that only serve connections from before a reload."""
    connections: int = 0
    max_connections: int = 0
    """Maximum number of connections that it can hold, whatever is configured."""
    problem: str = ""
    """What else keeps it from serving the mounted configuration."""
    pod: str = ""
    """The uid of the pod."""

    @property
    def state(self) -> tuple[object, ...]:
        """All on which decisions depend. They take counts of connections and processes as they are at that time."""
        is_full = self.connections >= self.max_connections
        return self.digest, self.rejected_digest, self.rejection, self.max_connections, is_full, self.problem

    def news_after(self, former: "Report | None") -> timedelta | None:
        """How long a reconcile for this report may wait; None if it changes nothing since the former one.

        A proxy that has loaded other servers changes only counts in the status, which are written later anyway.
        """
        if former is None:
            return timedelta()
        if self.state == former.state:
            return None
        same_split = replace(former, digest=self.digest).state == self.state
        is_of_servers = same_split and bool(self.digest) and split_of(self.digest) == split_of(former.digest)
        return STATUS_INTERVAL if is_of_servers else timedelta()


def read_report(raw: object) -> Report:
    """A report from the agent's JSON. Raises ValueError if it is invalid."""
    if not isinstance(raw, Mapping):
        raise ValueError("the report is not an object")  # noqa: TRY004  callers handle all invalid reports alike
    rejected = raw.get("rejected") or {}
    if not isinstance(rejected, Mapping):
        raise ValueError("rejected is not an object")  # noqa: TRY004  as above
    return Report(
        digest=_text(raw.get("digest")),
        rejected_digest=_text(rejected.get("digest")),
        rejection=_text(rejected.get("message")),
        draining=_count(raw.get("draining")),
        connections=_count(raw.get("connections")),
        max_connections=_count(raw.get("maxConnections")),
        problem=_text(raw.get("problem")),
        pod=_text(raw.get("pod")),
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")  # noqa: TRY004  as above
    return " ".join(value.split())[:_MAX_TEXT]


def _count(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < _MAX_COUNT:
        raise ValueError(f"{value!r} is not a count")
    return value
