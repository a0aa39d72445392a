"""`kanary get` with the API server for tests, and proxies' agents to which it forwards ports."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.model.states import Written
from engine.render import objects
from kanary.cli import proxies
from kanary.kube.client import Timeouts
from tests.apiserver import ApiServer, Fault
from tests.cli.conftest import Kanary, Printed
from tests.integration.scene import CRD, without_validation
from tests.unit.kanaries import OWNER, kanary, route
from tests.unit.observations import DIGEST, applied
from tests.unit.proxies import live_pod, rolling_pod

Json = dict[str, Any]


def failure(ago: float = 0, **changes: Any) -> Json:
    reset = "reset after 12 ms, 0 bytes sent to the client"
    good = {"secondsAgo": ago, "server": "10.0.0.1:8080", "client": "10.9.9.9:4000", "cause": reset}
    return good | changes


def report(failures: Json | None = None, connections: int = 3, **route: Any) -> Json:
    routes = {
        "myapp-v1:http": {"up": 2, "down": 0, "ejected": 0, "connections": 7, "unconnected": 1, "reset": 1} | route,
        "myapp-v2:9090": {"up": 0, "down": 1, "ejected": 0, "connections": 5, "unconnected": 5, "reset": 0},
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
        self._kubeconfig = str(kubeconfig)
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
        return self._run("get", name, "-n", namespace, "--kubeconfig", self._kubeconfig, *arguments)

    def document(self) -> Json:
        printed = self.get("-o", "json")
        assert (printed.code, printed.err) == (0, "")
        found: Json = json.loads(printed.out)
        return found


@pytest.fixture
def stage(tmp_path: Path, kanary: Kanary) -> Iterator[Stage]:
    with ApiServer() as server, ExitStack() as stack:
        yield Stage(server, server.kubeconfig(tmp_path / "kubeconfig"), kanary, stack)


def test_phase_routes_and_failures_are_shown(stage: Stage) -> None:
    refused = failure(server="10.0.1.1:9000", cause="refused or unreachable: 21 attempts within 12 ms")
    stage.proxy("x-1", report({"myapp-v1:http": [failure(120)], "myapp-v2:9090": [refused]}))
    stage.proxy("x-2", report({"myapp-v1:http": [failure(60, client="10.9.9.8:4001")]}))
    printed = stage.get()
    assert (printed.code, printed.err) == (0, "")
    lines = printed.out.splitlines()
    assert lines[0] == f"{OWNER.namespace}/{OWNER.name}: Ready (Serving) since 2026-11-26 12:00:00"
    assert lines[1] == "2 of 2 proxies serve revision 3"
    routes, failures = ([line.split() for line in part.splitlines()] for part in printed.out.split("\n\n")[1:])
    assert routes == [
        ["BACKEND", "WEIGHT", "READY", "UP", "DOWN", "EJECTED", "CONNECTIONS", "FAILED"],
        ["myapp-v1:http", "80", "2/2", "2", "0", "0", "14", "4"],
        ["myapp-v2:9090", "20", "1/3", "0", "1", "0", "10", "10"],
    ]
    assert [row[2:6] for row in failures[1:]] == [
        ["myapp-v1:http", "v1-a", "(10.0.0.1:8080)", "10.9.9.8:4001"],
        ["myapp-v1:http", "v1-a", "(10.0.0.1:8080)", "10.9.9.9:4000"],
        ["myapp-v2:9090", "10.0.1.1:9000", "10.9.9.9:4000", "refused"],
    ]


def test_json_and_yaml_have_the_failures_of_every_proxy_newest_first(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure(n + 1) for n in range(5)]}))
    stage.proxy("x-2", report({"myapp-v1:http": [failure(n + 0.5) for n in range(5)]}, connections=0))
    found, other = stage.document(), yaml.safe_load(stage.get("-o", "yaml").out)
    failures = found["routes"][0]["failures"]
    assert [each["proxy"] for each in failures] == ["x-2", "x-1"] * 5
    times = [datetime.fromisoformat(each.pop("time")) for each in failures]
    assert [round((times[0] - time).total_seconds()) for time in times[::2]] == [0, 1, 2, 3, 4]
    assert abs((datetime.now(UTC) - times[0]).total_seconds()) < 60
    for each in other["routes"][0]["failures"]:
        # Calculated from the moment of the reading.
        del each["time"]
    del found["readAt"], other["readAt"]
    assert found == other
    assert failures[0] == {
        "server": "10.0.0.1:8080",
        "client": "10.9.9.9:4000",
        "cause": "reset after 12 ms, 0 bytes sent to the client",
        "pod": "v1-a",
        "proxy": "x-2",
    }
    assert [(each["name"], each["node"], each["ready"], each["connections"]) for each in found["proxies"]] == [
        ("x-1", "node-of-x-1", True, 3),
        ("x-2", "node-of-x-2", True, 0),
    ]
    assert found["unknown"] == []


# The rollout


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


def test_a_rollout_is_shown_with_its_step_its_evidence_and_the_last_good_weights(stage: Stage) -> None:
    stage.status(phase="Rolling", reason="StepWatched", rollout=rollout())
    text, table = stage.get().out.split("\n\n")[1].split("STEP")
    assert text.splitlines() == [
        "Rollout 3, step 2/4 10%: Watching (StepWatched) since 2026-11-26 12:00:00; "
        "the time of the step ends at 2026-11-26 12:10:00",
        "step 2/4 is watched for 10m",
        "Last verdict: 7 of 900 connections to myapp-v2:9090 failed",
        "Last good weights: myapp-v1:http=100",
    ]
    assert [line.split() for line in table.splitlines()] == [
        ["BACKEND", "WEIGHT", "CONNECTIONS", "FAILED"],
        ["2/4", "10%", "myapp-v1:http", "90", "8104", "0"],
        ["2/4", "10%", "myapp-v2:9090", "10", "900", "7", "(0.78", "%)"],
    ]


def test_what_the_message_of_the_kanary_says_is_not_repeated(stage: Stage) -> None:
    message = "step 2/4 failed: 7 of 900 connections to myapp-v2:9090 failed"
    stage.status(message=f"{message}: myapp-v1:http=100", rollout=rollout(message=message, until=None))
    printed = stage.get().out
    assert printed.count("7 of 900") == 1
    assert "the time of the step" not in printed


def test_connections_that_do_not_count_are_reported(stage: Stage) -> None:
    evidence = [{"step": 2, "revision": 5, "tally": {"routes": {}, "leftOut": 12}}]
    stage.status(rollout=rollout(evidence=evidence))
    assert "12 connections of this step do not count: they were not split by its weights" in stage.get().out


def test_a_rollout_that_is_complete_has_one_paragraph(stage: Stage) -> None:
    stage.status(
        rollout=rollout(state="Completed", reason="RolloutCompleted", message="rollout 3 is complete", until=None)
    )
    printed = stage.get().out
    assert "Rollout 3, step 2/4 10%: Completed (RolloutCompleted) since 2026-11-26 12:00:00\n" in printed
    assert "Last good weights" not in printed
    assert "STEP" not in printed


@pytest.mark.parametrize("found", [None, rollout(number=0, state="Completed")])
def test_a_kanary_that_has_had_no_rollout_shows_none(stage: Stage, found: Json | None) -> None:
    stage.status(**{"rollout": found} if found else {})
    assert "Rollout" not in stage.get().out


def test_json_has_the_whole_rollout(stage: Stage) -> None:
    assert stage.document()["rollout"] is None
    stage.status(rollout=rollout())
    found = stage.document()["rollout"]
    lists = ("good", "start", "goal", "evidence")
    assert {key: found[key] for key in rollout()} == rollout() | {key: found[key] for key in lists}
    assert [[each["weight"] for each in found[key]] for key in lists[:3]] == [[100, 0], [100, 0], [0, 100]]
    assert found["evidence"][1]["tally"]["routes"]["myapp-v2:9090"] == {"weight": 10, "connections": 900, "failed": 7}


# Proxies


def test_a_pod_that_the_configuration_has_no_more_is_shown_by_its_address(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure(server="10.0.0.9:8080"), failure(server="")]}))
    assert [each["pod"] for each in stage.document()["routes"][0]["failures"]] == [None, None]
    rows = stage.get().out.split("\n\n")[2].splitlines()[1:]
    assert [row.split()[3] for row in rows] == ["10.0.0.9:8080", "-"]


def test_the_pods_of_servers_are_left_out_if_the_configuration_cannot_be_read(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure()]}))
    stage.server.faults.add(Fault.status(403, "GET", "/configmaps/"))
    (shown,) = stage.document()["routes"][0]["failures"]
    assert (shown["pod"], shown["server"]) == (None, "10.0.0.1:8080")


def test_without_failures_it_says_so(stage: Stage) -> None:
    stage.proxy("x-1", report())
    assert "No connection has failed since the agents of the proxies started." in stage.get().out


def test_a_proxy_that_cannot_be_read_is_named_and_the_rest_is_shown(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure()]}))
    stage.pod(live_pod("x-2"))
    printed = stage.get()
    assert printed.code == 0
    assert "v1-a (10.0.0.1:8080)" in printed.out
    assert "the report of x-2 is unknown: its agent does not take connections" in printed.err
    # Without one of the proxies the counts are those of the status, as the operator had them from all.
    assert ["myapp-v1:http", "80", "2/2", "1", "-", "-", "4", "1"] in [
        line.split() for line in printed.out.splitlines()
    ]


def test_a_reader_without_the_right_to_forward_learns_which_one(stage: Stage) -> None:
    for name in ("x-1", "x-2", "x-3"):
        stage.proxy(name, report())
    stage.server.faults.add(Fault.status(403, path="/portforward"))
    printed = stage.get()
    assert printed.code == 0
    assert "No failed connections are known." in printed.out
    (line,) = printed.err.splitlines()
    assert "the report of x-1, x-2 and x-3 is unknown: permission denied" in line
    assert f"cannot create pods/portforward in namespace {OWNER.namespace}" in line
    assert f"ask for the ClusterRole kanary-edit in namespace {OWNER.namespace}" in line


def test_with_rolling_it_says_where_failures_are_counted(stage: Stage) -> None:
    stage.pod(rolling_pod("x-1"))
    printed = stage.get()
    assert printed.code == 0
    assert "the report of x-1 is unknown: with Rolling no agent records them" in printed.err
    assert "port 8404" in printed.err


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"no json",
        b"",
        b"[" * 100_000,
        json.dumps(report(connections=-1)).encode(),
        json.dumps(report({"myapp-v1:http": [{"secondsAgo": 1}]})).encode(),
        json.dumps(report({"myapp-v1:http": [failure(1e300)]})).encode(),
    ],
)
def test_a_hostile_proxy_spoils_nothing_else(stage: Stage, content: bytes) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure()]}))
    stage.proxy("x-2", content)
    printed = stage.get()
    assert (printed.code, printed.err.count("\n")) == (0, 1)
    assert "v1-a (10.0.0.1:8080)" in printed.out
    assert "the report of x-2 is unknown: the report of its agent is invalid" in printed.err


def test_what_a_proxy_reports_moves_no_cursor(stage: Stage) -> None:
    stage.proxy("x-1", report({"myapp-v1:http": [failure(cause="\x1b[2J\nall is well")]}))
    assert "\\x1b[2J all is well" in stage.get().out


def test_a_proxy_that_does_not_answer_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "_TIMEOUTS", Timeouts(connect=5.0, read=0.2))
    ended = threading.Event()

    def hang() -> bytes:
        ended.wait(30)
        return b""

    with agent(hang) as port:
        stage.pod(live_pod("x-1"), port)
        began = time.monotonic()
        printed = stage.get()
        ended.set()
    assert (printed.code, time.monotonic() - began < 10) == (0, True)
    assert "the report of x-1 is unknown: its agent cannot be reached" in printed.err


def test_proxies_that_have_ended_are_left_out(stage: Stage) -> None:
    stage.proxy("x-1", report())
    stage.pod(live_pod("x-2", phase="Failed", ready=False))
    assert [proxy["name"] for proxy in stage.document()["proxies"]] == ["x-1"]


def test_pods_that_cannot_be_listed_are_named(stage: Stage) -> None:
    stage.server.faults.add(Fault.status(403, "GET", "/pods"))
    printed = stage.get()
    assert printed.code == 0
    assert f"the pods of namespace {OWNER.namespace} cannot be listed" in printed.err
    assert printed.out.startswith(f"{OWNER.namespace}/{OWNER.name}: Ready")


def test_a_kanary_without_a_status_or_with_an_older_one_says_how_to_find_the_operator(stage: Stage) -> None:
    stage.status(observedGeneration=0)
    assert "generation 0 of the spec, which is at 1 by now: see whether the operator runs: kubectl" in stage.get().err
    stage.server.store.put(stage.written)
    printed = stage.get()
    assert (printed.code, printed.out.splitlines()[0]) == (0, f"{OWNER.namespace}/{OWNER.name}: no status yet")
    assert "the operator has not written a status yet: see whether the operator runs: kubectl" in printed.err


def test_an_unknown_kanary_lists_the_nearest_names(stage: Stage) -> None:
    printed = stage.get(name=f"{OWNER.name}s")
    assert (printed.code, printed.out) == (1, "")
    missing = f"there is no Kanary {OWNER.name}s in namespace {OWNER.namespace}"
    assert missing in printed.err
    assert printed.err.endswith(f"it has {OWNER.name}\n")


def test_a_cluster_that_is_not_there_is_an_error(kanary: Kanary) -> None:
    printed = kanary("get", "web", "--kubeconfig", "/nowhere")
    assert (printed.code, printed.out) == (1, "")
    assert "kubeconfig /nowhere does not exist: name a file that does" in printed.err


@pytest.mark.parametrize(
    ("arguments", "named"), [(["No_Name"], "No_Name"), (["web", "-o", "xml"], "xml"), ([], "NAME")]
)
def test_wrong_usage_names_the_value(kanary: Kanary, arguments: list[str], named: str) -> None:
    printed = kanary("get", *arguments)
    assert (printed.code, printed.out) == (2, "")
    assert named in printed.err
