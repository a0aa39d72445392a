"""`kanary events` with the API server for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.model.times import time_text
from tests.apiserver import ApiServer, Fault
from tests.cli.conftest import ROOT, Kanary
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import route
from tests.waiting import PATIENCE

Json = dict[str, Any]


class Stage:
    """A cluster with the Kanary `web`."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.serial = 0
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.later = self.now + timedelta(minutes=10)
        """Events count back from here: the Kanary is made now, and Events of pods before that are not its own."""
        spec = {"destination": "shop", "routes": [route("web-v1", 100)]}
        self.kanary = server.store.put(self._object("kanary.k8s.io/v1", "Kanary", "web", spec=spec))

    @staticmethod
    def _object(version: str, kind: str, name: str, **fields: Any) -> Json:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **fields}

    def event(self, reason: str, about: str = "Kanary/web", ago: float = 60, *, name: str = "", **fields: Any) -> None:
        self.serial += 1
        kind, _, object_name = about.partition("/")
        uid = self.kanary["metadata"]["uid"] if about == "Kanary/web" else "another"
        time = time_text(self.later - timedelta(seconds=ago))
        known: Json = {
            "involvedObject": {"kind": kind, "name": object_name, "namespace": "default", "uid": uid},
            "type": "Normal",
            "reason": reason,
            "message": f"about {object_name}",
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "source": {"component": "test"},
        }
        event = self._object("v1", "Event", name or f"{object_name}.{self.serial:x}", **known | fields)
        self.server.store.put(event)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with ApiServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        server.install_crd(without_validation(CRD))
        yield Stage(server)


def reasons(kanary: Kanary, *arguments: str) -> list[str]:
    """Oldest first, as printed."""
    printed = kanary("events", "web", "-o", "json", *arguments)
    assert printed.code == 0
    return [event["reason"] for event in json.loads(printed.out)]


def test_events_of_a_kanary_and_its_objects_are_in_order(stage: Stage, kanary: Kanary) -> None:
    stage.event("Started", "Pod/web-haproxy-7d9f8c6b5-x2x7c", ago=20)
    stage.event("Serving", ago=10)
    stage.event("ScalingReplicaSet", "Deployment/web-haproxy", ago=40)
    stage.event("SuccessfulCreate", "ReplicaSet/web-haproxy-7d9f8c6b5", ago=30)
    stage.event("FailedMount", "ConfigMap/web-haproxy", ago=5)
    stage.event("Updated", "Service/shop", ago=4)
    printed = kanary("events", "web")
    assert printed.code == 0
    heading, *rows = printed.out.splitlines()
    assert heading.split() == ["WHEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    expected = ["ScalingReplicaSet", "SuccessfulCreate", "Started", "Serving", "FailedMount", "Updated"]
    assert [row.split()[3] for row in rows] == expected
    assert "Pod/web-haproxy-7d9f8c6b5-x2x7c" in rows[2]


def test_events_of_one_second_are_in_the_order_of_their_names(stage: Stage, kanary: Kanary) -> None:
    for number, reason in ((0x17F0A, "Second"), (0x9F0A, "First"), (0x27F0A, "Third")):
        stage.event(reason, name=f"web.{number:x}")
    assert reasons(kanary) == ["First", "Second", "Third"]


def test_what_is_about_something_else_is_left_out(stage: Stage, kanary: Kanary) -> None:
    stage.event("Serving")
    stage.event("Other", "Kanary/web-2")
    stage.event("Other", "Pod/web-v1-7d9f8c6b5-x2x7c")
    stage.event("Other", "Deployment/web-haproxy-2")
    stage.event("Other", "Pod/web-haproxy-two-haproxy-7d9f8c6b5-x2x7c")
    stage.event("Other", "Service/web-v1")
    # An earlier Kanary of this name, and a pod of it.
    earlier = {"kind": "Kanary", "name": "web", "namespace": "default", "uid": "earlier"}
    stage.event("Other", involvedObject=earlier)
    stage.event("Other", "Pod/web-haproxy-7d9f8c6b5-x2x7c", ago=1200)
    assert reasons(kanary) == ["Serving"]


def test_events_that_events_k8s_io_wrote_have_their_times_and_counts(stage: Stage, kanary: Kanary) -> None:
    observed = {"count": 7, "lastObservedTime": time_text(stage.later - timedelta(seconds=5)).replace("Z", ".500000Z")}
    made = time_text(stage.later - timedelta(seconds=50)).replace("Z", ".250000Z")
    none = {"firstTimestamp": None, "lastTimestamp": None, "count": None}
    stage.event("Serving", ago=20)
    stage.event("Failed", "Pod/web-haproxy-7d9f8c6b5-x2x7c", eventTime=made, series=observed, **none)
    stage.event("Scheduled", "Pod/web-haproxy-7d9f8c6b5-x2x7c", eventTime=made, **none)
    assert reasons(kanary) == ["Scheduled", "Serving", "Failed"]
    assert "7 times since" in kanary("events", "web").out.splitlines()[-1]


def test_since_leaves_out_what_happened_before(stage: Stage, kanary: Kanary) -> None:
    stage.event("Old", ago=1200)
    stage.event("Repeated", ago=1200, lastTimestamp=time_text(stage.now), count=3)
    assert reasons(kanary, "--since", "2m") == ["Repeated"]
    assert kanary("events", "web", "--since", "soon").code == 2


def test_where_events_have_expired_the_history_is_named(stage: Stage, kanary: Kanary) -> None:
    printed = kanary("events", "web")
    assert (printed.code, printed.err.count("\n")) == (0, 1)
    move = {"number": 1, "kind": "PhaseChange", "from": "", "to": "Ready", "trigger": "x", "reason": "y", "message": ""}
    stage.kanary["status"] = {
        "history": {"last": 1, "entries": [{**move, "at": time_text(stage.now - timedelta(hours=2))}]}
    }
    stage.server.store.put(stage.kanary)
    assert "kanary history -n default web --transitions" in kanary("events", "web").err
    stage.event("Serving")
    assert "kanary history -n default web --transitions" in kanary("events", "web").err
    assert kanary("events", "web", "--since", "1h").err == ""


def test_an_event_that_was_written_after_its_move_shows_that_none_has_expired(stage: Stage, kanary: Kanary) -> None:
    move = {"number": 1, "kind": "PhaseChange", "from": "", "to": "Ready", "trigger": "x", "reason": "y", "message": ""}
    stage.event("Serving", ago=60)
    stage.kanary["status"] = {
        "history": {"last": 1, "entries": [{**move, "at": time_text(stage.later - timedelta(seconds=63))}]}
    }
    stage.server.store.put(stage.kanary)
    assert kanary("events", "web").err == ""


@pytest.mark.parametrize(
    "damage",
    [
        {"involvedObject": None},
        {"lastTimestamp": "soon", "firstTimestamp": None},
        {"count": "many"},
        {"message": None, "reason": None, "type": None, "source": None},
        {"message": "\x1b[31mred\nand more"},
    ],
)
@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_odd_events_do_no_harm(stage: Stage, kanary: Kanary, damage: Json, output: str) -> None:
    stage.event(**{"reason": "Odd", **damage})
    stage.event("Serving", ago=0)
    printed = kanary("events", "web", "-o", output)
    assert (printed.code, printed.err) == (0, "")
    assert "Serving" in printed.out
    assert "\x1b" not in printed.out
    if output == "yaml":
        assert "Serving" in [event["reason"] for event in yaml.safe_load(printed.out)]


def test_a_watch_prints_each_event_once_survives_an_outage_and_ends_with_ctrl_c(stage: Stage) -> None:
    stage.event("First")
    command = [sys.executable, "-m", "kanary.cli.main", "events", "web", "-w", "-o", "json"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, text=True, **pipes) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["reason"] == "First"
        stage.event("Other", "Pod/web-v1-7d9f8c6b5-x2x7c")
        stage.event("Second")
        assert json.loads(process.stdout.readline())["reason"] == "Second"
        away = stage.server.faults.add(Fault.drop(path="/events"))
        stage.server.drop_watches()
        assert "trying again" in process.stderr.readline()
        stage.event("Third")
        stage.server.faults.remove(away)
        assert json.loads(process.stdout.readline())["reason"] == "Third"
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, printed, said) == (130, "", "")
