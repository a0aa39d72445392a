"""Operators that are killed at a point, and what was ever written for the proxies."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import default

from engine.model.entries import Share, WeightChange, entry_json
from engine.model.states import applied_in
from kanary.history.faults import HistoryError
from kanary.history.queries import EntryQuery, every
from kanary.history.reader import Reader
from kanary.operator import history_recorder, record_feed
from tests.apiserver.follower import Follower
from tests.apiserver.storage import Change
from tests.integration.scene import NAMESPACE, PROCESSES, Scene, run_operator


class Trap:
    """Shared with an operator's process: at which of its next points it kills itself.

    Each statement and each commit has two: before it is executed, and after that, before the answer is seen.
    """

    def __init__(self) -> None:
        self._left = PROCESSES.Value("i", 0)

    def set(self, points: int) -> None:
        """Pass so many points; the next one kills."""
        self._left.value = points + 1

    def clear(self) -> None:
        self._left.value = 0

    def pass_point(self, *_: Any) -> None:
        if self._left.value:
            self._left.value -= 1
            if not self._left.value:
                os.kill(os.getpid(), signal.SIGKILL)


def run_with_trap(kubeconfig: str, agent_port: int, history_url: str, trap: Trap, temporary: str) -> None:
    """The main function of an operator's process that has a trap."""
    tempfile.tempdir = temporary
    sa.event.listen(sa.Engine, "before_cursor_execute", trap.pass_point)
    sa.event.listen(sa.Engine, "after_cursor_execute", trap.pass_point)
    commit = default.DefaultDialect.do_commit

    def do_commit(self: Any, connection: Any) -> None:
        trap.pass_point()
        commit(self, connection)
        trap.pass_point()

    default.DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
    # A machine that stalls is no database that is away: only then may a revision be served before it is recorded.
    history_recorder.HISTORY_WRITE_LIMIT = record_feed.HISTORY_START_LIMIT = timedelta(seconds=30)
    run_operator(kubeconfig, agent_port, history_url)


Served = list[tuple[int, tuple[Share, ...]]]


@dataclass
class Account:
    """The revisions that were ever written for proxies, compared with the history."""

    served: int = 0
    recorded: int = 0
    twice: int = 0
    missing: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """The last entries, but no revisions, of Kanaries that were deleted with their status while no operator ran.

    They say what became of the last revision, which ends as Deleted instead.
    """
    wrong: list[str] = field(default_factory=list)


class Onlooker:
    """Notes every configuration that is ever written for proxies, and every entry that a status ever has, by uid."""

    def __init__(self, scene: Scene) -> None:
        self.served: dict[str, Served] = defaultdict(list)
        self.entries: dict[str, dict[int, Any]] = defaultdict(dict)
        self.contradictions: list[str] = []
        self._follower = Follower(scene.server.cluster, self._note, "onlooker")
        self._follower.start()

    def stop(self) -> None:
        self._follower.stop()

    @property
    def revisions(self) -> int:
        """How many were written for proxies."""
        return sum(map(len, list(self.served.values())))

    def _note(self, change: Change) -> None:
        obj = change.record.value
        metadata = obj["metadata"]
        if obj.get("kind") == "ConfigMap" and (applied := applied_in(obj)):
            noted = self.served[metadata["ownerReferences"][0]["uid"]]
            if noted[-1:] != [(applied.revision, applied.spec.shares)]:
                noted.append((applied.revision, applied.spec.shares))
        elif obj.get("kind") == "Kanary":
            uid = metadata["uid"]
            for entry in ((obj.get("status") or {}).get("history") or {}).get("entries", ()):
                if self.entries[uid].setdefault(entry["number"], entry) != entry:
                    self.contradictions.append(f"{uid}: {entry}")

    def account(self, url: str, deleted: Collection[str] = ()) -> Account:
        """Compare the history with what was noted. These Kanaries were deleted while no operator ran."""
        history = history_of(url)
        found = Account(wrong=list(self.contradictions))
        for uid, noted in self.served.items():
            changes = [entry for entry in history.get(uid, ()) if isinstance(entry, WeightChange)]
            found.recorded += len(changes)
            revisions = [change.revision for change in changes]
            found.twice += len(revisions) - len(set(revisions))
            by_revision = {change.revision: change for change in changes}
            before: tuple[Share, ...] = ()
            found.served += len(noted)
            for number, (revision, shares) in enumerate(noted):
                change = by_revision.get(revision)
                if number and noted[number - 1][0] >= revision:
                    found.wrong.append(f"{uid}: revision {revision} was served after {noted[number - 1][0]}")
                if change is None:
                    found.missing.append(f"{uid}: revision {revision}")
                elif (change.before, change.after) != (before, shares):
                    found.wrong.append(f"{uid}: {change}, but served was {shares} after {before}")
                before = shares
        for uid, entries in self.entries.items():
            recorded = {entry.number: entry_json(entry) for entry in history.get(uid, ())}
            for number, entry in entries.items():
                if number not in recorded:
                    is_gone = uid in deleted and number > max(recorded, default=0)
                    (found.gone if is_gone else found.missing).append(f"{uid}: entry {number}")
                elif recorded[number] != entry:
                    found.wrong.append(f"{uid}: {recorded[number]} instead of {entry}")
            if sorted(recorded) != list(range(1, len(recorded) + 1)):
                found.wrong.append(f"{uid}: numbers {sorted(recorded)}")
        return found


def history_of(url: str) -> dict[str, list[Any]]:
    """All entries, by uid of their Kanary, the oldest first."""
    reader = Reader(url)
    history: dict[str, list[Any]] = defaultdict(list)
    try:
        query = EntryQuery(namespace=NAMESPACE, name="rule", deleted=True, limit=1000)
        for item in every(reader.entries, query):
            history[item.kanary.uid].insert(0, item.entry)
    except HistoryError:  # the database may not be there yet
        return {}
    finally:
        reader.close()
    return history
