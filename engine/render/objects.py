"""The Kubernetes objects of one Kanary, as plain data."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.model.spec import API_VERSION, KIND, KanarySpec
from engine.model.states import ACCEPTED_KEY, APPLIED_KEY, CONFIG_KEY, PUBLIC_KEY, Written
from states import Problem, Reason

Json = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "kanary"
KANARY_LABEL = "kanary.k8s.io/name"
HASH_ANNOTATION = "kanary.k8s.io/hash"
SKIP_MIRROR_LABEL = "endpointslice.kubernetes.io/skip-mirror"
"""On Services that lead to proxies. A Service without a selector, be it for a moment, otherwise has an EndpointSlice
made of its Endpoints, which stays with the addresses of former proxies."""
ADOPTED_ANNOTATION = "kanary.k8s.io/adopted"
"""On a Service of others that was switched to the proxies: the Kanary, and what the Service was."""
CONFIG_ANNOTATION = "kanary.k8s.io/config"
"""In the pod template with Rolling: digest of the one configuration that the pod serves."""
STRATEGY_ANNOTATION = "kanary.k8s.io/update-strategy"
"""In the pod template: how the proxy receives a new configuration."""
TEMPLATE_ANNOTATION = "kanary.k8s.io/template"
"""In the pod template: hash of everything that does not depend on the configuration."""

TEMPLATE_LABEL = "kanary.k8s.io/pod-template"
"""Label of the pods: hash of their template, so that they are spread without those that they replace."""
DEFAULTS_ANNOTATION = "kanary.k8s.io/proxy-defaults"
"""On the Deployment: the operator's defaults for proxies, for `kanary plan`."""
GENERATION_ANNOTATION = "kanary.k8s.io/generation"
"""On the Deployment: the earliest generation of the Kanary's spec that it implements; not part of its hash."""
_MOST_DIGITS = 19

BUDGET = "policy/v1", "PodDisruptionBudget"

CONFIG_MAP_BYTES = 1_000_000
"""Limit of the data, with some room for metadata: the API server accepts 1 MiB."""

MOST_CONFIG_MAP_BYTES = 2**20
"""What the API server accepts."""


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
        """The labels of every object but the pods."""
        return {
            MANAGED_BY: MANAGER,
            "app.kubernetes.io/name": "haproxy",
            "app.kubernetes.io/instance": self.name,
            KANARY_LABEL: self.name,
        }

    @property
    def pod_labels(self) -> dict[str, str]:
        """The labels of the proxies' pods: only Kanary's own, so that no Service of a user selects them by accident."""
        return {MANAGED_BY: MANAGER, **self.selector}

    @property
    def selector(self) -> dict[str, str]:
        """The selector of the proxies' pods."""
        return {KANARY_LABEL: self.name}


def mounted_config(owner: Identity, digest: str, config: str) -> Json:
    """The ConfigMap that the proxies of this digest mount.

    Each configuration has its own ConfigMap: a proxy that restarts while its successors do not become ready finds its
    configuration again.
    """
    desired = owned_object(owner, "v1", "ConfigMap", owner.mounted_name(digest))
    return hashed({**desired, "data": {CONFIG_KEY: config}})


def size_problem(obj: Json) -> Problem | None:
    """The problem with an object that the API server would reject because of its size."""
    size = sum(len(value.encode()) for value in (obj.get("data") or {}).values())
    if size <= MOST_CONFIG_MAP_BYTES:
        return None
    text = (
        f"ConfigMap {obj['metadata']['name']} would have {size} bytes because of the number of endpoints, and "
        f"Kubernetes allows {MOST_CONFIG_MAP_BYTES}: no backend gets more endpoints than before; scale the "
        "backends down, or divide them between several Kanaries"
    )
    return Problem(Reason.TOO_MANY_ENDPOINTS, text)


def config_map(owner: Identity, written: Written) -> Json:
    """The latest configuration, its source, the last one that proxies have served, and the key for the next ones."""
    desired = owned_object(owner, "v1", "ConfigMap", owner.proxy_name)
    applied = written.applied.to_json() if written.applied else ""
    # Both may be large, and the first takes precedence.
    has_room = len(written.latest) + len(written.accepted) + len(applied) <= CONFIG_MAP_BYTES
    data = {
        CONFIG_KEY: written.latest,
        ACCEPTED_KEY: written.accepted if has_room else "",
        APPLIED_KEY: applied,
        PUBLIC_KEY: written.public_key,
    }
    made = hashed({**desired, "data": data})
    if written.version:
        made["metadata"]["resourceVersion"] = written.version
    return made


def generation_of(deployment: Mapping[str, Any] | None) -> int:
    """Generation of the spec that the Deployment implements; 0 if unknown."""
    text = (((deployment or {}).get("metadata") or {}).get("annotations") or {}).get(GENERATION_ANNOTATION) or ""
    # Anyone may have written it: a number of thousands of digits is an error.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


def disruption_budget(owner: Identity) -> Json:
    """Lets node drains evict one proxy at a time. There is no minimum, so a single proxy does not block a drain."""
    desired = owned_object(owner, *BUDGET, owner.proxy_name)
    return hashed({**desired, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": owner.selector}}})


def deployment(
    owner: Identity,
    spec: KanarySpec,
    template: Json,
    generation: int,
    live: Mapping[str, Any] | None = None,
    *,
    defaults: str = "",
) -> Json:
    """The proxies: replaced by surge whenever the pod template changes.

    A later generation of the spec that changes nothing else leaves the Deployment in the cluster (`live`) as it is.
    """
    desired = owned_object(owner, "apps/v1", "Deployment", owner.proxy_name)
    if defaults:
        desired["metadata"]["annotations"][DEFAULTS_ANNOTATION] = defaults
    body = {
        "replicas": spec.proxy.replicas,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": spec.progress_deadline_seconds,
        "selector": {"matchLabels": owner.selector},
        # All new proxies at once: endpoints keep changing while they start, so the rollout has to be short.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
        "template": template,
    }
    made = hashed({**desired, "spec": body})
    known = generation_of(live) if made_from(live, made) else 0
    made["metadata"]["annotations"][GENERATION_ANNOTATION] = str(min(known or generation, generation))
    return made


def owned_object(owner: Identity, api_version: str, kind: str, name: str) -> Json:
    """An object that belongs to the Kanary."""
    reference = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        # Blocking the owner's deletion would require permission for finalizers, and no object has to be deleted first.
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


def hashed(desired: Json) -> Json:
    """The object with an annotation that shows whether the object in the cluster was written from it."""
    desired["metadata"]["annotations"][HASH_ANNOTATION] = hash_of(desired)
    return desired


def hash_of(value: Json) -> str:
    """Sixteen hexadecimal digits that change with any change of the value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def made_from(live: Mapping[str, Any] | None, desired: Mapping[str, Any]) -> bool:
    """Whether the object in the cluster was last written from exactly this one."""
    annotations = ((live or {}).get("metadata") or {}).get("annotations") or {}
    return bool(annotations.get(HASH_ANNOTATION) == desired["metadata"]["annotations"][HASH_ANNOTATION])


def covers(live: object, desired: object) -> bool:
    """Whether `live` has every field of `desired`; it may have more fields, and omit empty ones."""
    if live == desired:  # much faster, and mostly true
        return True
    if live is None and desired in ({}, [], ""):
        return True
    if isinstance(desired, Mapping):
        return isinstance(live, Mapping) and all(holds(key, live.get(key), value) for key, value in desired.items())
    if isinstance(desired, list):
        return isinstance(live, list) and len(live) == len(desired) and all(map(covers, live, desired))
    return False


def holds(key: str, live: object, desired: object) -> bool:
    """Selectors and data must be equal: added entries would change their meaning."""
    if key == "resourceVersion":
        # A precondition, not content.
        return True
    if key == "ipFamilies" and isinstance(live, list) and isinstance(desired, list):
        # The cluster may add the second one.
        return live[: len(desired)] == desired
    return live == desired if key in ("selector", "matchLabels", "data") else covers(live, desired)


class Comparison(NamedTuple):
    """What the object in the cluster has of a planned one."""

    is_made: bool
    """It was last written from exactly this one."""
    is_complete: bool
    """Nobody has removed or changed a field of it since."""


def compared(live: Mapping[str, Any] | None, make: Callable[..., Json], *inputs: object) -> Comparison:
    """Compare the object in the cluster with the one that `make` renders from these inputs."""
    if live is None:
        return Comparison(False, False)
    desired = make(*inputs)
    is_made = made_from(live, desired)
    return Comparison(is_made, is_made and covers(live, desired))


def is_ours(live: Mapping[str, Any], uid: str, labels: Mapping[str, str]) -> bool:
    """Whether the object in the cluster belongs to the Kanary with this uid, whose objects have these labels.

    One without an owner does if a Kanary of this name has written it: `kubectl delete --cascade=orphan` leaves such
    objects, and so do some backups. Nobody gains by a forged one: it is not read, and its content is replaced.
    """
    metadata = live["metadata"]
    if metadata.get("ownerReferences"):
        return owner_uid(live) == uid
    annotations = metadata.get("annotations") or {}
    is_left = HASH_ANNOTATION in annotations and ADOPTED_ANNOTATION not in annotations
    return is_left and labels.items() <= (metadata.get("labels") or {}).items()


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reference to the object's controller; empty if it has none."""
    references = (obj.get("metadata") or {}).get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), {})


def identity_of(obj: Mapping[str, Any]) -> Identity:
    """The Kanary that an object belongs to."""
    controller = controller_of(obj)
    return Identity(obj["metadata"]["namespace"], controller.get("name", ""), controller.get("uid", ""))


def owner_uid(obj: Mapping[str, Any]) -> str:
    """The uid of the object's controller, or an empty string."""
    return str(controller_of(obj).get("uid", ""))
