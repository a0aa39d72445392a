"""How values merge: which lists have keys, which values change only as a whole.

A Shape says what a type's schema says to server-side apply. Custom resources bring theirs in x-kubernetes-list-type,
-list-map-keys and -map-type; those of the built-in kinds are public facts of the Kubernetes API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .errors import Object


class Items(Enum):
    """How a list's items are told apart."""

    ATOMIC = "atomic"
    KEYED = "map"
    SET = "set"


@dataclass(frozen=True, eq=False)
class Shape:
    """A type as far as merging goes. A value's own form (object, list, scalar) selects what applies."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    # Fields that are not listed: a struct's are ordinary fields, a map's are entries and so members by themselves.
    is_map: bool = False
    others: Shape | None = None
    atomic: bool = False
    items: Items = Items.ATOMIC
    keys: tuple[str, ...] = ()
    key_defaults: Mapping[str, Any] = field(default_factory=dict)
    item: Shape | None = None

    def of_field(self, name: str) -> Shape:
        return self.fields.get(name) or self.others or PLAIN

    def is_named(self, name: str) -> bool:
        """Whether it is a struct's field rather than an entry of a map."""
        return name in self.fields or not self.is_map

    def of_item(self) -> Shape:
        return self.item or PLAIN


PLAIN = Shape()
ATOMIC = Shape(atomic=True)
MAP = Shape(is_map=True)
SET = Shape(items=Items.SET)


def struct(**fields: Shape) -> Shape:
    return Shape(fields=fields)


def keyed(*keys: str, item: Shape = PLAIN) -> Shape:
    # No defaults for keys: Kubernetes 1.20 refuses to apply a port without its protocol, later versions assume TCP.
    return Shape(items=Items.KEYED, keys=keys, item=item)


METADATA = struct(labels=MAP, annotations=MAP, finalizers=SET, ownerReferences=keyed("uid"))
_CONDITIONS = keyed("type")
_CONTAINER = struct(
    env=keyed("name"),
    ports=keyed("containerPort", "protocol"),
    volumeMounts=keyed("mountPath"),
    volumeDevices=keyed("devicePath"),
    resources=struct(limits=MAP, requests=MAP, claims=keyed("name")),
)
_POD_SPEC = struct(
    containers=keyed("name", item=_CONTAINER),
    initContainers=keyed("name", item=_CONTAINER),
    ephemeralContainers=keyed("name", item=_CONTAINER),
    volumes=keyed("name"),
    imagePullSecrets=keyed("name"),
    hostAliases=keyed("ip"),
    nodeSelector=ATOMIC,
    topologySpreadConstraints=keyed("topologyKey", "whenUnsatisfiable", item=struct(labelSelector=ATOMIC)),
)
_TEMPLATE = struct(metadata=METADATA, spec=_POD_SPEC)
_WORKLOAD = struct(spec=struct(selector=ATOMIC, template=_TEMPLATE), status=struct(conditions=_CONDITIONS))

_BUILT_IN: dict[str, Shape] = {
    "ConfigMap": struct(data=MAP, binaryData=MAP),
    "Secret": struct(data=MAP, stringData=MAP),
    "Service": struct(
        spec=struct(selector=ATOMIC, ports=keyed("port", "protocol")),
        status=struct(conditions=_CONDITIONS),
    ),
    "ServiceAccount": struct(secrets=keyed("name")),
    "Pod": struct(spec=_POD_SPEC, status=struct(conditions=_CONDITIONS, podIPs=keyed("ip"))),
    "Namespace": struct(status=struct(conditions=_CONDITIONS)),
    "Deployment": _WORKLOAD,
    "ReplicaSet": _WORKLOAD,
    "PodDisruptionBudget": struct(spec=struct(selector=ATOMIC), status=struct(conditions=_CONDITIONS)),
    "CustomResourceDefinition": struct(status=struct(conditions=_CONDITIONS)),
}


def built_in(kind: str) -> Shape:
    shape = _BUILT_IN.get(kind, PLAIN)
    return Shape(fields={**shape.fields, "metadata": METADATA})


def from_schema(schema: Object) -> Shape:
    """The shape of a custom resource, from its openAPIV3Schema."""
    shape = _from_schema(schema)
    return Shape(fields={**shape.fields, "metadata": METADATA}, is_map=shape.is_map, others=shape.others)


def _from_schema(schema: Object) -> Shape:
    values = schema.get("additionalProperties")
    is_open = isinstance(values, dict) or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    items = schema.get("items") or {}
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    return Shape(
        fields={name: _from_schema(below) for name, below in (schema.get("properties") or {}).items()},
        is_map=is_open,
        others=_from_schema(values) if isinstance(values, dict) else (FREE if is_open else None),
        atomic=schema.get("x-kubernetes-map-type") == "atomic",
        items=Items(schema.get("x-kubernetes-list-type", "atomic")),
        keys=keys,
        key_defaults=_key_defaults(items, keys),
        item=_from_schema(items) if items else None,
    )


def _key_defaults(items: Object, keys: tuple[str, ...]) -> dict[str, Any]:
    properties = items.get("properties") or {}
    return {key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})}


class _Free(Shape):
    """The shape of what has no schema: objects are maps all the way down, lists are atomic."""

    def of_field(self, name: str) -> Shape:
        return self


FREE = _Free(is_map=True)
