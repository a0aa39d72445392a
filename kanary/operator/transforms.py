"""Reduces objects of the watches to the fields that the operator needs, which saves memory and reconciles."""

from collections.abc import Mapping
from typing import Any

from engine.model.commands import ORDERS
from engine.model.states import ACCEPTED_KEY, CONFIG_KEY
from engine.render.objects import (
    ADOPTED_ANNOTATION,
    CONFIG_ANNOTATION,
    HASH_ANNOTATION,
    KANARY_LABEL,
    MANAGED_BY,
    MANAGER,
    SKIP_MIRROR_LABEL,
    STRATEGY_ANNOTATION,
    TEMPLATE_ANNOTATION,
    controller_of,
)
from engine.resolve.slices import slices_from_endpoints
from kanary.kanaries import FIELD_MANAGER

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
_UNREAD = ("labels", "managedFields", "resourceVersion")
_COUNTS = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
_CONDITION = ("type", "status", "reason", "message")
_MANAGER = ("manager", "operation")
_POD_CONDITIONS = ("Ready", "PodScheduled")
_POD_METADATA = ("name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds")
_POD_ANNOTATIONS = (CONFIG_ANNOTATION, STRATEGY_ANNOTATION, TEMPLATE_ANNOTATION)
SERVICE_OF_SLICE = "kubernetes.io/service-name"


def config_map(obj: Json) -> Json:
    """A ConfigMap of the proxies; its two configurations are one text if they are equal, as they mostly are."""
    data = dict(obj.get("data") or {})
    if data.get(ACCEPTED_KEY) == data.get(CONFIG_KEY):
        data[ACCEPTED_KEY] = data.get(CONFIG_KEY)
    return {**_identity(obj), "data": data}


def deployment(obj: Json) -> Json:
    """The Deployment of the proxies, with the counts of its pods and why some cannot be created."""
    status = _only(obj.get("status") or {}, _COUNTS)
    failures = [c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == "ReplicaFailure"]
    status["conditions"] = [_only(condition, _CONDITION) for condition in failures]
    kept = _without_version(obj)
    kept["metadata"] |= _created(obj)
    return {**kept, **_only(obj, ("spec",)), "status": status}


def _created(obj: Json) -> Json:
    entries = [_only(entry, _MANAGER) for entry in created_fields(obj["metadata"])]
    return {"managedFields": entries} if entries else {}


def created_fields(metadata: Json) -> list[Json]:
    """The entry about the fields that the operator has set by other requests than an apply, if there is one."""
    entries = metadata.get("managedFields") or ()
    ours = {"manager": FIELD_MANAGER, "operation": "Update"}
    return [entry for entry in entries if ours.items() <= entry.items() and not entry.get("subresource")]


def disruption_budget(obj: Json) -> Json:
    """The PodDisruptionBudget without its status."""
    return {**_without_version(obj), "spec": obj.get("spec") or {}}


def kanary(obj: Json) -> Json:
    """The Kanary; of its managedFields only the entries about its routes."""
    entries = obj["metadata"].get("managedFields") or ()
    about_routes = [
        _only(entry, ("manager", "time", "subresource")) | {"fieldsV1": {"f:spec": {"f:routes": {}}}}
        for entry in entries
        if "f:routes" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": about_routes}}


def content_of_kanary(obj: Json) -> Json:
    """The part of a Kanary that leads to a reconcile if it changes: of its annotations, only orders.

    The author and the cause of a change are read together with the change.
    """
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _UNREAD}
    metadata["annotations"] = _only(metadata.get("annotations") or {}, ORDERS)
    return {**obj, "metadata": metadata}


def service(obj: Json) -> Json:
    """The Service without its status; of those that Kanary did not create, only what it wrote into an adopted one."""
    kept = {**_identity(obj), "spec": obj.get("spec") or {}}
    if (kept["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER:
        kept["metadata"] |= _created(obj)
    else:
        labels = _only(kept["metadata"].get("labels") or {}, (SKIP_MIRROR_LABEL,))
        of_kanary = _only(kept["metadata"].get("annotations") or {}, (ADOPTED_ANNOTATION, HASH_ANNOTATION))
        kept["metadata"] = {k: v for k, v in kept["metadata"].items() if k not in ("labels", "annotations")}
        if ADOPTED_ANNOTATION in of_kanary:
            kept["metadata"] |= {"labels": labels, "annotations": of_kanary}
    return kept


def endpoint_slice(obj: Json) -> Json:
    """The slice with each endpoint's readiness, target, zone and first address (clients must not use the others)."""
    endpoints = [
        {
            "addresses": endpoint["addresses"][:1],
            "conditions": _conditions(endpoint.get("conditions") or {}),
            "targetRef": _pod_reference(endpoint.get("targetRef") or {}),
            **_only(endpoint, ("zone",)),
        }
        for endpoint in obj.get("endpoints") or ()
        if endpoint.get("addresses")
    ]
    labels = _only(obj["metadata"].get("labels") or {}, (SERVICE_OF_SLICE,))
    metadata = _only(obj["metadata"], ("name", "namespace", "uid")) | {"labels": labels}
    owners = obj["metadata"].get("ownerReferences") or ()
    metadata["ownerReferences"] = [_only(owner, ("kind", "uid")) for owner in owners]
    return {
        "metadata": metadata,
        "addressType": obj.get("addressType"),
        "ports": obj.get("ports"),
        "endpoints": endpoints,
    }


def _pod_reference(target: Json) -> Json:
    """The reference to a pod; empty if the endpoint is something else."""
    return {"kind": "Pod", "name": target.get("name", "")} if target.get("kind") == "Pod" else {}


def _conditions(conditions: Json) -> Json:
    """The conditions of an endpoint; a ready one is used whatever the others are."""
    is_ready = conditions.get("ready")
    return _only(conditions, ("ready", "serving", "terminating")) if is_ready is False else {"ready": is_ready}


def endpoints(obj: Json) -> Json:
    """Endpoints in the form of slices."""
    metadata = _only(obj["metadata"], ("name", "namespace", "uid"))
    return {"metadata": metadata, "slices": slices_from_endpoints(obj)}


def pod(obj: Json) -> Json:
    """The proxy pod with the fields that show whether it serves, and why not."""
    status, metadata = obj.get("status") or {}, _only(obj["metadata"], _POD_METADATA)
    metadata["labels"] = _only(obj["metadata"].get("labels") or {}, (KANARY_LABEL,))
    metadata["annotations"] = _only(obj["metadata"].get("annotations") or {}, _POD_ANNOTATIONS)
    metadata["ownerReferences"] = _controllers(obj)
    conditions = [_only(c, _CONDITION) for c in status.get("conditions") or () if c.get("type") in _POD_CONDITIONS]
    containers = [kept for c in status.get("containerStatuses") or () if (kept := _troubles(c))]
    kept = _only(status, ("phase", "podIP", "podIPs")) | {"conditions": conditions, "containerStatuses": containers}
    return {"metadata": metadata, "spec": _only(obj.get("spec") or {}, ("nodeName", "hostNetwork")), "status": kept}


def replica_set(obj: Json) -> Json:
    """The ReplicaSet of proxies, with what shows to which Deployment it belongs."""
    labels = _only(obj["metadata"].get("labels") or {}, (KANARY_LABEL,))
    metadata = _only(obj["metadata"], ("name", "namespace", "uid"))
    return {"metadata": {**metadata, "labels": labels, "ownerReferences": _controllers(obj)}}


def _controllers(obj: Json) -> list[Json]:
    """The references to the controller of an object; it has one at most."""
    controller = _only(controller_of(obj), ("kind", "name", "uid", "controller"))
    return [controller] if controller else []


def _troubles(container: Json) -> Json:
    """The states of a container that explain a pod that is not ready; empty if there are none."""
    waiting = _only(container.get("state") or {}, ("waiting",))
    ended = _only(container.get("lastState") or {}, ("terminated",))
    return {"name": container.get("name"), "state": waiting, "lastState": ended} if waiting or ended else {}


def _identity(obj: Json) -> Json:
    metadata = _only(obj["metadata"], _METADATA)
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": metadata}


def _without_version(obj: Json) -> Json:
    """The identity without the resource version, for kinds that have a generation."""
    kept = _identity(obj)
    kept["metadata"].pop("resourceVersion", None)
    return kept


def _only(mapping: Mapping[str, Any], keys: tuple[str, ...]) -> Json:
    return {key: mapping[key] for key in keys if key in mapping}
