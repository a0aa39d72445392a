"""The JSON of the API server is read, however deep a part of it is."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanary.kube.parsing import MOST_LEVELS, parsed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def nested(opening: str, closing: str, levels: int) -> str:
    return opening * levels + "1" + closing * levels


@pytest.mark.parametrize("levels", [201, 900, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"]\\"":', "}"), ('[{"a":', "}]")])
def test_a_deep_object_does_not_hide_the_others(levels: int, opening: str, closing: str) -> None:
    items = f'{{"items": [{{"name": "[a\\\\"}}, {nested(opening, closing, levels)}, {{"name": "b"}}]}}'
    first, deep, last = parsed(items.encode())["items"]
    assert (first, last) == ({"name": "[a\\"}, {"name": "b"})
    depth = 2  # of an item
    while isinstance(deep, (list, dict)):
        (deep,) = deep if isinstance(deep, list) else deep.values()
        depth += 1
    assert (deep, depth) == (None, MOST_LEVELS)


@given(before=VALUES, after=VALUES)
def test_what_is_beside_a_deep_value_is_read_as_it_is(before: Any, after: Any) -> None:
    text = f"[{json.dumps(before)}, {nested('[', ']', 300)}, {json.dumps(after)}]"
    read = parsed(text.encode())
    assert [read[0], read[2]] == [before, after]


@pytest.mark.parametrize("text", ["", "<html>", '{"a":', '{"a": "', "[" * 300, "[" * 300 + "]" * 299, "]" * 300, '"\\'])
def test_what_is_no_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"line \d+ column \d+"):
        parsed(text.encode())


@pytest.mark.parametrize("character", ["x", '\\"'])
def test_a_long_string_beside_a_deep_value_takes_memory_in_proportion(character: str) -> None:
    text = f'["{character * 1_000_000}", {nested("[", "]", 300)}]'.encode()
    tracemalloc.start()
    try:
        parsed(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(text)


def test_a_long_string_without_an_end_takes_no_longer_than_others() -> None:
    """Each of its quotes could begin a string that has no end either: with the square of the length, for hours."""
    with pytest.raises(ValueError, match="EOF"):
        parsed(b'["' + b'\\"' * 500_000)
