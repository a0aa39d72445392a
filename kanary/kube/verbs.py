"""The verbs of the Kubernetes API as HTTP requests; a subclass sends the requests."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import unquote

from kanary.kube.errors import ApiError, Gone, InvalidResponse, NotFound, Right, Unreachable
from kanary.kube.http import Response
from kanary.kube.parsing import parsed
from kanary.kube.resources import SELF_SUBJECT_REVIEWS, Json, Resource
from kanary.kube.watch import Watch

T = TypeVar("T")
Objects = list[Json]
Query = dict[str, str]

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_RBAC_VERBS = {"apply": "patch", "forward": "create"}
"""The verbs of RBAC for those of the metrics that are others."""
_STORED = ("name", "uid", "resourceVersion")  # what the API server stores of each object
_SUBRESOURCE = 2  # its place after the plural and the name
_PAGE = 100  # objects
_READ_PAUSE = 0.1  # seconds, doubled after each attempt


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait for a connection, for the next bytes of a response, and for the next bytes of a watch."""

    connect: float = 5.0
    read: float = 30.0
    # The API server sends a bookmark every 60 to 75 s without events, so 90 s without data mean a dead connection.
    watch: float = 90.0


@dataclass(frozen=True)
class Request:
    """One HTTP request, with its verb for the metrics."""

    verb: str
    method: str
    path: str
    query: Query
    body: Json | None = None
    content_type: str = "application/json"

    @property
    def right(self) -> Right | None:
        """What RBAC has to grant for it; None for discovery, which everyone may do."""
        _, api, *parts = unquote(self.path).split("/")
        group = parts.pop(0) if api == "apis" and parts else ""
        parts = parts[1:]  # without the version
        namespace = parts[1] if parts[:1] == ["namespaces"] else ""
        parts = parts[2:] if namespace else parts
        if not parts or self.verb == "discover":
            return None
        plural, subresource = parts[0], f"/{parts[2]}" if len(parts) > _SUBRESOURCE else ""
        resource = f"{plural}.{group}{subresource}" if group else f"{plural}{subresource}"
        return Right(_RBAC_VERBS.get(self.verb, self.verb), resource, namespace)


class Verbs(ABC):
    """Requests to one cluster.

    Every method raises Unreachable without a response, and a subclass of ApiError for an error response. Reads are
    retried after a connection error; writes are not, because the API server may have executed them.
    """

    timeouts: Timeouts
    attempts: int
    """The number of attempts of a read."""
    field_manager: str | None
    """The field manager of writes; if None, the API server derives it from the user agent, up to the slash.
    `apply` requires one."""

    @property
    @abstractmethod
    def host(self) -> str:
        """The API server's URL."""

    @property
    def cluster(self) -> str:
        """The API server for messages: its URL, and where that is from."""
        return self.host

    @abstractmethod
    def _send(self, request: Request, *, read: float) -> Response:
        """Send a request and return the response with its body unread. Raises Unreachable or ApiError."""

    def with_timeouts(self, timeouts: Timeouts, *, attempts: int = 1) -> Self:
        """Return a client with the same connections, other time-outs and this number of attempts of a read."""
        other = copy.copy(self)
        other.timeouts = timeouts
        other.attempts = attempts
        return other

    def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """Return one object."""
        return self._read(Request("get", "GET", resource.path(namespace, name), {}))

    def list(
        self, resource: Resource, namespace: str | None = None, label_selector: str | None = None
    ) -> tuple[Objects, str]:
        """Return all objects of a kind, in all namespaces or in one, and the resource version for a watch."""
        objects, version = self.list_as(resource, lambda obj: obj, namespace, label_selector)
        return [*objects], version

    def list_as(
        self,
        resource: Resource,
        read: Callable[[Json], T],
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        *,
        page: int = _PAGE,
    ) -> tuple[Sequence[T], str]:
        """Return what `read` makes of each object of a kind, and the resource version for a watch.

        The objects are read in pages, so that whole objects are in memory for one page only. If the continue token
        expires, all objects are read in one response.
        """
        path, query = resource.path(namespace), _selection(label_selector, field_selector)
        # Lists of built-in kinds omit these two; watch events have them.
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}

        def read_pages(limit: Query) -> tuple[list[T], str]:
            found = list[T]()
            last = ""
            for items, version in self._pages(path, query | limit):
                # Each object is dropped when it is read: otherwise there were two pages while the next one arrives.
                items.reverse()
                while items:
                    found.append(read(kind | items.pop()))
                last = version
            return found, last

        try:
            return read_pages({"limit": str(page)})
        except Gone:
            return read_pages({})

    def watch(
        self,
        resource: Resource,
        resource_version: str,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: float,
    ) -> Watch:
        """Open a watch with bookmarks from a resource version; the server closes it after the given time."""
        query = _selection(label_selector, field_selector) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_seconds))),
        }
        request = Request("watch", "GET", resource.path(namespace), query)
        # The API server responds at once, and then sends nothing until there is an event.
        response = self._send(request, read=self.timeouts.read)
        response.set_timeout(self.timeouts.watch)
        return Watch(response, self._unreachable)

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        """Create an object and return it as stored. Raises AlreadyExists."""
        return self._write(Request("create", "POST", resource.path(namespace), self._manager(), body))

    def apply(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Json,
        *,
        force: bool,
        subresource: str | None = None,
    ) -> Json:
        """Server-side apply: create the object or set the given fields, and return it as stored.

        Raises Conflict if another manager owns a field, unless `force` takes it over.
        """
        query = self._manager() | {"force": str(force).lower()}
        path = resource.path(namespace, name, subresource)
        return self._write(Request("apply", "PATCH", path, query, body, _APPLY))

    def merge_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Json,
        *,
        subresource: str | None = None,
        field_manager: str | None = None,
    ) -> Json:
        """Merge fields into an object (None removes one, a list is replaced whole) and return it as stored.

        `field_manager` replaces the client's. Raises Conflict if the body has a resourceVersion that is not the latest.
        """
        path = resource.path(namespace, name, subresource)
        return self._write(Request("patch", "PATCH", path, self._manager(field_manager), body, _MERGE))

    def replace(
        self, resource: Resource, namespace: str | None, name: str, body: Json, *, subresource: str | None = None
    ) -> Json:
        """Replace an object and return it as stored. Raises Conflict if its resourceVersion is not the latest."""
        path = resource.path(namespace, name, subresource)
        return self._write(Request("update", "PUT", path, self._manager(), body))

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None,
        version: str | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete an object. Raises Conflict if the object has another UID or resource version than these."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {"uid": uid, "resourceVersion": version}
        if given := {key: value for key, value in preconditions.items() if value is not None}:
            options["preconditions"] = given
        self._call(Request("delete", "DELETE", resource.path(namespace, name), {}, options))

    def serves(self, resource: Resource) -> bool:
        """Whether the API server serves this kind and version."""
        try:
            served = self._read(Request("discover", "GET", resource.group_path, {}))
        except NotFound:
            return False
        return any(entry.get("name") == resource.plural for entry in served.get("resources") or [])

    def server_version(self) -> str:
        """Return the API server's version, such as "v1.31.2"."""
        return str(self._read(Request("discover", "GET", "/version", {})).get("gitVersion", "unknown"))

    def username(self) -> str:
        """The user as whom the API server authenticates this client; empty if it does not say (before 1.28)."""
        kind = {"apiVersion": SELF_SUBJECT_REVIEWS.api_version, "kind": SELF_SUBJECT_REVIEWS.kind}
        try:
            review = self.create(SELF_SUBJECT_REVIEWS, None, kind)
        except ApiError:
            return ""
        return str(((review.get("status") or {}).get("userInfo") or {}).get("username") or "")

    def _manager(self, name: str | None = None) -> Query:
        manager = name or self.field_manager
        return {"fieldManager": manager} if manager else {}

    def _pages(self, path: str, query: Query) -> Iterator[tuple[Objects, str]]:
        """Each page with the resource version of the list."""
        token = ""
        while True:
            page = self._read(Request("list", "GET", path, query | ({"continue": token} if token else {})))
            metadata = page.get("metadata") or {}
            token = metadata.get("continue") or ""
            yield page.get("items") or [], str(metadata.get("resourceVersion", ""))
            if not token:
                return

    def _read(self, request: Request) -> Json:
        for attempt in range(self.attempts - 1):
            try:
                return self._call(request)
            except Unreachable:
                time.sleep(_READ_PAUSE * 2**attempt)
        return self._call(request)

    def _write(self, request: Request) -> Json:
        """Send a write and return the object as stored. Raises InvalidResponse if the response is something else."""
        written = self._call(request)
        kept, metadata = (request.body or {}).get("metadata"), written.get("metadata")
        if kept and not (isinstance(metadata, dict) and all(isinstance(metadata.get(key), str) for key in _STORED)):
            raise InvalidResponse(
                f"{request.path} of {self.cluster} responded with {written.get('kind', 'no kind')} instead of the "
                "written object: is it an API server?"
            )
        return written

    def _call(self, request: Request) -> Json:
        response = self._send(request, read=self.timeouts.read)
        try:
            body = parsed(response.data)
        except OSError as error:
            raise self._unreachable(error) from error
        except ValueError:
            body = None
        if not isinstance(body, dict):
            kind = response.headers.get("content-type", "no content type")
            raise InvalidResponse(
                f"{request.path} of {self.cluster} responded with {kind} instead of a JSON object: is it an API server?"
            )
        return body

    def _unreachable(self, error: Exception) -> Unreachable:
        cause = " ".join(str(error).split())  # the library's messages have several lines
        return Unreachable(
            f"no response from the API server at {self.cluster}: {cause}; check that it runs and is reachable from "
            "this machine (kubectl cluster-info)"
        )


def _selection(label_selector: str | None, field_selector: str | None) -> Query:
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: selector for name, selector in selectors.items() if selector}
