"""Deployments: their pods and their status. There is no ReplicaSet in between: pods belong to the Deployment itself.

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

    def step(self, namespace: str) -> None:
        """Rolls out what is in one namespace."""
        for deployment in self._store.list("deployments", namespace):
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

    def _create(self, deployment: Object, template_hash: str) -> None:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}
        own = template["metadata"]
        value: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{metadata['name']}-{template_hash}-{uuid.uuid4().hex[:5]}",
                "namespace": metadata["namespace"],
                "labels": {**(own.get("labels") or {}), HASH_LABEL: template_hash},
                "annotations": dict(own.get("annotations") or {}),
                "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
            },
            "spec": template["spec"] | {"nodeName": "node"},
        }
        value["status"] = pods.ready_status(value["spec"], next(self._addresses))
        self._store.put(value, manager=_MANAGER)

    def _pods(self, deployment: Object) -> list[Object]:
        uid = deployment["metadata"]["uid"]

        def is_own(pod: Object) -> bool:
            return any(owner["uid"] == uid for owner in pod["metadata"].get("ownerReferences") or ())

        return [*self._store.find("pods", is_own, deployment["metadata"]["namespace"])]

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


def _condition(kind: str, reason: str, since: str) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "lastUpdateTime": since, "lastTransitionTime": since}


def _hash(deployment: Object) -> str:
    """Identifies a pod template."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
