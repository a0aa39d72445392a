"""A request after routing: what it is about, and the options that it carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from .errors import Object, bad_request, unsupported_media_type
from .resources import Resource

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
_LONGEST_MANAGER = 128


class _JsonLikeLoader(yaml.SafeLoader):
    """YAML as JSON knows it: what looks like a date stays text."""


_JsonLikeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class RawRequest:
    """A request as it came over the wire. `query` has the last value of each parameter."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = ""
    user_agent: str = ""

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
    def dry_run(self) -> bool:
        return bool(self.query.get("dryRun"))

    @property
    def is_watch(self) -> bool:
        return self.flag("watch")

    @property
    def manager(self) -> str:
        """Who writes: the given field manager, else the client program's name."""
        return self.query.get("fieldManager") or self.user_agent.partition("/")[0][:_LONGEST_MANAGER] or "unknown"

    def flag(self, name: str) -> bool:
        return name in self.query and self.query[name] not in ("0", "false", "False", "f", "F")

    def data(self) -> Any:
        """The body as data.

        Raises ApiError 400 when it cannot be read, 415 when it is of no known type.
        """
        if self.content_type.endswith("yaml"):
            return self._yaml()
        if self.content_type not in ("", "application/json", JSON_PATCH, MERGE_PATCH):
            raise unsupported_media_type(["application/json", "application/yaml"])
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None

    def _yaml(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            pass  # YAML that is no JSON is read below.
        try:
            return yaml.load(self.body, _JsonLikeLoader)
        except yaml.YAMLError as error:
            raise bad_request(f"error decoding YAML: {error}") from None

    def object(self) -> Object:
        """The body as an object.

        Raises ApiError 400 when it is none.
        """
        data = self.data()
        if not isinstance(data, dict):
            raise bad_request(f"couldn't get version/kind; expected an object, got {type(data).__name__}")
        return data
