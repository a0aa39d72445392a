"""`kanary plan` without a cluster, and the Kanary that an apply leaves."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kanary_agent import texts

from engine.model.spec import KanarySpec
from kanary.cli.applying import after_apply
from kanary.cli.main import main
from kanary.cli.reloads import reload_reason
from tests.unit.kanaries import kanary, route

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.yml") if "kind: Kanary\n" in path.read_text())
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
OLD = kanary()
METRICS: Json = {"name": "metrics", "port": 9100, "servicePort": 9100}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Files:
    """Runs `kanary plan` on files."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path = path
        self._capsys = capsys
        self.err = ""

    def write(self, name: str, *documents: Json) -> str:
        path = self._path / name
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    def run(self, *arguments: str, code: int = 0) -> str:
        found = main(["plan", *arguments])
        captured = self._capsys.readouterr()
        self.err = captured.err
        assert found == code, captured.err
        return captured.out

    def change(self, old: Json, new: Json, *arguments: str, code: int = 0) -> Json:
        """The plan from one Kanary to the other."""
        files = "-f", self.write("new.yaml", new), "--against", self.write("old.yaml", old)
        (found,) = json.loads(self.run(*files, "-o", "json", *arguments, code=code))
        document: Json = found
        return document


@pytest.fixture
def files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Files:
    return Files(tmp_path, capsys)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_can_be_planned(files: Files, example: Path) -> None:
    planned = json.loads(files.run("-f", str(example), "--offline", "-o", "json"))
    assert [each["problems"] for each in planned if each["problems"]] == []
    assert "ConfigMap" in [each["object"]["kind"] for each in planned[0]["objects"]]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_example_changes_against_itself(files: Files, example: Path) -> None:
    """Also if the file has the Services."""
    planned = json.loads(files.run("-f", str(example), "--against", str(example), "-o", "json"))
    assert [(each["name"], each["objects"]) for each in planned if each["change"]] == []


def test_nothing_changes_against_the_same_file(files: Files) -> None:
    planned = files.change(OLD, OLD, "--exit-code")
    assert not planned["change"]
    assert (planned["objects"], planned["configuration"], planned["endpoints"]) == ([], [], [])


def test_weights_are_data(files: Files) -> None:
    planned = files.change(
        OLD, kanary(routes=[route("myapp-v1", 50), route("myapp-v2", 50, 9090)]), "--exit-code", code=3
    )
    assert planned["weights"] == [
        {"backend": "myapp-v1:http", "declared": {"from": 80, "to": 50}, "inForce": {"from": 80, "to": 50}},
        {"backend": "myapp-v2:9090", "declared": {"from": 20, "to": 50}, "inForce": {"from": 20, "to": 50}},
    ]
    assert planned["connections"]["mayClose"] == []
    assert [(each["action"], each["object"]["kind"]) for each in planned["objects"]] == [("changed", "ConfigMap")]
    assert any(line.startswith("+  set-var proc.split ") for line in planned["configuration"])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"proxy": {"idleSeconds": 60}}, ["reloads", "timeout client 60s"]),
        ({"onEmptyRoute": "Fail"}, ["reloads"]),
        ({"proxy": {"replicas": 1}}, ["1 of 2 proxies stop", "10m"]),
        ({"proxy": {"image": "other:1"}}, ["new proxies replace", "template"]),
        ({"updateStrategy": "Rolling"}, ["new proxies replace"]),
        ({"routes": [route(f"myapp-v{number}", 25) for number in range(3, 7)]}, ["reloads", "10m"]),
    ],
)
def test_what_may_end_connections_is_named(files: Files, spec: Json, words: Sequence[str]) -> None:
    (reason,) = files.change(OLD, kanary(**spec))["connections"]["mayClose"]
    assert all(word in reason for word in words)


@pytest.mark.parametrize(
    "spec",
    [
        {"proxy": {"replicas": 5}},
        {"routes": [route("myapp-v1", 100), route("myapp-v2", 0, 9090)]},
        {"routes": [route("myapp-v1", 50), route("myapp-v3", 50)]},
        {"paused": True},
    ],
)
def test_what_ends_no_connection(files: Files, spec: Json) -> None:
    assert files.change(OLD, kanary(**spec))["connections"]["mayClose"] == []


def test_a_former_destination_is_deleted_and_its_clients_are_named(files: Files) -> None:
    planned = files.change(OLD, kanary(destination="other"))
    objects = [(each["action"], each["object"]["metadata"]["name"]) for each in planned["objects"]]
    assert ("created", "other") in objects
    assert ("deleted", "myapp") in objects
    assert "myapp" in planned["connections"]["refused"][0]


def test_an_item_that_is_removed_is_a_change_of_the_list(files: Files) -> None:
    edge = {"key": "edge", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    planned = files.change(kanary(proxy={"template": {"spec": {"tolerations": [edge]}}}), OLD)
    (proxies,) = [each for each in planned["objects"] if each["object"]["kind"] == "Deployment"]
    paths = [each["path"] for each in proxies["fields"]]
    assert [path for path in paths if "toleration" in path] == ["spec.template.spec.tolerations"]


@pytest.mark.parametrize(
    ("spec", "changed"),
    [
        (
            {"service": {"type": "NodePort", "externalTrafficPolicy": "Local"}},
            "spec.externalTrafficPolicy Local -> none",
        ),
        ({"service": {"labels": {"team": "web"}}}, "metadata.labels.team web -> none"),
        ({"service": {"annotations": {"example.com/a": "b"}}}, "metadata.annotations.example.com/a b -> none"),
        ({"service": {"port": {"appProtocol": "http"}}}, "spec.ports[0].appProtocol http -> none"),
        (
            {"proxy": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}},
            "spec.template.spec.nodeSelector {'disk': 'ssd'} -> none",
        ),
        (
            {"proxy": {"template": {"spec": {"priorityClassName": "high"}}}},
            "spec.template.spec.priorityClassName high -> none",
        ),
    ],
)
def test_a_setting_that_is_removed_is_a_change(files: Files, spec: Json, changed: str) -> None:
    paths = "-f", files.write("new.yaml", OLD), "--against", files.write("old.yaml", kanary(**spec))
    assert changed in files.run(*paths)


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        ({"port": 81}, ["Service myapp has no port 80 any more"]),
        ({"ports": []}, ["Service myapp has no port 9100 any more"]),
        ({"ports": [METRICS | {"port": 9200}]}, ["Service myapp has no port 9100 any more"]),
        ({"port": 9100, "ports": [METRICS | {"port": 80}]}, []),
        ({"ports": [METRICS | {"name": "other"}]}, []),
        ({"destination": "other"}, ["Service myapp is deleted when the proxies serve other: "]),
        (
            {"destination": "other", "ports": []},
            [
                "Service myapp is deleted when the proxies serve other: ",
                "port 9100 (metrics) of Service myapp is closed before that, ",
            ],
        ),
    ],
)
def test_ports_that_clients_lose_are_named(files: Files, spec: Json, refused: Sequence[str]) -> None:
    found = files.change(kanary(ports=[METRICS]), kanary(**{"ports": [METRICS]} | spec))["connections"]["refused"]
    assert [text[: len(start)] for text, start in zip(found, refused, strict=True)] == refused


def test_steps_are_those_between_the_old_and_the_new_weights(files: Files) -> None:
    steps = {"steps": [{"to": 50, "for": "10m"}, {"to": 100, "until": "Promoted"}]}
    hook = {"webhooks": [{"name": "gate", "url": "http://gate/x"}]}
    routes = [route("myapp-v1", 0), route("myapp-v2", 100, 9090)]
    planned = files.change(OLD, kanary(routes=routes, rollout=steps | hook))
    assert planned["rollout"]["steps"] == [
        {"step": 1, "to": 50, "weights": {"myapp-v2:9090": 60, "myapp-v1:http": 40}, "seconds": 600, "until": None},
        {"step": 2, "to": 100, "weights": {"myapp-v2:9090": 100}, "seconds": 0, "until": "Promoted"},
    ]
    assert [each["inForce"]["to"] for each in planned["weights"]] == [40, 60]


def test_a_frozen_kanary_keeps_its_weights(files: Files) -> None:
    routes = [route("myapp-v1", 0), route("myapp-v2", 100, 9090)]
    planned = files.change(OLD, kanary(routes=routes, freeze={"reason": "holidays"}))
    assert planned["reason"] == "Frozen"
    assert [each["inForce"] for each in planned["weights"]] == [{"from": 80, "to": 80}, {"from": 20, "to": 20}]


def test_a_destination_that_another_kanary_of_the_file_has_is_a_problem(files: Files) -> None:
    other = kanary() | {"metadata": {"name": "other", "namespace": "shop"}}
    planned = json.loads(files.run("-f", files.write("two.yaml", OLD, other), "--offline", "-o", "json", code=1))
    assert [[problem["reason"] for problem in each["problems"]] for each in planned] == [[], ["DestinationTaken"]]


def test_a_kanary_may_lead_to_another_one_of_the_file(files: Files) -> None:
    front = kanary(destination="front", routes=[route("myapp", 100, 80)])
    front["metadata"] = {"name": "front", "namespace": "shop"}
    planned = json.loads(files.run("-f", files.write("two.yaml", front, OLD), "--offline", "-o", "json"))
    assert [each["problems"] for each in planned] == [[], []]


@pytest.mark.parametrize("port", [9100, "prometheus"])
def test_further_ports_need_no_services_in_the_file(files: Files, port: int | str) -> None:
    new = files.write("new.yaml", kanary(ports=[{"name": "metrics", "port": 9100, "servicePort": port}]))
    (planned,) = json.loads(files.run("-f", new, "--offline", "-o", "json"))
    assert planned["problems"] == []
    assert {f"myapp-v1:{port}", f"myapp-v2:{port}"} <= {each["backend"] for each in planned["endpoints"]}


def test_a_port_that_a_service_of_the_file_does_not_have_is_a_problem(files: Files) -> None:
    metadata = {"name": "myapp-v1", "namespace": "shop"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 1}]}}
    planned = json.loads(files.run("-f", files.write("x.yaml", OLD, service), "--offline", "-o", "json", code=1))
    assert planned[0]["problems"][0]["reason"] == "BackendPortNotFound"


@pytest.mark.parametrize(
    "fields",
    [
        {"spec": {"selector": "app"}},
        {"spec": {"selector": {"version": 1}}},
        {"spec": {"ports": [{"port": 80, "targetPort": [8080]}]}},
        {"metadata": {"generateName": "web-"}},
    ],
)
def test_a_service_that_cannot_be_planned_is_ignored_with_a_note(files: Files, fields: Json) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, **fields}
    files.run("-f", files.write("new.yaml", service, OLD), "--offline")
    assert "other objects are ignored: 1 Service" in files.err


def test_other_objects_are_ignored_with_a_note(files: Files) -> None:
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}
    files.run("-f", files.write("x.yaml", OLD, other), "--offline")
    assert "1 Deployment" in files.err


def test_the_text_has_each_part_and_no_long_lines(files: Files) -> None:
    new = kanary(routes=[route("myapp-v1", 50), route("myapp-v3", 50)])
    text = files.run("-f", files.write("new.yaml", new), "--against", files.write("old.yaml", OLD))
    parts = ["DECLARED", "80 -> 50", "none -> 50", "20 -> none", "+ 192.0.2.3:9000", "haproxy.cfg", "0 are closed"]
    assert [part for part in parts if part not in text] == []
    assert all(len(line) <= 120 for line in text.partition("CONFIGURATION")[2].splitlines())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((), 2), (("-f", "nowhere.yaml", "--offline"), 1), (("-f", "x", "-o", "yaml"), 2)],
)
def test_bad_arguments_are_refused(files: Files, arguments: Sequence[str], code: int) -> None:
    assert files.run(*arguments, code=code) == ""


def test_a_missing_cluster_is_an_error_with_the_way_out(files: Files, tmp_path: Path) -> None:
    files.run("-f", files.write("x.yaml", OLD), "--kubeconfig", str(tmp_path / "none"), code=1)
    assert files.err.count("\n") == 1
    assert files.err.endswith("; or plan without a cluster: --offline, or --against FILE\n")


# The Kanary that an apply leaves


def test_as_the_agent_decides_about_reloads(files: Files) -> None:
    """`reload_reason` is a second implementation: the agent's is not part of the command line."""
    for spec in ({"routes": [route("myapp-v1", 50), route("myapp-v3", 50)]}, {"proxy": {"idleSeconds": 9}}, {}):
        planned = files.change(OLD, kanary(**spec))
        text = {
            each["object"]["kind"]: each["object"]["data"]["haproxy.cfg"]
            for each in planned["objects"]
            if "data" in each["object"]
        }.get("ConfigMap", "")
        former = json.loads(files.run("-f", files.write("old.yaml", OLD), "--offline", "-o", "json"))
        before = former[0]["objects"][0]["object"]["data"]["haproxy.cfg"]
        text = text or before
        assert bool(reload_reason(before, text)) == (texts.parts_of(before).fixed != texts.parts_of(text).fixed)


def live(spec: Json, last: Json | None = None, managed: Sequence[Json] = ()) -> Json:
    annotations = {} if last is None else {LAST_APPLIED: json.dumps({"spec": last})}
    metadata = {"name": "x", "namespace": "shop", "uid": "u", "generation": 4, "annotations": annotations}
    return {"metadata": metadata | {"managedFields": [*managed]}, "spec": spec}


def declared(**spec: Any) -> Json:
    return {"metadata": {"name": "x", "namespace": "shop", "uid": "000000", "annotations": {"a": "b"}}, "spec": spec}


def test_a_field_that_an_apply_has_set_goes_with_the_manifest() -> None:
    found = after_apply(live({"port": 1, "paused": True}, last={"port": 1, "paused": True}), declared(port=1), NOW)
    assert found["spec"] == {"port": 1}
    assert found["metadata"]["generation"] == 5


def test_a_field_that_somebody_else_has_set_stays() -> None:
    present = {"port": 1, "proxy": {"replicas": 3, "idleSeconds": 5}, "freeze": {}}
    last = {"port": 1, "proxy": {"idleSeconds": 5}}
    found = after_apply(live(present, last=last), declared(port=2, proxy={"drainSeconds": 1}), NOW)
    assert found["spec"] == {"port": 2, "proxy": {"replicas": 3, "drainSeconds": 1}, "freeze": {}}


def test_fields_of_a_server_side_apply_go_as_well_and_those_of_updates_stay() -> None:
    applied = {
        "manager": "flux",
        "operation": "Apply",
        "fieldsV1": {"f:spec": {"f:paused": {}, "f:proxy": {"f:image": {}}}},
    }
    updated = {"manager": "edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:freeze": {}}}}
    present = {"paused": True, "proxy": {"image": "x", "replicas": 2}, "freeze": {}}
    found = after_apply(live(present, managed=[applied, updated]), declared(proxy={}), NOW)
    assert found["spec"] == {"proxy": {"replicas": 2}, "freeze": {}}


def test_lists_are_replaced_and_identity_and_status_stay() -> None:
    present = live({"routes": [1, 2]}) | {"status": {"phase": "Ready"}}
    found = after_apply(present, declared(routes=[3]), NOW)
    assert found["spec"] == {"routes": [3]}
    assert found["status"] == {"phase": "Ready"}
    assert (found["metadata"]["uid"], found["metadata"]["annotations"]) == ("u", {"a": "b"})


def test_the_same_spec_is_no_new_generation() -> None:
    assert after_apply(live({"port": 1}), declared(port=1), NOW)["metadata"]["generation"] == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"spec": 5}', "null"])
def test_an_annotation_that_is_damaged_says_nothing(text: str) -> None:
    present = live({"port": 1})
    present["metadata"]["annotations"][LAST_APPLIED] = text
    assert after_apply(present, declared(paused=True), NOW)["spec"] == {"port": 1, "paused": True}


def test_a_new_kanary_has_the_time_of_now() -> None:
    """Of two Kanaries with one destination the older one has it."""
    found = after_apply(None, declared(port=1), NOW)
    assert found["metadata"]["creationTimestamp"] == "2026-11-26T12:00:00Z"
    assert KanarySpec.model_fields.keys() >= {"port"}


def chained(port: str | int) -> list[Json]:
    """The outer Kanary first, which leads to the inner one."""
    routes = {"outer": [route("inner", 100, port)], "inner": [route("web-v1", 100)]}
    return [
        kanary(destination=name, routes=found) | {"metadata": {"namespace": "shop", "name": name}}
        for name, found in routes.items()
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_new_kanary_that_leads_to_another_one_is_planned_after_it(files: Files, order: int) -> None:
    planned = json.loads(files.run("-f", files.write("new.yaml", *chained(80)[::order]), "--offline", "-o", "json"))
    assert [each["name"] for each in planned] == ["inner", "outer"]
    for each in planned:
        changes = {(found["action"], found["object"]["kind"]) for found in each["objects"]}
        assert changes == {("created", kind) for kind in ("ConfigMap", "Deployment", "PodDisruptionBudget", "Service")}


def test_a_port_that_the_inner_kanary_does_not_have_is_found(files: Files) -> None:
    planned = json.loads(files.run("-f", files.write("new.yaml", *chained("http")), "--offline", "-o", "json", code=1))
    assert [bool(each["problems"]) for each in planned] == [False, True]
    assert 'Service "inner" has no port http: use one of tcp (80)' in json.dumps(planned[1]["problems"]).replace(
        "\\", ""
    )
