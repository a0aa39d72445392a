"""The resources that stored CustomResourceDefinitions make served."""

from __future__ import annotations

from .builtin import CUSTOM_RESOURCES
from .cluster import Cluster
from .errors import Object
from .resources import Codec, Resource
from .storage import Record


def resources_of(crd: Object) -> list[Resource]:
    """The resources of its served versions, the storage version first."""
    spec = crd["spec"]
    names = spec["names"]
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    served = [version for version in spec["versions"] if version.get("served")]
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            status="status" in (version.get("subresources") or {}),
            short_names=tuple(names.get("shortNames") or ()),
            schema=version["schema"]["openAPIV3Schema"],
            singular=names.get("singular", ""),
            codec=_codec(spec["group"], version["name"], stored),
        )
        for version in sorted(served, key=lambda version: version["name"] != stored)
    ]


def _codec(group: str, version: str, stored: str) -> Codec | None:
    """Versions differ in their apiVersion only, as with the conversion strategy None."""
    if version == stored:
        return None
    return Codec(
        decode=lambda value: value | {"apiVersion": f"{group}/{stored}"},
        encode=lambda value: value | {"apiVersion": f"{group}/{version}"},
    )


class Definitions:
    """Serves what the stored definitions say."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._served: dict[str, list[Resource]] = {}
        cluster.effects[CUSTOM_RESOURCES.storage] = self._changed

    def _changed(self, record: Record, removed: bool) -> None:
        known = self._served.pop(record.name, ())
        for resource in known:
            self._cluster.catalog.withdraw(resource.group, resource.version, resource.plural)
        if removed:
            self._remove_objects(record.value)
            return
        self._served[record.name] = resources_of(record.value)
        for resource in self._served[record.name]:
            self._cluster.catalog.add(resource)
        if not known:
            self._cluster.storage.open(_bucket(record.value))

    def _remove_objects(self, crd: Object) -> None:
        bucket = _bucket(crd)
        for record in self._cluster.storage.records(bucket):
            self._cluster.remove(bucket, record)
        self._cluster.storage.end(bucket)


def _bucket(crd: Object) -> str:
    return f"{crd['spec']['group']}/{crd['spec']['names']['plural']}"
