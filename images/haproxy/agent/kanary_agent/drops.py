"""Connections that a pod drops together are one failure.

Verdicts take failures for independent of one another (docs/verdicts.md). A pod that ends resets all its connections,
and a pod that is cut off loses all of them: one event each.

A pod drops connections if a quarter of those that it has are reset at the same moment. Failures that are independent of
one another hardly ever come like this. If they are fewer, each one counts: otherwise a route with more pods would have
more failures than another one, at the same rate.

A connection that is reset sooner is a trial of its own: a version that resets every connection soon has few of them at
a time, and must be found at once.
"""

from collections import Counter
from collections.abc import Iterator
from math import inf
from typing import Any

from kanary_agent import files
from kanary_agent.records import Record

MOMENT_SECONDS = 0.25
"""How long a moment is at least: it lasts until all records have been read."""
LASTING_MILLISECONDS = 2000
"""From which age on connections are dropped. If a version resets all at this age, a moment has an eighth of them."""
PART = 4
"""Of how many connections of a server one has to be reset for a drop."""
LOST_SECONDS = 60
"""For how long connections to a server are lost together: each one ends a time-out after its last data."""
OVERFLOW_SECONDS = 2
"""For how long after a drop failures may have no record because the pipe was full."""

_Server = tuple[str, str]
"""Backend and address."""


class _Moment:
    """Failures of one server."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.failed: Counter[int] = Counter()
        """By the revision in which the connections began."""
        self.open: dict[str, int] = {}
        """How many connections the server still had at the last failure, by HAProxy's process."""

    @property
    def is_drop(self) -> bool:
        """Whether the server has dropped these connections together."""
        failed = self.failed.total()
        return failed > 1 and PART * failed >= failed + sum(self.open.values())

    def content(self) -> list[object]:
        return [{str(revision): count for revision, count in self.failed.items()}, self.open]

    @classmethod
    def of(cls, content: list[Any], ends: float) -> "_Moment":
        moment = cls(ends)
        failed, open_ = content
        moment.failed.update({int(revision): files.integer(count) for revision, count in failed.items()})
        moment.open = {process: files.integer(count) for process, count in open_.items()}
        if not moment.failed:
            raise ValueError("a moment without failures")
        return moment


class Drops:
    """Failures that are not counted yet, because they may be one. Times are in seconds of `time.monotonic`."""

    def __init__(self) -> None:
        self._resets: dict[_Server, _Moment] = {}
        self._losses: dict[_Server, _Moment] = {}
        self._dropped_at = -inf

    def add(self, record: Record, backend: str, revision: int, now: float) -> None:
        """Add the failure of a connection that began in this revision, which may be 0, and that `may_be_dropped`."""
        moments, seconds = (self._losses, LOST_SECONDS) if record.is_lost else (self._resets, MOMENT_SECONDS)
        moment = moments.setdefault((backend, record.server), _Moment(now + seconds))
        moment.failed[revision] += 1
        moment.open[record.process] = record.open

    def ended(self, now: float) -> Iterator[tuple[int, str, int]]:
        """The failures that are over: their revision, backend and number. All records that were written have been read.

        A drop is a failure of the latest revision that it has connections of.
        """
        if any(moment.is_drop for moment in self._resets.values()):
            self._dropped_at = now
        for (backend, _), moment in _taken(self._resets, now):
            found = {max(moment.failed): 1} if moment.is_drop else moment.failed
            yield from ((revision, backend, count) for revision, count in found.items())
        for (backend, _), moment in _taken(self._losses, now):
            yield max(moment.failed), backend, 1

    def may_have_overflowed(self, now: float) -> bool:
        """Whether failures may have no record because of a drop that is in the records."""
        return now < self._dropped_at + OVERFLOW_SECONDS

    def content(self) -> list[object]:
        """All of it as JSON, for a later agent."""
        return [
            [[*server, *moment.content()] for server, moment in moments.items()]
            for moments in (self._resets, self._losses)
        ]

    def load(self, content: list[Any], now: float) -> None:
        """Continue with the content that a former agent has saved. Raises ValueError, TypeError or AttributeError if it
        is damaged, and changes nothing then."""
        resets, losses = (
            {(str(backend), str(address)): _Moment.of(rest, now + seconds) for backend, address, *rest in moments}
            for moments, seconds in zip(content, (MOMENT_SECONDS, LOST_SECONDS), strict=True)
        )
        self._resets, self._losses = resets, losses


def may_be_dropped(record: Record) -> bool:
    """Whether the failure of this connection may be the same as that of others."""
    return record.is_reset and bool(record.server) and record.milliseconds >= LASTING_MILLISECONDS


def _taken(moments: dict[_Server, _Moment], now: float) -> Iterator[tuple[_Server, _Moment]]:
    """Remove those that are over."""
    for server in [server for server, moment in moments.items() if now >= moment.ends]:
        yield server, moments.pop(server)
