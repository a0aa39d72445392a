"""A real Prometheus scrapes an operator and a proxy: rules, dashboard and documented queries work there."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.model.checks import PrometheusQuery
from scripts import monitoring
from tests.agent.live import LiveProxy, live
from tests.apiserver import ApiServer
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.monitoring.prometheus import Prometheus, program

ROOT = Path(__file__).parents[2]
V1, V2 = "myapp-v1:http", "myapp-v2:http"
PATIENCE = 120
RULE = {"namespace": NAMESPACE, "name": "rule"}
STEPS = {"steps": [{"to": 10, "until": "Promoted"}, {"to": 100}]}


def route_report(connections: int, failed: int = 0, ejected: int = 0) -> dict[str, Any]:
    counts = {"connections": connections, "unconnected": 0, "reset": failed, "sinceChange": connections}
    return {"up": 2, "down": 0, "ejected": ejected, "unreachedSeconds": None, **counts}


@dataclass
class Monitored:
    """What runs while the tests look at it."""

    prometheus: Prometheus
    scene: Scene
    proxy: LiveProxy

    def eventually(self, expression: str, *, series: int = 1) -> list[tuple[dict[str, str], float]]:
        """The series of an expression, once there are so many."""
        end, found = time.monotonic() + PATIENCE, []
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if len(found := self.prometheus.query(expression)) >= series:
                    return found
            time.sleep(0.2)
        raise AssertionError(f"{len(found)} series, not {series}: {expression}")

    def values(self, expression: str, label: str) -> dict[str, float]:
        return {labels[label]: value for labels, value in self.prometheus.query(expression)}

    def await_values(self, expression: str, label: str, expected: dict[str, Any]) -> None:
        end = time.monotonic() + PATIENCE
        while (found := self.values(expression, label)) != expected:
            assert time.monotonic() < end, f"{expression} is {found}, not {expected}"
            time.sleep(0.2)


def jobs(operator: int, proxy: LiveProxy) -> list[dict[str, Any]]:
    """The jobs of scrape.yaml, which find these in place of what a cluster has."""
    meta = "__meta_kubernetes"
    pod = {f"{meta}_namespace": NAMESPACE, f"{meta}_pod_name": "rule-haproxy-1"}
    pod[f"{meta}_pod_label_kanary_k8s_io_name"] = "rule"
    ports = {"ops": proxy.config.ops_port, "report": proxy.report_port, "split": 1}
    service = {f"{meta}_service_name": "kanary", f"{meta}_namespace": "kanary-system", f"{meta}_pod_name": "kanary-1"}
    found = {
        "kanary": [(operator, {**service, f"{meta}_endpoint_port_name": "http"})],
        "kanary-proxies": [(port, {**pod, f"{meta}_pod_container_port_name": name}) for name, port in ports.items()],
    }
    declared = yaml.safe_load((ROOT / monitoring.FOLDER / "scrape.yaml").read_text())["scrape_configs"]
    for job in declared:
        del job["kubernetes_sd_configs"]
        job["static_configs"] = [
            {"targets": [f"127.0.0.1:{port}"], "labels": labels} for port, labels in found[job["job_name"]]
        ]
    return declared


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """A Kanary in its second rollout, whose agents report traffic, and a proxy whose HAProxy and agent are real."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("monitored")
    with ApiServer(controllers=True) as server, Pods() as pods, contextlib.ExitStack() as stack:
        scene = Scene(server, server.kubeconfig(folder / "kubeconfig"))
        stack.callback(scene.stop)
        scene.history_url = f"sqlite:///{folder / 'history.db'}"
        scene.backend("myapp-v1", "10.0.0.1", "10.0.0.2")
        scene.backend("myapp-v2", "10.0.1.1", "10.0.1.2")
        scene.agents.routes["rule"] = {V1: route_report(0), V2: route_report(0)}
        # The second operator finds entries in the history.
        with scene.operating():
            scene.declare(destination="myapp", routes=routes(myapp_v1=100, myapp_v2=0), rollout=STEPS)
            scene.wait_for_phase("Ready")
        operator = scene.start_operator().operator
        scene.wait_for_phase("Ready")
        scene.declare(destination="myapp", routes=routes(myapp_v1=0, myapp_v2=100), rollout=STEPS)
        state = partial(_rollout_state, scene)
        scene.wait_for(lambda: state() in ("Watching", "Waiting"), state)
        proxy = stack.enter_context(live(config_of(pods.route(70, 2), pods.route(30, 1))))
        rules = ROOT / monitoring.RULES
        prometheus = stack.enter_context(Prometheus(folder, jobs(operator.http_port, proxy), rules))
        result = Monitored(prometheus, scene, proxy)
        result.eventually("kanary_route_connections_total", series=2)
        result.eventually("haproxy_backend_sessions_total * on (namespace, pod, proxy) kanary_slot_backend", series=2)
        stack.enter_context(traffic(result))
        yield result


def _rollout_state(scene: Scene) -> str:
    return str((scene.status().get("rollout") or {}).get("state"))


@contextlib.contextmanager
def traffic(monitored: Monitored) -> Iterator[None]:
    """A hundred connections to the proxy, and then more and more that the agents report."""
    monitored.proxy.take(100)
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.wait(0.5):
            number += 10
            v1, v2 = route_report(9 * number), route_report(number, number // 10, 1)
            monitored.scene.agents.report_routes("rule", {V1: v1, V2: v2})

    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


def test_every_target_is_up_and_has_the_labels_that_queries_need(monitored: Monitored) -> None:
    found = monitored.eventually("up == 1", series=3)
    assert len(found) == 3
    pods = [labels for labels, _ in found if labels["job"] == "kanary-proxies"]
    assert [{**RULE, "pod": "rule-haproxy-1"}.items() <= labels.items() for labels in pods] == [True, True]
    ((leader, value),) = monitored.eventually("kanary_leader")
    assert (leader["namespace"], leader["pod"], value) == ("kanary-system", "kanary-1", 1)


def test_the_kanary_is_under_its_own_namespace_with_its_phase_weights_and_step(monitored: Monitored) -> None:
    ((labels, _),) = monitored.eventually('kanary_phase{phase="Rolling"} == 1')
    assert labels.items() >= RULE.items()
    monitored.await_values("kanary_route_declared_weight", "backend", {V1: 0, V2: 100})
    monitored.await_values("kanary_route_weight", "backend", {V1: 90, V2: 10})
    monitored.await_values("kanary_rollout_step", "name", {"rule": 1})


def test_the_change_to_a_step_was_served_within_seconds(monitored: Monitored) -> None:
    monitored.await_values("kanary_change_duration_seconds_count", "pod", {"kanary-1": 1})
    ((_, seconds),) = monitored.eventually("kanary_change_duration_seconds_sum")
    assert 0 < seconds < PATIENCE


def test_the_measured_share_is_that_of_the_reported_connections(monitored: Monitored) -> None:
    # The scrapes of both counters are of one moment.
    monitored.await_values("round(kanary:route_share:percent15m)", "backend", {V1: 90, V2: 10})
    monitored.await_values("round(kanary_route_actual_weight)", "backend", {V1: 90, V2: 10})


def test_haproxys_own_counters_are_joined_to_the_backends(monitored: Monitored) -> None:
    expression = (
        "sum by (backend) (haproxy_backend_sessions_total "
        "* on (namespace, pod, proxy) group_left (backend) kanary_slot_backend)"
    )
    first, second = (route.backend for route in monitored.proxy.config.routes)
    monitored.await_values(expression, "backend", {first: 70, second: 30})


def test_a_rollout_has_the_chance_of_its_evidence(monitored: Monitored) -> None:
    ((labels, chance),) = monitored.eventually("kanary_rollout_chance / on (name) kanary_rollout_highest_chance")
    assert labels["name"] == "rule"
    assert chance > 1


def test_every_rule_is_evaluated_without_an_error(monitored: Monitored) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        groups = monitored.prometheus.get("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in rules):
            break
        assert time.monotonic() < end
        time.sleep(0.2)
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []


def test_an_alert_says_in_numbers_what_is_wrong(monitored: Monitored) -> None:
    def found() -> dict[str, Any]:
        alerts = monitored.prometheus.get("alerts")["alerts"]
        return {each["labels"]["alertname"]: each for each in alerts}

    monitored.scene.wait_for(lambda: "KanaryPodsEjected" in found(), lambda: str(found().keys()))
    annotations = found()["KanaryPodsEjected"]["annotations"]
    assert annotations["summary"] == f"1 pods of {V2} of Kanary shop/rule are ejected"
    assert f"kanary get -n {NAMESPACE} rule" in annotations["runbook"]
    # The rollout waits for kanary promote, and a part of the connections fails.
    expected = {"KanaryPodsEjected", "KanaryConnectionsFail", "KanaryRolloutWaiting"}
    # A scrape of a busy process may fail, after which the operator seems to be down until the next one.
    monitored.scene.wait_for(lambda: found().keys() <= expected, lambda: str(found()))


def _dashboard() -> Iterator[Any]:
    panels = json.loads((ROOT / monitoring.DASHBOARD).read_text())["panels"]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")


@pytest.mark.parametrize("expression", [*_dashboard()])
def test_every_query_of_the_dashboard_has_series(monitored: Monitored, expression: str) -> None:
    for name, value in (("$namespace", "shop|.+"), ("$name", ".+"), ("$__rate_interval", "20s")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    monitored.eventually(expression)


def _documented() -> Iterator[Any]:
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        for number, text in enumerate(re.findall(r"```promql\n(.*?)```", page.read_text(), re.S), start=1):
            yield pytest.param(text, id=f"{page.name} {number}")


@pytest.mark.parametrize("expression", [*_documented()])
def test_every_documented_query_has_series(monitored: Monitored, expression: str) -> None:
    monitored.eventually(expression)


def _analyses() -> Iterator[Any]:
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.yaml")]):
        for text in re.findall(r"^ *(?:- )?query: (.+)$", page.read_text(), re.M):
            yield pytest.param(yaml.safe_load(text), id=f"{page.name} {text[:20]}")


@pytest.mark.parametrize("query", [*_analyses()])
def test_every_documented_query_of_a_rollout_is_one(monitored: Monitored, query: str) -> None:
    filled = re.sub(r"\{\{ *\w+ *\}\}", "x", query)
    assert PrometheusQuery(name="q", address="http://prometheus:9090", query=query, max=1).query == query
    monitored.prometheus.query(filled)


def test_an_invalid_query_is_noticed(monitored: Monitored) -> None:
    with pytest.raises(ValueError, match="parse error"):
        monitored.prometheus.query("sum by (kanary_phase")
