"""A client with plain JSON objects over the official client's configuration, authentication and transport.

Objects are dictionaries: the library's typed models drop unknown fields, and one invalid object makes a whole typed
list fail.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException
from pydantic_core import to_json

from kanary.kube.clock import ClusterClock
from kanary.kube.errors import (
    AlreadyExists,
    ApiError,
    ClusterError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    InvalidResponse,
    NotConfigured,
    NotFound,
    Throttled,
    Unauthorized,
    Unreachable,
    from_response,
)
from kanary.kube.http import Connections, Response
from kanary.kube.keepalive import keepalive
from kanary.kube.kubeconfig import find_cluster
from kanary.kube.resources import PODS
from kanary.kube.verbs import Request, Timeouts, Verbs
from kanary.kube.watch import Watch

if TYPE_CHECKING:
    from kanary.kube.forward import PodConnection

__all__ = [
    "AlreadyExists",
    "ApiError",
    "ClusterClient",
    "ClusterError",
    "Conflict",
    "Forbidden",
    "Gone",
    "Invalid",
    "InvalidResponse",
    "NotConfigured",
    "NotFound",
    "Throttled",
    "Timeouts",
    "Unauthorized",
    "Unreachable",
    "Watch",
]

_log = logging.getLogger(__name__)

OnRequest = Callable[[str, int | None], None]
"""Called after each request with its verb and the status of the response, None if there was no response."""

_USERINFO = re.compile(r"(?<=://)[^/]*@")
_UNAUTHORIZED = 401
_CONNECTIONS = 32  # of the pool: enough for a watch per kind, the workers, the elector and the event recorder
_READ_ATTEMPTS = 3
_TOKEN_SECONDS = 1.0  # how long a token is used before the library checks whether it is the latest one: 0.3 ms
_SUSPICIOUS_SECONDS = 2.0  # when an outage has just ended, a request that waits for longer may have been lost
_LOST_SECONDS = 12  # without a sign of the API server's host: a watch would wait for its read time-out
_RELOAD_SECONDS = 10.0  # the shortest time between two reloads of credentials that the server rejects


class ClusterClient(Verbs):
    """The verbs over the official client's transport. Thread-safe."""

    def __init__(
        self,
        session: _Session,
        namespace: str,
        *,
        user: str = "",
        source: str = "",
        field_manager: str | None = None,
        timeouts: Timeouts | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self.namespace = namespace
        """The default namespace: that of the context, or in the cluster that of the pod."""
        self.user = user
        """The name of the context's user in the kubeconfig; empty in a pod."""
        self.field_manager = field_manager
        self.timeouts = timeouts or Timeouts()
        self.clock = ClusterClock()
        """The API server's time, by its last responses."""
        self._session = session
        self._source = source
        self.attempts = _READ_ATTEMPTS
        self._on_request: OnRequest = on_request or (lambda _verb, _status: None)

    @classmethod
    def connect(
        cls,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        field_manager: str | None = None,
        user_agent: str | None = None,
        timeouts: Timeouts | None = None,
        on_request: OnRequest | None = None,
    ) -> Self:
        """Return a client for the configured cluster, without a request.

        `find_cluster` says which one. `user_agent` defaults to the field manager. Raises NotConfigured if there is no
        configuration, or if it is not usable.
        """
        cluster = find_cluster(kubeconfig, context)
        try:
            session = _Session(cluster.load, user_agent or field_manager)
            namespace, user = cluster.namespace(), cluster.user()
        except Exception as error:  # the library's files, parsers and plug-ins raise any exception
            raise NotConfigured(f"{cluster.name} cannot be used: {error}") from error
        return cls(
            session,
            namespace,
            user=user,
            source=cluster.name,
            field_manager=field_manager,
            timeouts=timeouts,
            on_request=on_request,
        )

    @property
    def host(self) -> str:
        """The API server's URL for messages, without user and password."""
        return _USERINFO.sub("", self._session.host)

    @property
    def cluster(self) -> str:
        """Its URL, and the context and kubeconfig that it is from."""
        return f"{self.host} ({self._source})" if self._source else self.host

    def reset_connections(self) -> None:
        """Close idle connections and those that wait for a response, except young ones: after an outage."""
        self._session.reset(_SUSPICIOUS_SECONDS)

    def forward(self, namespace: str, pod: str, port: int) -> PodConnection:
        """Connect to a port of a pod. This needs the verbs get and create on the subresource `pods/portforward`.

        Raises ApiError and Unreachable. If the pod refuses the connection, the first read raises NotForwarded.
        """
        from kanary.kube.forward import PodConnection, open_websocket  # noqa: PLC0415 -- the operator does not need it

        request = Request("forward", "GET", PODS.path(namespace, pod, "portforward"), {"ports": str(port)})
        url, headers, configuration = self._session.serialize(request)
        try:
            return PodConnection(open_websocket(url, headers, configuration, self.timeouts.read), pod)
        except ApiError as failure:
            self._explain(failure, request)
            raise

    def _send(self, request: Request, *, read: float) -> Response:
        sent = datetime.now(UTC)
        try:
            response = self._session.send(request, (self.timeouts.connect, read))
            self.clock.observe(response.headers.get("date"), sent, datetime.now(UTC))
            failure = None if response.status in range(200, 300) else _failure(response)
        except (OSError, ConfigException) as error:
            self._on_request(request.verb, None)
            raise self._unreachable(error) from error
        self._on_request(request.verb, response.status)
        if failure is not None:
            self._explain(failure, request)
            raise failure
        return response

    def _explain(self, failure: ApiError, request: Request) -> None:
        failure.cluster, failure.right = self.cluster, request.right


class _Session:
    """The library's client; reloads rejected credentials."""

    def __init__(self, load: Callable[[Any], None], user_agent: str | None) -> None:
        self._load = load
        self._user_agent = user_agent
        self._lock = threading.Lock()
        self._token: dict[str, str] | None = None
        self._authorized: Any = None
        """The client that has this token."""
        self._authorized_until = 0.0
        self._access = self._make()
        self._made_at = time.monotonic()

    @property
    def host(self) -> str:
        return str(self._access.api.configuration.host)

    def send(self, request: Request, timeout: tuple[float, float]) -> Response:
        """Send a request; if the server rejects the credentials, or we its certificate, reload and send it again."""
        access = self._access
        try:
            response = self._send_with(access, request, timeout)
        except ssl.SSLCertVerificationError:
            # The authority may have been replaced, with its file. Nothing has been sent.
            if not self._reload(access):
                raise
            return self._send_with(self._access, request, timeout)
        if response.status == _UNAUTHORIZED and self._reload(access):
            # The server has not executed a request with status 401, so even a write may be repeated.
            response.close()
            response = self._send_with(self._access, request, timeout)
        return response

    def reset(self, seconds: float) -> None:
        """Close connections that are idle, or have waited for a response for longer than this."""
        self._access.connections.reset(seconds)

    def serialize(self, request: Request) -> tuple[str, dict[str, str], Any]:
        """The URL and the headers of a request, and the configuration of its connection."""
        api = self._access.api
        return f"{api.configuration.host}{_target(request)}", self._headers(api, request), api.configuration

    def _headers(self, api: Any, request: Request) -> dict[str, str]:
        headers = {**api.default_headers, "Accept": "application/json", "Content-Type": request.content_type}
        # The library refreshes a token while it returns the settings, which is not thread-safe.
        with self._lock:
            if api is not self._authorized or time.monotonic() >= self._authorized_until:
                self._token = api.configuration.auth_settings().get("BearerToken")
                self._authorized, self._authorized_until = api, time.monotonic() + _TOKEN_SECONDS
            token = self._token
        return headers | {token["key"]: token["value"]} if token else headers

    def _send_with(self, access: _Access, request: Request, timeout: tuple[float, float]) -> Response:
        headers = self._headers(access.api, request)
        body = None if request.body is None else to_json(request.body)
        return access.connections.send(request.method, _target(request), headers, body, timeout)

    def _reload(self, rejected: _Access) -> bool:
        """Reload the credentials and the authority; return whether they may differ from the rejected ones.

        The library reads a kubeconfig's token file, a plug-in's client certificate and the authority only once.
        """
        with self._lock:
            if self._access is rejected and time.monotonic() - self._made_at > _RELOAD_SECONDS:
                self._made_at = time.monotonic()
                try:
                    self._access = self._make()
                except Exception:  # as in connect(); the caller receives the status 401
                    _log.exception("credentials or certificates are rejected, and cannot be reloaded")
            return self._access is not rejected

    def _make(self) -> _Access:
        configuration = Configuration()
        self._load(configuration)
        configuration.connection_pool_maxsize = _CONNECTIONS
        configuration.socket_options = keepalive(_LOST_SECONDS)
        api = ApiClient(configuration)
        if self._user_agent:
            api.user_agent = self._user_agent
        return _Access(api, Connections(api.rest_client.pool_manager, configuration.host))


@dataclass(frozen=True)
class _Access:
    """The library's client, with the credentials, and its connections."""

    api: Any
    connections: Connections


def _target(request: Request) -> str:
    return f"{request.path}?{urlencode(request.query)}" if request.query else request.path


def _failure(response: Response) -> ApiError:
    return from_response(response.data, response.status, response.reason, response.headers.get("retry-after"))
