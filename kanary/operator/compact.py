"""Copies of objects that take little memory, because they share what they have in common.

A JSON parser makes a new string for each key and value, and a new dictionary for each object. The copies of a thousand
Kanaries have the same keys, names and containers many times.
"""

import sys
import threading
from typing import Any
from weakref import WeakValueDictionary

_INTERNED = 64
"""Longest string that is worth a look-up: names, times, reasons, uids."""


class _Dict(dict[str, Any]):
    """A dictionary that can be forgotten."""

    __slots__ = ("__weakref__",)


class _List(list[Any]):
    """A list that can be forgotten."""

    __slots__ = ("__weakref__",)


def compact(obj: dict[str, Any]) -> dict[str, Any]:
    """A copy of this JSON object; equal keys and short strings are one object in all copies."""
    return {sys.intern(key): _compact(item) for key, item in obj.items()}


def _compact(value: Any) -> Any:
    if isinstance(value, dict):
        return compact(value)
    if isinstance(value, list):
        return [_compact(item) for item in value]
    return sys.intern(value) if isinstance(value, str) and len(value) <= _INTERNED else value


class SharedParts:
    """Makes equal parts of JSON values one object, as long as anything uses it. Thread-safe; parts must not change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: WeakValueDictionary[tuple[object, ...], _Dict | _List] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._parts)

    def share(self, value: Any) -> Any:
        """An equal value, whose dictionaries and lists are those of earlier values."""
        with self._lock:
            return self._share(value)

    def _share(self, value: Any) -> Any:
        made: _Dict | _List
        if isinstance(value, dict):
            made = _Dict((sys.intern(key), self._share(item)) for key, item in value.items())
            content = ("{", *(part for key, item in made.items() for part in (key, *_identity(item))))
        elif isinstance(value, list):
            made = _List(self._share(item) for item in value)
            content = ("[", *(part for item in made for part in _identity(item)))
        else:
            return _compact(value)
        return self._parts.setdefault(content, made)


def _identity(value: Any) -> tuple[object, object]:
    """Equal for equal values only; of two shared parts, which live as long as what has them, the addresses."""
    is_part = isinstance(value, _Dict | _List)
    # 1, 1.0 and True are equal.
    return type(value), id(value) if is_part else value
