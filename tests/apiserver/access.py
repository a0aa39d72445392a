"""Direct access to the stored objects, for tests that set a stage or look behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from . import metadata
from .cluster import Cluster
from .deleting import Deleting
from .errors import ApiError, Object
from .forms import fitted, makes_new_generation
from .kinds import rules_of
from .ownership import Writer, track_update
from .requests import Request, Target
from .resources import Resource
from .selectors import label_selector
from .shapes import shape_of
from .storage import copy_of


class Store:
    """Objects without HTTP. What is stored through it has the same effects: revisions, watch events, collection.

    Resources are named by their plurals, with `.GROUP` where that is needed.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def put(self, value: Mapping[str, object], manager: str = "store") -> Object:
        """Creates or replaces an object, its status included, and makes its namespace where there is none.

        What the server gives (uid, age, generation, defaults, owned fields) is given; nothing is validated.
        Raises KeyError for a type that is not served.
        """
        resource = self._resource_of(value)
        new = copy_of(dict(value))
        with self._cluster.storage.lock:
            namespace = new["metadata"].get("namespace", "default") if resource.namespaced else ""
            if namespace:
                self._cluster.add_namespace(namespace)
            new = self._completed(new, resource, namespace, manager)
            return self._cluster.write(resource, new).copy()

    def get(self, resource: str, name: str, namespace: str = "default") -> Object | None:
        """An own copy of the object, None when there is none."""
        found = self._cluster.catalog.named(resource)
        record = self._cluster.storage.get(found.storage, namespace if found.namespaced else "", name)
        return None if record is None else record.copy()

    def find(self, resource: str, holds: Callable[[Object], object], namespace: str = "") -> Sequence[Object]:
        """Own copies of the objects for which this holds; `holds` gets the stored object, which it must not change."""
        found = self._cluster.catalog.named(resource)
        records = self._cluster.storage.records(found.storage, namespace)
        return [record.copy() for record in records if holds(record.value)]

    def change(
        self, resource: str, name: str, change: Callable[[Object], object], namespace: str = "default"
    ) -> Object:
        """Calls `change` with an own copy of the object and stores what it made of it, status included.

        Raises KeyError when there is no such object.
        """
        with self._cluster.storage.lock:
            value = self.get(resource, name, namespace)
            if value is None:
                raise KeyError(f"there is no {resource} {namespace}/{name}")
            change(value)
            return self.put(value)

    def delete(self, resource: str, name: str, namespace: str = "default") -> bool:
        """Deletes an object as DELETE does; whether there was one."""
        found = self._cluster.catalog.named(resource)
        target = Target(found, namespace if found.namespaced else "", name)
        try:
            Deleting(self._cluster).delete(Request("DELETE", target))
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    @property
    def revision(self) -> int:
        """The resourceVersion of the last write."""
        return self._cluster.storage.revision

    def list(self, resource: str, namespace: str = "", selector: str = "") -> list[Object]:
        """Own copies of the objects of all namespaces or one, in order of namespace and name."""
        return [*self.find(resource, label_selector(selector), namespace)]

    def _resource_of(self, value: Mapping[str, object]) -> Resource:
        api_version, kind = str(value["apiVersion"]), str(value["kind"])
        resource = self._cluster.catalog.of_kind(api_version, kind)
        if resource is None:
            raise KeyError(f"{api_version} {kind} is not served; install its definition first")
        return resource

    def _completed(self, new: Object, resource: Resource, namespace: str, manager: str) -> Object:
        record = self._cluster.storage.get(resource.storage, namespace, new["metadata"].get("name", ""))
        old = None if record is None else record.copy()
        if old is None:
            metadata.complete_new(new, resource, namespace, self._cluster)
        else:
            new["metadata"].pop("uid", None)
            metadata.carry_over(new, old)
        new = fitted(new, resource)
        rules_of(resource.kind).complete(new, old, self._cluster.storage)
        if old is not None and resource.generation and makes_new_generation(new, old, resource):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        metadata.tidy(new)
        writer = Writer(manager, resource.api_version, self._cluster.now())
        return track_update(old, new, shape_of(resource.kind), writer, ())
