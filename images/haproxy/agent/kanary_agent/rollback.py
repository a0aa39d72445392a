"""Returns to the last good weights without the operator.

If the operator is gone during a rollout, and what this proxy has counted convicts a canary, the proxy serves the last
good weights until a configuration with another plan, or none, says that the operator has decided. The rollback is in a
file beside HAProxy's, so that neither a restart nor a mounted configuration ends it.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable

from kanary_agent import files
from kanary_agent.contact import Contact
from kanary_agent.conviction import Conviction, conviction_of
from kanary_agent.master import SilentError
from kanary_agent.revisions import Counted, Revisions
from kanary_agent.rollback_plan import RollbackPlan, plan_of, rolled_back


class Rollback:
    """At most one rollback, in the file at `path`. `count` reads the counters of all workers."""

    def __init__(self, path: str, contact: Contact, revisions: Revisions, count: Callable[[], None]) -> None:
        self._path = path
        self._contact = contact
        self._revisions = revisions
        self._count = count
        self._at = 0.0
        """When, by the node's clock."""
        self._conviction: Conviction | None = None
        self._load()

    @property
    def revision(self) -> int:
        """The revision that was rolled back; 0 if none was."""
        return self._conviction.revision if self._conviction else 0

    def applied_to(self, text: str) -> str:
        """The configuration to serve instead of this one: the same, unless its revision was rolled back."""
        return rolled_back(text) if self._conviction and self._is_of(text) else text

    def step(self, text: str, is_served: Callable[[], bool]) -> None:
        """Judge the revision of the newest configuration, if HAProxy serves it, or end the rollback of a former one."""
        if self._conviction:
            if text and not self._is_of(text):
                self._end()
        elif self._contact.is_lost and (plan := plan_of(text)) and self._judge(plan) and is_served():
            # Failures are counted at once, connections at the next reading.
            with contextlib.suppress(SilentError):
                self._count()
                if conviction := self._judge(plan):
                    self._begin(conviction)

    def report(self) -> dict[str, object] | None:
        """The part of the report; a duration, since the node's clock may be wrong."""
        if self._conviction is None:
            return None
        return {"secondsAgo": max(0, int(time.time() - self._at)), **_content(self._conviction)}

    def _is_of(self, text: str) -> bool:
        """Whether this configuration has the revision that was rolled back, and no decision about it."""
        plan = plan_of(text)
        return plan is not None and plan.revision == self.revision

    def _judge(self, plan: RollbackPlan) -> Conviction | None:
        return conviction_of(plan, self._revisions.of(plan.revision))

    def _begin(self, conviction: Conviction) -> None:
        self._at, self._conviction = time.time(), conviction
        print(f"rolled back without the operator: {conviction}", flush=True)
        try:
            files.write(self._path, json.dumps({"at": self._at, **_content(conviction)}))
        except OSError as error:
            # A restarted agent would serve the canary again, until it is convicted again.
            print(f"cannot write {self._path}: {error}", flush=True)

    def _end(self) -> None:
        print("the operator has decided about the rollback", flush=True)
        self._conviction = None
        with contextlib.suppress(OSError):
            os.remove(self._path)

    def _load(self) -> None:
        """Continue the rollback in the file. A damaged one counts as none."""
        try:
            with open(self._path, encoding="utf-8") as file:
                raw = json.load(file)
            own, others = (Counted(int(of["connections"]), int(of["failed"])) for of in (raw["own"], raw["others"]))
            self._at, chance = float(raw["at"]), float(raw["chance"])
            self._conviction = Conviction(int(raw["revision"]), str(raw["canary"]), own, others, chance)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return


def _content(conviction: Conviction) -> dict[str, object]:
    return {**conviction._asdict(), "own": conviction.own._asdict(), "others": conviction.others._asdict()}
