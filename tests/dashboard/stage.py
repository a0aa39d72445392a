"""A stage for the dashboard: an API server with Kanaries, agents of proxies, a history, and the dashboard itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from engine.model.states import Written
from engine.model.times import time_text
from engine.render import objects
from kanary.cli.access import connect, opened
from kanary.dashboard.serve import LocalDashboard
from tests.apiserver import ApiServer
from tests.cli.record import CHANGES, PHASES, RESULTS, history_of, record
from tests.cli.stage import agent, failure, report
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import OWNER, kanary, route
from tests.unit.observations import DIGEST, applied
from tests.unit.proxies import live_pod

Json = dict[str, Any]

PAGE = f"/kanaries/{OWNER.namespace}/{OWNER.name}"
V1, V2 = "myapp-v1:http", "myapp-v2:9090"
STEPS = [{"to": 1, "for": "5m"}, {"to": 10, "for": "10m"}, {"to": 50, "until": "Promoted"}, {"to": 100, "for": "10m"}]
GOOD = [route("myapp-v1", 100), route("myapp-v2", 0, 9090)]
GOAL = [route("myapp-v1", 0), route("myapp-v2", 100, 9090)]


def tally(step: int, weight: int, *, canary: tuple[int, int], others: tuple[int, int]) -> Json:
    """What was counted in a step."""
    routes = {
        V1: {"weight": 100 - weight, "connections": others[0], "failed": others[1]},
        V2: {"weight": weight, "connections": canary[0], "failed": canary[1]},
    }
    return {"step": step, "revision": step + 3, "tally": {"routes": routes}}


def rollout(**changes: Any) -> Json:
    """A rollout whose second step is watched."""
    now = datetime.now(UTC)
    return {
        "number": 3,
        "state": "Watching",
        "reason": "StepWatched",
        "message": "step 2/4 is watched for 10m",
        "since": time_text(now - timedelta(minutes=4)),
        "until": time_text(now + timedelta(minutes=6)),
        "step": 2,
        "steps": 4,
        "to": 10,
        "seconds": 240,
        "good": GOOD,
        "start": GOOD,
        "goal": GOAL,
        "evidence": [
            tally(1, 1, canary=(301, 0), others=(29_799, 4)),
            tally(2, 10, canary=(2_400, 3), others=(21_600, 5)),
        ],
    } | changes


class Stage:
    """A cluster, and dashboards of it."""

    def __init__(self, server: ApiServer, folder: Path, stack: ExitStack) -> None:
        self.server = server
        self.kubeconfig = str(server.kubeconfig(folder / "kubeconfig"))
        self._stack = stack
        self._entries: list[Json] = []
        server.install_crd(without_validation(CRD))
        self.status()
        self.uid = self.kanary()["metadata"]["uid"]
        owner = replace(OWNER, uid=self.uid)
        # The API server collects an object whose owner it does not have.
        server.store.put(objects.config_map(owner, Written(applied=applied(), latest="text")))
        pending = history_of(*CHANGES, *RESULTS, *PHASES, uid=self.uid, namespace=OWNER.namespace, name=OWNER.name)
        self._entries = [entry.model_dump(mode="json", by_alias=True) for entry in pending.entries[-10:]]
        self.database = record(folder / "history.db", [pending])
        self.status()

    def kanary(self, name: str = OWNER.name) -> Json:
        found = self.server.store.get("kanaries", name, OWNER.namespace)
        assert found
        return found

    def order(self, annotation: str) -> Json | None:
        """The order in this annotation."""
        text = self.kanary()["metadata"].get("annotations", {}).get(annotation)
        found: Json | None = json.loads(text) if text else None
        return found

    def status(self, name: str = OWNER.name, *, spec: Json | None = None, **changes: Any) -> None:
        """Write this status; with a rollout, the spec has its steps."""
        weights = [
            {"backend": V1, "weight": 90, "ready": 3, "up": 3, "connections": 40_231, "failed": 2},
            {"backend": V2, "weight": 10, "ready": 2, "unready": 1, "up": 2, "connections": 4_011, "failed": 1},
        ]
        good = {
            "observedGeneration": 10,
            "phase": "Ready",
            "reason": "Serving",
            "message": "2 of 2 proxies serve revision 3",
            "since": "2026-11-26T12:00:00.000Z",
            "revision": 3,
            "configHash": DIGEST,
            "weights": weights,
            "proxies": {"name": f"{name}-haproxy", "replicas": 2, "ready": 2, "updated": 2, "strategy": "Live"},
            "history": {"last": 13, "entries": self._entries},
        }
        declared: Json = {"routes": GOAL, "rollout": {"steps": STEPS}} if "rollout" in changes else {}
        metadata: Json = {"namespace": OWNER.namespace, "name": name}
        if known := self.server.store.get("kanaries", name, OWNER.namespace):
            metadata["annotations"] = known["metadata"].get("annotations", {})
        written = kanary(**declared | (spec or {}))
        self.server.store.put({**written, "metadata": metadata, "status": good | changes})

    def proxy(self, name: str, answer: Json) -> None:
        """Create a proxy whose agent reports this."""
        body = json.dumps(answer).encode()
        port = self._stack.enter_context(agent(lambda: body))
        pod = live_pod(name, node=f"node-of-{name}")
        metadata = pod["metadata"] | {"namespace": OWNER.namespace, "labels": OWNER.pod_labels}
        containers = [{"name": "agent", "image": "a", "ports": [{"name": "report", "containerPort": port}]}]
        spec = pod["spec"] | {"containers": containers}
        self.server.store.put({**pod, "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def proxies(self) -> None:
        """Create two, one of which has failures."""
        self.proxy("x-1", report({V1: [failure(120)], V2: [failure(7, server="10.0.1.1:9000")]}, sinceChange=45))
        self.proxy("x-2", report(connections=11, sinceChange=45))

    @contextmanager
    def dashboard(self, namespace: str | None = OWNER.namespace) -> Iterator[LocalDashboard]:
        with dashboard(self.kubeconfig, namespace, self.database) as found:
            yield found


@contextmanager
def dashboard(kubeconfig: str, namespace: str | None, database: str) -> Iterator[LocalDashboard]:
    """A dashboard in this process."""
    client = connect(kubeconfig, None)
    way: Json = {"namespace": None, "operator_namespace": "kanary-system", "db": database}
    found = LocalDashboard(client, namespace, partial(opened, **way, client=client), 0)
    found.start()
    try:
        yield found
    finally:
        found.stop()


class Answer:
    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.response = response

    @property
    def text(self) -> str:
        return self.response.read().decode()


class Visitor:
    """What a browser sends, without a browser."""

    def __init__(self, dashboard: LocalDashboard | str) -> None:
        """Of a dashboard, or with its link."""
        self.link = dashboard if isinstance(dashboard, str) else dashboard.new_link()
        parts = urlsplit(self.link)
        self.host, self.port = parts.netloc, parts.port or 0
        self.cookie = ""

    @property
    def path(self) -> str:
        """That of the link."""
        return self.link.removeprefix(f"http://{self.host}")

    def admitted(self) -> Visitor:
        """With the cookie of the session."""
        answer = self.request("GET", self.path)
        assert answer.status == 200
        self.cookie = str(answer.headers["set-cookie"]).partition(";")[0]
        return self

    def request(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        sent = {"host": self.host, "cookie": self.cookie} | {k.replace("_", "-"): v for k, v in headers.items()}
        data = body.encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"content-length": str(len(data))} | sent).items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(data)
        return Answer(connection.getresponse())

    def get(self, path: str) -> str:
        """The page."""
        answer = self.request("GET", path)
        assert answer.status == 200, answer.text
        return answer.text

    def post(self, path: str, **fields: str) -> Answer:
        """A form, as the page sends it."""
        content = "application/x-www-form-urlencoded"
        return self.request("POST", path, urlencode(fields), origin=f"http://{self.host}", content_type=content)
