"""Leadership by a Lease (coordination.k8s.io/v1): of several replicas one writes, and each can tell whether it may.

The official client's elector is not used: it goes on leading while the API server hangs, and releases nothing.

Safety rests on durations, never on two machines' clocks being the same. A holder may write until `renew_seconds` after
the moment at which it sent its last renewal that succeeded; others take over no sooner than the lease's duration after
they saw the record change, which is later than that moment. The difference between the two is the time that a write
which is under way has to arrive.

A holder whose renewals fail stops writing at that deadline, and may write again once a renewal succeeds: it replaces
the one version of the record that still names this holder, so no other process has led in between. A holder that finds
the record to name anyone else never leads again.

One record is taken over at once: that of a former process of the same exclusive identity. That process has ended, and
the writes that it had under way with its connections. If the promise of exclusiveness is broken, the former process
finds the record to name another process and stops.
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


def steady_clock() -> float:
    """Return seconds on a clock that no one sets and that, where the system has one, runs on during suspend.

    A machine that slept must find its leadership over when it wakes up.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Elector:
    """One candidate for one Lease; times are in seconds.

    `identity` is for people to read, such as the pod's name; a random part is added to it, so that no two processes
    ever take each other's record for their own. `is_exclusive` promises that at most one process has this identity at a
    time, and that its successor starts after its end: as with a pod's name and uid, since a container is started again
    only when its former process has ended. Raises ValueError unless retry < renew < lease.
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
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        if not 0 < retry_seconds < renew_seconds < lease_seconds:
            raise ValueError(
                f"a lease needs retry < renew < lease seconds, not {retry_seconds}, {renew_seconds}, {lease_seconds}"
            )
        self.identity = f"{identity}_{uuid.uuid4()}"
        # A request that hangs leaves time for another try before the deadline.
        self._client = client.with_timeouts(Timeouts(connect=renew_seconds / 5, read=renew_seconds / 3))
        self._namespace = namespace
        self._name = name
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._lease: Json | None = None  # as last written by us; None when the record has to be looked at first
        self._lineage = identity if is_exclusive else None
        self._predecessor: str | None = None  # whose record may be taken over at once; None before the first look
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self._deadline = -math.inf
        self._has_led = False
        self._is_over = False
        self._problem = ""

    def is_leader(self) -> bool:
        """Whether writes are allowed now: the fence to ask before each of them. True for a limited time only."""
        return not self._is_over and self._clock() < self._deadline

    def problem(self) -> str:
        """Return why the last attempt to take or renew the Lease failed, empty when it did not."""
        return self._problem

    def run(self, stop: threading.Event, on_leading: Callable[[], None]) -> bool:
        """Take the Lease and renew it until `stop` is set (True) or another holder has taken it (False). To call once.

        `on_leading` is called in this thread whenever leadership begins: at first, and again when the deadline passed
        before a renewal succeeded. It must return at once, since renewals wait for it. The Lease is released on `stop`:
        whoever writes must have ended by then.
        """
        try:
            while not stop.is_set() and not self._is_over:
                deadline = self._deadline
                if self.attempt() and self._clock() >= deadline:
                    on_leading()
                stop.wait(self._retry_seconds * random.uniform(1.0, 1.2))  # noqa: S311 -- jitter guards nothing
            return not self._is_over
        finally:
            self._resign()

    def attempt(self) -> bool:
        """Take or renew the Lease once, as `run` does again and again, and return whether that succeeded."""
        known, self._lease = self._lease, None  # after a failure nobody knows what the record is
        try:
            lease = known or self._look()
            sent_at = self._clock()
            if lease is None:
                self._lease = self._client.create(LEASES, self._namespace, self._claim(self._blank()))
            elif self._is_free(lease):
                self._lease = self._client.replace(LEASES, self._namespace, self._name, self._claim(lease))
            else:
                return self._yield_to(lease)
        except ClusterError as error:
            self._note(logging.WARNING, f"lease {self._namespace}/{self._name}: {error}")
            return False
        self._extend(sent_at + self._renew_seconds)
        return True

    def _look(self) -> Json | None:
        try:
            lease = self._client.get(LEASES, self._namespace, self._name)
        except NotFound:
            lease = None
        spec, holder = _spec(lease or {}), _holder(lease or {})
        # At the first look only: a holder that appears later was not there before this process.
        if self._predecessor is None:
            self._predecessor = holder if holder.rpartition("_")[0] == self._lineage else ""
        seen = tuple(spec.get(field) for field in ("holderIdentity", "acquireTime", "renewTime", "leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        return lease

    def _is_free(self, lease: Json) -> bool:
        """Whether the Lease may be claimed: renewed by its holder, or taken by a process that has not led yet."""
        holder = _holder(lease)
        if self._has_led or holder == self.identity:
            return holder == self.identity
        return holder in ("", self._predecessor) or self._clock() - self._seen_at > self._duration(lease)

    def _duration(self, lease: Json) -> float:
        """Return the duration that the holder promises to keep to, which may be set otherwise than ours."""
        seconds = _spec(lease).get("leaseDurationSeconds")
        return float(seconds) if isinstance(seconds, int) and seconds > 0 else self._lease_seconds

    def _yield_to(self, lease: Json) -> bool:
        self._is_over = self._has_led
        holder = f"held by {_holder(lease)}" if _holder(lease) else "released"
        level = logging.ERROR if self._is_over else logging.INFO
        self._note(level, f"lease {self._namespace}/{self._name} is {holder}")
        return False

    def _extend(self, deadline: float) -> None:
        if not self._has_led or self._problem:
            _log.info("lease %s/%s is ours", self._namespace, self._name)
        self._problem = ""
        self._has_led = True
        self._deadline = deadline

    def _resign(self) -> None:
        is_holder = self._has_led and not self._is_over
        self._is_over = True  # fenced first: from the release on another one may write
        if not is_holder:
            return
        try:
            lease = self._lease or self._look()
            if lease is not None and _holder(lease) == self.identity:
                self._client.replace(LEASES, self._namespace, self._name, _released(lease))
        except ClusterError as error:
            _log.warning("the lease was not released and has to expire: %s", error)

    def _blank(self) -> Json:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"namespace": self._namespace, "name": self._name},
        }

    def _claim(self, lease: Json) -> Json:
        """Return the Lease as it stands when we hold it; its resourceVersion stays, so that only one claim succeeds."""
        spec, now = _spec(lease), _micro_time()
        claim = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._lease_seconds),
            "renewTime": now,
        }
        if _holder(lease) != self.identity:
            claim["acquireTime"] = now
            claim["leaseTransitions"] = _count(spec.get("leaseTransitions")) + (1 if spec else 0)
        return {**lease, "spec": {**spec, **claim}}

    def _note(self, level: int, problem: str) -> None:
        if problem != self._problem:
            _log.log(level, "%s", problem)
        self._problem = problem


def _released(lease: Json) -> Json:
    # A second is the shortest duration that the API accepts.
    release = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
    return {**lease, "spec": {**_spec(lease), **release}}


def _spec(lease: Json) -> Json:
    return lease.get("spec") or {}


def _holder(lease: Json) -> str:
    return str(_spec(lease).get("holderIdentity") or "")


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _micro_time() -> str:
    """Return the time of day as the API's MicroTime, which is refused without all six digits. For people only."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
