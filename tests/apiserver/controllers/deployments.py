"""Deployments: their ReplicaSets and pods, and their status.

Pods are ready at once, so a rollout is one step: the pods of the current template come, and then the others go.
"""

from __future__ import annotations

import hashlib
import json
import uuid

from ..access import Store
from ..cluster import Cluster
from ..errors import Object
from . import pods

HASH_LABEL = "pod-template-hash"
_MANAGER = "kube-controller-manager"


class Deployments:
    """Rolls Deployments out."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store
        self._addresses = pods.addresses()

    def step(self, deployment: Object) -> None:
        """Rolls one out."""
        self._roll_out(deployment)
        self._report(deployment)

    def _roll_out(self, deployment: Object) -> None:
        current, wanted = _hash(deployment), deployment["spec"]["replicas"]
        found = self._pods(deployment)
        new = [pod for pod in found if pod["metadata"]["labels"][HASH_LABEL] == current]
        for _ in range(wanted - len(new)):
            self._create(deployment, current)
        for pod in [*new[wanted:], *(pod for pod in found if pod not in new)]:
            self._store.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])

    def of_pod(self, pod: Object) -> list[str]:
        """The names of the Deployments that count a pod among theirs: those of the ReplicaSets that control it."""
        namespace = pod["metadata"]["namespace"]
        owners = {owner["uid"] for owner in pod["metadata"].get("ownerReferences") or () if owner.get("controller")}
        owning = self._store.find("replicasets.apps", lambda each: each["metadata"]["uid"] in owners, namespace)
        references = (each["metadata"].get("ownerReferences") or () for each in owning)
        return [owner["name"] for found in references for owner in found if owner["kind"] == "Deployment"]

    def _create(self, deployment: Object, template_hash: str) -> None:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        own = template["metadata"]
        labels = {**(own.get("labels") or {}), HASH_LABEL: template_hash}
        replica_set = self._replica_set(deployment, template_hash, labels)
        value: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{metadata['name']}-{template_hash}-{uuid.uuid4().hex[:5]}",
                "namespace": metadata["namespace"],
                "labels": labels,
                "annotations": dict(own.get("annotations") or {}),
                "ownerReferences": [_reference(replica_set)],
            },
            "spec": template["spec"] | {"nodeName": "node"},
        }
        value["status"] = pods.ready_status(value["spec"], next(self._addresses))
        self._store.put(value, manager=_MANAGER)

    def _replica_set(self, deployment: Object, template_hash: str, labels: Object) -> Object:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        own = {"name": f"{metadata['name']}-{template_hash}", "namespace": metadata["namespace"], "labels": labels}
        spec = {
            "replicas": 0,  # Its pods come and go with the Deployment's.
            "selector": {"matchLabels": labels},
            "template": template | {"metadata": template["metadata"] | {"labels": labels}},
        }
        value: Object = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": spec}
        found = self._store.get("replicasets.apps", own["name"], own["namespace"])
        value["metadata"] = own | {"ownerReferences": [_reference(deployment)]}
        return found or self._store.put(value, manager=_MANAGER)

    def _pods(self, deployment: Object) -> list[Object]:
        namespace = deployment["metadata"]["namespace"]
        replica_sets = self._owned("replicasets.apps", {deployment["metadata"]["uid"]}, namespace)
        uids = {each["metadata"]["uid"] for each in replica_sets}
        return self._owned("pods", uids, namespace)

    def _owned(self, resource: str, uids: set[str], namespace: str) -> list[Object]:
        def is_own(obj: Object) -> bool:
            owners = obj["metadata"].get("ownerReferences") or ()
            return any(owner["uid"] in uids and owner.get("controller") for owner in owners)

        return [*self._store.find(resource, is_own, namespace)]

    def _report(self, deployment: Object) -> None:
        replicas = deployment["spec"]["replicas"]
        numbers = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
        since = deployment["metadata"]["creationTimestamp"]
        conditions = [
            _condition("Available", "MinimumReplicasAvailable", since),
            _condition("Progressing", "NewReplicaSetAvailable", since),
        ]
        generation = deployment["metadata"]["generation"]
        status = {"observedGeneration": generation} | numbers | {"conditions": conditions}
        self._store.put(deployment | {"status": status}, manager=_MANAGER)


def _reference(owner: Object) -> Object:
    found = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    metadata = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return found | metadata | {"controller": True, "blockOwnerDeletion": True}


def _condition(kind: str, reason: str, since: str) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "lastUpdateTime": since, "lastTransitionTime": since}


def _hash(deployment: Object) -> str:
    """Identifies a pod template."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
