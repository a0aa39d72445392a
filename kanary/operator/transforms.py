"""Reduces objects of the watches to the fields that the operator needs, which saves memory."""

from collections.abc import Mapping
from typing import Any

from engine.render.objects import CONFIG_ANNOTATION, REFRESH_ANNOTATION, STRATEGY_ANNOTATION, TEMPLATE_ANNOTATION
from engine.resolve.endpoints import slices_from_endpoints

Json = dict[str, Any]

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
)
_POD_ANNOTATIONS = (CONFIG_ANNOTATION, STRATEGY_ANNOTATION, TEMPLATE_ANNOTATION, REFRESH_ANNOTATION)
SERVICE_OF_SLICE = "kubernetes.io/service-name"


def whole(obj: Json) -> Json:
    """The object without managedFields, which are often its largest part."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def kanary(obj: Json) -> Json:
    """The Kanary; of its managedFields only the entries about its routes."""
    entries = obj["metadata"].get("managedFields") or ()
    about_routes = [
        _only(entry, ("manager", "time", "subresource")) | {"fieldsV1": {"f:spec": {"f:routes": {}}}}
        for entry in entries
        if "f:routes" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    kept = whole(obj)
    return {**kept, "metadata": {**kept["metadata"], "managedFields": about_routes}}


def service(obj: Json) -> Json:
    """The Service without its status."""
    return {**_identity(obj), "spec": obj.get("spec") or {}}


def endpoint_slice(obj: Json) -> Json:
    """The slice with each endpoint's readiness, pod and first address (clients must not use the others)."""
    endpoints = [
        {
            "addresses": endpoint["addresses"][:1],
            "conditions": {"ready": (endpoint.get("conditions") or {}).get("ready")},
            "targetRef": {"name": (endpoint.get("targetRef") or {}).get("name", "")},
        }
        for endpoint in obj.get("endpoints") or ()
        if endpoint.get("addresses")
    ]
    labels = (obj["metadata"].get("labels") or {}).items()
    kept = {**_identity(obj), "addressType": obj.get("addressType"), "ports": obj.get("ports"), "endpoints": endpoints}
    kept["metadata"] = _only(obj["metadata"], ("name", "namespace", "uid", "resourceVersion"))
    kept["metadata"]["labels"] = {key: value for key, value in labels if key == SERVICE_OF_SLICE}
    return kept


def endpoints(obj: Json) -> Json:
    """Endpoints in the form of slices."""
    metadata = _only(obj["metadata"], ("name", "namespace", "uid", "resourceVersion"))
    return {"metadata": metadata, "slices": slices_from_endpoints(obj)}


def pod(obj: Json) -> Json:
    """The proxy pod with the fields that show whether it serves, and why not."""
    status = obj.get("status") or {}
    kept = _identity(obj)
    annotations = kept["metadata"].get("annotations") or {}
    kept["metadata"]["annotations"] = _only(annotations, _POD_ANNOTATIONS)
    containers = [_only(c, ("name", "ready", "state", "lastState")) for c in status.get("containerStatuses") or ()]
    kept["status"] = {"conditions": status.get("conditions") or [], "containerStatuses": containers}
    kept["status"] |= _only(status, ("phase", "podIP"))
    kept["spec"] = _only(obj.get("spec") or {}, ("nodeName",))
    return kept


def _identity(obj: Json) -> Json:
    metadata = _only(obj["metadata"], _METADATA)
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}


def _only(mapping: Mapping[str, Any], keys: tuple[str, ...]) -> Json:
    return {key: mapping[key] for key in keys if key in mapping}
