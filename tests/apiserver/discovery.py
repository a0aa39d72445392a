"""What the server says that it serves."""

from __future__ import annotations

from .errors import Object, not_served
from .resources import Catalog, Resource

# The newest release whose promises this server keeps on the whole.
VERSION: Object = {"major": "1", "minor": "24", "gitVersion": "v1.24.0-in-process"}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
_SUBRESOURCE_VERBS = ["get", "patch", "update"]


def resources(catalog: Catalog, group: str, version: str) -> Object:
    """Raises ApiError 404 when the version is not served."""
    served = catalog.of_version(group, version)
    if not served:
        raise not_served()
    entries = [entry for resource in served for entry in _entries(resource)]
    group_version = served[0].api_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def _entries(resource: Resource) -> list[Object]:
    about = {"namespaced": resource.namespaced, "kind": resource.kind}
    entries = [{"name": resource.plural, **about, "verbs": _VERBS}]
    if resource.status:
        entries.append({"name": f"{resource.plural}/status", **about, "verbs": _SUBRESOURCE_VERBS})
    if resource.scale:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        entries.append({"name": f"{resource.plural}/scale", **about, **scale, "verbs": _SUBRESOURCE_VERBS})
    return entries
