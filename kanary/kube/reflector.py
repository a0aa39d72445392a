"""Keep a local copy of one kind of object, and say what changes.

List, then watch from the list's resource version, for ever. The official client's informer is not used: it fails on
custom objects, sets no read time-out and retries without a pause.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Mapping

from kanary.kube.backoff import Backoff
from kanary.kube.cache import Cache, Delta, Indexer
from kanary.kube.errors import ApiError, ClusterError, Garbled, Gone
from kanary.kube.resources import Json, Key, Resource
from kanary.kube.verbs import Verbs
from kanary.kube.watch import Watch

_log = logging.getLogger(__name__)

OnChange = Callable[[Key, Json | None, Json | None], None]
"""Called with key, old and new object; old is None for one that appeared, new for one that vanished."""

_BACKOFF = Backoff(base=0.2, cap=30.0)
# A watch that lived this long, in seconds, was a good one: opening the next at once cannot become a hot loop.
_STEADY = 10.0
# A server that asks for a longer pause than this, in seconds, is asked again all the same.
_LONGEST_PAUSE = 60.0


class Reflector:
    """A copy of the objects of one kind, kept by a thread of its own between `start()` and `stop()`.

    The objects that it hands out are the copy itself: to be read, not to be changed.

    `keep` prunes an object to the fields that are needed; a change in which no kept field differs is not reported.
    `on_change` is called without a lock held, from this thread or from the one that calls `remember`; two calls about
    one object may arrive in either order, so whoever needs the present state reads it here. `on_restart` is called
    whenever a watch has to be opened anew. `watch_seconds` is how long the server is asked to keep a watch open,
    `stale_seconds` how long nothing may have been heard before `healthy()` says no.
    """

    def __init__(
        self,
        client: Verbs,
        resource: Resource,
        *,
        on_change: OnChange,
        keep: Callable[[Json], Json] = lambda obj: obj,
        namespace: str | None = None,
        label_selector: str | None = None,
        indexers: Mapping[str, Indexer] | None = None,
        on_restart: Callable[[], None] = lambda: None,
        watch_seconds: float = 300.0,
        stale_seconds: float = 180.0,
        backoff: Backoff = _BACKOFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resource = resource
        self.synced = threading.Event()
        """Set once the first list is in the cache and has been reported."""
        self._client = client
        self._on_change = on_change
        self._keep = keep
        self._namespace = namespace
        self._label_selector = label_selector
        self._on_restart = on_restart
        self._watch_seconds = watch_seconds
        self._stale_seconds = stale_seconds
        self._backoff = backoff
        self._clock = clock
        self._cache = Cache(indexers)
        self._must_list = True
        self._is_restart = False
        self._opened_at: float | None = None
        self._failures = 0
        self._problem = ""
        self._last_contact = clock()
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._watch: Watch | None = None
        self._thread = threading.Thread(target=self._run, name=f"reflector-{resource}", daemon=True)

    def start(self) -> None:
        """Start to list and watch, in a thread of its own."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the watch and wait so many seconds for the thread; a request that hangs is left to its time-out."""
        self._stopped.set()
        self._woken.set()
        watch = self._watch
        if watch is not None:
            watch.close()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def retry(self) -> None:
        """Repeat at once what failed and waits for its back-off: the API server is known to answer again."""
        self._woken.set()

    def get(self, namespace: str, name: str) -> Json | None:
        """Return an object, None when there is none."""
        return self._cache.get(Key(namespace, name))

    def values(self) -> list[Json]:
        """Return all objects."""
        return self._cache.values()

    def by_namespace(self, namespace: str) -> list[Json]:
        """Return the objects of one namespace."""
        return self._cache.by_namespace(namespace)

    def lookup(self, index: str, value: Hashable) -> list[Json]:
        """Return the objects for which the indexer of that name gave that value; KeyError for an unknown index."""
        return self._cache.lookup(index, value)

    def remember(self, obj: Json) -> None:
        """Take the API server's answer to a write, so that what is read here is never older than what was written.

        Taken only when it is newer than all that the watch has delivered, and reported like any change: the watch will
        not report it again, and the answer may hold what others wrote in between.
        """
        key, version = Key.of(obj), str(obj["metadata"].get("resourceVersion", ""))
        self._report(self._cache.remember(key, self._kept(key, obj), version))

    def age(self) -> float:
        """Return the seconds since the API server was last heard of on this kind of object."""
        return self._clock() - self._last_contact

    def healthy(self) -> bool:
        """Whether there has been a list, and word from the API server since within `stale_seconds`."""
        return self.synced.is_set() and self.age() < self._stale_seconds

    def problem(self) -> str:
        """Return why the copy is not being kept current, empty when it is."""
        return self._problem

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._opened_at = None
            self._woken.clear()
            fault = self._list_and_watch()
            if not self._stopped.is_set():
                self._woken.wait(self._pause(fault))

    def _list_and_watch(self) -> Exception | None:
        try:
            if self._is_restart:
                self._on_restart()
            self._is_restart = True
            if self._must_list:
                self._list()
            self._follow()
        except ClusterError as error:
            # What cannot be read is not asked for again from the same place: it would come again.
            self._must_list = self._must_list or isinstance(error, Gone | Garbled)
            return error
        except Exception as error:  # the thread has to outlive a defect, and a new list is the way back to the truth
            _log.exception("the copy of %s is made anew", self.resource)
            self._must_list = True
            return error
        return None

    def _list(self) -> None:
        objects, position = self._client.list(self.resource, self._namespace, self._label_selector)
        listed = {}
        for obj in objects:
            key = Key.of(obj)
            listed[key] = (self._kept(key, obj), str(obj["metadata"].get("resourceVersion", "")))
        self._report(*self._cache.replace(listed, position))
        self._heard()
        self._must_list = False
        self.synced.set()

    def _follow(self) -> None:
        with self._client.watch(
            self.resource,
            self._cache.position,
            namespace=self._namespace,
            label_selector=self._label_selector,
            # Spread, so that the watches of all kinds do not end at the same moment.
            timeout_seconds=self._watch_seconds * random.uniform(1.0, 1.5),  # noqa: S311 -- jitter guards nothing
        ) as watch:
            self._watch = watch
            if self._stopped.is_set():
                return
            self._opened_at = self._clock()
            self._heard()
            for kind, obj in watch:
                self._heard()
                self._take(kind, obj)

    def _take(self, kind: str, obj: Json) -> None:
        version = str(obj["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            if not self._cache.advance(version):
                raise Gone(410, "Expired", f"the server went back from {self._cache.position} to {version}")
        elif kind == "DELETED":
            self._report(self._cache.drop(Key.of(obj), version))
        elif kind in ("ADDED", "MODIFIED"):
            key = Key.of(obj)
            self._report(self._cache.put(key, self._kept(key, obj), version))
        else:
            _log.warning("a watch of %s sent an event of unknown type %r, which is ignored", self.resource, kind)

    def _kept(self, key: Key, obj: Json) -> Json:
        try:
            return self._keep(obj)
        except Exception:  # one odd object must not keep the others from being followed
            _log.exception("%s %s cannot be pruned and is kept whole", self.resource.kind, key)
            return obj

    def _report(self, *changes: Delta | None) -> None:
        for change in changes:
            if change is None:
                continue
            try:
                self._on_change(change.key, change.old, change.new)
            except Exception:  # the copy stays current, whatever becomes of those who are told
                _log.exception("a change of %s %s was not taken", self.resource.kind, change.key)

    def _heard(self) -> None:
        self._last_contact = self._clock()
        self._problem = ""

    def _pause(self, fault: Exception | None) -> float:
        """Return the seconds to wait before the next attempt."""
        lived = 0.0 if self._opened_at is None else self._clock() - self._opened_at
        self._failures = 0 if lived >= _STEADY else self._failures + 1
        if fault is None and self._failures == 0:
            return 0.0
        asked = fault.retry_after if isinstance(fault, ApiError) else None
        pause = max(self._backoff.delay(max(1, self._failures)), min(asked or 0.0, _LONGEST_PAUSE))
        if fault is not None:
            self._problem = f"{self.resource}: {fault}"
            level = logging.INFO if self._failures == 0 or isinstance(fault, Gone) else logging.WARNING
            _log.log(level, "%s; trying again in %.1f s", self._problem, pause)
        return pause
