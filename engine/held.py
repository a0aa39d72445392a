"""Statuses whose write can wait: of counts of pods, and of a phase that may be over within a second.

They are only in memory. A process that takes over continues from the status in the cluster, decides the same again, and
numbers its entries the same: neither the history nor an Event has anything of a status that was not written, unless its
Kanary was deleted first.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from engine.model.status import KanaryStatus
from engine.observe import Observed
from engine.status import may_pass, only_counts_differ, only_evidence_differs
from states import left
from states.timing import ROLLOUT_STATUS_INTERVAL, STATUS_INTERVAL

Json = dict[str, Any]
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Held:
    kanary: Json
    """With the status that the held one follows."""
    status: KanaryStatus
    since: datetime
    """Since when a status has been held."""


class HeldStatuses:
    """The held status of each Kanary, by namespace and name."""

    def __init__(self) -> None:
        self._held: dict[_Key, _Held] = {}

    def latest(self, kanary: Json, stored: KanaryStatus) -> KanaryStatus:
        """The held status, or the one in the cluster if none is held or another client has written it."""
        held = self._of(kanary)
        return held.status if held else stored

    def hold(self, observed: Observed, status: KanaryStatus) -> timedelta:
        """Hold a status that differs from the one in the cluster; returns for how long, zero if it must be written.

        Counts are held from the first difference on: proxies report new endpoints one by one, and one write has all.
        """
        kanary, now = observed.kanary, observed.now
        held = self._of(kanary)
        since = held.since if held else now
        wait = timedelta()
        if only_counts_differ(observed.stored, status):
            is_of_step = only_evidence_differs(observed.stored, status)
            wait = left(ROLLOUT_STATUS_INTERVAL if is_of_step else STATUS_INTERVAL, since, now)
        elif may_pass(observed.stored, status):
            wait = left(STATUS_INTERVAL, status.since, now)
        if wait:
            self._held[_key(kanary)] = _Held(kanary, status, since)
        return wait

    def release(self, kanary: Json) -> None:
        """Hold nothing: the status in the cluster is the latest one."""
        self._held.pop(_key(kanary), None)

    def forget(self, namespace: str, name: str) -> tuple[Json, KanaryStatus] | None:
        """Drop the status of a deleted Kanary; returns the Kanary as it was and its held status, if there is one."""
        held = self._held.pop((namespace, name), None)
        return (held.kanary, held.status) if held else None

    def _of(self, kanary: Json) -> _Held | None:
        held = self._held.get(_key(kanary))
        return held if held and held.kanary.get("status") == kanary.get("status") else None


def _key(kanary: Json) -> _Key:
    return kanary["metadata"]["namespace"], kanary["metadata"]["name"]
