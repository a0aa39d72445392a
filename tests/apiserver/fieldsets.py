"""Sets of field paths and their FieldsV1 form, as managedFields carries them.

A path is a tuple of steps, each written as FieldsV1 writes it: `f:name` for a field, `k:{...}` for the item
of a list with these keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

from .errors import Object

Path: TypeAlias = tuple[str, ...]
Fields: TypeAlias = frozenset[Path]

NONE: Fields = frozenset()


def field_step(name: str) -> str:
    return f"f:{name}"


def key_step(keys: Object) -> str:
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True)


def to_fields_v1(fields: Iterable[Path]) -> Object:
    """The nested form: a path that is a member and has members below it is marked with "."."""
    root: Object = {}
    members = set(fields)
    # In this order a container comes before what is in it.
    for path in sorted(members):
        node = root
        for depth, step in enumerate(path):
            if not node and path[:depth] in members:
                node["."] = {}
            node = node.setdefault(step, {})
    return root


def from_fields_v1(node: Object, prefix: Path = ()) -> Fields:
    members: set[Path] = set()
    for step, below in node.items():
        if step == ".":
            members.add(prefix)
            continue
        path = (*prefix, step)
        members |= from_fields_v1(below, path) if below else {path}
    return frozenset(members)


def without_subtrees(fields: Fields, roots: Iterable[Path]) -> Fields:
    """The paths that are not at or below any of the roots."""
    dropped = tuple(roots)
    return frozenset(path for path in fields if not any(path[: len(root)] == root for root in dropped))


def readable(path: Path) -> str:
    """The path as conflict messages show it, such as `.spec.ports[port=80,protocol="TCP"].name`."""
    return "".join(map(_readable_step, path))


def _readable_step(step: str) -> str:
    tag, _, rest = step.partition(":")
    if tag == "f":
        return f".{rest}"
    return "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(rest).items()) + "]"
