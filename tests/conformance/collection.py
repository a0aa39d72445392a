"""The objects of one kind in one namespace, as a test works with them."""

from __future__ import annotations

from typing import Any

from .api import APPLY, MERGE, Api, Object, Reply, WatchStream


class Collection:
    """One resource in one namespace. Verbs answer with the Reply; `make` insists on success."""

    def __init__(self, api: Api, namespace: str, api_version: str, kind: str, plural: str) -> None:
        self.api = api
        self.namespace = namespace
        self.api_version = api_version
        self.kind = kind
        root = "/apis" if "/" in api_version else "/api"
        self.path = f"{root}/{api_version}/namespaces/{namespace}/{plural}"
        self.everywhere = f"{root}/{api_version}/{plural}"

    def value(self, name: str, **fields: Any) -> Object:
        """An object's body; keyword `metadata` adds to its metadata."""
        metadata = {"name": name, **fields.pop("metadata", {})}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **fields}

    def create(self, name: str, manager: str = "", **fields: Any) -> Reply:
        query = {"fieldManager": manager} if manager else {}
        return self.api.request("POST", self.path, self.value(name, **fields), **query)

    def make(self, name: str, **fields: Any) -> Object:
        return self.create(name, **fields).ok()

    def get(self, name: str) -> Reply:
        return self.api.get(f"{self.path}/{name}")

    def read(self, name: str) -> Object:
        return self.get(name).ok()

    def put(self, value: Object, subresource: str = "", **query: Any) -> Reply:
        return self.api.request("PUT", self._at(value["metadata"]["name"], subresource), value, **query)

    def merge(self, name: str, patch: Any, subresource: str = "", **query: Any) -> Reply:
        return self.api.request("PATCH", self._at(name, subresource), patch, MERGE, **query)

    def apply(self, name: str, manager: str, *, subresource: str = "", force: bool = False, **fields: Any) -> Reply:
        query = {"fieldManager": manager} | ({"force": "true"} if force else {})
        return self.api.request("PATCH", self._at(name, subresource), self.value(name, **fields), APPLY, **query)

    def delete(self, name: str, options: Object | None = None, **query: Any) -> Reply:
        return self.api.request("DELETE", self._at(name), options, **query)

    def names(self, **query: Any) -> list[str]:
        return [item["metadata"]["name"] for item in self.list(**query)["items"]]

    def revision(self) -> str:
        """A resourceVersion to watch from: of the collection as it is now."""
        return str(self.list()["metadata"]["resourceVersion"])

    def watch(self, **query: Any) -> WatchStream:
        """A watch from now on, unless the query names another resourceVersion."""
        return self.api.watch(self.path, **{"resourceVersion": self.revision(), **query})

    def is_gone(self, name: str) -> bool:
        return self.get(name).status == 404

    def list(self, **query: Any) -> Object:
        return self.api.get(self.path, **query).ok()

    def _at(self, name: str, subresource: str = "") -> str:
        return f"{self.path}/{name}" + (f"/{subresource}" if subresource else "")


def revision_of(value: Object) -> int:
    return int(value["metadata"]["resourceVersion"])


def generation_of(value: Object) -> int:
    return int(value["metadata"]["generation"])
