"""Keeps what the reconciles of one Kanary derive from its objects, so that only what depends on a change is derived."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, TypeVarTuple

_Inputs = TypeVarTuple("_Inputs")
_Value = TypeVar("_Value")

_PLAIN = frozenset({str, int, type(None)})
MOST_COMPARED = 200
"""A result is compared with at most so many of its function: there may be thousands of EndpointSlices."""
_Results = dict[tuple[Hashable, ...], tuple[tuple[Any, ...], Any]]
"""By the function and its inputs: those inputs that are recognised by identity, and the result."""


class Memo:
    """The results of functions, by their inputs. It belongs to one Kanary, which one thread reconciles at a time.

    Text, numbers and None are the same input if they are equal; objects of the cluster's cache, if they have the same
    `content_id`, so that none of them is kept; anything else only if it is the same object. Inputs and results must
    therefore be immutable: models, tuples, and JSON of the cache.

    A result that is equal to the previous one of the same function is replaced by that, unless there are very many. So
    a new version of an object without a relevant change ends there, and everything that was derived from the previous
    result stays valid.
    """

    def __init__(self) -> None:
        self._before: _Results = {}
        self._now: _Results = {}
        self._of_function: dict[Hashable, list[Any]] = {}
        """All results by their function, once a reconcile derives one."""

    def __call__(self, function: Callable[[*_Inputs], _Value], *inputs: *_Inputs) -> _Value:
        """The result of this function for these inputs; its exceptions are not kept."""
        key = _key(function, inputs)
        entry = self._now.get(key) or self._before.get(key)
        if entry is None:
            entry = _identified(inputs), self._shared(function, function(*inputs))
        self._now[key] = entry
        value: _Value = entry[1]
        return value

    def keep(self, value: object, function: Callable[[*_Inputs], Any], *inputs: *_Inputs) -> None:
        """Keep a result that is known already."""
        self._now[_key(function, inputs)] = _identified(inputs), value
        if self._of_function:
            self._of_function.setdefault(function, []).append(value)

    def first(self, name: str, about: object, value: _Value) -> _Value:
        """The value that was given first under this name about this object; `value` if there is none."""
        key = name, id(about)
        entry = self._now[key] = self._now.get(key) or self._before.get(key) or ((about,), value)
        first: _Value = entry[1]
        return first

    def end_round(self) -> None:
        """End a reconcile: whatever it did not need is dropped, so that the memo does not grow."""
        self._before, self._now, self._of_function = self._now, {}, {}

    def _shared(self, function: Callable[..., Any], value: Any) -> Any:
        if not self._of_function:
            for key, (_, known) in {**self._before, **self._now}.items():
                self._of_function.setdefault(key[0], []).append(known)
        results = self._of_function.setdefault(function, [])
        for former in reversed(results) if len(results) <= MOST_COMPARED else ():
            if former == value:
                return former
        results.append(value)
        return value


@cache
def _has_content_id(kind: Hashable) -> bool:
    return hasattr(kind, "content_id")


def _key(function: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Hashable, ...]:
    return (function, *map(_identity, inputs))


def _identity(each: Any) -> Any:
    kind = each.__class__
    if kind in _PLAIN:
        return each
    if _has_content_id(kind) and each.content_id:
        # No id of an object is negative.
        return -each.content_id
    return id(each)


def _identified(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those that are recognised by their id. They are kept: the id of a deleted object may become another one's."""
    return tuple(each for each in inputs if _identity(each) == id(each))


class Memos:
    """The memo of each Kanary. Several threads may use it, but only one for a Kanary at a time."""

    def __init__(self) -> None:
        self._memos: dict[tuple[str, str], Memo] = {}

    @contextmanager
    def round(self, namespace: str, name: str) -> Iterator[Memo]:
        """The memo of a Kanary for one reconcile."""
        memo = self._memos.setdefault((namespace, name), Memo())
        try:
            yield memo
        finally:
            memo.end_round()

    def forget(self, namespace: str, name: str) -> None:
        """Drop the memo of a deleted Kanary."""
        self._memos.pop((namespace, name), None)
