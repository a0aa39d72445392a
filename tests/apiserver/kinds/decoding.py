"""The types of the built-in kinds' fields that tests get wrong most: what does not decode is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import Object, bad_request

_CONTAINERS = {"containers": list, "containers[].ports": list, "containers[].ports[].containerPort": int}
_TEMPLATE = {f"spec.template.spec.{path}": kind for path, kind in _CONTAINERS.items()}
_WORKLOAD = {"spec": dict, "spec.replicas": int, "spec.selector": dict, "spec.template": dict, **_TEMPLATE}
_TYPES: dict[str, dict[str, type]] = {
    "ConfigMap": {"data": dict, "data{}": str},
    "Deployment": {**_WORKLOAD, "spec.progressDeadlineSeconds": int},
    "ReplicaSet": _WORKLOAD,
    "Pod": {"spec": dict, **{f"spec.{path}": kind for path, kind in _CONTAINERS.items()}},
    "Service": {
        "spec": dict,
        "spec.ports": list,
        "spec.ports[].port": int,
        "spec.ports[].name": str,
        "spec.selector": dict,
        "spec.selector{}": str,
    },
    "Lease": {
        "spec": dict,
        "spec.holderIdentity": str,
        "spec.leaseDurationSeconds": int,
        "spec.leaseTransitions": int,
    },
    "PodDisruptionBudget": {"spec": dict, "spec.selector": dict},
    "CustomResourceDefinition": {"spec": dict, "spec.names": dict, "spec.versions": list},
}


def check_types(value: Object) -> None:
    """Raises ApiError 400 for a field of the wrong type."""
    kind = value["kind"]
    for path, expected in _TYPES.get(kind, {}).items():
        for found in _values(value, path.replace("[]", ".[]").replace("{}", ".{}").split(".")):
            if found is not None and (not isinstance(found, expected) or isinstance(found, bool)):
                name = type(found).__name__
                raise bad_request(
                    f'{kind} in version "{value["apiVersion"]}" cannot be handled as a {kind}: '
                    f"json: cannot unmarshal {name} into Go struct field {kind}.{path} of type {expected.__name__}"
                )


def _values(value: Any, steps: list[str]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    step, *rest = steps
    if step == "[]" and isinstance(value, list):
        below = value
    elif step == "{}" and isinstance(value, dict):
        below = list(value.values())
    elif isinstance(value, dict) and step in value:
        below = [value[step]]
    else:
        below = []
    for item in below:
        yield from _values(item, rest)
