"""An operator on the modern server, and the parts that a cluster's controllers would play."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.kubectl import Kubectl
from tests.e2e.waiting import wait_until
from tests.modern.kanaries import Manifest

Json = dict[str, Any]
OWNED = ("configmap/web-haproxy", "deployment/web-haproxy", "poddisruptionbudget/web-haproxy", "service/web")
"""What a Kanary called web with the destination web owns."""


class Stage:
    """One namespace, in which a Kanary called web is played through."""

    def __init__(self, kubectl: Kubectl, kubeconfig: Path, log: Path) -> None:
        self.kubectl = kubectl
        self._kubeconfig = kubeconfig
        self._log = log

    @contextmanager
    def operator(self) -> Iterator[None]:
        """An operator in a process of its own."""
        ports = ["--http-port=0", "--history-port=0"]
        command = [sys.executable, "-m", "kanary.cli.main", "run", "--no-leader-election", *ports]
        with (
            self._log.open("ab") as log,
            subprocess.Popen([*command, f"--kubeconfig={self._kubeconfig}"], stdout=log, stderr=log) as process,
        ):
            try:
                yield
            finally:
                process.terminate()

    def await_status(self, phase: str, reason: str) -> Json:
        """Wait until the Kanary reports this for its current spec, and return its status."""

        def status() -> Json | None:
            kanary = self.kubectl.get("kanary", "web")
            status: Json = kanary.get("status") or {}
            is_current = status.get("observedGeneration") == kanary["metadata"]["generation"]
            return status if is_current and (status["phase"], status["reason"]) == (phase, reason) else None

        return wait_until(status, f"web is {phase}, {reason}", describe=self._log.read_text)

    def await_events(self, *reasons: str) -> dict[str, Json]:
        """Wait until there are Events for these reasons; returns the last one of each reason."""

        def events() -> dict[str, Json] | None:
            found = {event["reason"]: event for event in self.kubectl.get("events")["items"]}
            return found if found.keys() >= set(reasons) else None

        return wait_until(events, f"Events {', '.join(reasons)}", describe=self._log.read_text)

    def versions(self) -> dict[str, str]:
        """The resourceVersion of everything that the Kanary owns, and its own."""
        names = (*OWNED, "kanary/web")
        return {name: self.kubectl.get(name)["metadata"]["resourceVersion"] for name in names}

    def backend(self, name: str, *addresses: str) -> None:
        """A Service, and what the endpoint slice controller makes of its ready pods."""
        ports = [{"name": "http", "port": 80, "targetPort": 9000, "protocol": "TCP"}]
        self.kubectl.apply(_object("v1", "Service", name, spec={"type": "ClusterIP", "ports": ports}))
        self.endpoints(name, *addresses)

    def endpoints(self, service: str, *addresses: str) -> None:
        """What the endpoint slice controller writes for a Service."""
        endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
        body = {
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 9000, "protocol": "TCP"}],
            "endpoints": endpoints,
        }
        manifest = _object("discovery.k8s.io/v1", "EndpointSlice", f"{service}-1", **body)
        manifest["metadata"]["labels"] = {"kubernetes.io/service-name": service}
        self.kubectl.apply(manifest)

    def roll_out(self) -> None:
        """What the deployment controller, the scheduler and the kubelet make of the proxies' Deployment."""
        deployment = self.kubectl.get("deployment", "web-haproxy")
        generation, replicas = deployment["metadata"]["generation"], deployment["spec"]["replicas"]
        addresses = [f"10.{generation}.0.{number}" for number in range(1, replicas + 1)]
        self.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
        name, spec = f"web-haproxy-{generation}", deployment["spec"]
        replica_set = _object("apps/v1", "ReplicaSet", name, spec={k: spec[k] for k in ("selector", "template")})
        labels = spec["template"]["metadata"]["labels"]
        replica_set["spec"]["replicas"] = 0
        replica_set["metadata"] |= {"labels": labels, "ownerReferences": [_controlled_by(deployment)]}
        self.kubectl.apply(replica_set)
        owner = _controlled_by(self.kubectl.get("replicaset", name))
        for number, address in enumerate(addresses):
            self._ready_pod(f"{name}-{number}", address, spec["template"], owner)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
        self._set_status("deployment", "web-haproxy", {"observedGeneration": generation, **counts})
        self.endpoints("web", *addresses)

    def _ready_pod(self, name: str, address: str, template: Json, owner: Json) -> None:
        pod = _object("v1", "Pod", name, spec=template["spec"])
        pod["metadata"] |= template["metadata"] | {"ownerReferences": [owner]}
        self.kubectl.apply(pod)
        condition = {"type": "Ready", "status": "True"}
        self._set_status("pod", name, {"phase": "Running", "podIP": address, "conditions": [condition]})

    def _set_status(self, kind: str, name: str, status: Json) -> None:
        patch = json.dumps({"status": status})
        self.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


def _controlled_by(owner: Json) -> Json:
    reference = {key: owner["metadata"][key] for key in ("name", "uid")}
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True} | reference


def _object(api_version: str, kind: str, name: str, **body: Any) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **body}
