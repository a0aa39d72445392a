"""The rules that every object's metadata follows, on create and on update."""

from __future__ import annotations

from .cluster import Cluster
from .errors import Cause, Object, value_invalid
from .names import check_labels, check_name
from .resources import Resource

_COLLECTIONS = ("labels", "annotations", "finalizers", "ownerReferences", "managedFields")
# What the server alone says about an object that exists.
_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


def tidy(value: Object) -> None:
    """Leaves out what is empty, as the server does: a null or empty map is no map."""
    metadata = value["metadata"]
    for key in _COLLECTIONS:
        if key in metadata and not metadata[key]:
            del metadata[key]


def complete_new(value: Object, resource: Resource, namespace: str, cluster: Cluster) -> None:
    """Gives a new object its namespace, uid and age."""
    metadata = value["metadata"]
    for key in (*_KEPT, "resourceVersion", "namespace"):
        metadata.pop(key, None)
    if resource.namespaced:
        metadata["namespace"] = namespace
    metadata |= {"uid": cluster.new_uid(), "creationTimestamp": cluster.now()}
    if resource.generation:
        metadata["generation"] = 1


def carry_over(new: Object, old: Object) -> None:
    """Keeps what an update may not write. A differing uid is left for validation to refuse."""
    metadata, before = new["metadata"], old["metadata"]
    uid = metadata.get("uid")
    for key in (*_KEPT, "namespace", "name"):
        metadata.pop(key, None)
        if key in before:
            metadata[key] = before[key]
    if uid:
        metadata["uid"] = uid


def check(value: Object, old: Object | None) -> list[Cause]:
    metadata = value["metadata"]
    causes = [*check_name(value["kind"], metadata["name"]), *check_labels(metadata.get("labels"))]
    if old is not None and metadata["uid"] != old["metadata"]["uid"]:
        causes.append(value_invalid("metadata.uid", metadata["uid"], "field is immutable"))
    return causes
