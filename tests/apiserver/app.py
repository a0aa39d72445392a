"""From a method, a path and a body to an answer: routing, verbs, discovery."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from . import discovery
from .authorization import Authorizer
from .cluster import Cluster
from .deleting import Deleting
from .errors import ApiError, Object, method_not_allowed, not_served
from .reading import Reading
from .requests import RawRequest, Request, Target
from .scaling import Scaling
from .storage import to_json
from .watching import Watch
from .writing import Writing

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Response:
    """An answer that is complete at once."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, code: int, value: Object) -> Response:
        return cls(code, to_json(value))


_NOT_FOUND = Response(404, b"404 page not found\n", _TEXT)


def failure(error: ApiError) -> Response:
    """The answer that a failure is, with Retry-After when it says when to try again."""
    wait = (error.details or {}).get("retryAfterSeconds")
    headers = (("Retry-After", str(wait)),) if wait else ()
    return Response(error.code, to_json(error.status()), headers=headers)


class App:
    """The API without its transport."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._reading = Reading(cluster)
        self._writing = Writing(cluster)
        self._deleting = Deleting(cluster)
        self._scaling = Scaling(cluster, self._writing)
        self.authorizer = Authorizer(cluster)

    def respond(self, raw: RawRequest) -> Response | Watch:
        """Answers one request; failures are answers too."""
        try:
            with self.cluster.storage.writing_as(raw.user_agent):
                return self._route(raw)
        except ApiError as error:
            return failure(error)

    def _route(self, raw: RawRequest) -> Response | Watch:
        root, *steps = raw.path.strip("/").split("/")
        match root:
            case "version":
                return Response.of(200, discovery.VERSION)
            case "api" if steps:
                return self._version(raw, "", *steps)
            case "apis" if len(steps) > 1:
                return self._version(raw, *steps)
        return _NOT_FOUND

    def _version(self, raw: RawRequest, group: str, version: str, *rest: str) -> Response | Watch:
        if not rest:
            return Response.of(200, discovery.resources(self.cluster.catalog, group, version))
        request = raw.aimed_at(self._target(group, version, [*rest]))
        self.authorizer.check(request, raw.token)
        return self._perform(request)

    def _target(self, group: str, version: str, steps: list[str]) -> Target:
        """What the steps below a version name.

        Raises ApiError 404 when that is not served.
        """
        namespace = ""
        match steps:
            case ["namespaces", within, plural, *rest]:
                namespace = within
            case [plural, *rest]:
                pass
        name, subresource, *more = (*rest, "", "")[: max(2, len(rest))]
        resource = self.cluster.catalog.find(group, version, plural)
        served = {"": True, "portforward": plural == "pods", "status": resource.status, "scale": bool(resource.scale)}
        if not served.get(subresource) or more or (namespace and not resource.namespaced):
            raise not_served()
        return Target(resource, namespace, name, subresource)

    def _perform(self, request: Request) -> Response | Watch:
        if request.method == "GET" and request.is_watch and not request.target.name:
            return Watch(request, self.cluster, time.monotonic)
        act = self._verb(request.method, request.target)
        if act is None:
            raise method_not_allowed()
        return act(request)

    def _verb(self, method: str, target: Target) -> Callable[[Request], Response] | None:
        if target.name:
            if target.resource.namespaced and not target.namespace:
                raise not_served()
            if target.subresource == "scale":
                return self._of_scale(method)
            return {
                "GET": self._get,
                "PUT": self._put,
                "PATCH": self._patch,
                "DELETE": None if target.subresource else self._delete,
            }.get(method)
        can_write = bool(target.namespace) or not target.resource.namespaced
        return {"GET": self._list, "POST": self._create if can_write else None}.get(method)

    def _of_scale(self, method: str) -> Callable[[Request], Response] | None:
        verbs = {"GET": self._scaling.get, "PUT": self._scaling.update, "PATCH": self._scaling.patch}
        verb = verbs.get(method)
        return verb and (lambda request: Response.of(200, verb(request)))

    def _get(self, request: Request) -> Response:
        return Response(200, self._reading.get(request))

    def _list(self, request: Request) -> Response:
        return Response(200, self._reading.listing(request))

    def _create(self, request: Request) -> Response:
        return Response.of(*self._writing.create(request))

    def _put(self, request: Request) -> Response:
        return Response.of(*self._writing.update(request))

    def _patch(self, request: Request) -> Response:
        return Response.of(*self._writing.patch(request))

    def _delete(self, request: Request) -> Response:
        return Response.of(200, self._deleting.delete(request))
