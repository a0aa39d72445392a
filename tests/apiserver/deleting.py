"""Delete: at once if there are no finalizers, on the preconditions that the request names.

What it owned goes afterwards, in the background.
"""

from __future__ import annotations

from .cluster import Cluster
from .errors import Object, bad_request, conflict, not_found
from .requests import Request
from .resources import Resource
from .storage import Record


class Deleting:
    """The verb that deletes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def delete(self, request: Request) -> Object:
        target = request.target
        options = request.object() if request.body.strip() else {}
        if options.get("propagationPolicy", "Background") != "Background":
            raise bad_request(f"this server deletes in the background alone, not {options['propagationPolicy']}")
        with self.cluster.storage.lock:
            record = self.cluster.storage.get(target.resource.storage, target.namespace, target.name)
            if record is None:
                raise not_found(target.resource.subject(target.name))
            preconditions = options.get("preconditions") or {}
            self._check_uid(preconditions.get("uid"), record, target.resource)
            self._check_version(preconditions.get("resourceVersion"), record, target.resource)
            if record.value["metadata"].get("finalizers"):
                return self._mark(record, target.resource)
            self.cluster.remove(target.resource.storage, record)
        return _success(target.resource, record)

    def _mark(self, record: Record, resource: Resource) -> Object:
        """The object stays until its last finalizer is removed."""
        value = record.copy()
        metadata = value["metadata"]
        if metadata.get("deletionTimestamp"):
            return value
        metadata |= {"deletionTimestamp": self.cluster.now(), "deletionGracePeriodSeconds": 0}
        metadata["generation"] = metadata.get("generation", 0) + 1
        return self.cluster.write(resource, value).copy()

    def _check_uid(self, wanted: str | None, record: Record, resource: Resource) -> None:
        if wanted not in (None, record.uid):
            why = f"the UID in the precondition ({wanted}) does not match the UID in record ({record.uid})"
            raise conflict(
                resource.subject(record.name), f"{why}. The object might have been deleted and then recreated"
            )

    def _check_version(self, wanted: str | None, record: Record, resource: Resource) -> None:
        if wanted not in (None, str(record.revision)):
            why = f"the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record"
            raise conflict(
                resource.subject(record.name), f"{why} ({record.revision}). The object might have been modified"
            )


def _success(resource: Resource, record: Record) -> Object:
    details = resource.subject(record.name).details(resource.plural) | {"uid": record.uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
