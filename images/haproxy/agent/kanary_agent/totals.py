"""Adds up the counters of all HAProxy workers of the pod: they never decrease, also if the agent is restarted.

They are in a file beside HAProxy's, with the counters of each worker at that time: a restarted agent adds what the
workers have counted since then.
"""

import json
import time
from collections.abc import Iterable
from operator import add

from kanary_agent import files
from kanary_agent.counters import Counts, Summary
from kanary_agent.revisions import Counted, Reading, Revisions

NONE = Counts(0, 0, 0, 0, 0)


class Totals:
    """The counters of each backend since the file at `path` was written first, and of the workers of that time.

    A former worker still counts while it drains. What it counts between the last reading and its end is lost.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.revisions = Revisions()
        """The counts of each revision, from the same readings and in the same file."""
        self._totals: dict[str, Counts] = {}
        self._split = ""
        """The split in force at the last reading."""
        self._before: dict[str, int] = {}
        """The connections of each backend at the first reading with this split."""
        self._seen: dict[str, dict[str, Counts]] = {}
        """The last counts of each slot of each worker."""
        self._backends: dict[str, dict[str, str]] = {}
        """The present or last backend of each slot of each worker: its connections may last."""
        self._open: dict[str, dict[str, int]] = {}
        """The open connections of each slot of each worker."""
        self._saved = self._content()
        self._load()

    def add(self, summary: Summary) -> None:
        """Add what this worker has counted since its last summary."""
        known, is_first = self._seen.get(summary.worker, {}), summary.worker not in self._seen
        grown: dict[str, Counted] = {}
        backends = self._backends.setdefault(summary.worker, {})
        backends.update(summary.backends)
        for slot, figures in summary.slots.items():
            former = known.get(slot, NONE)
            if slot in backends and figures.counts != former:
                name = backends[slot]
                more = Counts(*(max(0, new - old) for new, old in zip(figures.counts, former, strict=True)))
                self._totals[name] = Counts(*map(add, self._totals.get(name, NONE), more))
                grown[name] = Counted(*map(add, grown.get(name, Counted()), (more.connections, more.failed)))
        self._seen[summary.worker] = {slot: figures.counts for slot, figures in summary.slots.items()}
        self._open[summary.worker] = {slot: figures.open for slot, figures in summary.slots.items()}
        reading = Reading(summary.worker, summary.revision, summary.next_number, is_first, grown)
        self.revisions.read(reading, time.monotonic())

    def split_by(self, split: str) -> None:
        """Take note of the split that was in force before the last summaries were read."""
        if split == self._split:
            return
        # The first split is that of the pod's first worker.
        self._before = {name: total.connections for name, total in self._totals.items()} if self._split else {}
        self._split = split

    def forget_all_but(self, workers: Iterable[str]) -> None:
        """Forget the workers that have ended, and the counters of backends that no worker has in a slot."""
        self._seen = {worker: self._seen[worker] for worker in workers if worker in self._seen}
        self._backends = {worker: self._backends[worker] for worker in self._seen}
        self._open = {worker: found for worker, found in self._open.items() if worker in self._seen}
        present = {name for backends in self._backends.values() for name in backends.values()}
        self._totals = {name: total for name, total in self._totals.items() if name in present}
        self.revisions.forget_all_but(self._seen, time.monotonic())

    @property
    def backends(self) -> Iterable[str]:
        """The backends that have counters."""
        return self._totals

    def of(self, backend: str) -> Counts:
        """The counters of a backend."""
        return self._totals.get(backend, NONE)

    def since_change(self, backend: str) -> int:
        """The connections of a backend since the split changed, without those before the first reading after that."""
        return max(0, self.of(backend).connections - self._before.get(backend, 0))

    def open(self, backend: str) -> int:
        """The open connections of a backend, in all workers at their last summary."""
        return sum(
            count
            for worker, slots in self._open.items()
            for slot, count in slots.items()
            if self._backends[worker].get(slot) == backend
        )

    def save(self) -> None:
        """Write what has changed since the last time. Before it is reported: what was reported never decreases."""
        content = self._content()
        if content != self._saved:
            self._saved = content
            try:
                files.write(self._path, json.dumps(content))
            except OSError as error:
                # A restarted agent would start with the counters of the workers that run then.
                print(f"cannot write {self._path}: {error}", flush=True)

    def _content(self) -> dict[str, dict[str, object]]:
        backends = {worker: dict(slots) for worker, slots in self._backends.items()}
        return {
            "totals": {**self._totals},
            "split": {"name": self._split, "before": self._before},
            "workers": {**self._seen},
            "backends": {**backends},
            "revisions": self.revisions.content(),
        }

    def _load(self) -> None:
        """Continue with the counters in the file. A damaged one counts as none."""
        try:
            with open(self._path, encoding="utf-8") as file:
                content = json.load(file)
            totals = {name: _counts(raw) for name, raw in content["totals"].items()}
            workers = content["workers"].items()
            seen = {worker: {slot: _counts(raw) for slot, raw in slots.items()} for worker, slots in workers}
            backends = {worker: _backends(content["backends"][worker]) for worker in seen}
            split, before = str(content["split"]["name"]), dict(content["split"]["before"])
            before = {name: files.integer(count) for name, count in before.items()}
            self.revisions.load(content["revisions"], time.monotonic())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        self._totals, self._seen, self._backends = totals, seen, backends
        self._split, self._before = split, before


def _backends(raw: dict[str, str]) -> dict[str, str]:
    if not all(isinstance(name, str) for name in raw.values()):
        raise ValueError(f"{raw!r} are not backends by slot")
    return raw


def _counts(raw: list[int]) -> Counts:
    counts = Counts(*raw)
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"{raw!r} are not counts")
    return counts
