"""A page of JSON whose size is bounded, whatever it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from kanary.history.selection import Page
from kanary.history.wire import Shape

T = TypeVar("T")

_FIRST_ROWS = 10
"""Read first, to learn how large they are: one with 100 routes of 1,000 endpoints each is of 2 MB."""
_PAGE_BYTES = 1024 * 1024


def fill(
    read: Callable[[str | None, int], Page[T]], shape: Callable[[T], Shape], after: str | None, limit: int
) -> tuple[bytes, bool]:
    """So many rows as a list in JSON, or fewer where they are large; and whether there is any.

    Read in parts, each of as many rows as may still have room.
    """
    items: list[bytes] = []
    size, rows = 0, min(limit, _FIRST_ROWS)
    while rows > 0:
        page = read(after, rows)
        items += [shape(item).encoded() for item in page.items]
        after = page.next
        if after is None:
            break
        size = sum(map(len, items))
        # What was read counts, not what was found: a part may be empty and not be the last.
        limit -= rows
        rows = min(limit, (_PAGE_BYTES - size) * len(items) // size if size else _FIRST_ROWS)
    # Spelled out, since each item is text already: as objects they would all be in memory once more.
    return b'{"next":%b,"items":[%b]}' % (json.dumps(after).encode(), b",".join(items)), bool(items)
