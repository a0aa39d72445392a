"""Errors of the API server in the words of the command line: what is missing, and what to ask for."""

from __future__ import annotations

from collections.abc import Mapping

from kanary.kanaries import KANARIES
from kanary.kube.errors import ANONYMOUS, ClusterError, Forbidden, NotFound, Right, Unauthorized

_READ = ("get", "list", "watch")
ROLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "kanary-view": {
        "kanaries.kanary.k8s.io": _READ,
        "kanaries.kanary.k8s.io/status": ("get",),
        "configmaps": _READ,
        "endpoints": _READ,
        "events": _READ,
        "pods": _READ,
        "services": _READ,
        "deployments.apps": _READ,
        "endpointslices.discovery.k8s.io": _READ,
    },
    "kanary-edit": {
        "kanaries.kanary.k8s.io": ("get", "create", "update", "patch", "delete", "deletecollection"),
        "kanaries.kanary.k8s.io/scale": ("get", "update", "patch"),
        "services": ("get",),
        "pods/portforward": ("get", "create"),
    },
}
"""The ClusterRoles of `manifests/base/rbac.yaml` for users."""


def explained(error: ClusterError) -> str:
    """The error, and the way out where it is about the user's rights or credentials."""
    if isinstance(error, Unauthorized):
        return f"{error.cluster} rejects your credentials: {error}; log in again, or name another context (--context)"
    if isinstance(error, Forbidden) and error.user == ANONYMOUS:
        return f"{error.cluster} received no credentials: {error}; add a user to the context, or name another context"
    if isinstance(error, Forbidden) and error.missing:
        return f"permission denied: {error}; {_way_out(error.missing)}"
    if isinstance(error, NotFound) and error.unserved == str(KANARIES):
        return f"{error.cluster} has no CRD of Kanaries: install Kanary, or name another context (--context)"
    return str(error)


def _way_out(right: Right) -> str:
    scope = f"in namespace {right.namespace}" if right.namespace else "in all namespaces, or name one with -n"
    for role, granted in ROLES.items():
        if right.verb in granted.get(right.resource, ()):
            return f"ask for the ClusterRole {role} {scope}"
    return f"ask for a role with this verb {scope}"
