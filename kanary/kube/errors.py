"""What can go wrong between a client and the API server, as exceptions that say what to do next."""

# ruff: noqa: N818 -- the field's words: NotFound, Conflict, Gone are what Kubernetes calls these

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NOT_FOUND = 404
_CONFLICT = 409


class ClusterError(Exception):
    """Base of every error that a call to the cluster raises."""


class NotConfigured(ClusterError):
    """No cluster is configured, or the configuration cannot be used."""


class Unreachable(ClusterError):
    """The API server did not answer: connection fault or time-out. A write may have been carried out all the same."""


class Garbled(Unreachable):
    """Something answered that is not the API server, or not in a way that can be read."""


class NotForwarded(ClusterError):
    """The node of a pod could not connect to the port that was to be forwarded."""


class ApiError(ClusterError):
    """The API server answered with a failure."""

    def __init__(self, status: int, reason: str = "", message: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{message or 'no message'} ({f'{status} {reason}'.rstrip()})")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds after which the server asks to be tried again, None when it does not say."""


class Unauthorized(ApiError):
    """401: the credentials are missing, wrong or expired."""


class Forbidden(ApiError):
    """403: RBAC or an admission rule forbids it."""


class NotFound(ApiError):
    """404: no such object, or no such kind."""


class Conflict(ApiError):
    """409: the object changed in between, another field manager owns a field, or a precondition does not hold."""


class AlreadyExists(Conflict):
    """409 on create: the name is taken."""


class Gone(ApiError):
    """410: the resource version or continue token is too old; list again."""


class Invalid(ApiError):
    """422: the API server's validation refused the object."""


class Throttled(ApiError):
    """429: too many requests; see retry_after."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    _NOT_FOUND: NotFound,
    _CONFLICT: Conflict,
    410: Gone,
    422: Invalid,
    429: Throttled,
}


def from_status(status: Mapping[str, Any], http_status: int, retry_after: str | None = None) -> ApiError:
    """Return the error for a Status object (meta/v1) of a failed call or of a watch's ERROR event.

    `retry_after` is the HTTP header of that name, which counts before the object's own retryAfterSeconds.
    """
    code = _whole(status.get("code")) or http_status
    reason = str(status.get("reason") or "")
    details = status.get("details")
    asked = details.get("retryAfterSeconds") if isinstance(details, Mapping) else None
    seconds = _whole(retry_after) or _whole(asked)
    kind = AlreadyExists if code == _CONFLICT and reason == "AlreadyExists" else _BY_STATUS.get(code, ApiError)
    return kind(code, reason, str(status.get("message") or ""), float(seconds) if seconds is not None else None)


def from_answer(body: bytes, http_status: int, http_reason: str, retry_after: str | None = None) -> ApiError:
    """Return the error for an HTTP answer outside 2xx, whether or not its body is a Status object."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        # A proxy or an aggregated API in between answers in its own words.
        status = {"reason": http_reason, "message": body[:300].decode("utf-8", "replace").strip()}
    return from_status(status, http_status, retry_after)


def _whole(value: object) -> int | None:
    """Return a count or number of seconds, None for anything else (Retry-After may also be a date)."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() else None
