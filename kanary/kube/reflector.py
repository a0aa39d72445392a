"""Keeps a local copy of one kind of object and reports changes: a list, then a watch from its resource version.

The official client's informer is not used: it fails for custom objects, sets no read time-out and has no backoff.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

from kanary.kube.backoff import Backoff
from kanary.kube.cache import Cache, Delta, Indexer, Packed, content_of
from kanary.kube.errors import ClusterError, Gone, InvalidResponse, NotFound
from kanary.kube.list_schedule import ListSchedule
from kanary.kube.resources import Json, Key, Resource
from kanary.kube.verbs import Verbs
from kanary.kube.watch import Watch

_log = logging.getLogger(__name__)

OnChange = Callable[[Key, Json | None, Json | None], None]
"""Called with key, old and new object; old is None for an added object, new for a deleted one."""

_BACKOFF = Backoff(base=0.2, cap=30.0)
# The longest pause while the API server does not respond, or cannot: changes wait for its end.
_OUTAGE_PAUSE = 5.0
# After a watch of at least this many seconds the next one opens at once: this cannot become a hot loop.
_STEADY = 10.0
# So many of the objects that a list omits are requested one by one, before they count as deleted.
_CONFIRMED = 100
# Objects: 100 of the largest kinds take 10 MB, and several kinds are listed at a time.
_PAGE = 25


class Reflector:
    """A copy of the objects of one kind, maintained by its own thread between `start()` and `stop()`.

    Returned objects are the copy itself: do not change them. A list deletes no object that the API server still has.

    `transform` reduces an object to the needed fields. A change is reported if `content` of the transformed object
    differs, which is all but the resource version by default. `on_change` is called without a lock, from this thread or
    the one that calls `remember`; two calls for one object may arrive in any order, so read the present state here.
    `on_restart` is called whenever the watch is opened again. `watch_seconds` is the requested duration of a watch;
    `stale_seconds` how long requests may fail before `staleness()` reports it.
    """

    def __init__(
        self,
        client: Verbs,
        resource: Resource,
        *,
        on_change: OnChange,
        transform: Callable[[Json], Json] = lambda obj: obj,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        indexers: Mapping[str, Indexer] | None = None,
        content: Callable[[Json], object] = content_of,
        on_restart: Callable[[], None] = lambda: None,
        watch_seconds: float = 300.0,
        stale_seconds: float = 30.0,
        backoff: Backoff = _BACKOFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resource = resource
        self.synced = threading.Event()
        """Set when the first list is in the cache and its changes are reported."""
        self._client = client
        self._on_change = on_change
        self._transform = transform
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._on_restart = on_restart
        self._watch_seconds = watch_seconds
        self._stale_seconds = stale_seconds
        self._backoff = backoff
        self._clock = clock
        self._cache = Cache(indexers, content)
        self._must_list = True
        self._is_restart = False
        self._opened_at: float | None = None
        self._failures = 0
        self._problem = ""
        self._failing_since: float | None = None
        self._last_contact = clock()
        self._schedule = ListSchedule(clock)
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._watch: Watch | None = None
        self._thread = threading.Thread(target=self._run, name=f"reflector-{resource}", daemon=True)

    def start(self) -> None:
        """Start the thread, which lists and watches."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Close the watch and wait up to `timeout` seconds for the thread; a hanging request ends at its time-out."""
        self._stopped.set()
        self._wake.set()
        watch = self._watch
        if watch is not None:
            watch.close()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def reconnect(self) -> None:
        """Open the watch again, at once instead of after the backoff: the API server responds again.

        The connection of an open watch may have been lost without a sign.
        """
        self._wake.set()
        if watch := self._watch:
            watch.close()

    def get(self, namespace: str, name: str) -> Json | None:
        """Return an object, None if there is none."""
        return self._cache.get(Key(namespace, name))

    def version(self, namespace: str, name: str) -> str:
        """Return the resource version of an object, empty if there is none; read it before the object."""
        return self._cache.version(Key(namespace, name))

    def all_keys(self) -> Sequence[Key]:
        """Return the keys of all objects."""
        return self._cache.all_keys()

    def values(self) -> Iterator[Json]:
        """Return all objects, one at a time: together they take several times the memory of the copy."""
        found = (self._cache.get(key) for key in self._cache.all_keys())
        return (obj for obj in found if obj is not None)

    def lookup(self, index: str, value: Hashable) -> list[Json]:
        """Return the objects for which the indexer of that name gave that value; KeyError for an unknown index."""
        return self._cache.lookup(index, value)

    def lookup_keys(self, index: str, value: Hashable) -> Sequence[Key]:
        """Return the keys of these objects."""
        return self._cache.lookup_keys(index, value)

    def has_any(self, index: str, values: Iterable[Hashable]) -> bool:
        """Return whether `lookup` would find an object for any of these values."""
        return self._cache.has_any(index, values)

    def remember(self, obj: Json) -> None:
        """Store the response to a write, so that later reads are never older than the write.

        It is stored only if it is newer than all that the watch has delivered, and reported like any change: the watch
        will not report it again, and the response may contain changes of others.
        """
        key, version = Key.of(obj), str(obj["metadata"].get("resourceVersion", ""))
        self._report([self._cache.remember(key, self._transformed(key, obj), version)])

    def age(self) -> float:
        """Seconds since the last list, event or bookmark."""
        return self._clock() - self._last_contact

    def healthy(self) -> bool:
        """Whether the first list is complete, and the copy has not been stale for some time."""
        return self.synced.is_set() and not self.staleness()

    def problem(self) -> str:
        """Why the last request failed; empty if the watch works again."""
        return "" if self._is_steady() else self._problem

    def staleness(self) -> str:
        """Why the copy may have been stale for longer than `stale_seconds`; empty otherwise."""
        # In this order: a watch that ends first clears the faults before it, and then is not open any more.
        is_steady, since = self._is_steady(), self._failing_since
        is_failing = not is_steady and since is not None and self._clock() - since >= self._stale_seconds
        silence = self._schedule.silence
        if is_failing or self.age() >= silence + self._stale_seconds + 2 * self._schedule.list_seconds:
            return self._problem or f"{self.resource}: the API server has sent nothing for {silence:.0f} s"
        return ""

    def close_if_silent(self) -> None:
        """Close a watch without events and bookmarks, so that the objects are listed again. Any thread may call this.

        The time-out of the connection does not end a watch whose server sends parts of a line or empty lines.
        """
        watch = self._watch
        if watch is not None and self._opened_at is not None and self.age() >= self._schedule.silence:
            watch.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            fault = self._list_and_watch()
            if not self._stopped.is_set():
                self._wake.wait(self._pause(fault))

    def _list_and_watch(self) -> Exception | None:
        try:
            if self._is_restart:
                self._on_restart()
            self._is_restart = True
            if self._must_list or self.age() >= self._schedule.silence or self._clock() >= self._schedule.review_at:
                self._list()
            self._follow()
        except ClusterError as error:
            # An invalid response would come again from the same resource version.
            self._must_list = self._must_list or isinstance(error, Gone | InvalidResponse)
            return error
        except Exception as error:  # a defect must not end the thread, and a new list restores the copy
            _log.exception("listing %s again after a defect", self.resource)
            self._must_list = True
            return error
        return None

    def _list(self) -> None:
        began = self._clock()
        selectors = self._label_selector, self._field_selector
        found, position = self._client.list_as(self.resource, self._read, self._namespace, *selectors, page=_PAGE)
        if not position:
            raise InvalidResponse(f"the list of {self.resource} has no resourceVersion: is it from an API server?")
        listed = dict(found)
        self._confirm_deletions(listed, position)
        self._schedule.add(began, is_proven=self.synced.is_set() and not self._cache.lacks_any(listed))
        self._report(self._cache.replace(listed, position))
        self._last_contact = self._clock()
        self._must_list = False
        if not self.synced.is_set():
            self._failing_since = None
            self.synced.set()

    def _confirm_deletions(self, listed: Mapping[Key, Packed], position: str) -> None:
        """Raise InvalidResponse if a list lacks an object that exists, as after an error of a server in between."""
        omitted = self._cache.omitted(listed, position)
        for key in random.sample(omitted, min(len(omitted), _CONFIRMED)):
            known = self._cache.get(key)
            try:
                found = self._client.get(self.resource, key.namespace or None, key.name)
            except NotFound as error:
                if error.reason != "NotFound":  # the kind is not served at the moment
                    raise
                continue
            if known and found["metadata"].get("uid") == known["metadata"].get("uid") and self._selects(found):
                raise InvalidResponse(f"the API server has {self.resource} {key}, but omits it from the list")

    def _selects(self, obj: Json) -> bool:
        """Whether the object has the labels that this reflector selects."""
        labels = obj["metadata"].get("labels") or {}
        wanted = (label.partition("=") for label in (self._label_selector or "").split(",") if label)
        return all(labels.get(name) == value for name, _, value in wanted)

    def _read(self, obj: Json) -> tuple[Key, Packed]:
        key, version = Key.of(obj), str(obj["metadata"].get("resourceVersion", ""))
        new, known = self._transformed(key, obj), self._cache.packed(key, version)
        # Most of a list is known: a second copy of all that would stay in the memory of the process. The version alone
        # does not identify it: a restored etcd uses the versions after its backup again.
        return key, known if known and known.unpacked() == new else Packed.of(new, version)

    def _follow(self) -> None:
        with self._client.watch(
            self.resource,
            self._cache.position,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            # With jitter, so that the watches of all kinds do not end at the same time.
            timeout_seconds=min(
                self._watch_seconds * random.uniform(1.0, 1.5),  # noqa: S311 -- jitter is no secret
                max(_STEADY, self._schedule.review_at - self._clock()) + 1.0,
            ),
        ) as watch:
            self._watch = watch
            if self._stopped.is_set():
                return
            self._opened_at = self._clock()
            for kind, obj in watch:
                before = self._cache.position
                self._apply_event(kind, obj)
                # An event from the past proves nothing about the present.
                if self._cache.position != before:
                    self._record_contact()

    def _apply_event(self, kind: str, obj: Json) -> None:
        version = str(obj["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            if not self._cache.advance(version):
                raise Gone(410, "Expired", f"the server has moved back from {self._cache.position} to {version}")
        elif kind == "DELETED":
            self._report([self._cache.drop(Key.of(obj), version)])
        elif kind in ("ADDED", "MODIFIED"):
            key = Key.of(obj)
            if not self._cache.has(key, version):
                self._report([self._cache.put(key, self._transformed(key, obj), version)])
        else:
            _log.warning("ignored a watch event of %s with unknown type %r", self.resource, kind)

    def _transformed(self, key: Key, obj: Json) -> Json:
        try:
            return self._transform(obj)
        except Exception:  # an unusual object must not stop the watch of the others
            _log.exception("cannot transform %s %s: the whole object is stored", self.resource.kind, key)
            return obj

    def _report(self, changes: Iterable[Delta | None]) -> None:
        for change in changes:
            if change is None:
                continue
            try:
                self._on_change(change.key, change.old, change.new)
            except Exception:  # a failed handler must not stop the watch
                _log.exception("the handler of a change of %s %s failed", self.resource.kind, change.key)

    def _record_contact(self) -> None:
        self._last_contact = self._clock()
        self._problem, self._failing_since = "", None

    def _is_steady(self) -> bool:
        """Whether the watch has been open for some time."""
        opened_at = self._opened_at
        return opened_at is not None and self._clock() - opened_at >= _STEADY

    def _pause(self, fault: Exception | None) -> float:
        """Seconds to wait before the next attempt."""
        self._failures += 1
        if self._is_steady():
            self._failures, self._problem, self._failing_since = 0, "", None
        self._opened_at = None
        if fault is None and self._failures == 0:
            return 0.0
        pause = self._backoff.delay(max(1, self._failures))
        if isinstance(fault, ClusterError):
            is_outage = fault.is_outage and not isinstance(fault, InvalidResponse)
            pause = max(min(pause, _OUTAGE_PAUSE) if is_outage else pause, fault.retry_after or 0.0)
        if fault is not None:
            if self._failing_since is None and not isinstance(fault, Gone):  # after which a list follows
                self._failing_since = self._clock()
            self._problem = f"{self.resource}: {fault}"
            level = logging.INFO if self._failures == 0 or isinstance(fault, Gone) else logging.WARNING
            _log.log(level, "%s; retrying in %.1f s", self._problem, pause)
        return pause
