"""What can be read of the history over HTTP: one row per path, for the server and for the API's description."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from engine.model.entries import Configuration
from engine.model.shape import Shape
from kanary.history.records import KnownKanary, Page, RecordedChange, RecordedEntry
from kanary.history.selection import Selection
from kanary.history.source import Source, find_kanary
from kanary.history.wire import Refusal, Revisions
from kanary.web.queries import (
    ApiQuery,
    ConfigurationQuery,
    EntryQuery,
    InForceQuery,
    KanaryQuery,
    RevisionQuery,
    SelectionQuery,
    SpanQuery,
)

S = TypeVar("S", bound=Shape)
Q = TypeVar("Q", bound=ApiQuery)
L = TypeVar("L", bound=SelectionQuery)

_PAGE_BYTES = 1024 * 1024
"""A page ends once it has this size, whatever it is made of."""
_ROWS = 50
"""Read at a time, so that a page is not much larger than that."""
_reads = threading.BoundedSemaphore(8)
"""Pages at a time: each holds a connection to the database, and its items."""


class MissingError(Exception):
    """The record has nothing of what is named."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Operation(Generic[Q]):
    """One path."""

    path: str
    summary: str
    query: type[Q]
    shape: type[Shape]
    run: Callable[[Source, Q], bytes]
    """The answer as JSON of the shape. Raises MissingError, and what a Source raises."""


def _page(read: Callable[[str | None, int], Page[S]], query: SelectionQuery) -> bytes:
    """Up to `limit` items, read in parts until the page has its size."""
    after, left = query.place(), query.limit
    items: list[bytes] = []
    with _reads:
        while left > 0:
            page = read(after, min(left, _ROWS))
            items += [encoded(item) for item in page.items]
            after, left = page.next, left - _ROWS
            if after is None or sum(map(len, items)) >= _PAGE_BYTES:
                break
    # As text, since each item is text already: as objects they would all be in memory once more.
    rest = encoded(Page[KnownKanary](items=(), next=after)).removeprefix(b'{"items":[]')
    return b'{"items":[%b]%b' % (b",".join(items), rest)


def _kanary(source: Source, query: KanaryQuery) -> KnownKanary:
    found = find_kanary(source, Selection(query.namespace, query.name, include_deleted=True), query.uid)
    if found is None:
        uid = f" with the uid {query.uid}" if query.uid else ""
        message = f"there is no Kanary {query.namespace}/{query.name}{uid} in the history"
        raise MissingError(Refusal.UNKNOWN_KANARY, message)
    return found


def _revisions(source: Source, query: KanaryQuery) -> bytes:
    first, last = source.revisions(_kanary(source, query)) or (None, None)
    return encoded(Revisions(first=first, last=last))


def _revision(source: Source, query: RevisionQuery) -> bytes:
    found = source.revision(_kanary(source, query), query.revision)
    if found is None:
        message = f"there is no revision {query.revision} of {query.namespace}/{query.name} in the history"
        raise MissingError(Refusal.UNKNOWN_REVISION, message)
    return encoded(found)


def _configuration(source: Source, query: ConfigurationQuery) -> bytes:
    found = source.configuration(query.digest)
    if found is None:
        message = f"there is no configuration {query.digest} in the history"
        raise MissingError(Refusal.UNKNOWN_CONFIGURATION, message)
    return encoded(found)


def encoded(shape: Shape) -> bytes:
    """A model as it goes over the wire."""
    return shape.model_dump_json(by_alias=True).encode()


def _list(
    path: str,
    summary: str,
    query: type[L],
    shape: type[Shape],
    read: Callable[[Source, L, str | None, int], Page[Any]],
) -> Operation[L]:
    return Operation(path, summary, query, shape, lambda source, query: _page(partial(read, source, query), query))


OPERATIONS: tuple[Operation[Any], ...] = (
    _list(
        "kanaries",
        "Kanaries, by namespace and name",
        SelectionQuery,
        Page[KnownKanary],
        lambda source, query, after, limit: source.kanaries(query.selection(), after, limit),
    ),
    _list(
        "changes",
        "Weight changes, the newest first",
        SpanQuery,
        Page[RecordedChange],
        lambda source, query, after, limit: source.changes(query.selection(), after, limit),
    ),
    _list(
        "entries",
        "Entries of some kinds, or of every kind, the newest first",
        EntryQuery,
        Page[RecordedEntry],
        lambda source, query, after, limit: source.entries(query.selection(), after, limit, query.kind_set()),
    ),
    _list(
        "in-force",
        "For each Kanary that existed at a time, the weight change that was the newest then",
        InForceQuery,
        Page[RecordedChange],
        lambda source, query, after, limit: source.in_force(query.selection(), query.at, after, limit),
    ),
    Operation("revisions", "The first and the last revision that are kept", KanaryQuery, Revisions, _revisions),
    Operation("revision", "One weight change", RevisionQuery, RecordedChange, _revision),
    Operation("configuration", "A configuration of the proxies", ConfigurationQuery, Configuration, _configuration),
)
