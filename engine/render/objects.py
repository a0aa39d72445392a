"""The Kubernetes objects of one Kanary, as plain data."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.model.spec import API_VERSION, KIND, KanarySpec
from engine.model.states import ACCEPTED_KEY, APPLIED_KEY, CONFIG_KEY, Written

Json = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "kanary"
KANARY_LABEL = "kanary.k8s.io/name"
HASH_ANNOTATION = "kanary.k8s.io/hash"
CONFIG_ANNOTATION = "kanary.k8s.io/config"
"""In the template of a proxy's pod with Rolling: digest of the one configuration that the pod serves."""
STRATEGY_ANNOTATION = "kanary.k8s.io/update-strategy"
"""In the template of a proxy's pod: how it receives a new configuration."""
TEMPLATE_ANNOTATION = "kanary.k8s.io/template"
"""In the template of a proxy's pod: hash of all in it that does not depend on the configuration."""
REFRESH_ANNOTATION = "kanary.k8s.io/refresh"
"""On a proxy's pod: changed so that its kubelet renews what the pod mounts (see `engine.fleet.refresh`)."""

GENERATION_ANNOTATION = "kanary.k8s.io/generation"
"""On the Deployment: generation of the spec that it was made from."""

CONFIG_MAP_BYTES = 1_000_000
"""What a ConfigMap can hold, with some room for its metadata: the API server takes 1 MiB."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The Kanary that owns the objects."""

    namespace: str
    name: str
    uid: str

    @property
    def proxy_name(self) -> str:
        """The name of the ConfigMap, the Deployment and the PodDisruptionBudget."""
        return f"{self.name}-haproxy"

    def mounted_name(self, digest: str) -> str:
        """The name of the ConfigMap that the proxies of one configuration mount."""
        return f"{self.proxy_name}-{digest}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every object."""
        return {
            MANAGED_BY: MANAGER,
            "app.kubernetes.io/name": "haproxy",
            "app.kubernetes.io/instance": self.name,
            KANARY_LABEL: self.name,
        }

    @property
    def selector(self) -> dict[str, str]:
        """What selects the proxies' pods."""
        return {KANARY_LABEL: self.name}


def mounted_config(owner: Identity, digest: str, config: str) -> Json:
    """The configuration as the proxies of this digest mount it.

    Each configuration has a ConfigMap of its own: a proxy that is started again while its successors do not get ready
    finds what it served before.
    """
    desired = _object(owner, "v1", "ConfigMap", owner.mounted_name(digest))
    return _hashed({**desired, "data": {CONFIG_KEY: config}})


def config_map(owner: Identity, written: Written) -> Json:
    """What was last rendered, what it was rendered from, and what proxies are known to accept."""
    desired = _object(owner, "v1", "ConfigMap", owner.proxy_name)
    applied = written.applied.to_json() if written.applied else ""
    # Both may be large, and the first has to be served.
    has_room = len(written.latest) + len(written.accepted) + len(applied) <= CONFIG_MAP_BYTES
    data = {CONFIG_KEY: written.latest, ACCEPTED_KEY: written.accepted if has_room else "", APPLIED_KEY: applied}
    hashed = _hashed({**desired, "data": data})
    if written.version:
        hashed["metadata"]["resourceVersion"] = written.version
    return hashed


def service(owner: Identity, spec: KanarySpec) -> Json:
    """The Service that clients connect to."""
    port = {"name": "tcp", "port": spec.port, "protocol": "TCP", "targetPort": "split"}
    desired = _object(owner, "v1", "Service", spec.destination)
    return _hashed({**desired, "spec": {"type": "ClusterIP", "selector": owner.selector, "ports": [port]}})


def generation_of(deployment: Mapping[str, Any] | None) -> int:
    """Of the spec that the Deployment was made from; 0 where that is not known."""
    text = (((deployment or {}).get("metadata") or {}).get("annotations") or {}).get(GENERATION_ANNOTATION) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def disruption_budget(owner: Identity) -> Json:
    """Lets a drained node take one proxy at a time. With a single proxy it must not block the drain, so no minimum."""
    desired = _object(owner, "policy/v1", "PodDisruptionBudget", owner.proxy_name)
    return _hashed({**desired, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": owner.selector}}})


def deployment(owner: Identity, spec: KanarySpec, template: Json, generation: int) -> Json:
    """The proxies: rolled by surge, whenever their pods' template changes."""
    desired = _object(owner, "apps/v1", "Deployment", owner.proxy_name)
    desired["metadata"]["annotations"][GENERATION_ANNOTATION] = str(generation)
    metadata = {"labels": owner.labels, "annotations": template["metadata"]["annotations"]}
    body = {
        "replicas": spec.proxy.replicas,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": spec.progress_deadline_seconds,
        "selector": {"matchLabels": owner.selector},
        # All new proxies at once: endpoints go on changing while they start, so the roll has to be short.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
        "template": {"metadata": metadata, "spec": template["spec"]},
    }
    return _hashed({**desired, "spec": body})


def _object(owner: Identity, api_version: str, kind: str, name: str) -> Json:
    reference = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        # Blocking the owner's deletion would need the right to change finalizers, and nothing here has to go first.
        "blockOwnerDeletion": False,
    }
    metadata = {
        "name": name,
        "namespace": owner.namespace,
        "labels": owner.labels,
        "annotations": {},
        "ownerReferences": [reference],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _hashed(desired: Json) -> Json:
    """The object with an annotation by which it is known whether what is in the cluster was made from this."""
    desired["metadata"]["annotations"][HASH_ANNOTATION] = hash_of(desired)
    return desired


def hash_of(value: Json) -> str:
    """Sixteen hexadecimal digits that change whenever anything in it does."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def made_from(live: Mapping[str, Any] | None, desired: Mapping[str, Any]) -> bool:
    """Whether the object in the cluster was last written from exactly this one."""
    annotations = ((live or {}).get("metadata") or {}).get("annotations") or {}
    return bool(annotations.get(HASH_ANNOTATION) == desired["metadata"]["annotations"][HASH_ANNOTATION])


def covers(live: object, desired: object) -> bool:
    """Whether everything that `desired` says holds in `live`, which may say more, and leave out what is empty."""
    if live is None and desired in ({}, [], ""):
        return True
    if isinstance(desired, Mapping):
        return isinstance(live, Mapping) and all(_holds(key, live.get(key), value) for key, value in desired.items())
    if isinstance(desired, list):
        return isinstance(live, list) and len(live) == len(desired) and all(map(covers, live, desired))
    return live == desired


def _holds(key: str, live: object, desired: object) -> bool:
    """A selector with more in it selects less, and a ConfigMap with more in it holds what nobody rendered."""
    if key == "resourceVersion":
        # A precondition, no content.
        return True
    return live == desired if key in ("selector", "matchLabels", "data") else covers(live, desired)


def owner_uid(obj: Mapping[str, Any]) -> str:
    """The uid of the object's controller, or an empty string."""
    references = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), "")
