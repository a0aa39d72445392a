"""A stage for the whole operator: an API server with its controllers, backends, and operators on threads."""

import copy
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from engine.render.objects import KANARY_LABEL
from kanary.kanaries import FIELD_MANAGER
from kanary.kube.client import ClusterClient, Timeouts
from kanary.operator.agents import Agents
from kanary.operator.metrics import Metrics
from kanary.operator.process import Operator
from kanary.operator.settings import Settings
from tests.apiserver import ApiServer
from tests.apiserver.authorization import Right, granted_to
from tests.integration.agents import ClusterAgents
from tests.waiting import PATIENCE, await_that

Json = dict[str, Any]

NAMESPACE = "shop"
PROCESSES = multiprocessing.get_context("forkserver")
# What takes a second to import is imported once, for these processes and for those of the history's tests.
PROCESSES.set_forkserver_preload([__name__, "tests.history.killed"])
CRD = yaml.safe_load(Path("manifests/base/crd.yaml").read_text(encoding="utf-8"))
OPERATOR = "operator"
"""The token of the operator's ServiceAccount."""


def operators_rights() -> frozenset[Right]:
    """What the manifests grant to the operator, if it is installed in the namespace of the scene."""
    text = Path("manifests/base/rbac.yaml").read_text(encoding="utf-8").replace("kanary-system", NAMESPACE)
    return granted_to((NAMESPACE, "kanary"), yaml.safe_load_all(text))


def without_validation(crd: Json) -> Json:
    """The CRD as a cluster has it that lets anything through, so that the operator's own checks are seen."""
    lenient = copy.deepcopy(crd)
    version = lenient["spec"]["versions"][0]
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    version["schema"] = {"openAPIV3Schema": {**anything, "properties": {**properties, "spec": anything}}}
    return lenient


def make_operator(kubeconfig: str, agent_port: int, timeouts: Timeouts | None = None, **settings: Any) -> Operator:
    """An operator; without leader election, unless the settings say otherwise."""
    metrics = Metrics()
    client = ClusterClient.connect(
        kubeconfig=kubeconfig,
        field_manager=FIELD_MANAGER,
        user_agent=f"kanary/{settings.get('pod_name', 'test')}",
        timeouts=timeouts,
        on_request=metrics.requested,
    )
    ports = {"http_port": 0, "history_port": 0}
    defaults: Json = {**ports, "leader_election": False, "lease_namespace": NAMESPACE, "pod_name": "test"}
    return Operator(client, Settings(**defaults | settings), metrics, Agents(client.clock.now, agent_port))


def run_operator(kubeconfig: str, agent_port: int, history_url: str) -> None:
    """The main function of an operator's process."""
    make_operator(kubeconfig, agent_port, history_url=history_url).run()


class Running:
    """An operator on a thread of its own."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.exit_code = self.operator.run()

    def stop(self) -> None:
        self.operator.stop()
        self.join()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the operator does not end"


class Scene:
    """One API server, and what a test does to it."""

    def __init__(self, server: ApiServer, kubeconfig: Path, crd: Json = CRD) -> None:
        self.server = server
        self.agents = ClusterAgents(server)
        self.history_url = ""
        """Of the operators that are started from now on."""
        self.kubeconfig = str(kubeconfig)
        """Of users, who may do everything."""
        self.operators_kubeconfig = str(server.kubeconfig(kubeconfig.with_name("operator"), OPERATOR))
        server.authorizer.let(OPERATOR, "system:serviceaccount:shop:kanary", operators_rights())
        self._running: list[Running] = []
        self._processes: list[BaseProcess] = []
        server.install_crd(crd)

    def start_operator(self, *, timeouts: Timeouts | None = None, **settings: Any) -> Running:
        """An operator in this process."""
        settings = {"history_url": self.history_url, **settings}
        running = Running(make_operator(self.operators_kubeconfig, self.agents.port, timeouts, **settings))
        self._running.append(running)
        return running

    @contextmanager
    def operating(self) -> Iterator[None]:
        """An operator in this process runs as long as the context."""
        running = self.start_operator()
        yield
        running.stop()

    def start_process(self, run: Callable[..., None] = run_operator, *more: Any) -> BaseProcess:
        """An operator in a process of its own, which can be killed."""
        arguments = (self.operators_kubeconfig, self.agents.port, self.history_url, *more)
        process = PROCESSES.Process(target=run, args=arguments, daemon=True)
        process.start()
        self._processes.append(process)
        return process

    def stop(self) -> None:
        self.server.faults.clear()
        for process in self._processes:
            process.kill()
            process.join()
        for running in self._running:
            running.stop()
        self.agents.stop()

    def backend(self, name: str, *addresses: str, ports: Sequence[Json] = ({"name": "http", "port": 80},)) -> None:
        """A Service of the user's, and ready endpoints that need no pods."""
        self.put("v1", "Service", name, spec={"ports": [*ports]})
        self.endpoints(name, *addresses, names=[port.get("name", "") for port in ports])

    def endpoints(self, name: str, *addresses: str, names: Sequence[str] = ("http",)) -> None:
        """Say which addresses are ready behind a Service with these ports, both ways in which a cluster says so."""
        ports = [{"name": port, "port": number, "protocol": "TCP"} for number, port in enumerate(names, 9000)]
        self.put(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            f"{name}-1",
            labels={"kubernetes.io/service-name": name},
            addressType="IPv4",
            ports=ports,
            endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        )
        subset = {"addresses": [{"ip": a} for a in addresses], "ports": ports}
        self.put("v1", "Endpoints", name, subsets=[subset] if addresses else [])

    def put(
        self,
        api_version: str,
        kind: str,
        name: str,
        *,
        labels: Json | None = None,
        finalizers: list[str] | None = None,
        **body: Any,
    ) -> None:
        metadata: Json = {"name": name, "namespace": NAMESPACE, "labels": labels or {}}
        if finalizers:
            metadata["finalizers"] = finalizers
        self.server.store.put({"apiVersion": api_version, "kind": kind, "metadata": metadata, **body})

    def declare(self, name: str = "rule", **spec: Any) -> None:
        """What `kubectl apply` of a Kanary leaves in the cluster; all but its spec stays."""
        if self.kanary(name):
            self.server.store.change("kanaries", name, lambda kanary: kanary.update(spec=spec), NAMESPACE)
        else:
            self.put("kanary.k8s.io/v1", "Kanary", name, spec=spec)

    def expire_watches(self) -> None:
        """All watches end, and every kind has to be listed again."""
        # The latest version does not expire.
        self.put("v1", "Event", "unrelated", note=str(time.monotonic()))
        self.server.compact()
        self.server.drop_watches()

    def kanary(self, name: str = "rule") -> Json | None:
        return self.server.store.get("kanaries", name, NAMESPACE)

    def status(self, name: str = "rule") -> Json:
        kanary = self.kanary(name) or {}
        status: Json = kanary.get("status") or {}
        return status

    def get(self, resource: str, name: str) -> Json | None:
        return self.server.store.get(resource, name, NAMESPACE)

    def proxies(self, name: str = "rule") -> set[str]:
        """The names of a Kanary's proxies."""
        pods = self.server.store.list("pods", NAMESPACE)
        return {p["metadata"]["name"] for p in pods if p["metadata"]["labels"].get(KANARY_LABEL) == name}

    def config(self, name: str = "rule") -> str:
        config_map = self.get("configmaps", f"{name}-haproxy")
        assert config_map
        text: str = config_map["data"]["haproxy.cfg"]
        return text

    def events(self, reason: str) -> list[Json]:
        return [e for e in self.server.store.list("events", NAMESPACE) if e.get("reason") == reason]

    def wait_for_phase(self, phase: str, name: str = "rule", **expected: Any) -> Json:
        """The status, once it has this phase, speaks of the present spec, and has these fields."""

        def is_there() -> Json | None:
            kanary = self.kanary(name) or {}
            status = kanary.get("status") or {}
            seen = status.get("observedGeneration") == kanary.get("metadata", {}).get("generation")
            fits = all(status.get(key) == value for key, value in expected.items())
            return status if status.get("phase") == phase and seen and fits else None

        return self.wait_for(is_there, lambda: f"{phase} {expected}, but status is {self.status(name)}")

    def wait_until_written(self, name: str = "rule") -> None:
        """A Kanary is ready, and its status has all that follows of it."""

        def is_there() -> bool:
            status = self.status(name)
            known = {
                condition["type"] for condition in status.get("conditions", ()) if condition["status"] != "Unknown"
            }
            ready, _, wanted = status["display"]["ready"].partition("/")
            return "HistoryRecorded" in known and ready == wanted

        self.wait_for_phase("Ready", name)
        self.wait_for(is_there, lambda: str(self.status(name)))

    def wait_for(
        self, condition: Callable[[], Any], describe: Callable[[], str] = lambda: "", seconds: float = PATIENCE
    ) -> Any:
        return await_that(condition, describe, seconds)


def moves(status: Json) -> list[Json]:
    """The last moves of the state machine."""
    return [entry for entry in status["history"]["entries"] if entry["kind"] == "PhaseChange"]


def routes(**weights: float) -> list[Json]:
    """Routes to Services of these names (with `_` for `-`), on their port `http`."""
    return [
        {"backend": {"serviceName": name.replace("_", "-"), "servicePort": "http"}, "weight": weight}
        for name, weight in weights.items()
    ]
