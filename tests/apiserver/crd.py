"""The resources that stored CustomResourceDefinitions make served."""

from __future__ import annotations

from .builtin import CUSTOM_RESOURCES
from .cluster import Cluster
from .errors import Object
from .resources import Resource
from .storage import Record


def resource_of(crd: Object) -> Resource:
    """The resource of the definition's only version."""
    spec = crd["spec"]
    (version,) = spec["versions"]
    subresources = version.get("subresources") or {}
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=spec["names"]["plural"],
        kind=spec["names"]["kind"],
        namespaced=spec["scope"] == "Namespaced",
        status="status" in subresources,
        scale=subresources.get("scale"),
        schema=version["schema"]["openAPIV3Schema"],
    )


class Definitions:
    """Serves what the stored definitions say."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        cluster.effects[CUSTOM_RESOURCES.storage] = self._changed

    def _changed(self, record: Record, removed: bool) -> None:
        resource = resource_of(record.value)
        if removed:
            self._cluster.catalog.withdraw(resource.group, resource.version, resource.plural)
            self._cluster.storage.end(resource.storage)
        else:
            self._cluster.catalog.add(resource)
