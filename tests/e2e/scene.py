"""One namespace with Kanaries in it, as a test looks at it."""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from tests.e2e import diagnostics
from tests.e2e.kubectl import Kubectl, Manifest
from tests.e2e.traffic import Client, Count
from tests.e2e.waiting import wait_until

SPLIT_PORT = 8080
# Each proxy is exact over whole rounds of 100 connections, and at most this far off within one.
SLACK_PER_PROXY = 3

Json = dict[str, Any]


class Scene:
    """A namespace of its own for one test, or for the tests of one module."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.namespace = namespace
        self.kubectl = kubectl.within(namespace)
        self.cluster = kubectl

    @cached_property
    def client(self) -> Client:
        """The client pod, created on first use."""
        return Client(self.kubectl)

    def apply(self, *manifests: Manifest) -> None:
        """Apply objects, in the given order."""
        self.kubectl.apply(*manifests)

    def change(self, name: str, **spec: Any) -> None:
        """Merge fields into the spec of a Kanary."""
        self.kubectl("patch", "kanary", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def wait(self, condition: Any, what: str) -> Any:
        """Wait for a condition; on failure, print the state of this namespace."""
        return wait_until(condition, what, describe=lambda: diagnostics.report(self.kubectl))

    # Kanaries

    def kanary(self, name: str) -> Json:
        """The Kanary as the API server has it."""
        found: Json = self.kubectl.get("kanary", name)
        return found

    def status(self, name: str) -> Json:
        """The status of the Kanary's present spec; empty while the operator has not seen that spec."""
        kanary = self.kanary(name)
        status: Json = kanary.get("status") or {}
        is_current = status.get("observedGeneration") == kanary["metadata"]["generation"]
        return status if is_current else {}

    def wait_for_phase(self, name: str, phase: str, reason: str | None = None) -> Json:
        """Wait until the Kanary's present spec is in ``phase``, for ``reason``; returns the status."""

        def arrived() -> Json | None:
            status = self.status(name)
            is_it = status.get("phase") == phase and reason in (None, status.get("reason"))
            return status if is_it else None

        status: Json = self.wait(arrived, f"Kanary {name} {phase} {reason or ''}")
        return status

    def wait_until_ready(self, name: str, endpoints: Mapping[str, int] = MappingProxyType({})) -> Json:
        """Wait until the Kanary is Ready, with these counts of ready endpoints, and its proxies have them."""

        def arrived() -> Json | None:
            status = self.status(name)
            counted = {route["backend"].partition(":")[0]: route["ready"] for route in status.get("weights", [])}
            as_wanted = all(counted.get(service) == number for service, number in endpoints.items())
            proxies = status.get("proxies", {})
            is_current = proxies.get("updated") == proxies.get("replicas")
            return status if status.get("phase") == "Ready" and as_wanted and is_current else None

        status: Json = self.wait(arrived, f"Kanary {name} Ready {dict(endpoints) or ''}")
        return status

    def columns(self, name: str, *options: str) -> str:
        """The line of ``kubectl get`` about the Kanary, with single spaces."""
        return " ".join(self.kubectl("get", "kanary", name, "--no-headers", *options).split())

    # What a Kanary makes

    def service_address(self, name: str) -> str:
        """The cluster IP of a Service. There may be no DNS."""
        return str(self.kubectl.get("service", name)["spec"]["clusterIP"])

    def proxy_pods(self, name: str) -> list[Json]:
        """The Kanary's proxies that are ready and not on their way out."""
        pods = self.kubectl.get("pods", "-l", f"kanary.k8s.io/name={name}")
        return [pod for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"] and is_ready(pod)]

    def proxy_address(self, name: str) -> str:
        """The address of one proxy that is ready."""
        return str(self.proxy_pods(name)[0]["status"]["podIP"])

    def configuration(self, name: str) -> str:
        """The haproxy.cfg that the Kanary's proxies serve."""
        return str(self.kubectl.get("configmap", f"{name}-haproxy")["data"]["haproxy.cfg"])

    def configured_addresses(self, name: str) -> set[str]:
        """The addresses that the Kanary's proxies send connections to."""
        return set(re.findall(r"^  server \S+ (\S+):\d+ ", self.configuration(name), re.MULTILINE))

    def pod_addresses(self, app: str) -> set[str]:
        """The addresses of a backend's pods that have one and are not on their way out."""
        pods = self.kubectl.get("pods", "-l", f"app={app}")["items"]
        current = [pod["status"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return {status["podIP"] for status in current if "podIP" in status}

    # Traffic

    def wait_for_split(self, destination: str, *, port: int = 80, proxies: int = 1, **shares: int) -> None:
        """Wait until connections through the Service are split as expected and none fails.

        Nodes learn about new proxies about a second after the Kanary is Ready.
        """
        address, within = self.service_address(destination), SLACK_PER_PROXY * proxies
        self.wait(
            lambda: self.client.count(address, port, 1000).is_split(within, **shares),
            f"Service {destination} to split {shares}",
        )

    def count_at_one_proxy(self, name: str, connections: int) -> Count:
        """Count who answers connections to one proxy, which splits exactly."""
        return self.client.count(self.proxy_address(name), SPLIT_PORT, connections)


def is_ready(pod: Json) -> bool:
    """Whether the pod's condition Ready is true."""
    conditions = pod["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def moves_of(status: Json) -> list[Json]:
    """The last moves of the state machine that a status has."""
    return [entry for entry in status.get("history", {}).get("entries", []) if entry["kind"] == "PhaseChange"]
