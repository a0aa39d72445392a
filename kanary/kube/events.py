"""Events (core/v1) on objects, sent in the background.

Sending is best effort: it never delays the caller and never fails for it.

The API is core/v1 because events.k8s.io/v1 rejects `lastTimestamp` on create, by which `kubectl describe` sorts.
Timestamps have whole seconds, and kubectl shows Events of one second in the order of their names: so names end with the
time in nanoseconds, as those of Kubernetes' components do. For the same reason only the latest Event on an object is
counted up: kubectl would show an older one before Events that happened earlier in that second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from kanary.kube.backoff import Backoff
from kanary.kube.errors import AlreadyExists, ClusterError, Meaning, NotFound
from kanary.kube.resources import EVENTS, Json
from kanary.kube.verbs import Verbs

_log = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]

_BACKOFF = Backoff(base=0.5, cap=5.0)
_ATTEMPTS = 3
_LONGEST_PAUSE = 5.0  # whatever the server asks for: all other Events wait as well
_NOTE_BYTES = 1024  # the limit of events.k8s.io/v1, which its readers rely on
_NAME_LENGTH = 230  # of the object's name in the Event's name, which may have 253 characters
_SERIES_LIMIT = 1000  # objects whose latest Event is stored; beyond that the least recently used one is dropped


@dataclass
class _Series:
    """The latest Event on an object; its count increases if the Event repeats."""

    name: str
    content: tuple[str, ...]
    count: int
    last: float


class Recorder:
    """Sends Events from its own thread, between `start()` and `stop()`.

    The queue holds up to `capacity` Events; beyond that the oldest is dropped. An Event with the reason and note of the
    latest one on the object, within `series_seconds`, increases the count of that one. `dropped` counts the Events that
    did not reach the cluster, and `on_dropped` is called for each.
    """

    def __init__(
        self,
        client: Verbs,
        controller: str,
        instance: str,
        *,
        capacity: int = 1000,
        series_seconds: float = 360.0,
        backoff: Backoff = _BACKOFF,
        on_dropped: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._client = client
        self._controller = controller
        self._instance = instance
        self._capacity = capacity
        self._series_seconds = series_seconds
        self._backoff = backoff
        self._on_dropped = on_dropped
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Json] = deque()
        self._nanoseconds = 0  # in the name of the last Event
        self._is_sending = False
        self._stopped = threading.Event()
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def emit(self, regarding: Json, reason: str, note: str, *, action: str, type: EventType = "Normal") -> None:
        """Queue an Event on an object, which needs apiVersion, kind and metadata. Never blocks, never raises.

        `reason` and `action` are fixed CamelCase words of up to 128 characters; a note of more than 1 kB is cut.
        """
        try:
            event = self._event(regarding, reason, note, action, type)
        except (KeyError, TypeError, AttributeError):  # an Event must not make its caller fail
            _log.exception("no Event %s %r: its object has no name or kind", reason, note)
            self._drop()
            return
        with self._changed:
            self._stamp(event)
            self._waiting.append(event)
            overflow = len(self._waiting) > self._capacity
            if overflow:
                self._waiting.popleft()
            self._changed.notify_all()
        if overflow:
            self._drop()

    def _stamp(self, event: Json) -> None:
        now = time.time_ns()
        # Names stay unique even if the system clock is set back.
        self._nanoseconds = max(now, self._nanoseconds + 1)
        event["metadata"]["name"] += f".{self._nanoseconds:x}"
        seconds = datetime.fromtimestamp(now // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event["firstTimestamp"] = event["lastTimestamp"] = seconds

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all Events are sent; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_sending, timeout)

    def stop(self, timeout: float = 2.0) -> None:
        """Send queued Events for up to `timeout` seconds, then end the thread."""
        if self._thread.is_alive():
            self.flush(timeout)
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._send(event)
            except ClusterError as error:
                level = logging.DEBUG if error.meaning is Meaning.ENDING else logging.WARNING
                _log.log(level, "dropped Event %s on %s: %s", event["reason"], event["involvedObject"]["name"], error)
                self._drop()
            except Exception:  # a defect must not end the thread, or no further Event would be sent
                _log.exception("dropped Event %s on %s", event["reason"], event["involvedObject"]["name"])
                self._drop()

    def _next(self) -> Json | None:
        with self._changed:
            self._is_sending = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._stopped.is_set())
            if self._stopped.is_set():
                return None
            self._is_sending = True
            return self._waiting.popleft()

    def _send(self, event: Json) -> None:
        series = self._series.get(_subject(event))
        is_repeated = series is not None and series.content == _content(event)
        if series is None or not is_repeated or self._clock() - series.last >= self._series_seconds:
            self._create(event)
            return
        try:
            self._count_up(series, event)
        except NotFound:  # the API server deletes Events, by default after an hour
            self._create(event)

    def _create(self, event: Json) -> None:
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]

        def create() -> None:
            try:
                self._client.create(EVENTS, namespace, event)
            except AlreadyExists:
                # Names are unique: an earlier attempt has created it, and its response was lost.
                return

        self._persist(create)
        subject = _subject(event)
        self._series[subject] = _Series(name, _content(event), 1, self._clock())
        self._series.move_to_end(subject)
        while len(self._series) > _SERIES_LIMIT:
            self._series.popitem(last=False)

    def _count_up(self, series: _Series, event: Json) -> None:
        patch = {"count": series.count + 1, "lastTimestamp": event["lastTimestamp"]}
        namespace = event["metadata"]["namespace"]

        def count_up() -> None:
            self._client.merge_patch(EVENTS, namespace, series.name, patch)

        self._persist(count_up)
        series.count += 1
        series.last = self._clock()

    def _persist(self, call: Callable[[], None]) -> None:
        """Make an idempotent call, a few times if it fails for a temporary cause."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return call()
            except ClusterError as error:
                if error.meaning is not Meaning.RETRY:
                    raise
                pause = min(error.retry_after or 0.0, _LONGEST_PAUSE)
                self._stopped.wait(max(self._backoff.delay(attempt), pause))
        return call()

    def _drop(self) -> None:
        self.dropped += 1
        self._on_dropped()

    def _event(self, regarding: Json, reason: str, note: str, action: str, kind: EventType) -> Json:
        metadata = regarding["metadata"]
        # Events on a cluster-scoped object belong to the namespace "default".
        namespace = metadata.get("namespace") or "default"
        reference = {
            field: metadata[field] for field in ("namespace", "name", "uid", "resourceVersion") if field in metadata
        }
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            # A part of a name must not end with these characters.
            "metadata": {"namespace": namespace, "name": metadata["name"][:_NAME_LENGTH].rstrip("-.")},
            "involvedObject": {"apiVersion": regarding["apiVersion"], "kind": regarding["kind"], **reference},
            "count": 1,
            "type": kind,
            "reason": reason,
            "action": action,
            "message": _cut(note),
            "source": {"component": self._controller},
            "reportingComponent": self._controller,
            "reportingInstance": self._instance[:128],
        }


def _subject(event: Json) -> str:
    involved = event["involvedObject"]
    return involved.get("uid") or f"{involved['kind']} {involved.get('namespace')}/{involved['name']}"


def _content(event: Json) -> tuple[str, ...]:
    return event["type"], event["reason"], event["message"]


def _cut(note: str) -> str:
    """Cut a note to the API's limit, which is in bytes."""
    encoded = note.encode()
    if len(encoded) <= _NOTE_BYTES:
        return note
    return encoded[: _NOTE_BYTES - 3].decode(errors="ignore") + "..."
