"""Whatever the API server answers to a write: few requests, nothing is told that was not written, and work goes on."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from engine import reconcile
from kanary.kube.client import Timeouts
from kanary.operator import process, writer
from tests.apiserver import Fault
from tests.integration.scene import CRD, Running, Scene, routes

Json = dict[str, Any]
Make = Callable[[str, str], Fault]

IMPATIENT = Timeouts(connect=2.0, read=0.5, watch=60.0)
WINDOW = 3.0
"""Seconds in which requests are counted."""
MOST = 20
"""Requests about one Kanary in the window. A loop without a backoff makes hundreds."""


def status(code: int, **options: Any) -> Make:
    return lambda method, path: Fault.status(code, method, path, **options)


ANSWERS: dict[str, Make] = {
    **{
        f"status-{code}": status(code)
        for code in (301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 500, 503, 504)
    },
    "throttled": status(429, retry_after=1),
    "text": status(200, text="<html>welcome</html>"),
    "text-404": status(404, text="404 page not found"),
    "another-object": status(200),
    "no-object": status(201, text="{}"),
    "drop": Fault.drop,
    "hang": Fault.hang,
}
"""Each is given to the Kanary of this name, in the namespace of this name."""


class Stage:
    """Namespaces with a Kanary each."""

    def __init__(self, scene: Scene, names: Iterable[str]) -> None:
        self.scene = scene
        self.names = [*names]
        # The operator's own namespace.
        scene.backend("unused")

    def put(self, namespace: str, api_version: str, kind: str, name: str, **body: Any) -> None:
        metadata = {"name": name, "namespace": namespace, "labels": body.pop("labels", {})}
        self.scene.server.store.put({"apiVersion": api_version, "kind": kind, "metadata": metadata, **body})

    def put_endpoints(self, namespace: str, backend: str, address: str) -> None:
        self.put(
            namespace,
            "discovery.k8s.io/v1",
            "EndpointSlice",
            backend,
            labels={"kubernetes.io/service-name": backend},
            addressType="IPv4",
            ports=[{"name": "http", "port": 9000, "protocol": "TCP"}],
            endpoints=[{"addresses": [address], "conditions": {"ready": True}}],
        )

    def declare(self, weight: int = 80, destination: str = "shop") -> None:
        """As a user who applies all Kanaries."""
        spec = {"destination": destination, "routes": routes(v1=weight, v2=100 - weight)}
        for name in self.names:
            if self.scene.server.store.get("kanaries", name, name):
                self.scene.server.store.change("kanaries", name, lambda kanary: kanary.update(spec=spec), name)
                continue
            for number, backend in enumerate(("v1", "v2")):
                self.put(name, "v1", "Service", backend, spec={"ports": [{"name": "http", "port": 80}]})
                self.put_endpoints(name, backend, f"10.0.0.{number}")
            self.put(name, "kanary.k8s.io/v1", "Kanary", name, spec=spec)

    def is_ready(self, name: str) -> bool:
        kanary = self.scene.server.store.get("kanaries", name, name) or {}
        found = kanary.get("status") or {}
        is_current = found.get("observedGeneration") == kanary.get("metadata", {}).get("generation")
        services = self.scene.server.store.list("services", name)
        ours = {service["metadata"]["name"] for service in services if service["metadata"].get("ownerReferences")}
        return found.get("phase") == "Ready" and is_current and ours == {kanary["spec"]["destination"]}

    def wait_until_ready(self) -> None:
        self.wait_until_each(self.is_ready)

    def wait_until_each(self, condition: Callable[[str], bool]) -> None:
        left = [*self.names]
        self.scene.wait_for(
            lambda: not [left.remove(name) for name in [*left] if condition(name)] and not left,
            lambda: str({name: self.scene.server.store.get("kanaries", name, name) for name in left}),
        )

    def requests(self) -> dict[str, int]:
        """How many there are about each Kanary in the window that begins now."""
        self.scene.server.requests.clear()
        time.sleep(WINDOW)
        made = [request.path for request in self.scene.server.requests.find(watch=False)]
        return {name: sum(f"/namespaces/{name}/" in path for path in made) for name in self.names}

    def settled(self, running: Running) -> tuple[Json, list[str]]:
        """`told`, once the operator has read back each status: it reports what it has written before that."""

        def is_read(name: str) -> bool:
            kanary = self.scene.server.store.get("kanaries", name, name) or {}
            # It is hashed from the object as it is read.
            content = hash((kanary["metadata"].get("generation"), to_json(kanary.get("status"))))
            return running.operator._metrics.kanaries.content(name, name) == content

        self.wait_until_each(is_read)
        return self.told(running)

    def told(self, running: Running) -> tuple[Json, list[str]]:
        """The Events of each Kanary, and the metrics of moves and changes."""
        assert running.operator._recorder.flush(60)
        events = {name: self.scene.server.store.list("events", name) for name in self.names}
        text = running.operator._metrics.expose().decode()
        return events, re.findall(r"^kanary_(?:\w*transitions|change_)\w*(?:{.*})? .*$", text, re.MULTILINE)


OWNED = ("services", "configmaps", "deployments", "poddisruptionbudgets")


@pytest.fixture
def stage(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Rejections are retried sooner than they would be."""
    for module in (reconcile, process, writer):
        monkeypatch.setattr(module, "REJECTED_RECHECK", timedelta(seconds=2))
    return Stage(scene, ANSWERS)


def answer(stage: Stage, method: str, what: str) -> list[Fault]:
    faults = [make(method, f"/namespaces/{name}/{what}") for name, make in ANSWERS.items()]
    return [stage.scene.server.faults.add(fault) for fault in faults]


def test_a_status_that_cannot_be_written_is_told_to_nobody(stage: Stage) -> None:
    stage.declare()
    running = stage.scene.start_operator(timeouts=IMPATIENT)
    stage.wait_until_ready()
    faults = answer(stage, "PUT", "kanaries/[^/]*/status")
    before = stage.settled(running)
    stage.declare(weight=50)
    stage.scene.wait_for(lambda: all(fault.hits for fault in faults))
    made = stage.requests()
    after = stage.told(running)
    assert {name: count for name, count in made.items() if count > MOST} == {}
    assert after == before
    for fault in faults:
        stage.scene.server.faults.remove(fault)
    stage.wait_until_ready()


WRITES: dict[str, tuple[str, str, Json]] = {
    "an object is created": ("POST", "services", {"destination": "other"}),
    "an object is applied": ("PATCH", "configmaps/", {"weight": 50}),
    "an object is deleted": ("DELETE", "services/", {"destination": "other"}),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_write_that_fails_is_repeated_seldom_until_it_succeeds(stage: Stage, what: str) -> None:
    method, path, change = WRITES[what]
    stage.declare()
    stage.scene.start_operator(timeouts=IMPATIENT)
    stage.wait_until_ready()
    faults = answer(stage, method, path)
    stage.declare(**change)
    stage.scene.wait_for(lambda: all(fault.hits for fault in faults))
    made = stage.requests()
    assert {name: count for name, count in made.items() if count > MOST} == {}
    for fault in faults:
        stage.scene.server.faults.remove(fault)
    stage.wait_until_ready()


def test_a_kanary_that_is_deleted_behind_a_silent_watch_makes_few_requests(scene: Scene) -> None:
    stage = Stage(scene, ["rule"])
    stage.declare()
    running = scene.start_operator(timeouts=IMPATIENT)
    stage.wait_until_ready()
    silent = scene.server.faults.add(Fault.mute("/kanaries"))
    before = stage.settled(running)
    scene.server.requests.clear()
    # The garbage collector deletes its objects, which the operator must not restore again and again.
    scene.server.store.delete("kanaries", "rule", "rule")
    scene.server.requests.wait_for(path="/namespaces/rule/", watch=False)
    made = stage.requests()
    assert made["rule"] <= MOST
    assert stage.told(running) == before
    stage.declare(weight=50)
    scene.server.faults.remove(silent)
    stage.wait_until_ready()


def test_a_kind_that_is_removed_and_installed_again_makes_few_requests(scene: Scene) -> None:
    stage = Stage(scene, ["rule"])
    stage.declare()
    running = scene.start_operator(timeouts=IMPATIENT)
    stage.wait_until_ready()
    before = stage.settled(running)
    scene.server.requests.clear()
    scene.server.store.delete("customresourcedefinitions", "kanaries.kanary.k8s.io")
    stage.put_endpoints("rule", "v1", "10.0.0.7")
    scene.server.requests.wait_for(path="/namespaces/rule/", watch=False)
    made = stage.requests()
    assert made["rule"] <= MOST
    assert stage.told(running) == before
    scene.server.install_crd(CRD)
    stage.declare(weight=50)
    stage.wait_until_ready()


def test_nothing_is_created_in_a_namespace_that_is_being_deleted_and_the_log_has_one_line(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(scene, ["rule"])
    stage.declare()
    running = scene.start_operator()
    stage.wait_until_ready()
    stage.settled(running)
    store, status = scene.server.store, scene.server.store.get("kanaries", "rule", "rule")
    caplog.set_level(logging.INFO, "kanary")
    caplog.clear()
    scene.server.requests.clear()
    store.change("namespaces", "rule", lambda namespace: namespace.update(status={"phase": "Terminating"}), "")
    # In any order, and the Kanary last.
    for number, kind in enumerate(OWNED):
        for obj in [obj for obj in store.list(kind, "rule") if obj["metadata"].get("ownerReferences")]:
            store.delete(kind, obj["metadata"]["name"], "rule")
        scene.server.requests.wait_for("POST", "/namespaces/rule/", 403, count=number + 1)
    created = scene.server.requests.find("POST", "/namespaces/rule/", 201)
    made = stage.requests()
    assert made["rule"] <= MOST
    assert store.get("kanaries", "rule", "rule") == status
    store.delete("kanaries", "rule", "rule")
    scene.wait_for(lambda: 'name="rule"' not in running.operator._metrics.expose().decode())
    assert [*created, *scene.server.requests.find("POST", "/namespaces/rule/", 201)] == []
    assert [obj for kind in OWNED for obj in store.list(kind, "rule") if obj["metadata"].get("ownerReferences")] == []
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("kanary")]
    # A busy machine may add others.
    assert sum("because it is being terminated" in line for line in lines) == 1, lines
