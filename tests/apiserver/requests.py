"""A request after routing: what it is about, and the options that it carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import Object, bad_request
from .resources import Resource

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = (MERGE_PATCH, APPLY_PATCH)


@dataclass(frozen=True)
class RawRequest:
    """A request as it came over the wire. `query` has the last value of each parameter."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    user_agent: str = ""
    token: str = ""

    def aimed_at(self, target: Target) -> Request:
        return Request(self.method, target, self.query, self.body, self.content_type, self.user_agent)


@dataclass(frozen=True)
class Target:
    """What a path names. `name` is empty for a collection, `namespace` for all namespaces or none."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True)
class Request:
    """One request about a resource."""

    method: str
    target: Target
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    user_agent: str = ""

    @property
    def is_watch(self) -> bool:
        return self.flag("watch")

    @property
    def manager(self) -> str:
        """Who writes: the given field manager, else the client program's name."""
        return self.query.get("fieldManager") or self.user_agent.partition("/")[0] or "unknown"

    def flag(self, name: str) -> bool:
        return self.query.get(name, "0") not in ("0", "false")

    def object(self) -> Object:
        """The body as an object; what is applied has to be JSON, too.

        Raises ApiError 400 when it is none.
        """
        try:
            data = json.loads(self.body)
        except ValueError as error:
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(data, dict):
            raise bad_request(f"couldn't get version/kind; expected an object, got {type(data).__name__}")
        return data
