"""What `kanary plan` says of a Service that the Kanary has adopted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kanary.cli.main import main
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.integration.shop import ADOPTING, PORT, PROXIES, THEIRS, is_as_it_was, service

Json = dict[str, Any]

METRICS = {"name": "metrics", "port": 9090, "protocol": "TCP", "targetPort": "prom"}


def plan(scene: Scene, folder: Path, spec: Json, *options: str, beside: Sequence[Json] = ()) -> None:
    kanary = {
        "apiVersion": "kanary.k8s.io/v1",
        "kind": "Kanary",
        "metadata": {"name": "rule", "namespace": NAMESPACE},
        "spec": spec,
    }
    file = folder / "rule.yaml"
    file.write_text(yaml.safe_dump_all([*beside, kanary]))
    main(["plan", "-f", str(file), "--kubeconfig", scene.kubeconfig, *options])


@pytest.mark.parametrize("change", [{"destination": "other"}, {"adoptDestination": False}])
def test_an_adopted_service_is_not_deleted_and_leads_to_its_former_pods(
    adopted: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Json
) -> None:
    plan(adopted, tmp_path, ADOPTING | change, "-o", "json")
    (planned,) = json.loads(capsys.readouterr().out)
    (service,) = [each for each in planned["objects"] if each["object"]["metadata"]["name"] == "shop"]
    assert (service["action"], service["object"]["spec"]["selector"]) == ("restored", THEIRS)
    assert planned["connections"]["refused"] == []
    plan(adopted, tmp_path, ADOPTING | change)
    assert "\n  Service shop leads to its former pods again\n" in capsys.readouterr().out


def test_a_service_that_will_be_adopted_is_named(
    live: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(live, tmp_path, ADOPTING, "-o", "json")
    (planned,) = json.loads(capsys.readouterr().out)
    (service,) = [each for each in planned["objects"] if each["object"]["kind"] == "Service"]
    assert (service["action"], service["object"]["spec"]["selector"]) == ("adopted", PROXIES)
    plan(live, tmp_path, ADOPTING)
    condition = "leads to the proxies when all of them serve and every route with a weight has ready pods"
    assert f"\n  Service shop {condition}\n" in capsys.readouterr().out
    live.backend("empty")
    live.backend("unused")
    plan(live, tmp_path, ADOPTING | {"routes": routes(myapp_v1=90, empty=10, unused=0)})
    assert f"\n  Service shop {condition}; none yet: empty:http\n" in capsys.readouterr().out
    assert is_as_it_was(live)


def test_a_service_that_proxies_which_serve_already_adopt_at_once_is_named(
    live: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.declare(destination="own", routes=ADOPTING["routes"])
    live.wait_for_phase("Ready")
    plan(live, tmp_path, ADOPTING, "-o", "json")
    (planned,) = json.loads(capsys.readouterr().out)
    services = [each for each in planned["objects"] if each["object"]["kind"] == "Service"]
    assert {each["object"]["metadata"]["name"]: each["action"] for each in services} == {
        "shop": "adopted",
        "own": "deleted",
    }


@pytest.mark.parametrize("ports", [[], [{"name": "metrics", "port": 9090, "servicePort": "metrics"}]])
def test_a_service_is_not_adopted_while_the_last_good_configuration_stays(
    live: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], ports: Sequence[Json]
) -> None:
    live.declare(destination="own", routes=routes(myapp_v1=100))
    live.wait_for_phase("Ready")
    service(live, ports=[PORT, METRICS] if ports else [PORT])
    live.put("v1", "Service", "empty", spec={"ports": [PORT, METRICS]})
    live.endpoints("empty")
    held = {"onEmptyRoute": "Hold", "routes": routes(empty=100), "ports": ports}
    plan(live, tmp_path, ADOPTING | held, "-o", "json")
    (planned,) = json.loads(capsys.readouterr().out)
    assert planned["reason"] == "RouteWithoutEndpoints"
    assert [each for each in planned["objects"] if each["action"] == "adopted"] == []


def test_an_adoption_that_proxies_delay_is_no_change_of_the_same_file(
    live: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live.declare(**ADOPTING)
    live.wait_for_phase("Ready")
    live.stop()
    service(live)
    unready = {"conditions": [{"type": "Ready", "status": "False"}]}
    for name in live.proxies():
        live.server.store.change("pods", name, lambda pod: pod["status"].update(unready), NAMESPACE)
    plan(live, tmp_path, ADOPTING, "-o", "json")
    (planned,) = json.loads(capsys.readouterr().out)
    assert (planned["change"], [each["action"] for each in planned["objects"]]) == (False, ["adopted"])


@pytest.mark.parametrize("target", [8080, "web"])
def test_a_new_service_of_the_file_leads_to_the_pods_that_it_selects(
    live: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: int | str
) -> None:
    for number, port in enumerate((8080, 9090)):
        container = {"name": "app", "image": "app", "ports": [{"name": "web", "containerPort": port}]}
        status = {
            "phase": "Running",
            "podIP": f"10.7.0.{number}",
            "conditions": [{"type": "Ready", "status": "True" if number == 0 else "False"}],
        }
        labels = {"app": "cart", "version": "1"}
        live.put("v1", "Pod", f"cart-{number}", labels=labels, spec={"containers": [container]}, status=status)
    metadata = {"name": "cart-v1", "namespace": NAMESPACE}
    ports = [{"name": "http", "port": 80, "targetPort": target}]
    versions = {"metadata": metadata, "spec": {"selector": {"app": "cart", "version": "1"}, "ports": ports}}
    beside = [{"apiVersion": "v1", "kind": "Service", **versions}]
    plan(live, tmp_path, ADOPTING | {"routes": routes(cart_v1=100)}, "-o", "json", beside=beside)
    (planned,) = json.loads(capsys.readouterr().out)
    assert planned["endpoints"] == [{"backend": "cart-v1:http", "removed": [], "added": ["10.7.0.0:8080"]}]
    assert [each["action"] for each in planned["objects"] if each["object"]["kind"] == "Service"] == ["adopted"]


def test_a_service_that_cannot_be_adopted_is_not(
    live: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service(live, clusterIP="None")
    plan(live, tmp_path, ADOPTING, "-o", "json")
    (planned,) = json.loads(capsys.readouterr().out)
    assert [each["reason"] for each in planned["problems"]] == ["DestinationNotAdoptable"]
    assert [each for each in planned["objects"] if each["action"] == "adopted"] == []


def test_other_weights_do_not_touch_it(adopted: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopted.backend("myapp-v2", "10.0.1.1")
    plan(adopted, tmp_path, ADOPTING | {"routes": routes(myapp_v1=50, myapp_v2=50)}, "-o", "json")
    (planned,) = json.loads(capsys.readouterr().out)
    assert [each["object"]["kind"] for each in planned["objects"]] == ["ConfigMap"]
