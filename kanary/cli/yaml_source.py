"""Reads YAML as kubectl does, and finds the line and column of each field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from kanary.cli.yaml_values import Loader, Place, Values, YamlError

_ENDS = re.compile(r"[.\[:\s]|$")
_INDEX = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True)
class YamlObject:
    """A value in a text, with the places of its fields."""

    value: Any
    node: yaml.Node
    repeated: tuple[tuple[str, Place], ...] = ()
    """The keys that a mapping has already, and where they are repeated: only the last one counts."""

    @property
    def place(self) -> Place:
        """Where it begins."""
        return Place.of(self.node.start_mark)

    def place_of(self, text: str) -> Place:
        """Where the field is with whose path a text begins, such as `spec.routes[0].weight is 101`.

        It is the place of its key or, in a list, of the entry. If the field is missing, it is that of its parent.
        """
        node, place, rest = self.node, self.place, f".{text}"
        while found := _child(node, rest):
            marked, node, rest = found
            place = Place.of(marked.start_mark)
        return place

    def items(self) -> Iterator[YamlObject]:
        """The objects of a List, otherwise the object itself."""
        found = self.value.get("items") if isinstance(self.value, dict) and self.value.get("kind") == "List" else None
        nodes = _entry(self.node, "items")
        if not isinstance(found, list):
            yield self
            return
        # Merged items have no node of their own.
        inner_nodes = nodes[1].value if nodes and len(nodes[1].value) == len(found) else [self.node] * len(found)
        for value, node in zip(found, inner_nodes, strict=True):
            inner = Place.of(node.start_mark), Place.of(node.end_mark)
            yield YamlObject(value, node, tuple(each for each in self.repeated if inner[0] <= each[1] < inner[1]))


def read_objects(text: str) -> Iterator[YamlObject]:
    """The objects of a text, also those of Lists. Raises YamlError."""
    try:
        loader, values = Loader(text), Values()
        while loader.check_node() and (node := loader.get_node()):
            value = values.of(node)
            if value is not None:
                yield from YamlObject(value, node, tuple(_repeated(node, set()))).items()
    except yaml.MarkedYAMLError as error:
        raise YamlError(error.problem or str(error), Place.of(error.problem_mark)) from error
    except yaml.reader.ReaderError as error:
        raise YamlError(f"has the character U+{error.character:04X}, which YAML excludes", _at(text, error)) from error
    except YamlError:
        raise
    except (ValueError, OverflowError) as error:
        # PyYAML converts some numbers of escapes and directives without checking them.
        raise YamlError(str(error)) from error


def _at(text: str, error: yaml.reader.ReaderError) -> Place:
    before = text[: error.position]
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _repeated(node: yaml.Node, known: set[int]) -> Iterator[tuple[str, Place]]:
    if id(node) in known:
        # An alias.
        return
    known.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = set[str]()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    yield key.value, Place.of(key.start_mark)
                keys.add(key.value)
            yield from _repeated(value, known)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value, known)


def _child(node: yaml.Node, path: str) -> tuple[yaml.Node, yaml.Node, str] | None:
    """The node to mark, the child to which the path leads, and the rest of the path; None if there is no such child."""
    if isinstance(node, yaml.SequenceNode):
        match = _INDEX.match(path)
        if match is None or int(match[1]) >= len(node.value):
            return None
        return (item := node.value[int(match[1])]), item, path[match.end() :]
    if not isinstance(node, yaml.MappingNode) or not path.startswith("."):
        return None
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    # A key may contain a dot, such as the name of a resource.
    fitting = [key for key in keys if path.startswith(key, 1) and _ENDS.match(path, 1 + len(key))]
    if not fitting or (found := _entry(node, max(fitting, key=len))) is None:
        return None
    return (*found, path[1 + len(found[0].value) :])


def _entry(node: yaml.Node, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The key and the value with this name; the last ones count."""
    entries = node.value if isinstance(node, yaml.MappingNode) else ()
    return next(((k, v) for k, v in reversed(entries) if isinstance(k, yaml.ScalarNode) and k.value == name), None)
