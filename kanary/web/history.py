"""The HTTP API of the history: read-only, for readers whom the cluster lets forward a port to the operator."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kanary.history.faults import Fault, FaultReason, HistoryError
from kanary.history.selection import BadCursorError
from kanary.history.source import Source
from kanary.history.wire import ROOT, Refusal, Refused
from kanary.web import description
from kanary.web.operations import OPERATIONS, MissingError, Operation, encoded

_LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]


def history_api(source: Source | None, fault: Callable[[], Fault | None] = lambda: None) -> Starlette:
    """Serve a record; None where history is disabled.

    `fault` says what is wrong with the record as its writer knows it, which a reader may see less well.
    """

    def route(operation: Operation[Any]) -> Route:
        def answer(request: Request) -> Response:
            return _answer(operation, dict(request.query_params), source, fault)

        return Route(f"{ROOT}/{operation.path}", answer)

    # A page of another site in a reader's browser must not get at a forwarded port under a name of its own.
    local = Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    described = Route(f"{ROOT}/{description.PATH}", lambda _: _json(HTTPStatus.OK, description.encoded()))
    app = Starlette(
        routes=[described, *map(route, OPERATIONS)],
        middleware=[local],
        exception_handlers={HTTPStatus.NOT_FOUND: _unknown_path},
    )
    app.router.redirect_slashes = False
    return app


def _answer(
    operation: Operation[Any], query: dict[str, str], source: Source | None, fault: Callable[[], Fault | None]
) -> Response:
    if source is None:
        message = "history is disabled (KANARY_HISTORY_URL is empty)"
        return _refused(HTTPStatus.SERVICE_UNAVAILABLE, FaultReason.DISABLED, message)
    try:
        values = operation.query.model_validate(query)
    except ValidationError as error:
        return _refused(HTTPStatus.BAD_REQUEST, Refusal.BAD_PARAMETER, _first_line(error))
    try:
        return _json(HTTPStatus.OK, operation.run(source, values))
    except BadCursorError as error:
        return _refused(HTTPStatus.BAD_REQUEST, Refusal.BAD_CURSOR, str(error))
    except MissingError as error:
        return _refused(HTTPStatus.NOT_FOUND, error.reason, str(error))
    except HistoryError as error:
        found = fault() or error.fault
        return _refused(HTTPStatus.SERVICE_UNAVAILABLE, found.reason, found.message)


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "query"
    return f"{where:.80}: {first['msg']}"


def _unknown_path(_request: Request, _error: Exception) -> Response:
    message = f"there is nothing here: see {ROOT}/{description.PATH}"
    return _refused(HTTPStatus.NOT_FOUND, Refusal.UNKNOWN_PATH, message)


def _refused(status: HTTPStatus, reason: str, message: str) -> Response:
    return _json(status, encoded(Refused(reason=reason, message=message)))


def _json(status: HTTPStatus, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
