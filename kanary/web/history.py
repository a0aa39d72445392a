"""The HTTP API of the history: read-only, for readers whom the cluster lets forward a port to the operator."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.model.entries import Configuration
from engine.model.shape import Shape
from kanary.history.faults import Fault, FaultReason, HistoryError
from kanary.history.queries import ChangeQuery, ConfigurationQuery, EntryQuery, KanaryQuery, RecordQuery
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry
from kanary.history.source import Source
from kanary.history.wire import ROOT, Refusal, Refused

Query = KanaryQuery | ChangeQuery | EntryQuery | ConfigurationQuery
R = TypeVar("R", bound=RecordQuery)

_LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]
_PAGE_BYTES = 1024 * 1024
"""A page ends once it has this size, whatever it is made of."""
_ROWS = 50
"""Read at a time, so that a page is not much larger than that."""
_reads = threading.BoundedSemaphore(8)
"""Pages at a time: each holds a connection to the database, and its items."""


OPERATIONS: Mapping[str, tuple[type[Query], type[Shape]]] = {
    "kanaries": (KanaryQuery, Page[KanarySummary]),
    "changes": (ChangeQuery, Page[RecordedChange]),
    "entries": (EntryQuery, Page[RecordedEntry]),
    "configurations": (ConfigurationQuery, Page[Configuration]),
}
"""What is served: by the path below `ROOT`, the query and the shape of the answer."""


def history_api(source: Source | None, fault: Callable[[], Fault | None] = lambda: None) -> Starlette:
    """Serve a record; None where history is disabled.

    `fault` says what is wrong with the record as its writer knows it, which a reader may see less well.
    """

    def respond(request: Request, query_of: type[Query]) -> Response:
        if source is None:
            message = "history is disabled (KANARY_HISTORY_URL is empty)"
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, FaultReason.DISABLED, message)
        try:
            query = query_of.model_validate(_parameters(request))
        except ValidationError as error:
            message = f"{_first_problem(error)}; parameters: {', '.join(query_of.model_fields)}"
            return _refused(HTTPStatus.BAD_REQUEST, Refusal.BAD_PARAMETER, message)
        try:
            with _reads:
                return _json(HTTPStatus.OK, _answer(source, query))
        except HistoryError as error:
            found = fault() or error.fault
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, found.reason, found.message)

    # A page of another site in a reader's browser must not get at a forwarded port under a name of its own.
    local = Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    routes = [Route(f"{ROOT}/{path}", partial(respond, query_of=query)) for path, (query, _) in OPERATIONS.items()]
    app = Starlette(routes=routes, middleware=[local], exception_handlers={HTTPStatus.NOT_FOUND: _unknown_path})
    app.router.redirect_slashes = False
    return app


def _answer(source: Source, query: Query) -> bytes:
    """A page as JSON. Raises HistoryError."""
    match query:
        case KanaryQuery():
            return _page(source.kanaries, query)
        case ChangeQuery():
            return _page(source.changes, query)
        case EntryQuery():
            return _page(source.entries, query)
        case ConfigurationQuery():
            found = source.configuration(query.digest)
            return _encoded(Page(items=() if found is None else (found,)))


def _page(read: Callable[[R], Page[Any]], query: R) -> bytes:
    """Up to `limit` items, read in parts until the page has its size."""
    items: list[bytes] = []
    after, left = query.after, query.limit
    while left > 0 and sum(map(len, items)) < _PAGE_BYTES:
        page = read(query.model_copy(update={"after": after, "limit": min(left, _ROWS)}))
        # As text, of which the page is made: as objects, all of them would be in memory once more.
        items += map(_encoded, page.items)
        after, left = page.next, left - _ROWS
        if after is None:
            break
    return b'{"items":[%b],"next":%b}' % (b",".join(items), json.dumps(after).encode())


def _parameters(request: Request) -> Mapping[str, str | list[str]]:
    """By name; a repeated one is a list, which no query accepts: one of its values alone would select too much."""
    given = {name: request.query_params.getlist(name) for name in request.query_params}
    return {name: values if len(values) > 1 else values[0] for name, values in given.items()}


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    # The input of a missing parameter is the whole query.
    value = f" {first['input']!r:.80}" if first["loc"] and first["type"] != "missing" else ""
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, first['loc'])) or 'query':.80}{value}: {message}"


def _unknown_path(_request: Request, _error: Exception) -> Response:
    message = f"nothing is served here; the paths are {', '.join(f'{ROOT}/{path}' for path in OPERATIONS)}"
    return _refused(HTTPStatus.NOT_FOUND, Refusal.UNKNOWN_PATH, message)


def _refused(status: HTTPStatus, reason: str, message: str) -> Response:
    return _json(status, _encoded(Refused(reason=reason, message=message)))


def _json(status: HTTPStatus, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")


def _encoded(shape: Shape) -> bytes:
    return shape.model_dump_json(by_alias=True).encode()
