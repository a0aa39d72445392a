"""The built-in resources that the server starts with: those that the operator and its commands use."""

from __future__ import annotations

from .resources import Resource


def _of(group: str, plural: str, kind: str, *, namespaced: bool = True, spec: bool = False) -> Resource:
    """A built-in resource; with `spec` it has a generation and a status as well."""
    return Resource(group, "v1", plural, kind, namespaced, status=spec, custom=False, generation=spec)


CUSTOM_RESOURCES = _of(
    "apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False, spec=True
)
NAMESPACES = _of("", "namespaces", "Namespace", namespaced=False)

RESOURCES = (
    Resource("", "v1", "services", "Service", status=True, custom=False, generation=False),
    _of("", "endpoints", "Endpoints"),
    _of("", "configmaps", "ConfigMap"),
    _of("", "secrets", "Secret"),
    Resource("", "v1", "pods", "Pod", status=True, custom=False, generation=False),
    _of("", "events", "Event"),
    NAMESPACES,
    _of("apps", "deployments", "Deployment", spec=True),
    _of("apps", "replicasets", "ReplicaSet", spec=True),
    Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", custom=False),
    _of("policy", "poddisruptionbudgets", "PodDisruptionBudget", spec=True),
    _of("coordination.k8s.io", "leases", "Lease"),
    CUSTOM_RESOURCES,
)
