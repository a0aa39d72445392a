"""The objects of a reflector, by key and by index. Thread-safe."""

from __future__ import annotations

import logging
import marshal
import threading
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from kanary.kube.resources import Json, Key

Indexer = Callable[[Json], Iterable[Hashable]]

_log = logging.getLogger(__name__)

_RECENT = 56
"""So many objects stay unpacked for a while: a reconcile reads most of its objects more than once, and a Kanary of
5,000 pods has 50 EndpointSlices.
"""
_LARGE = 4096
"""More bytes are compressed. A ConfigMap of the proxies becomes a fifth, in 60 µs, and takes 20 µs more to unpack."""
_ids = count(1)


@dataclass(frozen=True)
class Delta:
    """One object that was added (old is None), changed or deleted (new is None)."""

    key: Key
    old: Json | None
    new: Json | None


@dataclass(frozen=True, slots=True)
class Packed:
    """One version of an object, as bytes: they take half of its memory, and no time of the garbage collector."""

    content: bytes
    version: str
    content_id: int
    """Of this content alone; later versions with the same content have it as well."""

    is_compressed: bool

    @classmethod
    def of(cls, obj: Json, version: str) -> Packed:
        """Pack a JSON object."""
        content = marshal.dumps(obj)
        is_large = len(content) > _LARGE
        return cls(zlib.compress(content, 1) if is_large else content, version, next(_ids), is_large)

    def unpacked(self) -> Unpacked:
        """A new object of this content."""
        content = zlib.decompress(self.content) if self.is_compressed else self.content
        return Unpacked(marshal.loads(content), self.content_id)  # noqa: S302 -- only what `of` has made


class Unpacked(dict[str, Any]):
    """An object of a cache. Two of them with the same `content_id` are copies of the same content."""

    __slots__ = ("content_id",)

    def __init__(self, obj: Json, content_id: int) -> None:
        super().__init__(obj)
        self.content_id = content_id


@dataclass(frozen=True, slots=True)
class _Entry:
    packed: Packed
    values: tuple[tuple[Hashable, ...], ...]
    """Of each index."""


class Cache:
    """Objects of one kind. An older version never replaces a newer one.

    Objects are packed, except for some of those that were read last. No read waits while another one unpacks.

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
        self._recent: dict[Key, Unpacked] = {}
        self._indexes: dict[str, dict[Hashable, tuple[Key, ...]]] = {name: {} for name in self._indexers}
        self._position = ""

    @property
    def position(self) -> str:
        """The resource version up to which the cache has all changes; empty before the first list."""
        return self._position

    def get(self, key: Key) -> Json | None:
        """Return an object, None if there is none."""
        with self._lock:
            found = self._found([key])
        return next(iter(self._unpacked(found)), None)

    def version(self, key: Key) -> str:
        """Return the resource version of an object, empty if there is none.

        Read it before the object: as a precondition of a write, it must not be newer than what was decided upon.
        """
        with self._lock:
            return self._version(key)

    def packed(self, key: Key, version: str) -> Packed | None:
        """Return this version of an object, None if the cache has another one."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.packed if entry and version and entry.packed.version == version else None

    def all_keys(self) -> Sequence[Key]:
        """Return the keys of all objects."""
        with self._lock:
            return tuple(self._entries)

    def lookup(self, index: str, value: Hashable) -> list[Json]:
        """Return the objects for which the indexer of that name gave that value; KeyError for an unknown index."""
        with self._lock:
            found = self._found(self._indexes[index].get(value, ()))
        return self._unpacked(found)

    def lookup_keys(self, index: str, value: Hashable) -> Sequence[Key]:
        """Return the keys of these objects."""
        with self._lock:
            return self._indexes[index].get(value, ())

    def has_any(self, index: str, values: Iterable[Hashable]) -> bool:
        """Return whether `lookup` would find an object for any of these values."""
        with self._lock:
            return not self._indexes[index].keys().isdisjoint(values)

    def omitted(self, listed: Mapping[Key, Packed], position: str) -> Sequence[Key]:
        """The objects that `replace` would delete."""
        with self._lock:
            return [*(self._entries.keys() - listed.keys() - self._newer(position))]

    def lacks_any(self, listed: Mapping[Key, Packed]) -> bool:
        """Whether an object of a list is newer than its copy although it is from before the position."""
        with self._lock:
            return any(
                not _is_older(self._position, packed.version)
                and (key not in self._entries or _is_older(self._version(key), packed.version))
                for key, packed in listed.items()
                if _is_number(packed.version)
            )

    def replace(self, listed: Mapping[Key, Packed], position: str) -> Iterator[Delta]:
        """Replace all objects by a list of the given position; return the changes."""
        changes: list[tuple[Key, Packed | None, Packed | None]] = []
        with self._lock:
            ours = self._newer(position)
            self._position = position
            for key in [key for key in self._entries if key not in listed and key not in ours]:
                changes.append((key, self._entries[key].packed, None))
                self._drop(key)
            for key, packed in listed.items():
                former = entry.packed if (entry := self._entries.get(key)) else None
                if key not in ours and packed is not former and self._put(key, packed, packed.unpacked()):
                    changes.append((key, former, packed))
        # Not all objects are unpacked at a time.
        return (
            Delta(key, old.unpacked() if old else None, new.unpacked() if new else None) for key, old, new in changes
        )

    def has(self, key: Key, version: str) -> bool:
        """Whether this version of the watch is stored already, as the response to a write; move to its position."""
        with self._lock:
            if self._version(key) != version or self._is_past(version):
                return False
            self._position = version
            return True

    def put(self, key: Key, obj: Json, version: str) -> Delta | None:
        """Store an added or modified object of the watch; return the change."""
        packed = Packed.of(obj, version)
        with self._lock:
            if self._is_past(version):
                return None
            self._position = version
            if _is_older(version, self._version(key)):
                return None
            return self._put(key, packed, obj)

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
        packed = Packed.of(obj, version)
        with self._lock:
            # The watch has delivered everything before the position, and the object may be deleted since.
            if not _is_older(self._position, version) or self._is_stored_since(key, version):
                return None
            return self._put(key, packed, obj)

    def _newer(self, position: str) -> set[Key]:
        """The objects that are newer than a list: writes of ours, made after it.

        A position below the last one means another history, for example a restored etcd: only the list counts.
        """
        if _is_older(position, self._position):
            return set()
        return {key for key in self._entries if _is_older(position, self._version(key))}

    def _is_past(self, version: str) -> bool:
        return version == self._position or _is_older(version, self._position)

    def _is_stored_since(self, key: Key, version: str) -> bool:
        return key in self._entries and not _is_older(self._version(key), version)

    def _version(self, key: Key) -> str:
        entry = self._entries.get(key)
        return entry.packed.version if entry else ""

    def _found(self, keys: Iterable[Key]) -> dict[Key, Packed | Unpacked]:
        """Those of these objects that exist."""
        return {key: self._recent.get(key) or entry.packed for key in keys if (entry := self._entries.get(key))}

    def _unpacked(self, found: Mapping[Key, Packed | Unpacked]) -> list[Json]:
        """These objects. They are unpacked without the lock: other threads run meanwhile."""
        objects = {key: each.unpacked() if isinstance(each, Packed) else each for key, each in found.items()}
        with self._lock:
            for key, packed in found.items():
                if (entry := self._entries.get(key)) and entry.packed is packed:
                    self._keep(key, objects[key])
        return [*objects.values()]

    def _object(self, key: Key) -> Unpacked | None:
        obj = self._recent.get(key)
        if obj is None and (entry := self._entries.get(key)):
            obj = entry.packed.unpacked()
            self._keep(key, obj)
        return obj

    def _keep(self, key: Key, obj: Unpacked) -> None:
        """Keep it unpacked for the next reads."""
        self._recent[key] = obj
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]

    def _put(self, key: Key, packed: Packed, obj: Json) -> Delta | None:
        old, entry = self._object(key), self._entries.get(key)
        if entry and old == obj:
            # What was derived from the old one stays valid.
            self._entries[key] = _Entry(replace(entry.packed, version=packed.version), entry.values)
            return None
        new = Unpacked(obj, packed.content_id)
        values = tuple(_values(name, indexer, key, new) for name, indexer in self._indexers.items())
        self._index(key, values)
        self._entries[key] = _Entry(packed, values)
        self._recent.pop(key, None)
        self._keep(key, new)
        return None if old is not None and self._content(old) == self._content(new) else Delta(key, old, new)

    def _drop(self, key: Key) -> Delta | None:
        old = self._object(key)
        self._index(key, tuple(() for _ in self._indexers))
        self._entries.pop(key, None)
        self._recent.pop(key, None)
        return None if old is None else Delta(key, old, None)

    def _index(self, key: Key, values: tuple[tuple[Hashable, ...], ...]) -> None:
        """Replace the values of an object in the indexes."""
        entry = self._entries.get(key)
        former = entry.values if entry else tuple(() for _ in values)
        for index, before, now in zip(self._indexes.values(), former, values, strict=True):
            if before == now:
                continue
            for value in before:
                index[value] = tuple(each for each in index[value] if each != key)
                if not index[value]:
                    del index[value]
            for value in now:
                index[value] = (*index.get(value, ()), key)


def content_of(obj: Json) -> Json:
    """The object without its resource version, which changes with every write."""
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": None}}


def _values(name: str, indexer: Indexer, key: Key, obj: Json) -> tuple[Hashable, ...]:
    try:
        return tuple(dict.fromkeys(indexer(obj)))
    except Exception:  # an unusual object must not stop the watch of the others
        _log.exception("cannot index %s by %s: the index does not contain it", key, name)
        return ()


def _is_older(version: str, other: str) -> bool:
    """Whether a resource version is certainly older than another one."""
    if not (_is_number(version) and _is_number(other)):
        return False
    return int(version) < int(other)


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdigit()
