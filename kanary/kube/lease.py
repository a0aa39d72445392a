"""Leader election by a Lease (coordination.k8s.io/v1): one of several replicas may write.

The official client's elector is not used: it keeps leading while the API server hangs, and does not release the Lease.

Safety depends on durations, never on synchronised clocks. A holder may write until `renew_seconds` after it sent its
last successful renewal. Other candidates take over at the earliest one lease duration after they observed that renewal,
which is later than its sending. The difference is the time for writes in flight to arrive. The same duration applies to
a Lease that was deleted, or whose holder was removed by someone else: its holder may not know yet.

A slow API server is no reason to stop: a renewal may take half of `renew_seconds`, and the next one is sent when
`retry_seconds` have passed since the former was sent. So each is complete before the right to write of the former ends.

A holder whose renewals fail stops writing at this deadline, and continues if a later renewal succeeds: the renewal
replaces the version of the Lease that still names this holder, so no other process has led in between. A holder that
finds another holder in the Lease, or none after its deadline, never leads again.

A candidate takes over at once from a former process of the same exclusive identity. That process has ended, and its
writes with it. If two processes have the same identity in spite of this promise, the former one finds another holder in
the Lease and stops.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kanary.kube.errors import ClusterError, NotFound
from kanary.kube.resources import LEASES, Json
from kanary.kube.verbs import Timeouts, Verbs

_log = logging.getLogger(__name__)

_RELEASED_SECONDS = 1
"""The duration of a released Lease: the shortest valid one, as other electors write it."""
_RETURN_INTERVAL = 30.0
"""Seconds between two reports that the API server responds again, after failures shorter than `renew_seconds`."""


def steady_clock() -> float:
    """Seconds on a clock that cannot be set and that, if the system has one, also counts suspended time.

    After a suspend, leadership must be over.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Elector:
    """One candidate for one Lease; times are in seconds.

    `identity` is a readable name, such as the pod's; the elector appends a random part, so that no two processes have
    the same holder identity. `is_exclusive` promises that at most one process has this identity at a time, and that a
    successor starts after its end: this holds for a pod's name and UID, because a container restarts only after its
    former process has ended. `is_first` returns whether no process has led before: if the first look finds no Lease,
    there is nothing to wait for then. Raises ValueError unless retry < renew < lease.
    """

    def __init__(
        self,
        client: Verbs,
        namespace: str,
        name: str,
        identity: str,
        *,
        is_exclusive: bool = False,
        lease_seconds: float = 15.0,
        renew_seconds: float = 10.0,
        retry_seconds: float = 2.0,
        is_first: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        if not 0 < retry_seconds < renew_seconds < lease_seconds:
            raise ValueError(
                f"a lease needs retry < renew < lease seconds, not {retry_seconds}, {renew_seconds}, {lease_seconds}"
            )
        self.identity = f"{identity}_{uuid.uuid4()}"
        # After a request that hangs there is time for another attempt before the deadline.
        self._client = client.with_timeouts(Timeouts(connect=renew_seconds / 5, read=renew_seconds / 2))
        self._namespace = namespace
        self._name = name
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._retry_seconds = retry_seconds
        self._is_first = is_first
        self._clock = clock
        self._lease: Json | None = None  # as this process last wrote it; None if it must be read first
        self._exclusive_identity = identity if is_exclusive else None
        self._predecessor: str | None = None  # holder to take over from at once; None before the first read
        self._may_begin = False  # there is no Lease, and no process has led before
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self._deadline = -math.inf
        self._has_led = False
        self._is_over = False
        self._is_away = False
        """The API server did not respond to the last attempt."""
        self._away_since = math.inf
        self._returned_at = -math.inf
        self._problem = ""

    def is_leader(self) -> bool:
        """Whether writes are allowed now. Check this before each write: the answer expires."""
        return not self._is_over and self._clock() < self._deadline

    def problem(self) -> str:
        """Why the last attempt to acquire or renew the Lease failed; empty if it succeeded."""
        return self._problem

    def run(
        self, stop: threading.Event, on_leading: Callable[[], None], on_return: Callable[[], None] = lambda: None
    ) -> bool:
        """Acquire and renew the Lease until `stop` is set (True) or another holder has it (False). Call this once.

        This thread calls `on_leading` whenever leadership begins: at first, and again if a renewal succeeds after the
        deadline. It calls `on_return` before, and also without leadership, when the API server responds again; after
        short failures at most every 30 s. Both must return quickly, because renewals wait for them. `stop` releases the
        Lease: writers must have ended before.
        """
        try:
            while not stop.is_set() and not self._is_over:
                began, deadline = self._clock(), self._deadline
                is_holder = self.attempt()
                if self._has_returned(began):
                    on_return()
                if is_holder and self._clock() >= deadline:
                    on_leading()
                pause = self._retry_seconds * random.uniform(1.0, 1.2)  # noqa: S311 -- jitter is no secret
                stop.wait(max(0.0, began + pause - self._clock()))
            return not self._is_over
        finally:
            self._resign()

    def _has_returned(self, began: float) -> bool:
        """Whether an outage is over, after the attempt that began then.

        An API server that is overloaded fails now and then, and responds in between. All that follows a return would be
        one load more: so failures that leave the time to renew count as an outage only once in a while.
        """
        if self._is_away:
            self._away_since = min(self._away_since, began)
            return False
        away_since, self._away_since = self._away_since, math.inf
        now = self._clock()
        is_long, is_rare = now - away_since >= self._renew_seconds, now - self._returned_at >= _RETURN_INTERVAL
        if math.isinf(away_since) or not (is_long or is_rare):
            return False
        self._returned_at = now
        return True

    def attempt(self) -> bool:
        """Try to acquire or renew the Lease once; return whether this process holds it."""
        known, self._lease = self._lease, None  # after a failure, read the Lease again
        self._is_away = False
        try:
            lease = known or self._read()
            sent_at = self._clock()
            if not self._is_free(lease):
                if lease is None and not self._has_led:
                    # Only an object that stays the same for its duration proves that nobody renews it.
                    self._client.create(LEASES, self._namespace, self._claim(self._new_lease(), ""))
                return self._yield_to(lease)
            if lease is None:
                created = self._client.create(LEASES, self._namespace, self._claim(self._new_lease(), self.identity))
                if self._may_begin and not self._is_first():
                    # Meanwhile another process has led, whose Lease was deleted.
                    return self._yield_to(created)
                self._lease = created
            else:
                self._lease = self._client.replace(
                    LEASES, self._namespace, self._name, self._claim(lease, self.identity)
                )
        except ClusterError as error:
            self._is_away = error.is_outage
            self._report(logging.WARNING, f"lease {self._namespace}/{self._name}: {error}")
            return False
        self._extend(sent_at + self._renew_seconds)
        return True

    def _read(self) -> Json | None:
        try:
            lease = self._client.get(LEASES, self._namespace, self._name)
        except NotFound:
            lease = None
        spec, holder = _spec(lease or {}), _holder(lease or {})
        # At the first read only: a holder that appears later is no predecessor of this process.
        if self._predecessor is None:
            self._predecessor = holder if holder.rpartition("_")[0] == self._exclusive_identity else ""
            self._may_begin = lease is None and self._is_first()
        else:
            self._may_begin = False
        seen = tuple(spec.get(field) for field in ("holderIdentity", "acquireTime", "renewTime", "leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        return lease

    def _is_free(self, lease: Json | None) -> bool:
        """Whether this process may renew the Lease as its holder, or acquire it if it has not led yet.

        `lease` is None if there is none.
        """
        holder, is_ours = _holder(lease or {}), _holder(lease or {}) == self.identity
        if self._has_led:
            # As long as the right to write lasts, nobody else can have led.
            return is_ours or (not holder and self.is_leader())
        if lease is None:
            return self._may_begin
        return (
            # A claim without a response replaced a Lease that was free, unless it created one: that may have been late,
            # after the Lease of another process was deleted.
            (is_ours and _count(_spec(lease).get("leaseTransitions")) > 0)
            or _is_released(lease)
            or (bool(holder) and holder == self._predecessor)
            or self._clock() - self._seen_at > self._duration(lease)
        )

    def _duration(self, lease: Json) -> float:
        """The lease duration of the holder, but not less than ours: the holder may not have written the present one."""
        return max(self._lease_seconds, float(_count(_spec(lease).get("leaseDurationSeconds"))))

    def _yield_to(self, lease: Json | None) -> bool:
        self._is_over = self._has_led
        holder = f"held by {_holder(lease)}" if lease and _holder(lease) else "without a holder"
        level = logging.ERROR if self._is_over else logging.INFO
        self._report(level, f"lease {self._namespace}/{self._name} is {holder if lease else 'missing'}")
        return False

    def _extend(self, deadline: float) -> None:
        if not self._has_led or self._problem:
            _log.info("acquired lease %s/%s", self._namespace, self._name)
        self._problem = ""
        self._has_led = True
        self._deadline = deadline

    def _resign(self) -> None:
        is_holder = self._has_led and not self._is_over
        self._is_over = True  # before the release: afterwards another process may write
        if not is_holder:
            return
        try:
            lease = self._lease or self._read()
            if lease is not None and _holder(lease) == self.identity:
                self._client.replace(LEASES, self._namespace, self._name, _released(lease))
        except ClusterError as error:
            _log.warning("cannot release the lease, it will expire: %s", error)

    def _new_lease(self) -> Json:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
        }

    def _claim(self, lease: Json, holder: str) -> Json:
        """The Lease with this holder; the resourceVersion is kept, so that only one claim succeeds."""
        spec, now = _spec(lease), _micro_time()
        claim = {
            "holderIdentity": holder,
            "leaseDurationSeconds": math.ceil(self._lease_seconds),
            "renewTime": now,
        }
        if _holder(lease) != holder:
            claim["acquireTime"] = now
            claim["leaseTransitions"] = _count(spec.get("leaseTransitions")) + (1 if spec else 0)
        return {**lease, "spec": {**spec, **claim}}

    def _report(self, level: int, problem: str) -> None:
        if problem != self._problem:
            _log.log(level, "%s", problem)
        self._problem = problem


def _released(lease: Json) -> Json:
    release = {"holderIdentity": "", "leaseDurationSeconds": _RELEASED_SECONDS, "renewTime": _micro_time()}
    return {**lease, "spec": {**_spec(lease), **release}}


def _is_released(lease: Json) -> bool:
    """Whether its holder released it. If someone else removed the holder, the duration is still that of the holder."""
    return not _holder(lease) and _spec(lease).get("leaseDurationSeconds") == _RELEASED_SECONDS


def _spec(lease: Json) -> Json:
    return lease.get("spec") or {}


def _holder(lease: Json) -> str:
    return str(_spec(lease).get("holderIdentity") or "")


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _micro_time() -> str:
    """The time as a MicroTime, for display only. The API server rejects it without all six digits."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
