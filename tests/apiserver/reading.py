"""Get and list, with selectors and pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from .cluster import Cluster
from .errors import ApiError, Object, bad_request, expired, not_found, too_large_revision
from .requests import Request, Target
from .resources import Resource
from .selectors import ObjectTest, field_selector, label_selector
from .storage import Record, to_json

_TOKEN_VERSION = "meta.k8s.io/v1"
_CURRENT = -1
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def rendered(record: Record, resource: Resource, *, typed: bool = True) -> bytes:
    """A record as JSON in the resource's version. Items of a built-in list come without apiVersion and kind."""
    form = (resource.api_version, typed)
    if form not in record.rendered:
        value = resource.codec.encode(record.value) if resource.codec else record.value
        value = value | {"apiVersion": resource.api_version}
        if not typed:
            value = {key: item for key, item in value.items() if key not in ("apiVersion", "kind")}
        record.rendered[form] = to_json(value)
    return record.rendered[form]


def selection(query: Mapping[str, str], resource: Resource) -> ObjectTest:
    """A test of stored objects for the request's selectors.

    Raises ApiError 400 for selectors that cannot be read.
    """
    by_label = label_selector(query.get("labelSelector", ""))
    by_field = field_selector(query.get("fieldSelector", ""), resource.selectable)
    return lambda value: by_field(value) and by_label(value["metadata"].get("labels") or {})


def revision_of(query: Mapping[str, str]) -> int | None:
    """The resourceVersion that a list or watch asks for, None for none.

    Raises ApiError 500 for what is no number, as the server does.
    """
    text = query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isdecimal():
        message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(500, "", message)
    return int(text)


@dataclass(frozen=True)
class Page:
    """Where a list goes on: after which object, in the state of which revision (-1 for the current)."""

    revision: int
    after: tuple[str, str] | None = None

    def token(self) -> str:
        start = "" if self.after is None else f"{'/'.join(filter(None, self.after))}\u0000"
        content = {"v": _TOKEN_VERSION, "rv": self.revision, "start": start}
        return base64.urlsafe_b64encode(to_json(content)).decode().rstrip("=")

    @classmethod
    def of_token(cls, token: str, target: Target) -> Page:
        """Raises ApiError 400 for a token that this server did not give."""
        try:
            content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            namespace, _, name = content["start"].rstrip("\u0000").rpartition("/")
            return cls(int(content["rv"]), (namespace or target.namespace, name))
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None


class Reading:
    """The verbs that read."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def get(self, request: Request) -> bytes:
        target = request.target
        record = self.cluster.storage.get(target.resource.storage, target.namespace, target.name)
        if record is None:
            raise not_found(target.resource.subject(target.name))
        return rendered(record, target.resource)

    def listing(self, request: Request) -> bytes:
        resource, namespace = request.target.resource, request.target.namespace
        selects = selection(request.query, resource)
        with self.cluster.storage.lock:
            page = self._page(request)
            records = self._records(resource, namespace, page)
            revision = self.cluster.storage.revision if page.revision == _CURRENT else page.revision
        found = [record for record in records if selects(record.value)]
        return self._rendered(request, resource, found, revision)

    def _page(self, request: Request) -> Page:
        current, asked = self.cluster.storage.revision, revision_of(request.query)
        if token := request.query.get("continue"):
            if asked:
                raise bad_request("specifying resource version is not allowed when using continue")
            return Page.of_token(token, request.target)
        if asked and asked > current:
            raise too_large_revision(asked, current)
        if asked and request.query.get("resourceVersionMatch") == "Exact":
            return Page(asked)
        return Page(current)

    def _records(self, resource: Resource, namespace: str, page: Page) -> list[Record]:
        storage = self.cluster.storage
        at = None if page.revision in (_CURRENT, storage.revision) else page.revision
        try:
            records = storage.records(resource.storage, namespace, at)
        except ApiError:
            raise expired(_TOO_OLD, **{"continue": Page(_CURRENT, page.after).token()}) from None
        return [r for r in records if page.after is None or (r.namespace, r.name) > page.after]

    def _rendered(self, request: Request, resource: Resource, found: list[Record], revision: int) -> bytes:
        limit = int(request.query.get("limit") or 0)
        shown = found[:limit] if limit else found
        metadata: Object = {"resourceVersion": str(revision)}
        if len(shown) < len(found):
            last = shown[-1]
            metadata["continue"] = Page(revision, (last.namespace, last.name)).token()
            if not request.query.get("labelSelector") and not request.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(found) - len(shown)
        head = to_json({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})
        items = b",".join(rendered(record, resource, typed=resource.custom) for record in shown)
        return head[:-1] + b',"items":[' + items + b"]}"
