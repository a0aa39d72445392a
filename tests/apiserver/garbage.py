"""What happens in the background: objects go when their owners are gone."""

from __future__ import annotations

from .cluster import Cluster
from .errors import Object
from .storage import Change, Record

Place = tuple[str, str, str]


class GarbageCollector:
    """Owners count by uid, within the dependent's namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Where the dependents of an owner are, by the owner's uid: bucket, namespace and name.
        self._places: dict[str, set[Place]] = {}

    def handle(self, change: Change) -> None:
        """Does what follows from one change."""
        place = (change.bucket, change.record.namespace, change.record.name)
        self._note(change, place)
        if not change.removed:
            self._collect(place)
            return
        for dependent in sorted(self._places.get(change.record.uid, ())):
            self._collect(dependent)

    def _note(self, change: Change, place: Place) -> None:
        for owner in _owners(change.previous) if change.previous else ():
            self._places.get(owner["uid"], set()).discard(place)
        for owner in () if change.removed else _owners(change.record):
            self._places.setdefault(owner["uid"], set()).add(place)

    def _collect(self, place: Place) -> None:
        """Deletes an object all of whose owners are gone."""
        record = self._cluster.storage.get(*place)
        if record is not None and _owners(record) and not any(self._is_present(o, record) for o in _owners(record)):
            self._cluster.remove(place[0], record)

    def _is_present(self, owner: Object, dependent: Record) -> bool:
        """Whether an owner exists. One of a type that is not served may."""
        resource = self._cluster.catalog.of_kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return True
        record = self._cluster.storage.get(resource.storage, dependent.namespace, owner["name"])
        return record is not None and record.uid == owner["uid"]


def _owners(record: Record) -> list[Object]:
    return record.value["metadata"].get("ownerReferences") or []
