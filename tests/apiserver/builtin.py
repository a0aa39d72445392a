"""The built-in resources that the server starts with."""

from __future__ import annotations

from dataclasses import replace

from .kinds import events
from .resources import Resource

_PLAIN = Resource("", "v1", "", "", custom=False, generation=False, unconditional_update=True)


def _core(plural: str, kind: str, *short_names: str) -> Resource:
    return replace(_PLAIN, plural=plural, kind=kind, short_names=short_names)


def _of(group: str, plural: str, kind: str, *short_names: str) -> Resource:
    return replace(_core(plural, kind, *short_names), group=group)


CUSTOM_RESOURCES = replace(
    _of("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", "crd", "crds"),
    namespaced=False,
    status=True,
    generation=True,
    unconditional_update=False,
)
NAMESPACES = replace(_core("namespaces", "Namespace", "ns"), namespaced=False, status=True)

RESOURCES = (
    # A PUT without resourceVersion is refused by Kubernetes 1.20, though not by later releases.
    replace(_core("services", "Service", "svc"), status=True, create_on_update=True, unconditional_update=False),
    replace(_core("endpoints", "Endpoints", "ep"), create_on_update=True),
    _core("configmaps", "ConfigMap", "cm"),
    replace(
        _core("pods", "Pod", "po"),
        status=True,
        selectable={"spec.nodeName": "spec.nodeName", "status.phase": "status.phase", "status.podIP": "status.podIP"},
    ),
    replace(_core("events", "Event", "ev"), create_on_update=True, codec=events.CORE, selectable=events.SELECTABLE),
    NAMESPACES,
    _core("secrets", "Secret"),
    _core("serviceaccounts", "ServiceAccount", "sa"),
    replace(_of("apps", "deployments", "Deployment", "deploy"), status=True, generation=True),
    replace(_of("apps", "replicasets", "ReplicaSet", "rs"), status=True, generation=True),
    replace(_of("discovery.k8s.io", "endpointslices", "EndpointSlice"), generation=True),
    replace(
        _of("policy", "poddisruptionbudgets", "PodDisruptionBudget", "pdb"),
        status=True,
        generation=True,
        unconditional_update=False,
    ),
    replace(_of("coordination.k8s.io", "leases", "Lease"), create_on_update=True, unconditional_update=False),
    replace(
        _of("events.k8s.io", "events", "Event", "ev"),
        bucket="/events",
        create_on_update=True,
        codec=events.EVENTS,
        selectable=events.SELECTABLE_AS_EVENTS,
    ),
    CUSTOM_RESOURCES,
)
