"""Measures the CPU of a reconcile: `python -m bench.reconcile [--changes N]`. Writes its part of docs/performance.md.

The engine, view, writer and watches of the operator, on a cluster in memory (`bench.memory`).
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import os
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.memory import NAMESPACE, MemoryCluster
from bench.report import REPORT, put
from bench.session import say
from bench.stats import Spread, figures, table
from engine.observe import Defaults
from engine.ports import Json
from engine.reconcile import Reconciler
from engine.render.sysctls import sysctls_for
from kanary.kanaries import KANARIES
from kanary.kube.errors import NotFound
from kanary.kube.resources import DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES, Resource
from kanary.kube.workqueue import WorkQueue
from kanary.operator.history_recorder import NoHistory
from kanary.operator.metrics import Metrics
from kanary.operator.reporter import EventReporter
from kanary.operator.view import View
from kanary.operator.watches import Served, Watches
from kanary.operator.writer import Writer

_HOW = """
`make bench` writes this section. The engine, view, writer and watches of the operator on a cluster in memory: one
Kanary with 2 routes and 2 proxies, Live. CPU of all threads in milliseconds. A look is a reconcile without a change. A
change is one pod of a backend that is replaced by another one, from the event of its slice to the written ConfigMap,
including the JSON of both. For comparison: `json.loads` of all objects of the Kanary.
"""
_BARS = {20: (1, 20), 5000: (10, 100)}
"""By the number of pods: the most milliseconds of a look, and of a change."""

SLICE = 100
"""Endpoints of a slice, as the controller of Kubernetes fills them."""
_NAMES = "myapp-v1", "myapp-v2"


class Stage:
    """One Kanary with 2 proxies, Live, and its operator."""

    def __init__(self, pods: int, replicas: int = 2) -> None:
        self.cluster = MemoryCluster()
        self.replicas = replicas
        self._addresses = itertools.count(1)
        self._generations = itertools.count(1)
        for name in _NAMES:
            self._create_backend(name, pods // len(_NAMES))
        self.weigh(80)
        client: Any = self.cluster
        served = Served(endpoint_slices=True, disruption_budgets=True, version="v1.36.0")
        self.watches = Watches(client, served, WorkQueue())
        self.watches.start()
        while not self.watches.are_synced():
            time.sleep(0.01)
        recorder: Any = self
        self.reconciler = Reconciler(
            View(client, self.watches, client, client),
            Writer(client, self.watches, lambda: True, agents=client, key=client),
            EventReporter(recorder, Metrics()),
            history=NoHistory(),
            checks=recorder,
            clock=self.cluster.clock,
            defaults=Defaults("kanary-haproxy:bench", sysctls=sysctls_for(served.version)),
        )

    def emit(self, *_event: Any, **_fields: Any) -> None:
        """Drop an Event."""

    def results(self, *_names: Any) -> dict[str, Any]:
        """There are no checks."""
        return {}

    def reconcile(self) -> timedelta | None:
        """One step; returns when the next one is due."""
        requeue = self.reconciler.reconcile(NAMESPACE, "rule").requeue
        return requeue.after if requeue else None

    def settle(self) -> None:
        """Reconcile until nothing is due at once."""
        for _ in range(20):
            due = self.reconcile()
            moved = self._run_proxies()
            if not moved and (due is None or due > timedelta()):
                return
        raise AssertionError("the Kanary does not settle")

    def weigh(self, weight: int) -> None:
        """Apply these weights."""
        routes = [
            {"backend": {"serviceName": name, "servicePort": "http"}, "weight": share}
            for name, share in zip(_NAMES, (weight, 100 - weight), strict=True)
        ]
        body = {"metadata": {"generation": next(self._generations)}, "spec": {"destination": "myapp", "routes": routes}}
        self.cluster.put(KANARIES, "rule", body)

    def replace_pod(self, number: int = 0) -> None:
        """One pod of the first backend gets another address; returns when the operator has received the slice."""
        name = f"{_NAMES[0]}-{number}"
        slice_ = self.cluster.get(ENDPOINT_SLICES, NAMESPACE, name)
        changed = {"endpoints": [*slice_["endpoints"][1:], self._endpoint(_NAMES[0])]}
        self._change(ENDPOINT_SLICES, name, changed)

    def close(self) -> None:
        """Stop the watches."""
        self.watches.stop()

    def _create_backend(self, name: str, pods: int) -> None:
        self.cluster.put(SERVICES, name, {"spec": {"ports": [{"name": "http", "port": 80}], "ipFamilies": ["IPv4"]}})
        for number, start in enumerate(range(0, pods, SLICE)):
            endpoints = [self._endpoint(name) for _ in range(min(SLICE, pods - start))]
            self.cluster.put(ENDPOINT_SLICES, f"{name}-{number}", self._slice(name, endpoints))

    def _slice(self, service: str, endpoints: Sequence[Json]) -> Json:
        return {
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        }

    def _endpoint(self, service: str) -> Json:
        number = next(self._addresses)
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        pod = {"kind": "Pod", "name": f"{service}-6d5f7c9b4-{number:05x}", "namespace": NAMESPACE}
        return {"addresses": [address], "conditions": {"ready": True, "serving": True}, "targetRef": pod}

    def _run_proxies(self) -> bool:
        """Play the controllers of the Deployment and of the destination; whether anything changed."""
        try:
            deployment = self.cluster.get(DEPLOYMENTS, NAMESPACE, "rule-haproxy")
        except NotFound:
            return False
        if "status" in deployment:
            return False
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = {"observedGeneration": 1, **dict.fromkeys(counts, self.replicas)}
        self._change(DEPLOYMENTS, "rule-haproxy", {"metadata": {"generation": 1}, "status": status})
        template = deployment["spec"]["template"]
        endpoints = []
        for number in range(self.replicas):
            endpoint = self._endpoint("rule-haproxy")
            endpoints.append(endpoint)
            running = {
                "phase": "Running",
                "podIP": endpoint["addresses"][0],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "containerStatuses": [],
            }
            body = {"metadata": template["metadata"], "spec": {"nodeName": f"node-{number}"}, "status": running}
            self._change(PODS, f"rule-haproxy-{number}", body)
        self._change(ENDPOINT_SLICES, "myapp-0", self._slice("myapp", endpoints))
        return True

    def _change(self, kind: Resource, name: str, body: Json) -> None:
        """Store an object, and wait until the operator has received it."""
        reflector = self.watches.of(kind.api_version, kind.kind)
        before = reflector.get(NAMESPACE, name) if reflector else None
        self.cluster.put(kind, name, body)
        while reflector and reflector.get(NAMESPACE, name) is before:
            time.sleep(0.001)


def main() -> None:
    """Measure and write."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m bench.reconcile", description=__doc__)
    parser.add_argument("--changes", type=int, default=2_000, help="after how many changes the memory is compared")
    options = parser.parse_args()
    # Other processes on the same cores slow down each instruction, not only the clock on the wall.
    busy = f"with a load average of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores at the start"
    header = ["pods", "a look", "bar", "one pod is replaced", "bar", "`json.loads` of its objects"]
    rows = [_measured(pods, looks=400_000 // (pods + 1_000)) for pods in _BARS]
    growth = _growth(options.changes)
    flat = f"Memory after {options.changes:,} changes, compared with that after a tenth of them: {growth:+.1f} MiB."
    today = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
    measured = f"Measured on {today}, {busy}."
    put(REPORT, "reconcile", f"{_HOW.strip()}\n\n{table(header, rows)}\n\n{flat}\n\n{measured}")


def _measured(pods: int, looks: int) -> list[str]:
    with closing(Stage(pods)) as stage:
        stage.settle()
        stage.reconcile()
        look = Spread.of([_cpu(stage.reconcile) for _ in range(looks)])
        changes = []
        for _ in range(max(10, looks // 10)):
            changes.append(_cpu(stage.replace_pod, stage.reconcile))
            stage.settle()
        change = Spread.of(changes)
        texts = [json.dumps(obj) for obj in stage.cluster.objects()]
        parsing = Spread.of([_cpu(lambda: [json.loads(text) for text in texts]) for _ in range(20)])
    say(f"{pods} pods: {look.median:.2f} ms for a look, {change.median:.2f} ms for a change")
    most_of_look, most_of_change = _BARS[pods]
    return [
        f"{pods:,}",
        str(look),
        _bar(look, most_of_look),
        str(change),
        _bar(change, most_of_change),
        figures(parsing.median),
    ]


def _bar(measured: Spread, most: int) -> str:
    return f"at most {most}: {'met' if measured.median <= most else 'missed'}"


def _cpu(*steps: Callable[[], object]) -> float:
    """Milliseconds of CPU."""
    began = time.process_time()
    for step in steps:
        step()
    return (time.process_time() - began) * 1000


def _growth(changes: int) -> float:
    """Growth of the process in MiB."""
    used = []
    with closing(Stage(20)) as stage:
        stage.settle()
        for number in range(changes):
            stage.replace_pod()
            stage.settle()
            stage.cluster.writes.clear()
            if number in (changes // 10, changes - 1):
                gc.collect()
                used.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20)
    return used[1] - used[0]


if __name__ == "__main__":
    main()
