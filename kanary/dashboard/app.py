"""The paths of the dashboard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from kanary.cli.failure import CommandError
from kanary.cli.rights import explained
from kanary.dashboard.actions import ACTIONS, Actions, Button
from kanary.dashboard.board import Board
from kanary.dashboard.guard import Guard
from kanary.dashboard.opened import OpenedKanaries
from kanary.dashboard.pages import Pages, Query, Shown, path_of
from kanary.history.faults import HistoryError
from kanary.kube.errors import ClusterError, Forbidden
from kanary.kube.resources import Key
from states.texts import one_line

_PAUSE = 0.5
"""Seconds between two updates of a page, whatever changes meanwhile."""
_TICK = 5.0
"""Seconds after which a page is looked at again without a change: times pass, and an outage may have begun."""
_FORM_BYTES = 8192


class Dashboard:
    """Responds to the requests of one session."""

    def __init__(self, board: Board, opened: OpenedKanaries, actions: Actions, guard: Guard) -> None:
        self._board = board
        self._opened = opened
        self._actions = actions
        self._guard = guard
        self._pages = Pages(board, actions, guard.form_token)

    def app(self) -> ASGIApp:
        """The application, guarded."""
        kanary = "/kanaries/{namespace}/{name}"
        routes = [
            Route("/", self._kanaries),
            Route("/stream", self._kanaries_stream),
            Route(kanary, self._kanary),
            Route(f"{kanary}/stream", self._kanary_stream),
            Route(f"{kanary}/{{action}}", self._act, methods=["GET", "POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _refused})
        return self._guard.around(app)

    # Pages

    async def _kanaries(self, request: Request) -> Response:
        query = _query(request)
        shown = await run_in_threadpool(self._pages.kanaries, query)
        stream = f"/stream?{request.url.query}"
        return HTMLResponse(self._pages.document("kanaries.html", shown, stream, query=query))

    async def _kanary(self, request: Request) -> Response:
        key = self._key(request)
        shown = await run_in_threadpool(self._pages.kanary, key, self._opened.of(key))
        status = HTTPStatus.OK if self._board.kanary(key) else HTTPStatus.NOT_FOUND
        return HTMLResponse(self._pages.document("kanary.html", shown, f"{path_of(key)}/stream"), status)

    # Streams

    async def _kanaries_stream(self, request: Request) -> Response:
        query = _query(request)
        return _stream(self._updates(None, lambda: self._pages.kanaries(query)))

    async def _kanary_stream(self, request: Request) -> Response:
        key = self._key(request)
        return _stream(self._updates(key, lambda: self._pages.kanary(key, self._opened.of(key))))

    async def _updates(self, key: Key | None, render: Callable[[], Shown]) -> AsyncIterator[str]:
        """The events of a stream: first everything, then what changes."""
        sent = Shown({}, "", "")
        async with AsyncExitStack() as stack:
            bell = stack.enter_context(self._board.bell(key))
            if key:
                await stack.enter_async_context(self._opened.open(key))
            while not self._board.has_ended:
                shown = await run_in_threadpool(render)
                # Also without a change: only a write shows that the browser is gone.
                yield ": looked\n\n" + "".join(_changes(sent, shown))
                sent = shown
                await asyncio.sleep(_PAUSE)
                await bell.wait(_TICK - _PAUSE)

    # Actions

    async def _act(self, request: Request) -> Response:
        key = self._key(request)
        action = ACTIONS.get(request.path_params["action"])
        if action is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no such action; the actions are {', '.join(ACTIONS)}")
        form: Mapping[str, str] = {}
        if request.method == "POST":
            form = await _form(request)
            if not self._guard.is_form_token(form.get("token", "")):
                raise HTTPException(HTTPStatus.FORBIDDEN, "the form is not one of this dashboard: open the page again")
        return await run_in_threadpool(self._answer, request, action, key, form)

    def _answer(self, request: Request, action: Button, key: Key, form: Mapping[str, str]) -> Response:
        plan, error, status, is_post = None, "", HTTPStatus.OK, request.method == "POST"
        try:
            plan = self._actions.plan(action, key) if not is_post else self._actions.execute(action, key, form)
        except (CommandError, ClusterError, HistoryError) as failure:
            error = one_line(explained(failure) if isinstance(failure, ClusterError) else str(failure))
            is_forbidden = isinstance(failure, Forbidden) or isinstance(failure.__cause__, Forbidden)
            status = HTTPStatus.FORBIDDEN if is_forbidden else HTTPStatus.CONFLICT
        is_page = "x-part" not in request.headers
        text = self._pages.confirmation(action, key, plan=plan, error=error, is_done=is_post, is_page=is_page)
        return HTMLResponse(text, status)

    def _key(self, request: Request) -> Key:
        key = Key(request.path_params["namespace"], request.path_params["name"])
        if self._board.namespace not in (None, key.namespace):
            way_out = f"start kanary dashboard with -n {key.namespace} or -A"
            raise HTTPException(HTTPStatus.NOT_FOUND, f"this dashboard shows {self._board.namespace} only: {way_out}")
        return key


def _changes(sent: Shown, shown: Shown) -> Iterator[str]:
    parts = {**shown.parts, **shown.rows}
    known = {**sent.parts, **sent.rows}
    if not sent.title or [*sent.rows] != [*shown.rows]:
        # Rows have come or gone, perhaps before this stream began: the whole table.
        parts = {**shown.parts, "rows": shown.table}
    for name, part in parts.items():
        if known.get(name) != part:
            yield _event("part", {"id": name, "html": part})
    if sent.title != shown.title:
        yield _event("title", shown.title)
    # Nothing is said when the page is opened: a screen reader reads it anyway.
    if sent.spoken not in ("", shown.spoken):
        yield _event("spoken", shown.spoken)


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def _stream(events: AsyncIterator[str]) -> Response:
    return StreamingResponse(events, media_type="text/event-stream")


def _query(request: Request) -> Query:
    return Query(request.query_params.get("q", ""), request.query_params.get("phase", ""))


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of a form, as browsers send it by default."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form is too large")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _refused(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    return PlainTextResponse(f"kanary: {error}\n", status)
