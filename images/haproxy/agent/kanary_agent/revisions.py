"""Counts connections and failures by the revision of the weights in which the connection began.

The number of connections is the difference of HAProxy's counters between two readings with the same revision: what
began between two readings with different ones is left out. Each failure has a record with the number of its connection,
and `show info` has the number of the next one: so numbers say in which revision a connection began, without a clock.
A failure that HAProxy counts and that has no record, because the pipe was full or the agent was killed, counts for
the revision in force. One whose worker has ended before its counters were read has its record.

Connections that a pod drops together are one failure (`drops.py`). If there are so many that their records fill the
pipe, those without a record are part of it.

While HAProxy redistributes the connections of a route without a server, no revision is in force.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kanary_agent import files
from kanary_agent.drops import Drops, may_be_dropped
from kanary_agent.records import Record

KEPT = 3
"""How many revisions have counts: the present one and those whose connections may last."""
MARKS = 32
"""How many changes of its revision are known of a worker. Connections from before them are left out."""
GRACE_SECONDS = 0.5
"""How long a failure may be without its record, which is written when HAProxy has sent all data to the client."""
ENDED_SECONDS = 60
"""For how long an ended worker is known: its last records may not have been read."""
_NUMBERS = 2**32


class Counted(NamedTuple):
    """Connections that began in a revision."""

    connections: int = 0
    failed: int = 0


class Reading(NamedTuple):
    """What one worker has counted since its last reading."""

    worker: str
    revision: int
    """0 if none is watched, or if its weights do not apply at the moment."""
    next_number: int
    """Of its next connection."""
    is_first: bool
    """Whether this is the first reading of this worker."""
    grown: Mapping[str, Counted]
    """By backend."""


class _Worker:
    """What is known of a worker."""

    def __init__(self, marks: list[tuple[int, int]], next_number: int, now: float) -> None:
        self.marks = marks
        """The number of the first connection of each revision, and the revision, which may be none; oldest first."""
        self.next_number = next_number
        """At the last reading."""
        self.unrecorded: dict[str, int] = {}
        """Failures by backend that were counted, less those with a record or assumed; negative before a reading."""
        self.assumed: dict[str, int] = {}
        """Failures by backend that have counted without a record, and would count again with one."""
        self.unsettled: dict[str, int] = {}
        """`unrecorded` when the grace began."""
        self.read_at = now

    @property
    def revision(self) -> int:
        return self.marks[-1][1]

    def revision_of(self, number: int) -> int:
        """The revision in which a connection began; 0 if it is left out."""
        begun = (revision for first, revision in reversed(self.marks) if (number - first) % _NUMBERS < _NUMBERS // 2)
        return next(begun, 0)

    def content(self) -> list[object]:
        return [self.next_number, self.marks, self.unrecorded, self.assumed]

    @classmethod
    def of(cls, content: list[Any], now: float) -> "_Worker":
        next_number, marks, unrecorded, assumed = content
        worker = cls(
            [(files.integer(first), files.integer(revision)) for first, revision in marks],
            files.integer(next_number),
            now,
        )
        worker.unrecorded = {name: files.integer(count) for name, count in unrecorded.items()}
        worker.assumed = {name: files.integer(count) for name, count in assumed.items()}
        return worker


class Revisions:
    """The counts of the last revisions. They never decrease as long as `ledger`, which is random, is the same."""

    def __init__(self) -> None:
        self.ledger = os.urandom(8).hex()
        self._counts: dict[int, dict[str, Counted]] = {}
        self._workers: dict[str, _Worker] = {}
        self._drops = Drops()
        self._settled_at = 0.0
        self._has_read_all = False
        """Whether every worker that is new has begun since the last reading."""

    @property
    def failing(self) -> frozenset[tuple[int, str]]:
        """The revisions and backends with a failure."""
        return frozenset(
            (key, name) for key, of in self._counts.items() for name, counted in of.items() if counted.failed
        )

    def of(self, revision: int) -> dict[int, dict[str, Counted]]:
        """The counts of this revision, even if there are none, and of those before it; the latest first."""
        known = {revision: {}, **self._counts}
        return {
            key: {
                name: counted._replace(failed=min(counted.failed, counted.connections))
                for name, counted in known[key].items()
                if counted.connections
            }
            for key in sorted(known, reverse=True)[:KEPT]
        }

    def read(self, reading: Reading, now: float) -> None:
        """Count what a worker has counted."""
        worker = self._workers.get(reading.worker)
        if worker is None:
            is_new = reading.is_first and self._has_read_all
            first = 0 if is_new else reading.next_number
            worker = self._workers[reading.worker] = _Worker([(first, reading.revision)], reading.next_number, now)
            grown = reading.grown if is_new else {}
        else:
            grown = reading.grown
        self._has_read_all = True
        former = worker.revision
        if reading.revision != former:
            # Which of the two was in force between the readings is not known.
            marks = [(worker.next_number, 0), (reading.next_number, reading.revision)]
            worker.marks = [*worker.marks, *marks][-MARKS:]
        worker.next_number, worker.read_at = reading.next_number, now
        for backend, counted in grown.items():
            if counted.failed:
                worker.unrecorded[backend] = worker.unrecorded.get(backend, 0) + counted.failed
            if reading.revision == former:
                self._add(former, backend, connections=counted.connections)

    def record(self, record: Record, backend: str, now: float) -> None:
        """Count a failure that has a record, as soon as it is known that it is one of its own."""
        workers = reversed(self._workers.items())
        worker = next((found for key, found in workers if key.split(" ")[0] == record.process), None)
        if worker is None:
            return
        if worker.assumed.get(backend, 0) > 0:
            worker.assumed[backend] -= 1
            return
        worker.unrecorded[backend] = worker.unrecorded.get(backend, 0) - 1
        revision = worker.revision_of(record.number)
        if may_be_dropped(record):
            self._drops.add(record, backend, revision, now)
        else:
            self._add(revision, backend, failed=1)

    def settle(self, now: float) -> None:
        """Count the failures that have waited, and those that have had no record for a while.

        All records that were written have been read.
        """
        for revision, backend, failed in self._drops.ended(now):
            self._add(revision, backend, failed=failed)
        if now < self._settled_at + GRACE_SECONDS:
            return
        self._settled_at = now
        for worker in self._workers.values():
            for backend, count in worker.unrecorded.items():
                lost = min(count, worker.unsettled.get(backend, 0))
                if lost > 0:
                    worker.unrecorded[backend] -= lost
                    worker.assumed[backend] = worker.assumed.get(backend, 0) + lost
                    if not self._drops.may_have_overflowed(now):
                        self._add(worker.revision, backend, failed=lost)
            worker.unsettled = dict(worker.unrecorded)

    def forget_all_but(self, workers: Iterable[str], now: float) -> None:
        """Forget the workers that ended a while ago."""
        kept = set(workers)
        self._workers = {
            key: worker for key, worker in self._workers.items() if key in kept or now < worker.read_at + ENDED_SECONDS
        }

    def _add(self, revision: int, backend: str, connections: int = 0, failed: int = 0) -> None:
        if not revision or not (connections or failed):
            return
        known = self._counts.setdefault(revision, {})
        former = known.get(backend, Counted())
        known[backend] = Counted(former.connections + connections, former.failed + failed)
        for outdated in sorted(self._counts)[:-KEPT]:
            del self._counts[outdated]

    def content(self) -> dict[str, object]:
        """All of it as JSON, for a later agent."""
        return {
            "ledger": self.ledger,
            "counts": {str(revision): {**counts} for revision, counts in self._counts.items()},
            "workers": {key: worker.content() for key, worker in self._workers.items()},
            "drops": self._drops.content(),
        }

    def load(self, content: dict[str, Any], now: float) -> None:
        """Continue with the content that a former agent has saved.

        Raises ValueError, TypeError, KeyError or AttributeError if it is damaged, and changes nothing then.
        """
        counts = {
            int(revision): {
                name: Counted(files.integer(all_), files.integer(failed)) for name, (all_, failed) in of.items()
            }
            for revision, of in content["counts"].items()
        }
        workers = {key: _Worker.of(worker, now) for key, worker in content["workers"].items()}
        self._drops.load(content["drops"], now)
        self.ledger, self._counts, self._workers = str(content["ledger"]), counts, workers
        self._has_read_all = True
