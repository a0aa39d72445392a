"""All Kanaries of the dashboard, from one watch for any number of pages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.reflector import Reflector
from kanary.kube.resources import Json, Key


@dataclass(frozen=True)
class Outage:
    """The API server does not answer, or not as it should."""

    problem: str
    since: datetime
    """When it last sent data."""
    seconds: int
    """For how long it has sent none."""


class Bell:
    """Wakes one page when a Kanary changes; for the event loop that makes it."""

    def __init__(self, key: Key | None) -> None:
        self._key = key
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self, key: Key) -> None:
        """Called by any thread when this Kanary has changed."""
        if self._key in (None, key):
            self.wake()

    def wake(self) -> None:
        """As if it had changed."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, seconds: float) -> None:
        """Wait for a change, but not longer than this."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), seconds)
        self._rung.clear()


class Board:
    """A copy of all Kanaries of a namespace, or of all namespaces."""

    def __init__(self, client: ClusterClient, namespace: str | None) -> None:
        self.namespace = namespace
        """None for all."""
        self.host = client.host
        self.has_ended = False
        self._client = client
        self._lock = threading.Lock()
        self._bells: set[Bell] = set()
        self._versions: dict[Key, int] = {}
        self._kanaries = Reflector(
            client,
            KANARIES,
            namespace=namespace,
            transform=_reduced,
            on_change=self._on_change,
        )

    def start(self) -> None:
        """Begin to watch. Raises ClusterError if Kanaries cannot be listed now."""
        self._client.list_as(KANARIES, lambda _: None, self.namespace)
        self._kanaries.start()
        # It retries by itself from now on.
        self._kanaries.synced.wait(self._client.timeouts.read)

    def stop(self) -> None:
        """End the watch, and the streams of all pages."""
        self.has_ended = True
        for bell in self._all_bells():
            bell.wake()
        self._kanaries.stop()

    def kanary(self, key: Key) -> Json | None:
        """The object; None if there is none."""
        return self._kanaries.get(*key)

    def version(self, key: Key) -> int:
        """Another number after each change of the Kanary: to read the object takes a thousand times as long."""
        return self._versions.get(key, 0)

    def keys(self) -> list[Key]:
        """Of all Kanaries, sorted."""
        return sorted(self._kanaries.all_keys())

    def now(self) -> datetime:
        """The API server's time."""
        return self._client.clock.now()

    def outage(self) -> Outage | None:
        """Why the Kanaries may be outdated; None if they are not."""
        problem = self._kanaries.problem()
        if not problem and self._kanaries.healthy():
            return None
        age = timedelta(seconds=round(self._kanaries.age()))
        return Outage(problem or "no data", self.now() - age, int(age.total_seconds()))

    def _on_change(self, key: Key, _old: Json | None, _new: Json | None) -> None:
        self._versions[key] = self._versions.get(key, 0) + 1
        self.changed(key)

    def changed(self, key: Key) -> None:
        """Wake the pages that show a Kanary."""
        for bell in self._all_bells():
            bell.ring(key)

    def _all_bells(self) -> tuple[Bell, ...]:
        with self._lock:
            return tuple(self._bells)

    @contextmanager
    def bell(self, key: Key | None = None) -> Iterator[Bell]:
        """A bell for one Kanary, or for all."""
        bell = Bell(key)
        with self._lock:
            self._bells.add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells.discard(bell)


def _reduced(kanary: Json) -> Json:
    metadata = {key: value for key, value in kanary["metadata"].items() if key != "managedFields"}
    return {**kanary, "metadata": metadata}
