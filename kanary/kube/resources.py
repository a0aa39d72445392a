"""Kinds of object and their URL paths.

This module does not import the cluster client, so that commands without a cluster start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, NamedTuple
from urllib.parse import quote

Json = dict[str, Any]


class Key(NamedTuple):
    """Namespace and name of an object; the namespace is empty for a cluster-scoped kind."""

    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Key:
        """The key of an API object; KeyError if it has no name."""
        metadata = obj["metadata"]
        # Thousands of keys have the same namespace, and the caches of several kinds the same name.
        return cls(intern(metadata.get("namespace", "")), intern(metadata["name"]))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True)
class Resource:
    """One kind of object; the group is empty for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Group and version as in manifests: "apps/v1", or "v1" for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_path(self) -> str:
        """The discovery path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The quoted URL path of all objects of the kind, of those in one namespace, or of one object.

        Raises ValueError for an object of a namespaced kind without a namespace: the API server would respond with 404,
        which means "no such object".
        """
        if name is not None and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name!r} is namespaced: name its namespace")
        scope = ["namespaces", namespace] if namespace and self.namespaced else []
        parts = [*scope, self.plural, *(part for part in (name, subresource) if part is not None)]
        return "/".join([self.group_path, *(quote(part, safe="") for part in parts)])

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
SERVICES = Resource("", "v1", "Service", "services")
ENDPOINTS = Resource("", "v1", "Endpoints", "endpoints")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps")
SECRETS = Resource("", "v1", "Secret", "secrets")
DEPLOYMENTS = Resource("apps", "v1", "Deployment", "deployments")
REPLICA_SETS = Resource("apps", "v1", "ReplicaSet", "replicasets")
PODS = Resource("", "v1", "Pod", "pods")
PDBS = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases")
EVENTS = Resource("", "v1", "Event", "events")
SELF_SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False
)
