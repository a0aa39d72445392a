"""A cluster in memory for measurements of the operator: what its client needs, and the reports of its proxies."""

from __future__ import annotations

import itertools
import json
import queue
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Self, TypeVar

from engine.fleet.proxy import Proxy
from engine.fleet.reports import Report
from engine.ports import Json
from engine.render.objects import KANARY_LABEL
from kanary.kube.clock import ClusterClock
from kanary.kube.errors import NotFound
from kanary.kube.resources import CONFIG_MAPS, Resource

NAMESPACE = "shop"
T = TypeVar("T")
_DIGEST = re.compile(r"proc\.digest str\((\w+)\)")


class MemoryCluster:
    """The verbs of `kanary.kube.client.ClusterClient` that a reconcile needs; others raise AttributeError."""

    def __init__(self) -> None:
        self.clock = ClusterClock()
        self.writes: list[str] = []
        """The kinds that the operator wrote, in this order."""
        self._versions = itertools.count(1)
        self._version = "0"
        self._objects: dict[tuple[Resource, str], Json] = {}
        self._streams: dict[Resource, _Stream] = {}

    def put(self, resource: Resource, name: str, body: Json) -> Json:
        """Store an object, as a user or a controller does, and report it to the watch of its kind."""
        old = self._objects.get((resource, name), {"metadata": {}})
        self._version = str(next(self._versions))
        metadata = {
            "creationTimestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "uid": f"{resource.plural}-{name}",
            **old["metadata"],
            **(body.get("metadata") or {}),
            "name": name,
            "namespace": NAMESPACE,
            "resourceVersion": self._version,
        }
        identity = {"apiVersion": resource.api_version, "kind": resource.kind}
        stored: Json = json.loads(json.dumps({**old, **body, **identity, "metadata": metadata}))
        self._objects[resource, name] = stored
        if resource in self._streams:
            self._streams[resource].events.put(("MODIFIED", stored))
        return stored

    def objects(self) -> Sequence[Json]:
        """All objects."""
        return list(self._objects.values())

    def get(self, resource: Resource, _namespace: str | None, name: str) -> Json:
        """The object. Raises NotFound."""
        if (resource, name) not in self._objects:
            raise NotFound(404, "NotFound", f"{resource.plural} {name!r} not found")
        return self._objects[resource, name]

    def list_as(
        self, resource: Resource, read: Callable[[Json], T], *_selection: str | None, **_options: int
    ) -> tuple[Sequence[T], str]:
        """What `read` makes of each object of a kind."""
        return [read(obj) for (its, _), obj in self._objects.items() if its == resource], self._version

    def watch(self, resource: Resource, _version: str, **_options: Any) -> _Stream:
        """The later changes of a kind."""
        return self._streams.setdefault(resource, _Stream())

    def create(self, resource: Resource, _namespace: str | None, body: Json) -> Json:
        """Store a new object."""
        return self.apply(resource, _namespace, body["metadata"]["name"], body)

    def apply(self, resource: Resource, _namespace: str | None, name: str, body: Json, **_options: Any) -> Json:
        """Store these fields."""
        self.writes.append(resource.kind)
        return self.put(resource, name, body)

    def replace(self, resource: Resource, _namespace: str | None, name: str, body: Json, **_options: Any) -> Json:
        """Store this object."""
        self.writes.append(f"status of {resource.kind}" if "subresource" in _options else resource.kind)
        return self.put(resource, name, body)

    def reports(self, pods: Sequence[Json]) -> Mapping[str, Report]:
        """As `kanary.operator.agents.Agents`: every proxy serves what is written."""
        return {pod["metadata"]["name"]: _report(self._written(pod)) for pod in pods}

    def public(self) -> str:
        """As `kanary.operator.signing.SigningKey`."""
        return "-----BEGIN PUBLIC KEY-----\n"

    def sign(self, _content: bytes) -> bytes:
        """As `kanary.operator.signing.SigningKey`."""
        return b"signature"

    def send(self, _namespace: str, _proxies: Sequence[Proxy], _push: object) -> None:
        """As `kanary.operator.agents.Agents`: every proxy serves what is written already."""

    def _written(self, pod: Json) -> str:
        name = f"{pod['metadata']['labels'][KANARY_LABEL]}-haproxy"
        found = _DIGEST.search(
            self._objects.get((CONFIG_MAPS, name), {"data": {"haproxy.cfg": ""}})["data"]["haproxy.cfg"]
        )
        return found[1] if found else ""


@lru_cache(maxsize=1)
def _report(digest: str) -> Report:
    """The same value until the next one, as in the operator."""
    return Report(digest, max_connections=20_000)


class _Stream:
    """A watch."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[tuple[str, Json] | None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[tuple[str, Json]]:
        while (event := self.events.get()) is not None:
            yield event

    def close(self) -> None:
        """End it."""
        self.events.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
