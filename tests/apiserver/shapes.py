"""How values merge: which lists have keys, which values change only as a whole.

A Shape says what a type's schema says to server-side apply. Those of the built-in kinds are public facts of the
Kubernetes API reference. Custom resources are not applied by the operator: their lists count as wholes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False)
class Shape:
    """A type as far as merging goes. A value's own form (object, list, scalar) selects what applies."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    # A struct's fields are ordinary fields, a map's are entries and so members by themselves.
    is_map: bool = False
    atomic: bool = False
    # What tells a list's items apart; a list without keys changes as a whole.
    keys: tuple[str, ...] = ()
    item: Shape | None = None

    def of_field(self, name: str) -> Shape:
        return self.fields.get(name) or PLAIN

    def is_named(self, name: str) -> bool:
        """Whether it is a struct's field rather than an entry of a map."""
        return name in self.fields or not self.is_map

    def of_item(self) -> Shape:
        return self.item or PLAIN


PLAIN = Shape()
ATOMIC = Shape(atomic=True)
MAP = Shape(is_map=True)


def struct(**fields: Shape) -> Shape:
    return Shape(fields=fields)


def keyed(*keys: str, item: Shape = PLAIN) -> Shape:
    # No defaults for keys: Kubernetes 1.20 refuses to apply a port without its protocol, later versions assume TCP.
    return Shape(keys=keys, item=item)


METADATA = struct(labels=MAP, annotations=MAP, ownerReferences=keyed("uid"))
_CONTAINER = struct(
    env=keyed("name"),
    ports=keyed("containerPort", "protocol"),
    volumeMounts=keyed("mountPath"),
    resources=struct(limits=MAP, requests=MAP),
)
_POD_SPEC = struct(
    containers=keyed("name", item=_CONTAINER),
    volumes=keyed("name"),
    imagePullSecrets=keyed("name"),
    nodeSelector=ATOMIC,
    topologySpreadConstraints=keyed("topologyKey", "whenUnsatisfiable", item=struct(labelSelector=ATOMIC)),
)
_TEMPLATE = struct(metadata=METADATA, spec=_POD_SPEC)

_BUILT_IN: dict[str, Shape] = {
    "ConfigMap": struct(data=MAP),
    "Secret": struct(data=MAP),
    "Service": struct(spec=struct(selector=ATOMIC, ports=keyed("port", "protocol"))),
    "Deployment": struct(spec=struct(selector=ATOMIC, template=_TEMPLATE)),
    "PodDisruptionBudget": struct(spec=struct(selector=ATOMIC)),
}


def shape_of(kind: str) -> Shape:
    """How objects of a kind merge."""
    return Shape(fields={**_BUILT_IN.get(kind, PLAIN).fields, "metadata": METADATA})
