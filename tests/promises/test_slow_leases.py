"""Electors whose API server is slow, on a virtual clock: however long it takes, two never lead."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kanary.kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unreachable
from kanary.kube.lease import Elector
from kanary.kube.resources import Json
from tests.promises.virtual_time import VirtualEvent, VirtualTime
from tests.tables import Table, Tell

LATENCIES = Table(
    "Promise 3: leadership by the latency of the API server (two replicas, 10 minutes on a virtual clock)",
    ("seconds per request", "first leader after", "time without a leader, then", "took over", "two leaders"),
)
MINUTES = 10
Latency = tuple[float, float]
"""The seconds of a request until it is executed, and from then until it is answered."""


class LeaseStore:
    """One Lease."""

    def __init__(self) -> None:
        self.stored: Json | None = None
        self._version = 0

    def read(self) -> Json:
        if self.stored is None:
            raise NotFound(404, "NotFound")
        return self.stored

    def write(self, body: Json, version: str | None) -> Json:
        if version is None and self.stored is not None:
            raise AlreadyExists(409, "AlreadyExists")
        if version is not None and self.read()["metadata"]["resourceVersion"] != version:
            raise Conflict(409, "Conflict")
        self._version += 1
        self.stored = copy.deepcopy(body)
        self.stored["metadata"]["resourceVersion"] = str(self._version)
        return self.stored


class SlowClient:
    """Its requests arrive late, also those for whose answer nobody waits any more."""

    def __init__(self, time: VirtualTime, store: LeaseStore, latency: Latency) -> None:
        self.latency = latency
        self._time = time
        self._store = store
        self._timeouts: Any = None

    def with_timeouts(self, timeouts: Any) -> Self:
        self._timeouts = timeouts
        return self

    def get(self, resource: Any, namespace: str, name: str) -> Json:
        return self._request(self._store.read)

    def create(self, resource: Any, namespace: str, body: Json) -> Json:
        return self._request(lambda: self._store.write(body, None))

    def replace(self, resource: Any, namespace: str, name: str, body: Json) -> Json:
        return self._request(lambda: self._store.write(body, body["metadata"]["resourceVersion"]))

    def _request(self, execute: Callable[[], Json]) -> Json:
        answers: list[Json | ApiError] = []

        def arrive() -> None:
            try:
                answers.append(copy.deepcopy(execute()))
            except ApiError as error:
                answers.append(error)

        there, back = self.latency
        self._time.after(there, arrive)
        self._time.sleep(min(there + back, self._timeouts.read))
        if there + back > self._timeouts.read:
            raise Unreachable("timed out")
        (answer,) = answers
        if isinstance(answer, ApiError):
            raise answer
        return answer


class Race:
    """Candidates for one Lease, and who led when."""

    def __init__(self, *latencies: Latency) -> None:
        self.time = VirtualTime()
        self.store = LeaseStore()
        self.clients = [SlowClient(self.time, self.store, latency) for latency in latencies]
        self.leaders: list[tuple[float, tuple[int, ...]]] = []
        """Who led from when on."""
        self.starts = 0
        self._over = VirtualEvent(self.time)
        self._electors = [
            Elector(client, "ns", "operator", f"pod-{number}", is_first=self._is_first, clock=self.time)  # type: ignore[arg-type]
            for number, client in enumerate(self.clients)
        ]
        for elector in self._electors:
            self.time.start(lambda elector=elector: elector.run(self._over, self._count_start))
        self._look()

    @property
    def clashes(self) -> int:
        """How often two began to lead at once."""
        return sum(len(leaders) > 1 for _, leaders in self.leaders)

    def run(self, seconds: float) -> None:
        self.time.run(self.time.now + seconds)

    def end(self) -> None:
        self._over.set()
        self.time.finish()

    def _is_first(self) -> bool:
        return not self.starts

    def _count_start(self) -> None:
        self.starts += 1

    def _look(self) -> None:
        leaders = tuple(number for number, elector in enumerate(self._electors) if elector.is_leader())
        if not self.leaders or self.leaders[-1][1] != leaders:
            self.leaders.append((self.time.now, leaders))
        if not self._over.is_set():
            self.time.after(0.05, self._look)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seconds", [0.01, 1.0, 2.0, 3.0, 4.0, 4.5, 4.9])
def test_one_leads_all_the_time_however_slow_the_api_server_is(seconds: float, share: float, tell: Tell) -> None:
    latency = seconds * share, seconds * (1 - share)
    race = Race(latency, latency)
    race.run(60 * MINUTES)
    (_, nobody), (since, first), *more = race.leaders
    race.end()
    if share == 0.5:
        tell(LATENCIES, seconds, f"{since:.0f} s", more or "0 s", race.starts - 1, race.clashes)
    assert (nobody, len(first), more, race.starts) == ((), 1, [], 1)
    # Two requests, each of which may be repeated, because the other replica was faster.
    assert since < 4 * seconds + 3


SECONDS = st.sampled_from([0.0, 0.3, 2.0, 4.9, 8.0, 30.0])
PHASES = st.lists(
    st.tuples(st.integers(1, 20), st.tuples(*[st.tuples(SECONDS, SECONDS)] * 2), st.booleans()), min_size=2, max_size=12
)
"""How long, with which latencies of each candidate, and whether the Lease is deleted then."""


@settings(max_examples=300, deadline=None)
@given(PHASES)
def test_two_never_lead_whatever_the_requests_of_each_take(
    phases: list[tuple[int, tuple[Latency, Latency], bool]],
) -> None:
    race = Race(*phases[0][1])
    for seconds, latencies, is_deleted in phases:
        for client, latency in zip(race.clients, latencies, strict=True):
            client.latency = latency
        race.run(seconds)
        if is_deleted:
            race.store.stored = None
    race.end()
    assert race.clashes == 0
