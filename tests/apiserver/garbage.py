"""What happens in the background: objects go when their owners are gone, namespaces when they are empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .builtin import NAMESPACES
from .cluster import Cluster
from .deleting import Deleting
from .errors import ApiError, Object
from .metadata import FOREGROUND, ORPHAN
from .requests import Request, Target
from .resources import Resource
from .storage import Change, Record


class GarbageCollector:
    """Owners count by uid, within the dependent's namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Where the dependents of an owner are, by the owner's uid: bucket, namespace and name.
        self._places: dict[str, set[tuple[str, str, str]]] = {}
        self._deleting = Deleting(cluster)

    def handle(self, change: Change) -> None:
        """Does what follows from one change."""
        record = change.record
        self._note(change)
        if change.removed:
            for dependent in list(self._dependents(record.uid)):
                self._collect(*dependent)
            for owner in _owners(record):
                self._finish_owner(owner, record)
            self._empty_terminating(record.namespace)
            return
        self._collect(change.bucket, record)
        finalizers = record.value["metadata"].get("finalizers") or ()
        if "deletionTimestamp" not in record.value["metadata"]:
            return
        if ORPHAN in finalizers:
            self._orphan(change.bucket, record)
        elif FOREGROUND in finalizers:
            self._finish_foreground(change.bucket, record)
        if change.bucket == NAMESPACES.storage:
            self._empty_terminating(record.name)

    def _note(self, change: Change) -> None:
        place = (change.bucket, change.record.namespace, change.record.name)
        for owner in _owners(change.previous) if change.previous else ():
            self._places.get(owner["uid"], set()).discard(place)
        for owner in () if change.removed else _owners(change.record):
            self._places.setdefault(owner["uid"], set()).add(place)

    def _dependents(self, uid: str) -> Iterator[tuple[str, Record]]:
        for place in sorted(self._places.get(uid, ())):
            record = self._cluster.storage.get(*place)
            if record is not None and _owners(record, uid):
                yield place[0], record

    def _collect(self, bucket: str, seen: Record) -> None:
        """Deletes an object all of whose owners are gone, and forgets the gone ones of one that has others."""
        record = self._cluster.storage.get(bucket, seen.namespace, seen.name)
        if record is None or not _owners(record) or "deletionTimestamp" in record.value["metadata"]:
            return
        present = [owner for owner in _owners(record) if self._is_present(owner, record)]
        if not present:
            self._delete(bucket, record, "Background")
        elif len(present) < len(_owners(record)):
            self._set_owners(bucket, record, present)

    def _is_present(self, owner: Object, dependent: Record) -> bool:
        """Whether an owner exists. One of a type that nobody serves may."""
        is_known = self._cluster.catalog.of_kind(owner["apiVersion"], owner["kind"]) is not None
        return not is_known or self._find(owner, dependent) is not None

    def _find(self, owner: Object, dependent: Record) -> tuple[str, Record] | None:
        resource = self._cluster.catalog.of_kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return None
        namespace = dependent.namespace if resource.namespaced else ""
        record = self._cluster.storage.get(resource.storage, namespace, owner["name"])
        return (resource.storage, record) if record is not None and record.uid == owner["uid"] else None

    def _orphan(self, bucket: str, record: Record) -> None:
        for dependent_bucket, dependent in list(self._dependents(record.uid)):
            others = [owner for owner in _owners(dependent) if owner["uid"] != record.uid]
            self._set_owners(dependent_bucket, dependent, others)
        self._drop_finalizer(bucket, record, ORPHAN)

    def _finish_foreground(self, bucket: str, record: Record) -> None:
        dependents = list(self._dependents(record.uid))
        blocking = [d for d in dependents if any(o.get("blockOwnerDeletion") for o in _owners(d[1], record.uid))]
        for dependent_bucket, dependent in dependents:
            if "deletionTimestamp" not in dependent.value["metadata"]:
                self._delete(dependent_bucket, dependent, "Foreground")
        if not blocking:
            self._drop_finalizer(bucket, record, FOREGROUND)

    def _finish_owner(self, owner: Object, dependent: Record) -> None:
        """Lets an owner go that waited for this dependent."""
        found = self._find(owner, dependent)
        if found is not None and FOREGROUND in (found[1].value["metadata"].get("finalizers") or ()):
            self._finish_foreground(*found)

    def _drop_finalizer(self, bucket: str, seen: Record, finalizer: str) -> None:
        record = self._cluster.storage.get(bucket, seen.namespace, seen.name)
        if record is None:
            return
        value = record.copy()
        value["metadata"]["finalizers"] = [f for f in value["metadata"].get("finalizers") or () if f != finalizer]
        if value["metadata"]["finalizers"]:
            self._cluster.storage.write(bucket, value)
        else:
            self._cluster.remove(bucket, record)

    def _set_owners(self, bucket: str, record: Record, owners: list[Object]) -> None:
        value = record.copy()
        value["metadata"]["ownerReferences"] = owners
        if not owners:
            del value["metadata"]["ownerReferences"]
        self._cluster.storage.write(bucket, value)

    def _delete(self, bucket: str, record: Record, policy: str) -> None:
        resource = self._resource_of(bucket)
        if resource is None:
            return
        request = Request("DELETE", Target(resource, record.namespace, record.name), {"propagationPolicy": policy})
        try:
            self._deleting.delete(request)
        except ApiError as error:
            if error.code != 404:
                raise

    def _resource_of(self, bucket: str) -> Resource | None:
        return next((r for r in self._cluster.catalog.all() if r.storage == bucket), None)

    def _empty_terminating(self, name: str) -> None:
        """Deletes what is in a namespace that is being deleted, and the namespace when nothing is left."""
        namespace = self._cluster.storage.get(NAMESPACES.storage, "", name) if name else None
        if namespace is None or "deletionTimestamp" not in namespace.value["metadata"]:
            return
        contents = list(self._contents(name))
        for bucket, record in contents:
            if "deletionTimestamp" not in record.value["metadata"]:
                self._delete(bucket, record, "Background")
        if not any(True for _ in self._contents(name)):
            self._cluster.remove(NAMESPACES.storage, namespace)

    def _contents(self, namespace: str) -> Iterable[tuple[str, Record]]:
        for bucket in self._cluster.storage.buckets():
            if bucket != NAMESPACES.storage:
                yield from ((bucket, record) for record in self._cluster.storage.records(bucket, namespace))


def _owners(record: Record, uid: str | None = None) -> list[Object]:
    owners = record.value["metadata"].get("ownerReferences") or []
    return [owner for owner in owners if uid in (None, owner["uid"])]
