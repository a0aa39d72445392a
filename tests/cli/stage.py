"""A cluster with a Kanary, and proxies' agents to which the API server for tests forwards ports."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.model.states import Written
from engine.render import objects
from tests.apiserver import ApiServer
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import OWNER, kanary, route
from tests.unit.observations import DIGEST, applied
from tests.unit.proxies import live_pod

if TYPE_CHECKING:
    from tests.cli.conftest import Kanary, Printed

Json = dict[str, Any]


def failure(ago: float = 0, **changes: Any) -> Json:
    reset = "reset after 12 ms, 0 bytes sent to the client"
    good = {"secondsAgo": ago, "server": "10.0.0.1:8080", "client": "10.9.9.9:4000", "cause": reset}
    return good | changes


def report(failures: Json | None = None, connections: int = 3, **route: Any) -> Json:
    routes = {
        "myapp-v1:http": {"up": 2, "down": 0, "ejected": 0, "connections": 7, "unconnected": 1, "reset": 1} | route,
        "myapp-v2:9090": {
            "up": 0,
            "down": 1,
            "ejected": 0,
            "connections": 5,
            "unconnected": 5,
            "reset": 0,
            "sinceChange": 5,
        },
    }
    return {"digest": DIGEST, "connections": connections, "routes": routes, "failures": failures or {}}


@contextmanager
def agent(answer: Callable[[], bytes]) -> Iterator[int]:
    """An agent with this page as its report; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answer()
            self.send_response(200 if self.path == "/report" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Stage:
    """A cluster with a Kanary of two routes and no proxies yet."""

    def __init__(self, server: ApiServer, kubeconfig: Path, run: Kanary, stack: ExitStack) -> None:
        self.server = server
        self.kubeconfig = str(kubeconfig)
        self._run = run
        self._stack = stack
        server.install_crd(without_validation(CRD))
        self.written = kanary()
        self.status()
        # The API server collects an object whose owner it does not have.
        stored = server.store.get("kanaries", OWNER.name, OWNER.namespace)
        owner = replace(OWNER, uid=stored["metadata"]["uid"])  # type: ignore[index]
        server.store.put(objects.config_map(owner, Written(applied=applied(), latest="text")))

    def status(self, **changes: Any) -> None:
        """Write this status."""
        weights = [
            {"backend": "myapp-v1:http", "weight": 80, "ready": 2, "up": 1, "connections": 4, "failed": 1},
            {"backend": "myapp-v2:9090", "weight": 20, "ready": 1, "unready": 2},
        ]
        good = {
            "observedGeneration": 1,
            "phase": "Ready",
            "reason": "Serving",
            "message": "2 of 2 proxies serve revision 3",
            "since": "2026-11-26T12:00:00.000Z",
            "revision": 3,
            "configHash": DIGEST,
            "weights": weights,
        }
        self.server.store.put({**self.written, "status": good | changes})

    def pod(self, pod: Json, port: int = 1) -> None:
        """Create the pod of a proxy, whose agent is at this port."""
        metadata = pod["metadata"] | {"namespace": OWNER.namespace, "labels": OWNER.pod_labels}
        containers = [{"name": "agent", "image": "a", "ports": [{"name": "report", "containerPort": port}]}]
        spec = pod["spec"] | {"containers": containers}
        self.server.store.put({**pod, "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def proxy(self, name: str, answer: Json | bytes) -> None:
        """Create a proxy whose agent reports this."""
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.pod(live_pod(name, node=f"node-of-{name}"), self._stack.enter_context(agent(lambda: body)))

    def get(self, *arguments: str, name: str = OWNER.name, namespace: str = OWNER.namespace) -> Printed:
        return self._run("get", name, "-n", namespace, "--kubeconfig", self.kubeconfig, *arguments)

    def document(self) -> Json:
        printed = self.get("-o", "json")
        assert (printed.code, printed.err) == (0, "")
        found: Json = json.loads(printed.out)
        return found


def rollout(**changes: Any) -> Json:
    """A rollout whose second step is watched."""
    routes = {
        "myapp-v1:http": {"weight": 90, "connections": 8104, "failed": 0},
        "myapp-v2:9090": {"weight": 10, "connections": 900, "failed": 7},
    }
    good = [route("myapp-v1", 100), route("myapp-v2", 0, 9090)]
    return {
        "number": 3,
        "state": "Watching",
        "reason": "StepWatched",
        "message": "step 2/4 is watched for 10m",
        "since": "2026-11-26T12:00:00.000Z",
        "until": "2026-11-26T12:10:00.000Z",
        "step": 2,
        "steps": 4,
        "to": 10,
        "good": good,
        "start": good,
        "goal": [route("myapp-v1", 0), route("myapp-v2", 100, 9090)],
        "evidence": [
            {"step": 1, "revision": 4, "tally": {"routes": {}}},
            {"step": 2, "revision": 5, "tally": {"routes": routes, "ledgers": {"x": [8104, 900, 0, 7]}}},
        ],
        "verdict": "7 of 900 connections to myapp-v2:9090 failed",
    } | changes
