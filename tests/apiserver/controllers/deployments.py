"""Deployments: their pods and their status. There is no ReplicaSet in between: pods belong to the Deployment itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from ..access import Store
from ..cluster import Cluster
from ..errors import Object
from . import pods
from .rollout import Progress, conditions, counts

HASH_LABEL = "pod-template-hash"
_MANAGER = "kube-controller-manager"


@dataclass
class Trouble:
    """Why the pods of a Deployment do not become ready."""

    reason: str = ""
    message: str = ""


class Deployments:
    """Rolls Deployments out. With `automatic`, pods become ready at once; else when `settle` is called."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster = cluster
        self._store = store
        self._addresses = pods.addresses()
        self._trouble: dict[tuple[str, str], Trouble] = {}
        self._exceeded: set[tuple[str, str]] = set()
        self._settling = False
        self.automatic = True

    def hold(
        self, name: str, namespace: str = "default", reason: str = "", message: str = "", *, running: bool = False
    ) -> None:
        """Lets no further pod of this Deployment become ready; with `running`, those that are ready lose it.

        With a `reason` such as ImagePullBackOff, that is what its containers wait for.
        """
        with self._cluster.storage.lock:
            self._trouble[namespace, name] = Trouble(reason, message)
            if running:
                self._lose(name, namespace)
            self.step(namespace)

    def release(self, name: str, namespace: str = "default") -> None:
        """Takes `hold` and `exceed_deadline` back."""
        with self._cluster.storage.lock:
            self._trouble.pop((namespace, name), None)
            self._exceeded.discard((namespace, name))
            self.step(namespace)

    def exceed_deadline(self, name: str, namespace: str = "default") -> None:
        """Acts as if the Deployment's progress deadline had passed, until it is complete."""
        with self._cluster.storage.lock:
            self._exceeded.add((namespace, name))
            self.step(namespace)

    def settle(self) -> None:
        """Makes pods ready that nothing holds and carries every rollout on as far as it goes."""
        with self._cluster.storage.lock:
            self._settling = True
            try:
                for namespace in {d["metadata"]["namespace"] for d in self._store.list("deployments")}:
                    self.step(namespace)
            finally:
                self._settling = False

    @property
    def revision(self) -> int:
        """The revision of the last write to the cluster."""
        return self._store.revision

    def step(self, namespace: str) -> None:
        """Carries the rollouts of one namespace on until there is nothing to do."""
        for deployment in self._store.list("deployments", namespace):
            if pods.is_going(deployment):
                continue
            before = -1
            while before != self._store.revision:
                before = self._store.revision
                self._advance(deployment)
            self._report(deployment)

    def _advance(self, deployment: Object) -> None:
        if deployment["spec"].get("paused"):
            return
        found = self._pods(deployment)
        current = _hash(deployment)
        new = [pod for pod in found if pod["metadata"]["labels"].get(HASH_LABEL) == current]
        old = [pod for pod in found if pod not in new]
        progress = Progress(deployment["spec"], len(found), len(new), sum(map(pods.is_ready, found)))
        for _ in range(progress.to_create):
            self._create(deployment, current)
        # Pods that serve nobody go first.
        for pod in sorted(new, key=pods.is_ready)[: progress.surplus]:
            self._delete(pod)
        unready = [pod for pod in old if not pods.is_ready(pod)]
        ready = [pod for pod in old if pods.is_ready(pod)]
        for pod in [*unready, *ready[: progress.may_remove]]:
            self._delete(pod)
        self._start(deployment)

    def _start(self, deployment: Object) -> None:
        """Has the kubelet report on the pods."""
        trouble = self._trouble.get(_key(deployment))
        for pod in self._pods(deployment):
            if pods.is_ready(pod):
                continue
            ready = trouble is None and (self.automatic or self._settling)
            reason, message = (trouble.reason, trouble.message) if trouble else ("", "")
            pods.report(pod, ready=ready, waiting=reason, message=message)
            self._store.put(pod, manager="kubelet")

    def _lose(self, name: str, namespace: str) -> None:
        deployment = self._store.get("deployments", name, namespace)
        for pod in self._pods(deployment) if deployment else ():
            pods.report(pod, ready=False)
            self._store.put(pod, manager="kubelet")

    def _create(self, deployment: Object, template_hash: str) -> None:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}
        ip = next(self._addresses)
        own = template.get("metadata", {})
        value: Object = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self._cluster.generated_name(f"{metadata['name']}-{template_hash}-"),
                "namespace": metadata["namespace"],
                "labels": {**(own.get("labels") or {}), HASH_LABEL: template_hash},
                "annotations": dict(own.get("annotations") or {}),
                "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
            },
            "spec": template["spec"] | {"nodeName": "node"},
            "status": {"phase": "Pending", "podIP": ip, "podIPs": [{"ip": ip}]},
        }
        self._store.put(value, manager=_MANAGER)

    def _delete(self, pod: Object) -> None:
        self._store.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])

    def _pods(self, deployment: Object) -> list[Object]:
        uid = deployment["metadata"]["uid"]

        def is_own(pod: Object) -> bool:
            owners = pod["metadata"].get("ownerReferences") or ()
            return not pods.is_going(pod) and any(owner["uid"] == uid for owner in owners)

        return [*self._store.find("pods", is_own, deployment["metadata"]["namespace"])]

    def _report(self, deployment: Object) -> None:
        found = self._pods(deployment)
        current = _hash(deployment)
        new = sum(pod["metadata"]["labels"].get(HASH_LABEL) == current for pod in found)
        progress = Progress(deployment["spec"], len(found), new, sum(map(pods.is_ready, found)))
        if progress.is_complete:
            self._exceeded.discard(_key(deployment))
        exceeded = _key(deployment) in self._exceeded
        known = deployment.get("status", {}).get("conditions") or []
        listed = conditions(progress, known, self._cluster.now(), exceeded=exceeded)
        generation = deployment["metadata"]["generation"]
        status = {"observedGeneration": generation} | counts(progress) | {"conditions": listed}
        self._store.put(deployment | {"status": status}, manager=_MANAGER)


def _key(deployment: Object) -> tuple[str, str]:
    return deployment["metadata"]["namespace"], deployment["metadata"]["name"]


def _hash(deployment: Object) -> str:
    """Identifies a pod template."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
