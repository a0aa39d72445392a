"""The HTTP API of the history: read-only, for readers whom the cluster lets forward a port to the operator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import Response

from engine.model.entries import Configuration
from engine.model.shape import Shape
from kanary.history.faults import Fault, FaultReason, HistoryError
from kanary.history.records import KnownKanary, Page, RecordedChange, RecordedEntry
from kanary.history.selection import BadCursorError, Selection
from kanary.history.source import Source, find_kanary
from kanary.history.wire import ROOT, Refusal, Refused, Revisions
from kanary.version import VERSION
from kanary.web.queries import EntryQuery, InForceQuery, KanaryQuery, SelectionQuery, SpanQuery

T = TypeVar("T", bound=Shape)

_ABOUT = """\
The changes of weights, changes of phase and whatever else happened to each Kanary. Read-only.

The operator serves it on its loopback interface. To read it, forward a port with rights of the Role `kanary-viewer`:

    kubectl -n kanary-system port-forward deployment/kanary 8081
    curl http://localhost:8081/history/v1/changes

Pages: where `next` is not null there is more. Repeat the request with it as `after`; what is recorded meanwhile
shifts nothing. Ignore fields and kinds of entries that you do not know: later versions add some.
"""
_REFUSED = """\
`BadParameter`, `BadCursor` (400), `UnknownPath`, `UnknownKanary`, `UnknownRevision`, `UnknownConfiguration` (404), or
the reason why the record cannot be read, such as `DatabaseUnavailable` (503)."""
_LOOPBACK = ["localhost", "127.0.0.1", "::1", "[::1]"]

_PAGE_BYTES = 1024 * 1024
"""A page ends once it has this size, whatever it is made of."""
_ROWS = 50
"""Read at a time, so that a page is not much larger than that."""
_reads = threading.BoundedSemaphore(8)
"""Reads at a time: each holds a connection to the database, and a page."""

_router = APIRouter(prefix=ROOT, responses={"default": {"model": Refused, "description": _REFUSED}})


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        self.status = status
        self.refused = Refused(reason=reason, message=message)


def history_api(source: Source | None, fault: Callable[[], Fault | None] = lambda: None) -> FastAPI:
    """Serve a record; None where history is disabled.

    `fault` says what is wrong with the record as its writer knows it, which a reader may see less well.
    """
    app = FastAPI(
        title="Kanary's history",
        version=VERSION,
        description=_ABOUT,
        openapi_url=f"{ROOT}/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.source = source
    # A page of another site in a reader's browser must not get at a forwarded port by a name of its own.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    app.include_router(_router)

    @app.exception_handler(HistoryError)
    def unavailable(_: Request, error: HistoryError) -> Response:
        found = fault() or error.fault
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, Refused(reason=found.reason, message=found.message))

    return _with_refusals(app)


def _with_refusals(app: FastAPI) -> FastAPI:
    @app.exception_handler(_RefusedError)
    def refused(_: Request, error: _RefusedError) -> Response:
        return _refusal(error.status, error.refused)

    @app.exception_handler(BadCursorError)
    def bad_cursor(_: Request, error: BadCursorError) -> Response:
        return _refusal(HTTPStatus.BAD_REQUEST, Refused(reason=Refusal.BAD_CURSOR, message=str(error)))

    @app.exception_handler(RequestValidationError)
    def bad_parameter(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = first["loc"][-1]
        return _refusal(
            HTTPStatus.BAD_REQUEST, Refused(reason=Refusal.BAD_PARAMETER, message=f"{where!s:.80}: {first['msg']}")
        )

    @app.exception_handler(HTTPStatus.NOT_FOUND)
    def unknown_path(_: Request, __: Exception) -> Response:
        message = f"there is nothing here: see {ROOT}/openapi.json"
        return _refusal(HTTPStatus.NOT_FOUND, Refused(reason=Refusal.UNKNOWN_PATH, message=message))

    return app


def _source(request: Request) -> Source:
    source: Source | None = request.app.state.source
    if source is None:
        raise HistoryError(FaultReason.DISABLED, "history is disabled (KANARY_HISTORY_URL is empty)")
    return source


_Record = Annotated[Source, Depends(_source)]


@_router.get("/kanaries", response_model=Page[KnownKanary])
def list_kanaries(source: _Record, query: Annotated[SelectionQuery, Query()]) -> Response:
    """Kanaries, by namespace and name."""
    return _page(lambda after, limit: source.kanaries(query.selection(), after, limit), query)


@_router.get("/changes", response_model=Page[RecordedChange])
def list_changes(source: _Record, query: Annotated[SpanQuery, Query()]) -> Response:
    """Weight changes, the newest first."""
    return _page(lambda after, limit: source.changes(query.selection(), after, limit), query)


@_router.get("/entries", response_model=Page[RecordedEntry])
def list_entries(source: _Record, query: Annotated[EntryQuery, Query()]) -> Response:
    """Entries of some kinds, or of every kind, the newest first."""
    return _page(lambda after, limit: source.entries(query.selection(), after, limit, query.kinds()), query)


@_router.get("/in-force", response_model=Page[RecordedChange])
def list_in_force(source: _Record, query: Annotated[InForceQuery, Query()]) -> Response:
    """For each Kanary that existed at a time, the weight change that was the newest then."""
    return _page(lambda after, limit: source.in_force(query.selection(), query.at, after, limit), query)


@_router.get("/revisions")
def get_revisions(source: _Record, query: Annotated[KanaryQuery, Query()]) -> Revisions:
    """The first and the last revision that are kept."""
    first, last = source.revisions(_kanary(source, query)) or (None, None)
    return Revisions(first=first, last=last)


@_router.get("/revisions/{revision}", response_model=RecordedChange)
def get_revision(
    source: _Record, revision: Annotated[int, Path(ge=0, lt=2**63)], query: Annotated[KanaryQuery, Query()]
) -> Response:
    """One weight change."""
    kanary = _kanary(source, query)
    found = source.revision(kanary, revision)
    if found is None:
        message = f"there is no revision {revision} of {kanary.namespace}/{kanary.name} in the history"
        raise _RefusedError(HTTPStatus.NOT_FOUND, Refusal.UNKNOWN_REVISION, message)
    return _json(_encoded(found))


@_router.get("/configurations/{digest}", response_model=Configuration)
def get_configuration(source: _Record, digest: Annotated[str, Path(max_length=128, pattern=r"^[^\x00]*$")]) -> Response:
    """A configuration of the proxies, by the `digest` of a weight change."""
    found = source.configuration(digest)
    if found is None:
        message = f"there is no configuration {digest} in the history"
        raise _RefusedError(HTTPStatus.NOT_FOUND, Refusal.UNKNOWN_CONFIGURATION, message)
    return _json(_encoded(found))


def _kanary(source: Source, query: KanaryQuery) -> KnownKanary:
    found = find_kanary(source, Selection(query.namespace, query.name, include_deleted=True), query.uid)
    if found is None:
        uid = f" with the uid {query.uid}" if query.uid else ""
        message = f"there is no Kanary {query.namespace}/{query.name}{uid} in the history"
        raise _RefusedError(HTTPStatus.NOT_FOUND, Refusal.UNKNOWN_KANARY, message)
    return found


def _page(read: Callable[[str | None, int], Page[T]], query: SelectionQuery) -> Response:
    """Up to `limit` items, read in parts until the page has its size."""
    after, left = query.place(), query.limit
    items: list[bytes] = []
    with _reads:
        while left > 0:
            page = read(after, min(left, _ROWS))
            items += [_encoded(item) for item in page.items]
            after, left = page.next, left - _ROWS
            if after is None or sum(map(len, items)) >= _PAGE_BYTES:
                break
    # As text, since each item is text already: as objects they would all be in memory once more.
    after_text = Page[KnownKanary](items=(), next=after).model_dump_json(include={"next"})
    return _json(b'{"items":[%b],%b' % (b",".join(items), after_text.removeprefix("{").encode()))


def _encoded(shape: Shape) -> bytes:
    return shape.model_dump_json(by_alias=True).encode()


def _json(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(body, status, media_type="application/json")


def _refusal(status: HTTPStatus, refused: Refused) -> Response:
    return _json(_encoded(refused), status)
