"""The history over HTTP, read-only: the routes that an `HttpServer` takes."""

from __future__ import annotations

from http import HTTPStatus

from kanary.history import openapi, wire
from kanary.history.answers import MissingError, Refusal
from kanary.history.operations import OPERATIONS, ROOT
from kanary.history.parameters import BadParameterError, read_query, read_segment, read_values
from kanary.history.problems import HistoryError
from kanary.history.reader import Reader
from kanary.history.selection import BadCursorError
from kanary.history.source import Source
from kanary.web.server import Answer, Asked, Tree

_JSON = "application/json"


def history_routes(url: str) -> dict[str, Tree]:
    """What serves the record of a database; nothing is opened before it is asked for.

    Raises BadAddressError for a URL that is none.
    """
    return routes(Reader(url))


def routes(source: Source) -> dict[str, Tree]:
    """What serves a record."""
    busy = _refused(
        HTTPStatus.SERVICE_UNAVAILABLE, Refusal.BUSY, "others are reading the history: try again in a moment"
    )
    return {ROOT: Tree(lambda asked: answer(source, asked), busy)}


def answer(source: Source, asked: Asked) -> Answer:
    """The answer to one request, be it a refusal."""
    if asked.path == openapi.PATH:
        return HTTPStatus.OK, _JSON, openapi.encoded()
    try:
        return _found(source, asked)
    except BadParameterError as error:
        return _refused(HTTPStatus.BAD_REQUEST, Refusal.BAD_PARAMETER, str(error))
    except BadCursorError as error:
        return _refused(HTTPStatus.BAD_REQUEST, Refusal.BAD_CURSOR, str(error))
    except MissingError as error:
        return _refused(HTTPStatus.NOT_FOUND, error.reason, str(error))
    except HistoryError as error:
        return _refused(HTTPStatus.SERVICE_UNAVAILABLE, error.problem.reason, error.problem.message)


def _found(source: Source, asked: Asked) -> Answer:
    segments = asked.path.split("/")
    for operation in OPERATIONS:
        if (given := operation.match(segments)) is not None:
            in_path = read_values(operation.in_path, {name: read_segment(text) for name, text in given.items()})
            values = in_path | read_values(operation.query, read_query(asked.query))
            return HTTPStatus.OK, _JSON, operation.run(source, values)
    return _refused(
        HTTPStatus.NOT_FOUND, Refusal.UNKNOWN_PATH, f"there is nothing here; {ROOT}{openapi.PATH} says what there is"
    )


def _refused(status: HTTPStatus, reason: str, message: str) -> Answer:
    return status, _JSON, wire.Error(reason=reason, message=message).encoded()
