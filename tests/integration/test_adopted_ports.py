"""A Service with several ports that is adopted: all of them turn at once, and each becomes what it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kanary.cli.main import main
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.resources import SERVICES
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.integration.shop import ADOPTING, PORT, PROXIES, THEIRS, finalizers, is_as_it_was, service, shop, writes

Json = dict[str, Any]

METRICS = {"name": "metrics", "port": 9090, "protocol": "TCP", "targetPort": "prom", "appProtocol": "http"}
OTHER = {"name": "other", "port": 9091, "protocol": "TCP", "targetPort": 9091}
BOTH = [PORT, METRICS]
ALL = [PORT, METRICS, OTHER]
ENTRY = {"name": "metrics", "port": 9090, "servicePort": "metrics"}
LISTENS = "bind :8081"


def split(*entries: Json, **changes: Any) -> Json:
    return {**ADOPTING, "ports": list(entries), **changes}


@pytest.fixture
def both(live: Scene) -> Scene:
    """Its Service has two ports."""
    live.backend("myapp-v1", "10.0.0.1", ports=ALL)
    service(live, ports=BOTH)
    return live


@pytest.fixture
def adopted(both: Scene) -> Scene:
    both.declare(**split(ENTRY))
    both.wait_for_phase("Ready")
    return both


def targets(scene: Scene) -> dict[int, int | str]:
    return {port["port"]: port["targetPort"] for port in shop(scene)["spec"]["ports"]}


def edit(scene: Scene, change: Callable[[Json], None]) -> None:
    scene.server.store.change("services", "shop", lambda obj: change(obj["spec"]), NAMESPACE)


def delete(scene: Scene) -> None:
    scene.server.store.delete("kanaries", "rule", NAMESPACE)
    scene.wait_for(lambda: scene.kanary() is None)


def test_all_ports_turn_in_one_write_and_keep_everything_else(adopted: Scene) -> None:
    assert shop(adopted)["spec"]["selector"] == PROXIES
    assert shop(adopted)["spec"]["ports"] == [{**PORT, "targetPort": "split"}, {**METRICS, "targetPort": 8081}]
    assert len(writes(adopted)) == 1
    kept = json.loads(shop(adopted)["metadata"]["annotations"]["kanary.k8s.io/adopted"])
    assert kept["ports"] == [
        {"port": 80, "targetPort": 8080, "proxyPort": "split"},
        {"port": 9090, "targetPort": "prom", "proxyPort": 8081},
    ]
    delete(adopted)
    assert is_as_it_was(adopted, ports=BOTH)


@pytest.mark.parametrize("change", [{"adoptDestination": False}, {"adoptDestination": False, "ports": []}])
def test_it_is_what_it_was_when_consent_is_withdrawn(adopted: Scene, change: Json) -> None:
    adopted.declare(**split(ENTRY) | change)
    adopted.wait_for_phase("Degraded", reason="DestinationExists")
    adopted.wait_for(lambda: is_as_it_was(adopted, ports=BOTH) and not finalizers(adopted))


def test_one_whose_target_ports_its_owner_takes_out_of_the_manifest_is_switched_again(adopted: Scene) -> None:
    def take_out(spec: Json) -> None:
        del spec["selector"]
        for port in spec["ports"]:
            port["targetPort"] = port["port"]

    edit(adopted, take_out)
    adopted.wait_for(lambda: targets(adopted) == {80: "split", 9090: 8081})
    delete(adopted)
    assert is_as_it_was(adopted, ports=BOTH)


def test_what_its_owner_changes_meanwhile_comes_back(adopted: Scene) -> None:
    def change(spec: Json) -> None:
        spec["ports"][1]["targetPort"] = 7000

    edit(adopted, change)
    adopted.wait_for(lambda: targets(adopted) == {80: "split", 9090: 8081})
    delete(adopted)
    assert is_as_it_was(adopted, ports=[PORT, {**METRICS, "targetPort": 7000}])


def test_a_port_that_leaves_the_spec_is_served_until_it_leaves_the_service(adopted: Scene) -> None:
    adopted.declare(**split())
    message = adopted.wait_for_phase("Degraded", reason="DestinationPortInUse")["message"]
    assert "its port 9090 (metrics) leads to the proxies" in message
    assert "remove it from the Service first" in message
    assert LISTENS in adopted.config()
    assert targets(adopted) == {80: "split", 9090: 8081}
    edit(adopted, lambda spec: spec.update(ports=spec["ports"][:1]))
    adopted.wait_for_phase("Ready")
    adopted.wait_for(lambda: LISTENS not in adopted.config())
    delete(adopted)
    assert is_as_it_was(adopted, ports=[PORT])


def test_a_port_that_leaves_the_spec_with_the_destination_is_served_until_it_leaves_the_proxies(
    adopted: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = {"apiVersion": "kanary.k8s.io/v1", "kind": "Kanary", "metadata": {"name": "rule"}}
    (tmp_path / "rule.yaml").write_text(yaml.safe_dump(manifest | {"spec": split(destination="other")}))
    assert main(["plan", "-f", str(tmp_path / "rule.yaml"), "-n", NAMESPACE, "--kubeconfig", adopted.kubeconfig]) == 1
    assert "DestinationPortInUse: spec.ports: Service shop is adopted" in capsys.readouterr().out
    adopted.declare(**split(destination="other"))
    message = adopted.wait_for_phase("Degraded", reason="DestinationPortInUse")["message"]
    assert "its port 9090 (metrics) leads to the proxies" in message
    assert "remove it when shop is what it was" in message
    assert LISTENS in adopted.config()
    assert targets(adopted) == {80: "split", 9090: 8081}
    adopted.declare(**split(ENTRY, destination="other"))
    adopted.wait_for(lambda: is_as_it_was(adopted, ports=BOTH) and not finalizers(adopted))
    adopted.declare(**split(destination="other"))
    adopted.wait_for_phase("Ready")
    adopted.wait_for(lambda: LISTENS not in adopted.config())


def test_a_port_that_leaves_the_service_stops_no_change_of_weights(adopted: Scene) -> None:
    edit(adopted, lambda spec: spec.update(ports=spec["ports"][:1]))
    message = adopted.wait_for_phase("Degraded", reason="DestinationNotAdoptable")["message"]
    assert "is adopted, but it has no TCP port 9090 (spec.ports[0]): add the port to the Service" in message
    adopted.backend("myapp-v2", "10.0.1.1", ports=ALL)
    adopted.declare(**split(ENTRY, routes=routes(myapp_v1=50, myapp_v2=50)))
    adopted.wait_for(lambda: "10.0.1.1:9000" in adopted.config())
    adopted.declare(**split(routes=routes(myapp_v1=50, myapp_v2=50)))
    adopted.wait_for_phase("Ready")


NEW: dict[str, tuple[str, str, str]] = {
    "first in the spec": ("Kanary", "has no TCP port 9091 (spec.ports[1])", "Service"),
    "first in the Service": ("Service", "has port 9091 (other), which no entry of spec.ports serves", "Kanary"),
}


@pytest.mark.parametrize("order", NEW)
def test_a_port_that_is_added_turns_when_both_have_it(adopted: Scene, order: str) -> None:
    def add(where: str) -> None:
        if where == "Kanary":
            adopted.declare(**split(ENTRY, {"name": "more", "port": 9091, "servicePort": "other"}))
        else:
            edit(adopted, lambda spec: spec["ports"].append(OTHER))

    first, message, second = NEW[order]
    add(first)
    adopted.wait_for_phase("Degraded", reason="DestinationNotAdoptable")
    assert message in adopted.status()["message"]
    assert shop(adopted)["spec"]["selector"] == PROXIES
    add(second)
    adopted.wait_for_phase("Ready")
    adopted.wait_for(lambda: targets(adopted) == {80: "split", 9090: 8081, 9091: 8082})
    delete(adopted)
    assert is_as_it_was(adopted, ports=[*BOTH, OTHER])


def test_a_service_with_a_port_that_nobody_serves_is_repaired_all_the_same(adopted: Scene) -> None:
    """A client-side apply of a manifest with one more port leaves a selector that no pod has."""

    def merge(spec: Json) -> None:
        spec["selector"] = {**PROXIES, "app": "shop"}
        spec["ports"] = [PORT, METRICS, OTHER]

    edit(adopted, merge)
    adopted.wait_for(lambda: shop(adopted)["spec"]["selector"] == PROXIES)
    assert targets(adopted) == {80: "split", 9090: 8081, 9091: 9091}
    adopted.wait_for_phase("Degraded", reason="DestinationNotAdoptable")
    delete(adopted)
    assert is_as_it_was(adopted, ports=[*BOTH, OTHER])


def test_the_manifest_of_kanary_adopt_adopts_every_port(both: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", "shop", "--as", "rule", "-n", NAMESPACE, "--kubeconfig", both.kubeconfig]) == 0
    client = ClusterClient.connect(kubeconfig=both.kubeconfig)
    for document in yaml.safe_load_all(capsys.readouterr().out):
        client.create(KANARIES if document["kind"] == "Kanary" else SERVICES, NAMESPACE, document)
    both.wait_for_phase("Ready")
    assert targets(both) == {80: "split", 9090: 8081}


@pytest.fixture
def created(adopted: Scene) -> Scene:
    """The Service was deleted, and the operator has created its own."""
    adopted.server.store.delete("services", "shop", NAMESPACE)
    adopted.wait_for(lambda: (adopted.get("services", "shop") or {"metadata": {}})["metadata"].get("ownerReferences"))
    adopted.wait_for(lambda: not finalizers(adopted))
    assert targets(adopted) == {80: "split", 9090: 8081}
    return adopted


@pytest.mark.parametrize("change", [{"paused": True}, {"routes": routes(myapp_v1=99)}])
def test_one_that_the_operator_has_created_leads_to_the_proxies_while_it_must_not_be_switched(
    created: Scene, change: Json
) -> None:
    """An apply of their manifest leaves a selector that no pod has."""
    created.declare(**split(ENTRY, **change))
    generation = (created.kanary() or {})["metadata"]["generation"]
    created.wait_for(lambda: created.status().get("observedGeneration") == generation)
    edit(created, lambda spec: spec["selector"].update(THEIRS))
    created.wait_for(lambda: shop(created)["spec"]["selector"] == PROXIES)
    assert shop(created)["metadata"]["ownerReferences"]
    created.wait_for(lambda: not finalizers(created))


@pytest.mark.parametrize(
    ("declared", "former"),
    [
        # A manifest without target ports leaves those of the operator.
        ((), {80: 80, 9090: 9090}),
        ((80, 9090), {80: 8080, 9090: 8081}),
    ],
)
def test_one_that_the_operator_creates_first_has_the_target_ports_of_the_manifest_that_is_applied_to_it(
    created: Scene, declared: tuple[int, ...], former: dict[int, int]
) -> None:
    def apply(spec: Json) -> None:
        spec["selector"] |= THEIRS
        for port in spec["ports"]:
            if port["port"] in declared:
                port["targetPort"] = former[port["port"]]

    edit(created, apply)
    created.wait_for(lambda: not shop(created)["metadata"].get("ownerReferences"))
    assert targets(created) == {80: "split", 9090: 8081}
    created.wait_for_phase("Ready")
    delete(created)
    assert (targets(created), shop(created)["spec"]["selector"]) == (former, THEIRS)
