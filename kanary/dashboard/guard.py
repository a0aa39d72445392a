"""Who may use the dashboard: the one browser that opened its link. Everything else on this machine is refused.

A page of another site can send requests to loopback, with its own name as Host if its DNS says 127.0.0.1. So each
request needs a known Host, no foreign Origin, and the cookie of the session; a write needs an Origin besides.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = "/open"
"""The path that exchanges the token of a link for the cookie of the session."""
_TOKEN_BYTES = 32
_HTTP_PORT = 80
"""Browsers do not name it."""
_READS = ("GET", "HEAD")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Not no-referrer: browsers would send `Origin: null` with forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# A redirect would not do: if a link from another site leads here, the browser sends no cookie to its target.
_OPENED = """<!doctype html><html lang="en"><title>Kanary</title>
<meta http-equiv="refresh" content="0; url=/"><p><a href="/">Open the dashboard</a></p></html>"""
_NO_SESSION = """this browser has no session of the dashboard: press Enter in the terminal of kanary dashboard for a \
new link, which works once
"""


class Guard:
    """The session of one dashboard."""

    def __init__(self, port: int) -> None:
        self.form_token = secrets.token_urlsafe(_TOKEN_BYTES)
        """A hidden field of each form contains it."""
        self._port = port
        self._session = secrets.token_urlsafe(_TOKEN_BYTES)
        # Browsers send cookies to all ports of a host.
        self._cookie = f"kanary-{port}"
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}" for name in names} | set(names if port == _HTTP_PORT else ())
        self._token = ""

    def new_link(self) -> str:
        """A link that opens the dashboard once. It ends former links and, when it is opened, the former session."""
        # Once, because other users of the machine can read the arguments of the command that opens the browser.
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        return f"http://127.0.0.1:{self._port}{OPEN}?token={self._token}"

    def is_form_token(self, given: str) -> bool:
        """Whether a form was made by this dashboard."""
        return _is_same(given, self.form_token)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, for requests of this session only."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return
            refusal = self._answer(scope)
            await (refusal or app)(scope, receive, _with_headers(send))

        return guarded

    def _answer(self, scope: Scope) -> Response | None:
        """The response to a request that does not reach the application; None for one that does."""
        headers = Headers(scope=scope)
        host, origin = headers.getlist("host"), headers.getlist("origin")
        if len(host) != 1 or host[0] not in self._hosts:
            known = " or ".join(sorted(self._hosts))
            return _refused(HTTPStatus.MISDIRECTED_REQUEST, f"the dashboard is at {known}")
        is_own = origin == [f"http://{host[0]}"] or (not origin and scope["method"] in _READS)
        if not is_own:
            return _refused(HTTPStatus.FORBIDDEN, "the request comes from another site")
        session = cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        is_known = _is_same(session, self._session)
        if scope["path"] == OPEN:
            # Also if the user opens the link again.
            return HTMLResponse(_OPENED) if is_known else self._opened(scope)
        return None if is_known else _refused(HTTPStatus.UNAUTHORIZED, _NO_SESSION)

    def _opened(self, scope: Scope) -> Response:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] != "GET" or not self._token or not _is_same(given, self._token):
            return _refused(HTTPStatus.UNAUTHORIZED, f"this link is not valid, or was used before: {_NO_SESSION}")
        self._token, self._session = "", secrets.token_urlsafe(_TOKEN_BYTES)
        response = HTMLResponse(_OPENED)
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
        return response


def _is_same(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


def _refused(status: HTTPStatus, message: str) -> Response:
    return PlainTextResponse(f"kanary: {message.rstrip()}\n", status)


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sent
