"""The objects of a reflector, by key and by index. Thread-safe."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from kanary.kube.resources import Json, Key

Indexer = Callable[[Json], Iterable[Hashable]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delta:
    """One object that was added (old is None), changed or deleted (new is None)."""

    key: Key
    old: Json | None
    new: Json | None


@dataclass(frozen=True)
class _Entry:
    obj: Json
    version: str
    values: Mapping[str, frozenset[Hashable]]


class Cache:
    """Objects of one kind. An older version never replaces a newer one.

    Resource versions are compared as numbers, which Kubernetes guarantees for one kind of object (KEP-5504). If they
    are not numbers, the order of arrival counts, and `remember` does nothing.
    """

    def __init__(
        self, indexers: Mapping[str, Indexer] | None = None, content: Callable[[Json], object] | None = None
    ) -> None:
        self._indexers = dict(indexers or {})
        self._content = content or content_of
        self._lock = threading.Lock()
        self._entries: dict[Key, _Entry] = {}
        self._indexes: dict[str, defaultdict[Hashable, set[Key]]] = {name: defaultdict(set) for name in self._indexers}
        self._position = ""

    @property
    def position(self) -> str:
        """The resource version up to which the cache has all changes; empty before the first list."""
        return self._position

    def get(self, key: Key) -> Json | None:
        """Return an object, None if there is none."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.obj if entry else None

    def values(self) -> list[Json]:
        """Return all objects."""
        with self._lock:
            return [entry.obj for entry in self._entries.values()]

    def lookup(self, index: str, value: Hashable) -> list[Json]:
        """Return the objects for which the indexer of that name gave that value; KeyError for an unknown index."""
        with self._lock:
            return [self._entries[key].obj for key in self._indexes[index].get(value, ())]

    def replace(self, listed: Mapping[Key, tuple[Json, str]], position: str) -> list[Delta]:
        """Replace all objects by a list (objects with their versions) of the given position; return the changes."""
        with self._lock:
            # A position below the last one means another history, for example a restored etcd: only the list counts.
            # Otherwise an object that is newer than the list is a write of ours, made after the list.
            rewound = _is_older(position, self._position)
            self._position = position
            ours = set() if rewound else {key for key in self._entries if _is_older(position, self._version(key))}
            deleted = [key for key in self._entries if key not in listed and key not in ours]
            changes = [self._drop(key) for key in deleted]
            changes += [self._put(key, *entry) for key, entry in listed.items() if key not in ours]
        return [change for change in changes if change is not None]

    def put(self, key: Key, obj: Json, version: str) -> Delta | None:
        """Store an added or modified object of the watch; return the change."""
        with self._lock:
            if self._is_past(version):
                return None
            self._position = version
            return None if _is_older(version, self._version(key)) else self._put(key, obj, version)

    def drop(self, key: Key, version: str) -> Delta | None:
        """Delete an object at the version of the watch's DELETED event; return the change."""
        with self._lock:
            if self._is_past(version):
                return None
            self._position = version
            return None if _is_older(version, self._version(key)) else self._drop(key)

    def advance(self, position: str) -> bool:
        """Move to the position of a bookmark; return False if it is older, so that a new list is necessary."""
        with self._lock:
            if _is_older(position, self._position):
                return False
            self._position = position
            return True

    def remember(self, key: Key, obj: Json, version: str) -> Delta | None:
        """Store the response to a write of ours if the watch has not delivered it yet; return the change."""
        with self._lock:
            # The watch has delivered everything before the position, and the object may be deleted since.
            if not _is_older(self._position, version) or self._is_stored_since(key, version):
                return None
            return self._put(key, obj, version)

    def _is_past(self, version: str) -> bool:
        return version == self._position or _is_older(version, self._position)

    def _is_stored_since(self, key: Key, version: str) -> bool:
        return key in self._entries and not _is_older(self._version(key), version)

    def _version(self, key: Key) -> str:
        entry = self._entries.get(key)
        return entry.version if entry else ""

    def _put(self, key: Key, obj: Json, version: str) -> Delta | None:
        old = self._entries.get(key)
        if old and old.obj == obj:
            obj = old.obj  # what was derived from it stays valid
        values = {name: _values(name, indexer, key, obj) for name, indexer in self._indexers.items()}
        self._unindex(key)
        self._entries[key] = _Entry(obj, version, values)
        for name, found in values.items():
            for value in found:
                self._indexes[name][value].add(key)
        return (
            None if old and self._content(old.obj) == self._content(obj) else Delta(key, old.obj if old else None, obj)
        )

    def _drop(self, key: Key) -> Delta | None:
        self._unindex(key)
        old = self._entries.pop(key, None)
        return Delta(key, old.obj, None) if old else None

    def _unindex(self, key: Key) -> None:
        entry = self._entries.get(key)
        for name, values in (entry.values if entry else {}).items():
            for value in values:
                self._discard(name, value, key)

    def _discard(self, index: str, value: Hashable, key: Key) -> None:
        keys = self._indexes[index][value]
        keys.discard(key)
        if not keys:
            del self._indexes[index][value]


def content_of(obj: Json) -> Json:
    """The object without its resource version, which changes with every write."""
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": None}}


def _values(name: str, indexer: Indexer, key: Key, obj: Json) -> frozenset[Hashable]:
    try:
        return frozenset(indexer(obj))
    except Exception:  # an unusual object must not stop the watch of the others
        _log.exception("cannot index %s by %s: the index does not contain it", key, name)
        return frozenset()


def _is_older(version: str, other: str) -> bool:
    """Whether a resource version is certainly older than another one."""
    if not (_is_number(version) and _is_number(other)):
        return False
    return int(version) < int(other)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdigit()
