"""Watch: a stream of what changes, from a revision on."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .cluster import Cluster
from .errors import ApiError, Object, bad_request
from .reading import rendered
from .requests import Request
from .selectors import selection
from .storage import Bookmark, Change, Record, Subscription, to_json

# As the API server: about one bookmark a minute, and one shortly before the watch's own end.
BOOKMARK_INTERVAL = 60.0
_LAST_BOOKMARK_BEFORE_END = 2.0
_DEFAULT_TIMEOUT = 1800.0
# How often a quiet watch looks whether its client is still there.
_IDLE = 0.25


@dataclass(frozen=True)
class Idle:
    """Nothing happened for a moment: the time to see whether the client is still there."""


class Watch:
    """One watch request. Iterating gives its lines, and Idle in between."""

    def __init__(self, request: Request, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._resource = request.target.resource
        self._namespace = request.target.namespace
        self._selects = selection(request.query)
        self._bookmarks = request.flag("allowWatchBookmarks")
        self._cluster = cluster
        self._clock = clock
        self._end = clock() + float(request.query.get("timeoutSeconds") or _DEFAULT_TIMEOUT)
        self._next_bookmark = min(clock() + BOOKMARK_INTERVAL, self._end - _LAST_BOOKMARK_BEFORE_END)
        self._error: ApiError | None = None
        self._start = self._seen = _revision_of(request)
        self.subscription: Subscription | None = self._subscribe()

    def _subscribe(self) -> Subscription | None:
        """Follows what comes after the revision that was requested."""
        try:
            return self._cluster.storage.subscribe(self._resource.storage, self._start)
        except ApiError as error:
            self._error = error
            return None

    def stop(self) -> None:
        """Ends the stream from another thread."""
        if self.subscription is not None:
            self.subscription.offer(None)

    def close(self) -> None:
        """Stops following. For the thread that reads the stream, once it is done."""
        if self.subscription is not None:
            self._cluster.storage.unsubscribe(self.subscription)

    def __iter__(self) -> Iterator[bytes | Idle]:
        if self.subscription is None:
            if self._error is not None:
                yield _line("ERROR", to_json(self._error.status()))
            return
        yield from self._follow(self.subscription)

    def _follow(self, subscription: Subscription) -> Iterator[bytes | Idle]:
        while (now := self._clock()) < self._end:
            if now >= self._next_bookmark:
                self._next_bookmark = self._later(now)
                yield from self._bookmark(self._seen)
            try:
                item = subscription.next(min(_IDLE, self._end - now))
            except queue.Empty:
                yield Idle()
                continue
            if item is None:
                return
            yield from self._lines(item)

    def _later(self, now: float) -> float:
        last = self._end - _LAST_BOOKMARK_BEFORE_END
        return min(now + BOOKMARK_INTERVAL, last) if now < last else self._end

    def _lines(self, item: Change | Bookmark) -> Iterator[bytes]:
        if item.revision <= self._start and isinstance(item, Change):
            return
        self._seen = max(self._seen, item.revision)
        if isinstance(item, Bookmark):
            yield from self._bookmark(self._seen)
        elif self._namespace in ("", item.record.namespace):
            yield from self._change(item)

    def _change(self, change: Change) -> Iterator[bytes]:
        """The event as this watch's selectors see it: what starts to match is added, what stops is deleted."""
        before = change.previous is not None and self._selects(change.previous.value)
        after = not change.removed and self._selects(change.record.value)
        if after:
            yield _line("MODIFIED" if before else "ADDED", rendered(change.record))
        elif before and change.previous is not None:
            yield _line("DELETED", rendered(self._last_seen(change, change.previous)))

    def _last_seen(self, change: Change, previous: Record) -> Record:
        """The state that matched last, under the revision of the change that ended it."""
        if change.removed:
            return change.record
        value = previous.copy()
        value["metadata"]["resourceVersion"] = str(change.revision)
        return Record(value, change.revision)

    def _bookmark(self, revision: int) -> Iterator[bytes]:
        if self._bookmarks:
            metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
            kind = {"kind": self._resource.kind, "apiVersion": self._resource.api_version}
            yield _line("BOOKMARK", to_json(kind | {"metadata": metadata}))


def _line(kind: str, value: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + value + b"}\n"


def _revision_of(request: Request) -> int:
    text = request.query.get("resourceVersion", "")
    if not text.isdecimal():
        raise bad_request(f"this server watches from a resourceVersion alone, not {text!r}")
    return int(text)
