"""Delete: preconditions, finalizers and what the propagation policy makes of them."""

from __future__ import annotations

from . import metadata
from .cluster import Cluster
from .errors import ApiError, Object, Subject, conflict, invalid, not_found, value_not_supported
from .forms import encoded
from .kinds import namespaces
from .reading import Reading, selection
from .requests import Request
from .resources import Resource
from .storage import Record

_POLICIES = ("Foreground", "Background", "Orphan")
# What a propagation policy leaves for the garbage collector to do first.
_FINALIZER_OF = {"Foreground": metadata.FOREGROUND, "Orphan": metadata.ORPHAN}


class Deleting:
    """The verbs that delete."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def delete(self, request: Request) -> Object:
        target = request.target
        options = request.object() if request.body.strip() else {}
        with self.cluster.storage.lock:
            record = self.cluster.storage.get(target.resource.storage, target.namespace, target.name)
            if record is None:
                raise not_found(target.resource.subject(target.name))
            self._check_preconditions(options.get("preconditions") or {}, record, target.resource)
            policy = self._policy(request, options)
            return self._delete(target.resource, record, policy, dry_run=request.dry_run or bool(options.get("dryRun")))

    def delete_collection(self, request: Request) -> bytes:
        target = request.target
        options = request.object() if request.body.strip() else {}
        selects = selection(request.query, target.resource)
        with self.cluster.storage.lock:
            listing = Reading(self.cluster).listing(request)
            for record in self.cluster.storage.records(target.resource.storage, target.namespace):
                if selects(record.value):
                    self._delete(target.resource, record, self._policy(request, options), dry_run=request.dry_run)
        return listing

    def _delete(self, resource: Resource, record: Record, policy: str, *, dry_run: bool) -> Object:
        finalizers = self._finalizers(resource, record, policy)
        if dry_run:
            return encoded(record, resource)
        if finalizers or resource.storage == namespaces.BUCKET:
            return self._mark(resource, record, finalizers)
        self.cluster.remove(resource.storage, record)
        return _success(resource, record)

    def _finalizers(self, resource: Resource, record: Record, policy: str) -> list[str]:
        own = record.value["metadata"].get("finalizers") or []
        kept = [f for f in own if f not in _FINALIZER_OF.values()]
        if not policy:
            return own
        return kept + ([_FINALIZER_OF[policy]] if policy in _FINALIZER_OF else [])

    def _mark(self, resource: Resource, record: Record, finalizers: list[str]) -> Object:
        """Marks an object that goes once its finalizers are gone."""
        value = record.copy()
        if finalizers:
            value["metadata"]["finalizers"] = finalizers
        if resource.storage == namespaces.BUCKET:
            # It goes when it is empty, which is the garbage collector's to see.
            value["status"] = {"phase": "Terminating"}
        if "deletionTimestamp" not in value["metadata"]:
            value["metadata"] |= {"deletionTimestamp": self.cluster.now(), "deletionGracePeriodSeconds": 0}
            if "generation" in value["metadata"]:
                value["metadata"]["generation"] += 1
        return encoded(self.cluster.write(resource, value), resource)

    def _policy(self, request: Request, options: Object) -> str:
        policy = options.get("propagationPolicy") or request.query.get("propagationPolicy") or ""
        if policy and policy not in _POLICIES:
            causes = [value_not_supported("propagationPolicy", policy, (*_POLICIES, "nil"))]
            raise invalid(Subject("meta.k8s.io", "deleteoptions", "DeleteOptions"), causes)
        if not policy and options.get("orphanDependents"):
            return "Orphan"
        return str(policy)

    def _check_preconditions(self, preconditions: Object, record: Record, resource: Resource) -> None:
        uid, revision = preconditions.get("uid"), preconditions.get("resourceVersion")
        if uid is not None and uid != record.uid:
            raise _unmet(resource, record, "UID", uid, record.uid)
        if revision is not None and revision != str(record.revision):
            raise _unmet(resource, record, "ResourceVersion", revision, str(record.revision))


def _unmet(resource: Resource, record: Record, what: str, wanted: str, found: str) -> ApiError:
    why = f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found})"
    return conflict(resource.subject(record.name), f"{why}. The object might have been deleted and then recreated")


def _success(resource: Resource, record: Record) -> Object:
    details = resource.subject(record.name).details(resource.plural) | {"uid": record.uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
