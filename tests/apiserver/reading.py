"""Get and list, with label selectors and pages."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from .cluster import Cluster
from .errors import ApiError, Object, expired, not_found
from .requests import Request
from .resources import Resource
from .selectors import selection
from .storage import Record, to_json

_TOO_OLD = "The provided continue parameter is too old to display a consistent list result."


def rendered(record: Record, *, typed: bool = True) -> bytes:
    """A record as JSON. Items of a built-in list come without apiVersion and kind."""
    if typed not in record.rendered:
        value = record.value
        if not typed:
            value = {key: item for key, item in value.items() if key not in ("apiVersion", "kind")}
        record.rendered[typed] = to_json(value)
    return record.rendered[typed]


@dataclass(frozen=True)
class Page:
    """Where a list goes on: after which object, in the state of which revision."""

    revision: int
    after: tuple[str, str] | None = None

    def token(self) -> str:
        return base64.urlsafe_b64encode(to_json([self.revision, self.after])).decode()

    @classmethod
    def of_token(cls, token: str) -> Page:
        revision, after = json.loads(base64.urlsafe_b64decode(token))
        return cls(revision, tuple(after))


class Reading:
    """The verbs that read."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def get(self, request: Request) -> bytes:
        target = request.target
        record = self.cluster.storage.get(target.resource.storage, target.namespace, target.name)
        if record is None:
            raise not_found(target.resource.subject(target.name))
        return rendered(record)

    def listing(self, request: Request) -> bytes:
        resource, namespace = request.target.resource, request.target.namespace
        selects = selection(request.query)
        token = request.query.get("continue")
        with self.cluster.storage.lock:
            page = Page.of_token(token) if token else Page(self.cluster.storage.revision)
            records = self._records(resource, namespace, page)
        found = [record for record in records if selects(record.value)]
        return self._rendered(request, resource, found, page.revision)

    def _records(self, resource: Resource, namespace: str, page: Page) -> list[Record]:
        storage = self.cluster.storage
        at = None if page.revision == storage.revision else page.revision
        try:
            records = storage.records(resource.storage, namespace, at)
        except ApiError:
            raise expired(_TOO_OLD) from None
        return [r for r in records if page.after is None or (r.namespace, r.name) > page.after]

    def _rendered(self, request: Request, resource: Resource, found: list[Record], revision: int) -> bytes:
        limit = int(request.query.get("limit") or 0)
        shown = found[:limit] if limit else found
        metadata: Object = {"resourceVersion": str(revision)}
        if len(shown) < len(found):
            last = shown[-1]
            metadata["continue"] = Page(revision, (last.namespace, last.name)).token()
        head = to_json({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})
        items = b",".join(rendered(record, typed=resource.custom) for record in shown)
        return head[:-1] + b',"items":[' + items + b"]}"
