"""Reads the JSON of the API server."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

MOST_LEVELS = 100
"""What is nested deeper is left out. The parser reads 200 levels."""
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)
"""Strings, also one that does not end, and brackets. Nothing is tried twice: that would take 120 times the memory of a
string, and hours for a long one without an end."""


def parsed(text: bytes) -> Any:
    """The value. Raises ValueError if the text is not JSON, and what reading `text` raises.

    Whoever may create an object with a field of any content can nest it thousands of levels deep. It must not hide the
    other objects of a list, so that part of it becomes null.
    """
    try:
        return from_json(text)
    except ValueError:
        return from_json(b"".join(_shallow(text)))


def _shallow(text: bytes) -> Iterator[bytes]:
    level = kept = 0
    for token in _TOKENS.finditer(text):
        if token[0] in b"[{":
            level += 1
            if level == MOST_LEVELS + 1:
                yield text[kept : token.start()]
        elif token[0] in b"]}":
            if level == MOST_LEVELS + 1:
                yield b"null"
                kept = token.end()
            level -= 1
    yield text[kept:] if level <= MOST_LEVELS else b""
