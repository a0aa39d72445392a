"""Typed values: which fields a value has, merging, comparing and removing by field path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import untyped
from .fieldsets import Fields, Path, field_step, key_step
from .shapes import Shape
from .storage import copy_of, same

_ABSENT: Any = object()


@dataclass(frozen=True)
class Comparison:
    """The paths that differ between two values."""

    added: Fields
    modified: Fields
    removed: Fields

    @property
    def written(self) -> Fields:
        return self.added | self.modified


def fields_of(value: Any, shape: Shape) -> Fields:
    """The paths that a manager owns by applying this value."""
    return frozenset(_members(value, shape, ()))


def with_containers(fields: Fields, shape: Shape) -> Fields:
    """The paths together with the struct fields on the way to them, which a value's own paths leave out."""
    return fields | frozenset(container for path in fields for container in _containers(path, shape))


def _containers(path: Path, shape: Shape) -> Iterator[Path]:
    for depth, step in enumerate(path[:-1], start=1):
        tag, _, name = step.partition(":")
        if tag == "f" and shape.is_named(name):
            yield path[:depth]
        shape = shape.of_field(name) if tag == "f" else shape.of_item()


def _members(value: Any, shape: Shape, path: Path) -> Iterator[Path]:
    if _is_leaf(value, shape):
        yield path
        return
    for step, item, below, is_member in _entries(value, shape):
        yield from _members(item, below, (*path, step))
        if is_member or item is None or item == {}:
            yield (*path, step)


def _entries(value: Any, shape: Shape) -> Iterator[tuple[str, Any, Shape, bool]]:
    """The steps below an object or a list with keys: step, value, its shape, and whether it counts by itself."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield field_step(name), item, shape.of_field(name), not shape.is_named(name)
    elif isinstance(value, list):
        for item in value:
            yield step_of(item, shape), item, shape.of_item(), True


def _is_leaf(value: Any, shape: Shape) -> bool:
    if isinstance(value, dict):
        return shape.atomic
    return not isinstance(value, list) or not shape.keys


def step_of(item: Any, shape: Shape) -> str:
    """The step that leads to a list's item.

    Raises ApiError 500 when the item lacks a key.
    """
    keys = {}
    for key in shape.keys:
        if key not in item:
            listed = ", ".join(f'"{name}"' for name in shape.keys)
            raise untyped(f'associative list with keys [{listed}] has an element that omits key field "{key}"')
        keys[key] = item[key]
    return key_step(keys)


def merge(live: Any, config: Any, shape: Shape) -> Any:
    """`live` with what `config` says laid over it; nothing is removed."""
    if type(live) is not type(config) or _is_leaf(config, shape):
        return copy_of(config)
    if isinstance(config, dict):
        names = {**live, **config}
        return {n: _merged(live.get(n, _ABSENT), config.get(n, _ABSENT), shape.of_field(n)) for n in names}
    old, new = ({step_of(item, shape): item for item in items} for items in (live, config))
    return [_merged(old.get(s, _ABSENT), new.get(s, _ABSENT), shape.of_item()) for s in {**old, **new}]


def _merged(live: Any, config: Any, shape: Shape) -> Any:
    if config is _ABSENT:
        return copy_of(live)
    return copy_of(config) if live is _ABSENT else merge(live, config, shape)


def compare(old: Any, new: Any, shape: Shape) -> Comparison:
    """What a write from `old` to `new` added, changed and removed."""
    found: dict[str, set[Path]] = {"added": set(), "modified": set(), "removed": set()}
    for kind, path in _differences(old, new, shape, ()):
        found[kind].add(path)
    return Comparison(**{kind: frozenset(paths) for kind, paths in found.items()})


def _differences(old: Any, new: Any, shape: Shape, path: Path) -> Iterator[tuple[str, Path]]:
    if old is _ABSENT or new is _ABSENT:
        kind, present = ("added", new) if old is _ABSENT else ("removed", old)
        if path:
            yield kind, path
        if not _is_leaf(present, shape):
            for step, item, below, _ in _entries(present, shape):
                yield from _one_sided(kind, item, below, (*path, step))
    elif type(old) is not type(new) or _is_leaf(new, shape) or not (old or new):
        if not same(old, new):
            yield "modified", path
    else:
        before, after = _by_entry(old, shape), _by_entry(new, shape)
        for step in {**before, **after}:
            left, right = before.get(step), after.get(step)
            below = (left or right or (None, shape))[1]
            yield from _differences(left[0] if left else _ABSENT, right[0] if right else _ABSENT, below, (*path, step))


def _one_sided(kind: str, value: Any, shape: Shape, path: Path) -> Iterator[tuple[str, Path]]:
    sides = (_ABSENT, value) if kind == "added" else (value, _ABSENT)
    return _differences(*sides, shape, path)


def _by_entry(value: Any, shape: Shape) -> dict[str, tuple[Any, Shape]]:
    return {step: (item, below) for step, item, below, _ in _entries(value, shape)}


def remove(value: Any, shape: Shape, paths: Fields) -> Any:
    """`value` without the paths and what is below them; what becomes empty by that goes too, and None is all gone."""
    if not paths or _is_leaf(value, shape) or not value:
        return value
    kept = [(step, _kept(item, below, step, paths)) for step, item, below, _ in _entries(value, shape)]
    kept = [(step, item) for step, item in kept if item is not _ABSENT]
    if not kept:
        return None
    if isinstance(value, dict):
        return {step.partition(":")[2]: item for step, item in kept}
    return [item for _, item in kept]


def _kept(item: Any, shape: Shape, step: str, paths: Fields) -> Any:
    if (step,) in paths:
        return _ABSENT
    below = frozenset(path[1:] for path in paths if path[0] == step)
    left = remove(item, shape, below)
    return _ABSENT if left is None and item is not None else left
