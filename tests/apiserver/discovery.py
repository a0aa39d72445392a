"""What the server says that it serves."""

from __future__ import annotations

from .errors import Object, not_served
from .resources import Catalog, Resource

# The newest release whose promises this server keeps on the whole.
VERSION: Object = {
    "major": "1",
    "minor": "24",
    "gitVersion": "v1.24.0-in-process",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "python",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS_VERBS = ["get", "patch", "update"]


def core_versions(catalog: Catalog) -> Object:
    return {"kind": "APIVersions", "versions": catalog.versions(""), "serverAddressByClientCIDRs": []}


def groups(catalog: Catalog) -> Object:
    listed = [_group(catalog, name) for name in catalog.groups()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def group(catalog: Catalog, name: str) -> Object:
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(catalog, name)


def _group(catalog: Catalog, name: str) -> Object:
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in catalog.versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resources(catalog: Catalog, group_name: str, version: str) -> Object:
    """Raises ApiError 404 when the version is not served."""
    served = catalog.of_version(group_name, version)
    if not served:
        raise not_served()
    entries = [entry for resource in served for entry in _entries(resource)]
    group_version = served[0].api_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def _entries(resource: Resource) -> list[Object]:
    about = {"namespaced": resource.namespaced, "kind": resource.kind}
    names: Object = {"shortNames": list(resource.short_names)} if resource.short_names else {}
    entry = {"name": resource.plural, "singularName": resource.singular or resource.kind.lower(), **about}
    entries = [entry | {"verbs": _VERBS} | names]
    if resource.status:
        entries.append({"name": f"{resource.plural}/status", "singularName": "", **about, "verbs": _STATUS_VERBS})
    return entries
