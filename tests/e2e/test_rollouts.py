"""Rollouts by steps, judged by real connections that real pods reset."""

from datetime import datetime
from typing import Any

import pytest

from tests.e2e.kind import Cluster
from tests.e2e.kubectl import Kubectl
from tests.e2e.operator import DEPLOYMENT
from tests.e2e.scene import Scene
from tests.e2e.stacks import backend, deployment, kanary, route, service
from tests.e2e.traffic import Count

pytestmark = pytest.mark.cluster

QUICK = [{"to": 10, "for": "5s"}, {"to": 50, "for": "5s"}, {"to": 100, "for": "5s"}]
EASY = {"detect": {"percent": 50}}
"""Passes after some hundred connections."""


def serve(scene: Scene, steps: list[dict[str, Any]], analysis: dict[str, Any], **second: str) -> None:
    """A Kanary whose connections all go to the first version, Ready; the second one's variables may have it fail."""
    rollout = {"steps": steps, "analysis": analysis}
    scene.apply(
        *backend("app-v1", "v1", 2),
        *backend("app-v2", "v2", 1, **second),
        kanary("app", "app", route("app-v1", 100), route("app-v2", 0), proxy={"replicas": 2}, rollout=rollout),
    )
    scene.wait_until_ready("app", {"app-v1": 2, "app-v2": 1})


def roll_out(scene: Scene) -> None:
    scene.change("app", routes=[route("app-v1", 0), route("app-v2", 100)])


def entries(scene: Scene, kind: str) -> list[dict[str, Any]]:
    found = scene.status("app").get("history", {}).get("entries", [])
    return [entry for entry in found if entry["kind"] == kind]


def step(scene: Scene) -> int:
    return int(scene.kanary("app").get("status", {}).get("rollout", {}).get("step", 0))


def steps(status: dict[str, Any]) -> list[int]:
    """The steps with evidence. The entries in a status are the last ten."""
    return [each["step"] for each in status["rollout"]["evidence"]]


def at(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["at"])


def test_a_good_version_reaches_all_connections_and_none_fails(scene: Scene) -> None:
    serve(scene, QUICK, EASY)
    with scene.client.keep_counting(scene.service_address("app"), 80) as counting:
        roll_out(scene)
        status = scene.wait_until_ready("app")
        counted = counting.stop_counting()
    assert not counted.errors, counted
    assert (status["rollout"]["state"], steps(status)) == ("Completed", [1, 2, 3]), status["rollout"]
    assert scene.kanary("app")["spec"]["routes"] == [route("app-v1", 0), route("app-v2", 100)]
    tallies = [each["tally"] for each in status["rollout"]["evidence"]]
    found = [{name: tally["routes"][name]["connections"] for name in tally["routes"]} for tally in tallies]
    print(f"a good version: {found} connections of {counted.connections}, none failed")
    for first, second, share in ((*counts.values(), share) for counts, share in zip(found, (0.1, 0.5), strict=False)):
        assert abs(second - share * (first + second)) <= 10, found


def test_a_version_that_resets_everything_is_rolled_back_within_5_s(scene: Scene) -> None:
    serve(scene, [{"to": 10, "for": "10m"}, {"to": 100}], {}, RESETS="100")
    with scene.client.keep_counting(scene.service_address("app"), 80) as counting:
        roll_out(scene)
        status = scene.wait_for_phase("app", "Degraded", "RolledBack")
        counted = counting.stop_counting()
    changes = entries(scene, "RolloutChange")
    served, failed = (next(e for e in changes if e["trigger"] == trigger) for trigger in ("watch", "fail"))
    seconds = (at(failed) - at(served)).total_seconds()
    errors = sum(counted.errors.values())
    print(f"a version that resets everything: back after {seconds:.1f} s, {errors} failed; {status['message']}")
    assert seconds < 5, changes
    assert 0 < errors < 100, counted
    assert status["display"]["weights"] == "app-v1:http=100 app-v2:http=0"
    counted = scene.count_at_one_proxy("app", 200)
    assert (counted.versions, counted.errors) == ({"v1": 200}, {}), counted


def test_a_version_with_one_percent_more_failures_is_found(scene: Scene) -> None:
    serve(scene, [{"to": 50, "for": "10m"}, {"to": 100}], {}, RESETS="1.5")
    roll_out(scene)
    scene.wait(lambda: step(scene) == 1, "the first step")
    address, connections, errors = scene.service_address("app"), 0, 0
    while scene.status("app").get("reason") != "RolledBack":
        counted = scene.client.count(address, 80, 2000)
        connections, errors = connections + counted.connections, errors + sum(counted.errors.values())
        assert connections < 60_000, scene.status("app")["rollout"]
    print(
        f"1.5 % of failures: found after {connections} connections, {errors} failed; {scene.status('app')['message']}"
    )


def test_an_operator_that_is_killed_in_every_step_goes_on(scene: Scene, system: Kubectl) -> None:
    serve(scene, QUICK, EASY)
    killed: set[int] = set()
    with scene.client.keep_counting(scene.service_address("app"), 80) as counting:
        roll_out(scene)
        while len(killed) < len(QUICK):
            found = step(scene)
            if found and found not in killed:
                system("delete", "pods", "-l", "app.kubernetes.io/name=kanary", "--grace-period=0", "--force")
                killed.add(found)
        status = scene.wait_until_ready("app")
        counted = counting.stop_counting()
    assert not counted.errors, counted
    assert (status["rollout"]["state"], steps(status)) == ("Completed", [1, 2, 3]), status["rollout"]
    total = sum(r["connections"] for each in status["rollout"]["evidence"] for r in each["tally"]["routes"].values())
    assert total <= counted.connections, (status["rollout"], counted)


HELD = [{"to": 10, "for": "10m"}, {"to": 100}]


def watch_first_step(scene: Scene) -> None:
    """All versions are good, and the first step is watched."""
    serve(scene, HELD, {})
    roll_out(scene)
    scene.wait(lambda: scene.status("app").get("reason") == "StepWatched", "the first step")


def reset_everything(scene: Scene, after: float = 0) -> None:
    """The second version resets its connections from now on, or some seconds later."""
    command = f"sleep {after}; echo 100 > /tmp/resets" if after else "echo 100 > /tmp/resets"
    scene.kubectl("exec", "deployment/app-v2", "--", "sh", "-c", f"({command}) > /dev/null 2>&1 &")


def check_that_proxies_went_back(scene: Scene, counted: Count) -> None:
    """And that the operator makes it the verdict of the rollout."""
    status = scene.wait_for_phase("app", "Degraded", "RolledBack")
    print(f"without a control plane: {sum(counted.errors.values())} failed; {status['message']}")
    assert "rolled back by itself" in status["message"], status["message"]
    assert 0 < sum(counted.errors.values()) < 200, counted
    assert status["display"]["weights"] == "app-v1:http=100 app-v2:http=0"
    counted = scene.count_at_one_proxy("app", 200)
    assert (counted.versions, counted.errors) == ({"v1": 200}, {}), counted


def test_proxies_go_back_by_themselves_while_there_is_no_operator(scene: Scene, system: Kubectl) -> None:
    watch_first_step(scene)
    system("scale", DEPLOYMENT, "--replicas=0")
    try:
        scene.wait(lambda: not system.get("pods")["items"], "the end of the operator")
        with scene.client.keep_counting(scene.service_address("app"), 80) as counting:
            reset_everything(scene)
            scene.wait(lambda: answers_only_v1(scene), "the proxies to go back by themselves")
            counted = counting.stop_counting()
    finally:
        system("scale", DEPLOYMENT, "--replicas=1")
    check_that_proxies_went_back(scene, counted)


def answers_only_v1(scene: Scene) -> bool:
    counted = scene.client.count(scene.service_address("app"), 80, 200)
    return not counted.errors and counted.versions.keys() == {"v1"}


def test_proxies_go_back_by_themselves_while_the_api_server_is_away(scene: Scene, kind_cluster: Cluster) -> None:
    watch_first_step(scene)
    address = scene.service_address("app")

    def versions(connections: int) -> set[str]:
        return {answer.partition(" ")[0] for answer in kind_cluster.answers_from(address, 80, connections)}

    with scene.client.keep_counting(address, 80) as counting:
        reset_everything(scene, after=20)
        with kind_cluster.without_api_server():
            scene.wait(lambda: "" in versions(50), "the first failure")
            scene.wait(lambda: versions(200) == {"v1"}, "the proxies to go back by themselves")
        scene.wait(lambda: answers_only_v1(scene), "the API server")
        counted = counting.stop_counting()
    check_that_proxies_went_back(scene, counted)


# An HTTP server that stands for a gate and for Prometheus: the query has the value of the file /tmp/value, or 0.1.
GATE = """
import http.server, json, os
class Gate(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print("called", body["event"], body["step"], self.headers["webhook-signature"][:4], flush=True)
        self.answer(b"{}")
    def do_GET(self):
        value = open("/tmp/value").read().strip() if os.path.exists("/tmp/value") else "0.1"
        data = {"resultType": "vector", "result": [{"metric": {}, "value": [0, value]}]}
        self.answer(json.dumps({"status": "success", "data": data}).encode())
http.server.HTTPServer(("", 9000), Gate).serve_forever()
"""


def test_webhooks_and_queries_of_the_namespace_decide_about_a_rollout(scene: Scene) -> None:
    gate = deployment("gate", "gate")
    gate["spec"]["template"]["spec"]["containers"][0]["command"] = ["python3", "-c", GATE]
    query = {"name": "p99", "address": "http://gate:80", "query": "p99", "max": 0.5, "intervalSeconds": 5}
    rollout = {
        "steps": [{"to": 10, "for": "1s"}, {"to": 50, "for": "10m"}, {"to": 100}],
        "analysis": {**EASY, "prometheus": [query]},
        "webhooks": [{"name": "gate", "url": "http://gate/rollout"}],
    }
    scene.apply(
        *[gate, service("gate")],
        *backend("app-v1", "v1"),
        *backend("app-v2", "v2"),
        kanary("app", "app", route("app-v1", 100), route("app-v2", 0), rollout=rollout),
    )
    scene.wait_until_ready("app", {"app-v1": 1, "app-v2": 1})
    scene.kubectl("rollout", "status", "deployment/gate", "--timeout=110s")
    with scene.client.keep_counting(scene.service_address("app"), 80):
        roll_out(scene)
        scene.wait(lambda: step(scene) == 2, "the second step")
        scene.kubectl("exec", "deployment/gate", "--", "sh", "-c", "echo 0.9 > /tmp/value")
        status = scene.wait_for_phase("app", "Degraded", "RolledBack")
    assert "query p99" in status["message"], status["message"]
    assert "0.9" in status["message"], status["message"]
    scene.wait(lambda: "Result 2" in called(scene), "the gate to be called at the end")
    assert called(scene) == ["BeforeStep 1", "AfterStep 1", "BeforeStep 2", "Result 2"]


def called(scene: Scene) -> list[str]:
    """The event and the step of each signed webhook, once each: calls may be repeated."""
    lines = [line.split() for line in scene.kubectl("logs", "deployment/gate").splitlines()]
    signed = [words for words in lines if words[:1] == ["called"] and words[3] == "v1a,"]
    return list(dict.fromkeys(" ".join(words[1:3]) for words in signed))
