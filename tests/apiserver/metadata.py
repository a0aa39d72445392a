"""The rules that every object's metadata follows, on create and on update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cluster import Cluster
from .errors import Cause, Object, bad_request, value_forbidden, value_invalid
from .names import check_annotations, check_labels, check_name, is_qualified
from .resources import Resource

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_STANDARD_FINALIZERS = (FOREGROUND, ORPHAN, "kubernetes")
_MAPS = ("labels", "annotations")
_LISTS = ("finalizers", "ownerReferences", "managedFields")
# What the server alone says about an object that exists.
_KEPT = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_OWNER_FIELDS = {"apiVersion": "version", "kind": "kind", "name": "name", "uid": "uid"}


def check_types(value: Object) -> None:
    """Raises ApiError 400 for metadata that does not decode."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        raise bad_request(f"json: cannot unmarshal {type(metadata).__name__} into Go value of type v1.ObjectMeta")
    for key in _MAPS:
        texts = metadata.get(key) or {}
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise bad_request(f"v1.ObjectMeta.{key.capitalize()}: ReadString: expects a map of strings")
    for key in _LISTS:
        if not isinstance(metadata.get(key) or [], list):
            raise bad_request(f"v1.ObjectMeta.{key}: expects a list")
    for key in ("name", "namespace", "generateName", "resourceVersion", "uid"):
        if not isinstance(metadata.get(key) or "", str):
            raise bad_request(f"v1.ObjectMeta.{key}: ReadString: expects a string")


def tidy(value: Object) -> None:
    """Leaves out what is empty, as the server does: a null or empty map is no map."""
    metadata = value["metadata"]
    for key in (*_MAPS, *_LISTS):
        if key in metadata and not metadata[key]:
            del metadata[key]


def complete_new(value: Object, resource: Resource, namespace: str, cluster: Cluster) -> None:
    """Gives a new object its name, namespace, uid and age."""
    metadata = value["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = cluster.generated_name(metadata["generateName"])
    for key in (*_KEPT, "resourceVersion", "selfLink", "namespace"):
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
    for key in (*_KEPT, "selfLink", "namespace", "name", "generateName"):
        metadata.pop(key, None)
        if key in before:
            metadata[key] = before[key]
    if uid:
        metadata["uid"] = uid


def check(value: Object, old: Object | None) -> list[Cause]:
    return [*_check(value["metadata"], value["kind"]), *_check_change(value["metadata"], old)]


def check_finalizers(value: Object) -> list[Cause]:
    """The rule for built-in kinds: a domain and a name. Custom resources may use any name."""
    rule = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        value_invalid(f"metadata.finalizers[{index}]", finalizer, rule)
        for index, finalizer in enumerate(value["metadata"].get("finalizers") or ())
        if finalizer not in _STANDARD_FINALIZERS and "/" not in finalizer
    ]


def _check(metadata: Object, kind: str) -> Iterator[Cause]:
    yield from check_name(kind, metadata.get("name"))
    yield from check_labels(metadata.get("labels"))
    yield from check_annotations(metadata.get("annotations"))
    yield from _check_owners(metadata.get("ownerReferences") or [])
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        if not is_qualified(finalizer):
            rule = "name part must consist of alphanumeric characters, '-', '_' or '.'"
            yield value_invalid(f"metadata.finalizers[{index}]", finalizer, rule)


def _check_owners(owners: list[Any]) -> Iterator[Cause]:
    for owner in owners:
        for key, word in _OWNER_FIELDS.items():
            if not owner.get(key):
                yield value_invalid(f"metadata.ownerReferences.{key}", "", f"{word} must not be empty")
    controllers = [owner.get("name") for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        rule = f'Only one reference can have Controller set to true. Found "true" in references for {controllers}'
        yield value_invalid("metadata.ownerReferences", owners, rule)


def _check_change(metadata: Object, old: Object | None) -> Iterator[Cause]:
    if old is None:
        return
    before = old["metadata"]
    if metadata["uid"] != before["uid"]:
        yield value_invalid("metadata.uid", metadata["uid"], "field is immutable")
    added = set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ())
    if added and "deletionTimestamp" in before:
        rule = "no new finalizers can be added if the object is being deleted, found new finalizers"
        yield value_forbidden("metadata.finalizers", f"{rule} {sorted(added)}")
