"""The HTTP API of the history: read-only, for users with the right to forward a port to the operator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
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
from kanary.history.read_timeout import READ_TIMEOUT_SECONDS, in_thread, no_answer
from kanary.history.records import KanarySummary, Page, RecordedChange, RecordedEntry
from kanary.history.source import Source
from kanary.history.wire import ROOT, Refusal, Refused

Query = KanaryQuery | ChangeQuery | EntryQuery | ConfigurationQuery
R = TypeVar("R", bound=RecordQuery)

_LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]
_PAGE_BYTES = 1024 * 1024
"""A page ends when it has reached this size."""
_ROWS = 50
"""Rows read at a time, so that a page does not exceed its size by much."""
_READS = 8
"""Limits the pages read at the same time: each has a connection to the database, and its items in memory."""


OPERATIONS: Mapping[str, tuple[type[Query], type[Shape]]] = {
    "kanaries": (KanaryQuery, Page[KanarySummary]),
    "changes": (ChangeQuery, Page[RecordedChange]),
    "entries": (EntryQuery, Page[RecordedEntry]),
    "configurations": (ConfigurationQuery, Page[Configuration]),
}
"""The query and the shape of the response, by the path below `ROOT`."""


def history_api(source: Source | None, fault: Callable[[], Fault | None] = lambda: None) -> Starlette:
    """The application that serves the history of the source, or, for None, reports that history is disabled.

    `fault` returns the fault of the writer, which is often more specific than the one that the reader finds.
    """

    reads = Reads()

    async def respond(request: Request, query_of: type[Query]) -> Response:
        if source is None:
            message = "history is disabled (KANARY_HISTORY_URL is empty)"
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, FaultReason.DISABLED, message)
        try:
            query = query_of.model_validate(_parameters(request))
        except ValidationError as error:
            message = f"{_first_problem(error)}; parameters: {', '.join(query_of.model_fields)}"
            return _refused(HTTPStatus.BAD_REQUEST, Refusal.BAD_PARAMETER, message)
        try:
            return _json(HTTPStatus.OK, await reads.answer(request, partial(_answer, source, query)))
        except HistoryError as error:
            found = fault() or error.fault
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, found.reason, found.message)

    # Prevents DNS rebinding: a web site could otherwise read a forwarded port through the user's browser.
    local = Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    routes = [Route(f"{ROOT}/{path}", partial(respond, query_of=query)) for path, (query, _) in OPERATIONS.items()]
    app = Starlette(routes=routes, middleware=[local], exception_handlers={HTTPStatus.NOT_FOUND: _unknown_path})
    app.router.redirect_slashes = False
    return app


class Reads:
    """The reads of one server: each client gets an answer in time, also if the database hangs."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_READS)

    async def answer(self, request: Request, read: Callable[[], bytes]) -> bytes:
        """The result of the read. Raises HistoryError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                await self._free.acquire()
                with ExitStack() as slot:
                    slot.callback(self._free.release)
                    # Any number of clients may have left, or have been closed, while this one waited.
                    if await request.is_disconnected():
                        return b""
                    reading = in_thread(read)
                    # Not when the client has its answer: a read that hangs still has its thread and its connection.
                    reading.add_done_callback(lambda _: self._release(loop))
                    slot.pop_all()
                return await asyncio.shield(asyncio.wrap_future(reading))
        except TimeoutError:
            raise no_answer(READ_TIMEOUT_SECONDS) from None

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(self._free.release)


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
    """Up to `limit` items, read in parts until the page has reached its maximum size."""
    items: list[bytes] = []
    after, left = query.after, query.limit
    while left > 0 and sum(map(len, items)) < _PAGE_BYTES:
        page = read(query.model_copy(update={"after": after, "limit": min(left, _ROWS)}))
        # Encoded at once: the items as objects would need the memory a second time.
        items += map(_encoded, page.items)
        after, left = page.next, left - _ROWS
        if after is None:
            break
    return b'{"items":[%b],"next":%b}' % (b",".join(items), json.dumps(after).encode())


def _parameters(request: Request) -> Mapping[str, str | list[str]]:
    """Parameters by name. A repeated one is a list, which no query accepts: a single value would select too much."""
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
