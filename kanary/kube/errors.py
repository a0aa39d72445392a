"""Errors of requests to the API server."""

# ruff: noqa: N818 -- Kubernetes uses these names: NotFound, Conflict, Gone

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

_NOT_FOUND = 404
_CONFLICT = 409
_STALE = (_NOT_FOUND, _CONFLICT)
_REJECTIONS = (400, 403, 405, 413, 415, 422)
_UID_FIELD = "metadata.uid"
"""An error about this field means that the object was replaced."""
_ENDING_CAUSE = "NamespaceTerminating"
_DIGITS = 12
_MAX_RETRY_AFTER = 60
"""Seconds. A server that asks for more is asked again nevertheless."""
_SERVER_ERROR = 500
_NOT_IN_SCHEMA = "failed to create typed patch object"
"""Every release answers 500 to an apply with a field that the kind does not have, or of another type."""
ANONYMOUS = "system:anonymous"
"""The user of requests without credentials."""
_NOT_SERVED = ("404 page not found", "the server could not find the requested resource")
"""What API servers say of a kind that they do not have."""
_BY_RBAC = re.compile(r'User "(?P<user>[^"]*)" cannot \w+ ')


class Meaning(Enum):
    """What a failed write says about further attempts. It is decided in this module, for every write."""

    RETRY = auto()
    """The cause is temporary, or it is unknown whether the write was executed."""
    STALE = auto()
    """The object is not as it was read: read it again before the next attempt."""
    REJECTED = auto()
    """The same request fails until somebody changes something."""
    ENDING = auto()
    """The namespace is being deleted, and nothing can be created in it."""


class ClusterError(Exception):
    """Base class of the errors."""

    retry_after: float | None = None
    """Seconds to wait before a retry, from Retry-After or the Status object, a minute at most; None without one."""

    @property
    def meaning(self) -> Meaning:
        """What it means if the request is a write."""
        return Meaning.RETRY

    @property
    def is_outage(self) -> bool:
        """Whether the API server does not respond, or cannot."""
        return False


class NotConfigured(ClusterError):
    """There is no configuration of a cluster, or it is not usable."""


class Unreachable(ClusterError):
    """No response: connection error or time-out. The API server may have executed a write nevertheless."""

    @property
    def is_outage(self) -> bool:
        """True: it does not respond."""
        return True


class InvalidResponse(Unreachable):
    """The response is not that of an API server."""


class NotForwarded(ClusterError):
    """The node of a pod cannot connect to the port."""


class Right(NamedTuple):
    """What RBAC has to grant for a request."""

    verb: str
    resource: str
    """As in `kubectl auth can-i`: `kanaries.kanary.k8s.io`, or `pods/portforward`."""
    namespace: str
    """Empty for all namespaces, and for a cluster-scoped resource."""

    @property
    def writes_nothing(self) -> bool:
        """Whether no admission rule applies."""
        return self.verb in ("get", "list", "watch") or self.resource == "pods/portforward"

    def __str__(self) -> str:
        scope = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        return f"{self.verb} {self.resource} in {scope}"


class ApiError(ClusterError):
    """The API server responded with an error."""

    cluster = ""
    """The API server, and where its address is from, if the error is that of a client's request."""
    causes: frozenset[str] = frozenset()
    """The reasons in the details of the Status."""
    right: Right | None = None
    """What a client's request needs."""

    def __init__(self, status: int, reason: str = "", message: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{message or 'no message'} ({f'{status} {reason}'.rstrip()})")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def meaning(self) -> Meaning:
        """What it means if the request is a write.

        404 does not say that the object of a status was deleted: the kind or its subresource may be missing as well.
        """
        if _ENDING_CAUSE in self.causes:
            return Meaning.ENDING
        if self.status in _STALE or _UID_FIELD in self.message:
            return Meaning.STALE
        return Meaning.REJECTED if self.status in _REJECTIONS or self._is_malformed else Meaning.RETRY

    @property
    def is_outage(self) -> bool:
        """Whether the fault is the server's."""
        return self.status >= _SERVER_ERROR and not self._is_malformed

    @property
    def _is_malformed(self) -> bool:
        return self.status == _SERVER_ERROR and _NOT_IN_SCHEMA in self.message


class Unauthorized(ApiError):
    """401: the credentials are missing, wrong or expired."""


class Forbidden(ApiError):
    """403: RBAC or an admission rule forbids it."""

    @property
    def user(self) -> str:
        """As the API server names the user; empty if it does not."""
        found = _BY_RBAC.search(self.message)
        return found["user"] if found else ""

    @property
    def missing(self) -> Right | None:
        """The right that the user lacks; None if the API server authorizes the request, and rejects what it writes."""
        return self.right if self.user or (self.right and self.right.writes_nothing) else None

    def __str__(self) -> str:
        if self.missing is None:
            return super().__str__()
        # The API server's text says the same in more words.
        what = f'"{self.user}" cannot {self.missing}' if self.user else f"cannot {self.missing}: {self.message}"
        return f"{what} ({self.status} {self.reason})"


class NotFound(ApiError):
    """404: no such object, or no such kind."""

    @property
    def unserved(self) -> str:
        """The kind that the API server does not have; empty if only the object is missing."""
        return self.right.resource if self.right and self.message in _NOT_SERVED else ""

    def __str__(self) -> str:
        if not self.unserved:
            return super().__str__()
        return f"the API server does not serve {self.unserved} ({self.status} {self.reason})"


class Conflict(ApiError):
    """409: the object has changed, another field manager owns a field, or a precondition failed."""


class AlreadyExists(Conflict):
    """409 on create: an object of this name exists."""


class Gone(ApiError):
    """410: the resource version or continue token is too old; list again."""


class Invalid(ApiError):
    """422: the object is invalid."""


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
    """Return the error of a Status object (meta/v1): of a failed request, or of a watch's ERROR event.

    `retry_after` is the HTTP header Retry-After; it takes precedence over the object's retryAfterSeconds.
    """
    code = _whole(status.get("code")) or http_status
    reason = str(status.get("reason") or "")
    details = status.get("details")
    details = details if isinstance(details, Mapping) else {}
    seconds = _whole(retry_after) or _whole(details.get("retryAfterSeconds"))
    kind = AlreadyExists if code == _CONFLICT and reason == "AlreadyExists" else _BY_STATUS.get(code, ApiError)
    requested = None if seconds is None else float(min(seconds, _MAX_RETRY_AFTER))
    error = kind(code, reason, str(status.get("message") or ""), requested)
    causes = details.get("causes")
    causes = causes if isinstance(causes, list) else []
    error.causes = frozenset(str(cause.get("reason")) for cause in causes if isinstance(cause, Mapping))
    return error


def from_response(body: bytes, http_status: int, http_reason: str, retry_after: str | None = None) -> ApiError:
    """Return the error of an HTTP response outside 2xx, with or without a Status object as its body."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        # A proxy or an aggregated API server may respond with any text.
        status = {"reason": http_reason, "message": body[:300].decode("utf-8", "replace").strip()}
    return from_status(status, http_status, retry_after)


def _whole(value: object) -> int | None:
    """Return a whole number, None for anything else (Retry-After may also be a date)."""
    text = str(value).strip()[:_DIGITS]
    return int(text) if text.isascii() and text.isdigit() else None
