"""Where texts are left in the memory of this process: the paths to them from some objects."""

from __future__ import annotations

import gc
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Set

_NO_STATE = (type, types.ModuleType, types.FrameType, types.CodeType, threading.Thread, weakref.ref)
_SHOWN = 60


def traces(roots: Iterable[object], mark: str, exact: Set[str] = frozenset()) -> list[str]:
    """The paths from these objects to each str and bytes that contain the mark or are among `exact`: the types."""
    outside = {id(vars(module)) for module in [*sys.modules.values()] if isinstance(module, types.ModuleType)}
    queue = deque(roots)
    parents: dict[int, int | None] = dict.fromkeys(map(id, queue))
    seen: dict[int, object] = {id(each): each for each in queue}  # kept, so that no id is used twice
    found = []
    while queue:
        current = queue.popleft()
        for each in _referents(current):
            if id(each) in parents or id(each) in outside or isinstance(each, _NO_STATE):
                continue
            parents[id(each)], seen[id(each)] = id(current), each
            if isinstance(each, str | bytes):
                text = each if isinstance(each, str) else each.decode("utf-8", "replace")
                if mark in text or text in exact:
                    found.append(_path(each, parents, seen))
            else:
                queue.append(each)
    return found


def _referents(obj: object) -> Iterator[object]:
    if isinstance(obj, types.FunctionType):
        # Not its globals, which are everything.
        yield from (obj.__closure__ or (), obj.__defaults__ or (), obj.__kwdefaults__ or {})
    else:
        yield from gc.get_referents(obj)


def _path(obj: object, parents: dict[int, int | None], seen: dict[int, object]) -> str:
    names: list[str] = [repr(obj)[:_SHOWN]]
    at = parents[id(obj)]
    while at is not None:
        names.append(type(seen[at]).__qualname__)
        at = parents[at]
    return " < ".join(names)
