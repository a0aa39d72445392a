"""Stored objects under one cluster-wide revision, their history, and the subscriptions that follow it."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .errors import ApiError, Object, expired

HISTORY_LIMIT = 50_000


@dataclass(eq=False)
class Record:
    """One stored state of an object. `value` is shared between threads: nobody may change it."""

    value: Object
    revision: int
    # JSON with its type and without, so that many watchers of one change cost one rendering.
    rendered: dict[bool, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.value["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.value["metadata"].get("namespace", ""))

    @property
    def uid(self) -> str:
        return str(self.value["metadata"]["uid"])

    def copy(self) -> Object:
        """An own copy of the object, free to be changed."""
        copied: Object = copy_of(self.value)
        return copied


@dataclass(frozen=True, eq=False)
class Change:
    """One write. `record` is the state afterwards, for a removal the last state under the removal's revision."""

    revision: int
    bucket: str
    record: Record
    previous: Record | None
    removed: bool = False
    writer: str = ""
    """The user agent of the request; empty if there was none."""
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Bookmark:
    """Tells a subscription how far it has seen everything."""

    revision: int


class Subscription:
    """The changes of one bucket (or of all) from some revision on, in order."""

    def __init__(self, bucket: str | None) -> None:
        self.bucket = bucket
        self._queue: queue.SimpleQueue[Change | Bookmark | None] = queue.SimpleQueue()

    def offer(self, item: Change | Bookmark | None) -> None:
        self._queue.put(item)

    def next(self, timeout: float | None) -> Change | Bookmark | None:
        """The next item, None once the subscription was ended.

        Raises queue.Empty after `timeout` seconds.
        """
        return self._queue.get(timeout=timeout)

    def wants(self, bucket: str) -> bool:
        return self.bucket in (None, bucket)


class Storage:
    """The cluster's state. `lock` may be held around several calls to make them one step."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.revision = 1
        self.compacted = 0
        self._writers = threading.local()
        self._buckets: dict[str, dict[tuple[str, str], Record]] = {}
        self._history: deque[Change] = deque()
        self._subscriptions: list[Subscription] = []

    def get(self, bucket: str, namespace: str, name: str) -> Record | None:
        with self.lock:
            return self._buckets.get(bucket, {}).get((namespace, name))

    def records(self, bucket: str, namespace: str = "", at: int | None = None) -> list[Record]:
        """Records in order of namespace and name, as they are or as they were at an older revision.

        Raises ApiError 410 when that revision's history is gone.
        """
        with self.lock:
            found = self._buckets.get(bucket, {}) if at is None else self._as_of(bucket, at)
            return [found[key] for key in sorted(found) if namespace in ("", key[0])]

    def write(self, bucket: str, value: Object) -> Record:
        """Stores an object under the next revision; the same content as before is no write."""
        with self.lock:
            key = (value["metadata"].get("namespace", ""), value["metadata"]["name"])
            previous = self._buckets.get(bucket, {}).get(key)
            if previous is not None and same_content(previous.value, value):
                return previous
            record = self._stamped(value)
            self._buckets.setdefault(bucket, {})[key] = record
            self._publish(Change(record.revision, bucket, record, previous, writer=self._writer))
            return record

    def remove(self, bucket: str, namespace: str, name: str) -> Record:
        """Removes an object and returns its last state under the removal's revision."""
        with self.lock:
            previous = self._buckets[bucket].pop((namespace, name))
            last = self._stamped(previous.copy())
            self._publish(Change(last.revision, bucket, last, previous, removed=True, writer=self._writer))
            return last

    @contextmanager
    def writing_as(self, writer: str) -> Iterator[None]:
        """What this thread changes meanwhile has this writer."""
        self._writers.name = writer
        try:
            yield
        finally:
            self._writers.name = ""

    def subscribe(self, bucket: str | None, since: int | None = None) -> Subscription:
        """Follows a bucket, after `since` when it is given, else from now on.

        Raises ApiError 410 when the history after `since` is gone.
        """
        with self.lock:
            subscription = Subscription(bucket)
            for change in self._since(since) if since is not None else ():
                if subscription.wants(change.bucket):
                    subscription.offer(change)
            self._subscriptions = [*self._subscriptions, subscription]
            return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        with self.lock:
            self._subscriptions = [s for s in self._subscriptions if s is not subscription]

    def end(self, bucket: str) -> None:
        """Ends the subscriptions of a bucket that is no longer served."""
        with self.lock:
            for subscription in self._subscriptions:
                if subscription.bucket == bucket:
                    subscription.offer(None)

    def compact(self) -> None:
        """Forgets the history up to now."""
        with self.lock:
            self._history.clear()
            self.compacted = self.revision

    def bookmark(self) -> None:
        """Tells every subscription the current revision."""
        with self.lock:
            for subscription in self._subscriptions:
                subscription.offer(Bookmark(self.revision))

    @property
    def _writer(self) -> str:
        return getattr(self._writers, "name", "")

    def _stamped(self, value: Object) -> Record:
        self.revision += 1
        value["metadata"]["resourceVersion"] = str(self.revision)
        return Record(value, self.revision)

    def _publish(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > HISTORY_LIMIT:
            self.compacted = self._history.popleft().revision
        for subscription in self._subscriptions:
            if subscription.wants(change.bucket):
                subscription.offer(change)

    def _since(self, revision: int) -> list[Change]:
        if revision < self.compacted:
            raise _too_old(revision, self.compacted)
        return [change for change in self._history if change.revision > revision]

    def _as_of(self, bucket: str, revision: int) -> dict[tuple[str, str], Record]:
        state = dict(self._buckets.get(bucket, {}))
        for change in reversed(self._since(revision)):
            if change.bucket != bucket:
                continue
            key = (change.record.namespace, change.record.name)
            if change.previous is None:
                state.pop(key, None)
            else:
                state[key] = change.previous
        return state


def _too_old(revision: int, oldest: int) -> ApiError:
    return expired(f"too old resource version: {revision} ({oldest})")


def copy_of(value: Any) -> Any:
    """A deep copy of JSON data."""
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_of(item) for item in value]
    return value


def same(left: Any, right: Any) -> bool:
    """Equality of JSON data, where true is not 1."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def same_content(left: Object, right: Object) -> bool:
    """Whether two states of an object differ in nothing but the resourceVersion."""
    return same(_without_revision(left), _without_revision(right))


def _without_revision(value: Object) -> Object:
    metadata = {key: item for key, item in value["metadata"].items() if key != "resourceVersion"}
    return value | {"metadata": metadata}


def to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
