"""Objects that the operator cannot read: each Kanary says which, since when and why, and the traffic goes on."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.render.adoption import FINALIZER, PROXY_PORT
from engine.render.objects import ADOPTED_ANNOTATION, KANARY_LABEL
from kanary.history.queries import KanaryQuery
from kanary.history.reader import Reader
from tests.apiserver import Fault
from tests.integration.scene import NAMESPACE, Running, Scene, routes

KINDS = (
    "kanaries.kanary.k8s.io",
    "services",
    "endpointslices.discovery.k8s.io",
    "configmaps",
    "deployments.apps",
    "pods",
    "poddisruptionbudgets.policy",
)


@pytest.fixture
def serving(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """What lasts two seconds counts as lasting."""
    monkeypatch.setattr("kanary.operator.watches.COPY_FAILING_LIMIT", timedelta(seconds=2))
    monkeypatch.setattr("kanary.operator.watches.WATCH_CHECK_INTERVAL", timedelta(seconds=0.1))
    # The first error on a busy machine may be another one.
    monkeypatch.setattr("kanary.operator.watches.COPY_REPORT_INTERVAL", timedelta(seconds=15))
    monkeypatch.setattr("kanary.kube.reflector._STEADY", 0.5)
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")
    scene.declare(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20))
    return scene


def unreadable(scene: Scene, kind: str, code: int = 403) -> Fault:
    """Neither lists nor watches of this kind succeed."""
    plural = kind.partition(".")[0]
    return scene.server.faults.add(Fault.status(code, "GET", rf"/{plural}(\?|$)"))


def ready(scene: Scene, name: str = "rule") -> tuple[str, str, str]:
    conditions: list[dict[str, Any]] = scene.status(name).get("conditions") or []
    found = (c for c in conditions if c["type"] == "Ready")
    return next(((c["status"], c["reason"], c["message"]) for c in found), ("", "", ""))


def wait_for_report(scene: Scene, kind: str, *reasons: str) -> str:
    """The message about this kind, once it has one of these reasons: a lost connection may be the first one."""

    def is_there() -> str:
        status, reason, message = ready(scene)
        # On a busy machine another kind may take that long until it is listed again.
        is_of_kind = message.startswith(f"the operator's copy of {kind} is from 20")
        has_reason = not reasons or any(each in message for each in reasons)
        return message if (status, reason) == ("Unknown", "CopyStale") and is_of_kind and has_reason else ""

    message: str = scene.wait_for(is_there, lambda: str(ready(scene)))
    return message


def writes(scene: Scene) -> int:
    """How often the objects of the proxies have been written."""
    return sum(r.method != "GET" and "haproxy" in r.path for r in scene.server.requests.find())


def readiness(running: Running) -> str:
    """What /readyz answers: "ok", or why not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.operator.http_port}/readyz") as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_becomes_forbidden_is_reported_until_it_is_allowed(serving: Scene, kind: str) -> None:
    running = serving.start_operator()
    before = serving.wait_for_phase("Ready", revision=1)
    config = serving.config()
    fault = unreadable(serving, kind)
    serving.expire_watches()
    wait_for_report(serving, kind, *(f"cannot {verb} {kind} in all namespaces" for verb in ("watch", "list")))
    serving.wait_for(lambda: ready(serving)[2] in readiness(running))
    after = serving.status()
    assert serving.config() == config
    assert (after["phase"], after["message"], after["weights"]) == ("Ready", before["message"], before["weights"])
    serving.server.faults.remove(fault)
    serving.wait_for(lambda: ready(serving)[0] == "True")
    serving.wait_for(lambda: kind not in readiness(running))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_kind_that_is_forbidden_at_the_start_is_reported_and_nothing_is_changed(serving: Scene, kind: str) -> None:
    with serving.operating():
        serving.wait_for_phase("Ready", revision=1)
    written = writes(serving)
    fault = unreadable(serving, kind)
    running = serving.start_operator()
    wait_for_report(serving, kind, f"cannot list {kind} in all namespaces")
    serving.wait_for(lambda: f"cannot list {kind} in all namespaces" in readiness(running))
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    # It is read after the change.
    serving.declare("later", destination="later", routes=routes(myapp_v1=100))
    serving.wait_for(lambda: ready(serving, "later")[:2] == ("Unknown", "CopyStale"))
    assert writes(serving) == written
    serving.server.faults.remove(fault)
    serving.wait_for_phase("Ready", revision=2)
    serving.wait_for(lambda: ready(serving)[0] == "True")


def test_a_deletion_is_recorded_while_a_kind_cannot_be_read(serving: Scene, tmp_path: Path) -> None:
    serving.history_url = f"sqlite:///{tmp_path / 'history.db'}"
    with serving.operating():
        serving.wait_for_phase("Ready", revision=1)
    unreadable(serving, KINDS[1])
    serving.start_operator()
    wait_for_report(serving, KINDS[1])
    serving.server.store.delete("kanaries", "rule", NAMESPACE)
    with closing(Reader(serving.history_url)) as reader:
        query = KanaryQuery(namespace=NAMESPACE, name="rule", deleted=True)
        serving.wait_for(lambda: [kanary for kanary in reader.kanaries(query).items if kanary.deleted_at])


@pytest.mark.parametrize("kind", KINDS[2:])
def test_a_deleted_kanary_gives_back_its_service_while_another_kind_cannot_be_read(serving: Scene, kind: str) -> None:
    """No more is needed than the Kanary and the Service."""
    serving.server.store.change(
        "kanaries", "rule", lambda kanary: kanary["metadata"].update(finalizers=[FINALIZER]), NAMESPACE
    )
    uid = (serving.kanary() or {})["metadata"]["uid"]
    ports = [{"port": 80, "targetPort": 8080, "proxyPort": PROXY_PORT}]
    former = {"kanary": "rule", "uid": uid, "selector": {"app": "myapp"}, "ports": ports}
    annotations = {ADOPTED_ANNOTATION: json.dumps(former)}
    spec = {"selector": {KANARY_LABEL: "rule"}, "ports": [{"port": 80, "targetPort": PROXY_PORT}]}
    serving.put("v1", "Service", "myapp", spec=spec)
    serving.server.store.change(
        "services", "myapp", lambda service: service["metadata"].update(annotations=annotations), NAMESPACE
    )
    unreadable(serving, kind)
    serving.start_operator()
    wait_for_report(serving, kind)
    serving.server.store.delete("kanaries", "rule", NAMESPACE)
    serving.wait_for(lambda: serving.kanary() is None)
    given_back = (serving.get("services", "myapp") or {})["spec"]
    assert given_back["selector"] == {"app": "myapp"}
    assert given_back["ports"][0]["targetPort"] == 8080


def test_without_the_right_to_list_kanaries_the_operator_is_not_ready_and_says_why(serving: Scene) -> None:
    fault = unreadable(serving, KINDS[0])
    running = serving.start_operator()
    serving.wait_for(lambda: f"cannot list {KINDS[0]} in all namespaces" in readiness(running))
    serving.server.faults.remove(fault)
    serving.wait_for_phase("Ready", revision=1)


def test_a_kind_that_fails_for_long_is_reported_and_other_changes_are_served(serving: Scene) -> None:
    serving.start_operator()
    serving.wait_for_phase("Ready", revision=1)
    fault = unreadable(serving, "endpointslices", 500)
    serving.expire_watches()
    message = wait_for_report(serving, "endpointslices.discovery.k8s.io", "(500 ")
    serving.declare(destination="myapp", routes=routes(myapp_v1=30, myapp_v2=70))
    serving.wait_for_phase("Ready", revision=2)
    assert ready(serving)[2] == message, "the same text all the time: each other one would be a write of each status"
    serving.endpoints("myapp-v1", "10.0.0.7")
    serving.server.faults.remove(fault)
    serving.wait_for(lambda: "10.0.0.7:9000" in json.dumps(serving.config()))
    serving.wait_for(lambda: ready(serving)[0] == "True")
