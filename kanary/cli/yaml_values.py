"""Reads the values of YAML as kubectl does, which converts YAML to JSON (sigs.k8s.io/yaml), within limits."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

MAX_DEPTH = 100
"""Of mappings and lists within each other; no Kubernetes object has as many."""
MAX_ALIASED = 100_000
"""Values that all aliases of a file may add to it: an alias of aliases doubles them with each line."""

_PREFIX = "tag:yaml.org,2002:"
_PLAIN, _QUOTED, _BINARY = "", f"{_PREFIX}str", f"{_PREFIX}binary"
_MERGE = f"{_PREFIX}merge"
_TYPES: dict[str, tuple[type, ...]] = {
    f"{_PREFIX}bool": (bool,),
    f"{_PREFIX}int": (int,),
    f"{_PREFIX}float": (int, float),
    f"{_PREFIX}null": (type(None),),
}
_INFINITY = float("inf")
_WORDS = {
    word: value
    for value, words in (
        (True, "y Y yes Yes YES true True TRUE on On ON"),
        (False, "n N no No NO false False FALSE off Off OFF"),
        (None, "~ null Null NULL"),
        (float("nan"), ".nan .NaN .NAN"),
        (_INFINITY, ".inf .Inf .INF +.inf +.Inf +.INF"),
        (-_INFINITY, "-.inf -.Inf -.INF"),
    )
    for word in words.split()
} | {"": None}
_BASES = ((2, "0[bB]"), (16, "0[xX]"), (8, "0[oO]?"), (10, ""))
_INTEGERS = [(base, re.compile(rf"([-+]?){prefix}([0-9a-fA-F]+)")) for base, prefix in _BASES]
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BEYOND_EXACT = 1e21
"""From here on, Go writes a whole number with an exponent."""


class Place(NamedTuple):
    """A position in a text; both numbers begin with 1."""

    line: int
    column: int

    @classmethod
    def of(cls, mark: yaml.Mark | None) -> Place:
        """The place of a mark of PyYAML; without one, the beginning of the text."""
        return cls(mark.line + 1, mark.column + 1) if mark else cls(1, 1)

    def __str__(self) -> str:
        """As compilers write it, such as `9:7`."""
        return f"{self.line}:{self.column}"


class YamlError(ValueError):
    """A text is not YAML that kubectl would accept, or exceeds a limit."""

    def __init__(self, text: str, place: Place = Place(1, 1)) -> None:  # noqa: B008  immutable
        super().__init__(text)
        self.place = place


class Loader(yaml.SafeLoader):
    """Reads nodes; scalars without a tag have the tag `_PLAIN` or `_QUOTED`, whatever they look like."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node without one."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]  # the stubs lack it

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node. Raises YamlError if it is too deep."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs lack it
        if self._depth > MAX_DEPTH:
            raise YamlError(f"is nested more than {MAX_DEPTH} levels deep", Place.of(event.start_mark))
        if not isinstance(event, yaml.AliasEvent):
            # A later anchor of the same name replaces the former one.
            self.anchors.pop(getattr(event, "anchor", None), None)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class Values:
    """Makes JSON of the nodes of one file."""

    def __init__(self) -> None:
        self._made = set[int]()
        self._nodes: list[yaml.Node] = []
        """Keeps the nodes, so that ids stay unique."""
        self._aliased = 0

    def of(self, node: yaml.Node, depth: int = 0) -> Any:
        """The value of a node. Raises YamlError."""
        place = Place.of(node.start_mark)
        if id(node) in self._made:
            self._aliased += 1
            if self._aliased > MAX_ALIASED:
                raise YamlError(f"has aliases that repeat more than {MAX_ALIASED} values", place)
        else:
            self._made.add(id(node))
            self._nodes.append(node)
        if depth > MAX_DEPTH:
            raise YamlError("has an anchor that contains itself, or aliases that are nested too deeply", place)
        if isinstance(node, yaml.ScalarNode):
            return _finite(_scalar(node), place)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(each, depth + 1) for each in node.value]
        return self._mapping(node, depth)

    def _mapping(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if _is_merge(key):
                # kubectl merges where `<<` stands: it replaces former keys, and later keys replace its own.
                for each in self._merged(value, depth):
                    found |= each
            else:
                found[_key(key)] = self.of(value, depth + 1)
        return found

    def _merged(self, node: yaml.Node, depth: int) -> Iterator[dict[str, Any]]:
        """The mappings that are merged; of several, the first one counts."""
        for each in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(each, yaml.MappingNode):
                raise YamlError("has << with something that is no mapping", Place.of(each.start_mark))
            yield self.of(each, depth + 1)


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.tag in (_PLAIN, _MERGE)


def _key(node: yaml.Node) -> str:
    """The text of a key: JSON has no others."""
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        raise YamlError("has a key that is no text: quote it", Place.of(node.start_mark))
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _scalar(node: yaml.ScalarNode) -> Any:
    place = Place.of(node.start_mark)
    text = _text(node.value, place)
    if node.tag == _PLAIN:
        return _plain(text)
    if node.tag == _BINARY:
        try:
            return b64decode(text, validate=True).decode(errors="replace")
        except binascii.Error as error:
            raise YamlError(f"has a !!binary value that is not base64: {error}", place) from error
    if node.tag == f"{_PREFIX}timestamp" and not re.match(r"\d{4}-", text):
        raise YamlError(f"has a !!timestamp that is no time: {text[:60]!r}", place)
    if node.tag in _TYPES:
        value = _plain(text)
        if type(value) not in _TYPES[node.tag]:
            kind = node.tag.removeprefix(_PREFIX)
            raise YamlError(f"has a value with the tag !!{kind} that is none: {text[:60]!r}", place)
        return value
    return text


def _plain(text: str) -> Any:
    """What a scalar without quotes means: 1:40 and 2026-12-27 are texts, 017 is 15, and `on` is true."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or not text.isascii():
        return text
    # Go and Python agree about underscores in a number that begins with a point.
    digits = text if text[0] == "." else text.replace("_", "")
    for base, form in _INTEGERS:
        match = form.fullmatch(digits)
        value = _whole(match, base) if match else None
        if value is not None:
            return value
    try:
        number = float(digits) if text[0] == "." or _FLOAT.fullmatch(digits) else _INFINITY
    except ValueError:
        return text
    return text if abs(number) == _INFINITY else number


def _whole(match: re.Match[str], base: int) -> int | None:
    """None if it is no number of this base, or has more than 64 bits."""
    try:
        value = int(match[1] + match[2], base)
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**64 else None


def _finite(value: Any, place: Place) -> Any:
    """The value as JSON has it: without infinity, and 1.0 as 1."""
    if not isinstance(value, float):
        return value
    if value - value != 0:
        raise YamlError(f"has {value}, which is not a number that JSON has", place)
    return int(value) if value.is_integer() and abs(value) < _BEYOND_EXACT else value


def _text(text: str, place: Place) -> str:
    """The text with pairs of surrogates, as JSON has them, as one character."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16") if not text.isascii() else text
    except UnicodeDecodeError as error:
        raise YamlError("has half of a surrogate pair", place) from error
