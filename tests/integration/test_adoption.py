"""What is there already: objects that a former Kanary of the name left, and Services with traffic."""

from typing import Any

import pytest
import yaml

from engine.render.objects import SKIP_MIRROR_LABEL
from kanary.cli.main import main
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.resources import SERVICES
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.integration.shop import (
    ADOPTING,
    PORT,
    PROXIES,
    SPEC,
    THEIRS,
    finalizers,
    is_as_it_was,
    leads_to,
    service,
    shop,
    writes,
)

Json = dict[str, Any]

OURS = {
    "configmaps": "rule-haproxy",
    "deployments": "rule-haproxy",
    "poddisruptionbudgets": "rule-haproxy",
    "services": "myapp",
}
SPLIT = {"destination": "myapp", "routes": routes(myapp_v1=100)}


@pytest.fixture
def orphaned(scene: Scene) -> Scene:
    """What `kubectl delete --cascade=orphan` leaves of a Kanary."""
    scene.backend("myapp-v1", "10.0.0.1")
    with scene.operating():
        scene.declare(**SPLIT)
        scene.wait_for_phase("Ready")
    for kind, name in OURS.items():
        scene.server.store.change(kind, name, lambda obj: obj["metadata"].pop("ownerReferences"), NAMESPACE)
    scene.server.store.delete("kanaries", "rule", NAMESPACE)
    return scene


def test_a_new_kanary_owns_what_the_former_one_of_its_name_left(orphaned: Scene) -> None:
    before = {kind: (orphaned.get(kind, name) or {})["metadata"]["uid"] for kind, name in OURS.items()}
    orphaned.declare(**SPLIT)
    orphaned.start_operator()
    orphaned.wait_for_phase("Ready")
    kanary = orphaned.kanary() or {}
    for kind, name in OURS.items():
        metadata = (orphaned.get(kind, name) or {})["metadata"]
        assert metadata["uid"] == before[kind], kind
        assert [each["uid"] for each in metadata["ownerReferences"]] == [kanary["metadata"]["uid"]], kind
    orphaned.endpoints("myapp-v1", "10.0.0.9")
    orphaned.wait_for(lambda: "10.0.0.9:9000" in orphaned.config())


def test_what_a_forged_object_says_is_not_served(orphaned: Scene) -> None:
    """Whoever may write a ConfigMap, and no Kanary, gains nothing by one that looks like a former one."""
    text = (orphaned.get("configmaps", "rule-haproxy") or {})["data"]["applied.json"]
    forged = text.replace("10.0.0.1", "10.6.6.6")
    assert forged != text
    orphaned.server.store.change(
        "configmaps", "rule-haproxy", lambda obj: obj["data"].update({"applied.json": forged}), NAMESPACE
    )
    # No backend answers: a last good configuration would be served.
    orphaned.endpoints("myapp-v1")
    orphaned.declare(**SPLIT)
    orphaned.start_operator()
    orphaned.wait_for_phase("Pending", reason="WaitingForEndpoints")
    orphaned.endpoints("myapp-v1", "10.0.0.2")
    orphaned.wait_for_phase("Ready")
    assert "10.6.6.6" not in orphaned.config()


@pytest.mark.parametrize("missing", ["label", "hash"])
def test_an_object_that_no_kanary_wrote_is_not_taken(orphaned: Scene, missing: str) -> None:
    def strip(obj: Json) -> None:
        part = {"label": "labels", "hash": "annotations"}[missing]
        obj["metadata"][part] = {key: value for key, value in obj["metadata"][part].items() if "kanary" not in key}

    orphaned.server.store.change("deployments", "rule-haproxy", strip, NAMESPACE)
    orphaned.declare(**SPLIT)
    orphaned.start_operator()
    orphaned.wait_for_phase("Degraded", reason="ObjectExists")
    assert not (orphaned.get("deployments", "rule-haproxy") or {})["metadata"].get("ownerReferences")


# A Service with traffic


def test_the_manifest_of_kanary_adopt_adopts_it(live: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adopt", "shop", "--as", "rule", "-n", NAMESPACE, "--kubeconfig", live.kubeconfig]) == 0
    client = ClusterClient.connect(kubeconfig=live.kubeconfig)
    for document in yaml.safe_load_all(capsys.readouterr().out):
        resource = KANARIES if document["kind"] == "Kanary" else SERVICES
        client.create(resource, NAMESPACE, document)
    live.wait_for_phase("Ready")
    assert shop(live)["spec"]["selector"] == PROXIES
    assert leads_to(live, "rule-haproxy")


def test_a_service_is_switched_to_the_proxies_when_they_serve(adopted: Scene) -> None:
    now = shop(adopted)["spec"]
    assert now == {**now, **SPEC, "selector": PROXIES, "ports": [{**PORT, "targetPort": "split"}]}
    assert leads_to(adopted, "rule-haproxy")
    assert not shop(adopted)["metadata"].get("ownerReferences"), "it would be deleted with the Kanary"
    # In one write, and after all proxies: there was always a pod behind it.
    assert len(writes(adopted)) == 1


def test_it_is_what_it_was_before_the_kanary_is_gone(adopted: Scene) -> None:
    assert finalizers(adopted) == ["kanary.k8s.io/adopted-destination"]
    adopted.server.store.delete("kanaries", "rule", NAMESPACE)
    adopted.wait_for(lambda: adopted.kanary() is None)
    assert is_as_it_was(adopted)
    adopted.wait_for(lambda: not adopted.proxies())
    adopted.wait_for(lambda: leads_to(adopted, "shop"))


def test_one_whose_selector_its_owner_takes_out_of_the_manifest_is_switched_again(adopted: Scene) -> None:
    """As a client-side `kubectl apply` does, and the cluster sets the default of the target port."""

    def take_out(obj: Json) -> None:
        obj["spec"].pop("selector")
        obj["spec"]["ports"][0]["targetPort"] = PORT["port"]

    adopted.server.store.change("services", "shop", take_out, NAMESPACE)
    adopted.wait_for(lambda: shop(adopted)["spec"].get("selector") == PROXIES)
    adopted.wait_for_phase("Ready")
    adopted.server.store.delete("kanaries", "rule", NAMESPACE)
    adopted.wait_for(lambda: adopted.kanary() is None)
    assert is_as_it_was(adopted)


def is_not_mirrored(scene: Scene, name: str) -> bool:
    labels = (scene.get("services", name) or {})["metadata"].get("labels") or {}
    return labels.get("endpointslice.kubernetes.io/skip-mirror") == "true"


@pytest.mark.parametrize("name", ["shop", "myapp"])
def test_a_moment_without_selector_leaves_no_addresses_of_former_proxies(live: Scene, name: str) -> None:
    """The cluster mirrors the Endpoints of a Service without a selector, and keeps that slice for good."""
    live.declare(**{**ADOPTING, "destination": name})
    live.wait_for_phase("Ready")
    assert is_not_mirrored(live, name)
    live.server.store.change("services", name, lambda obj: obj["metadata"]["labels"].pop(SKIP_MIRROR_LABEL), NAMESPACE)
    live.wait_for(lambda: is_not_mirrored(live, name))


def test_it_stays_theirs_with_labels_like_ours(adopted: Scene) -> None:
    labels = (adopted.get("deployments", "rule-haproxy") or {})["metadata"]["labels"]
    adopted.server.store.change("services", "shop", lambda obj: obj["metadata"].update(labels=labels), NAMESPACE)
    adopted.endpoints("myapp-v1", "10.0.0.9")
    adopted.wait_for(lambda: "10.0.0.9:9000" in adopted.config())
    adopted.server.store.delete("kanaries", "rule", NAMESPACE)
    adopted.wait_for(lambda: adopted.kanary() is None)
    assert is_as_it_was(adopted)


def test_it_is_what_it_was_when_consent_is_withdrawn(adopted: Scene) -> None:
    adopted.declare(**{**ADOPTING, "adoptDestination": False})
    status = adopted.wait_for_phase("Degraded", reason="DestinationExists")
    adopted.wait_for(lambda: is_as_it_was(adopted) and not finalizers(adopted))
    assert "spec.adoptDestination" in status["message"]
    assert len(adopted.proxies()) == 2, "open connections stay"


def test_it_is_what_it_was_when_another_destination_serves(adopted: Scene) -> None:
    adopted.declare(**{**ADOPTING, "destination": "other"})
    adopted.wait_for_phase("Ready")
    adopted.wait_for(lambda: is_as_it_was(adopted) and not finalizers(adopted))
    assert adopted.get("services", "other")


def test_what_its_owner_changes_meanwhile_comes_back(adopted: Scene) -> None:
    """`kubectl apply` of its manifest with another version adds to the selector."""

    def edit(found: Json) -> None:
        found["spec"]["selector"] = {**PROXIES, "app": "shop", "tier": "web"}
        found["spec"]["ports"][0]["targetPort"] = 9090

    adopted.server.store.change("services", "shop", edit, NAMESPACE)
    adopted.wait_for(lambda: shop(adopted)["spec"]["selector"] == PROXIES)
    adopted.server.store.delete("kanaries", "rule", NAMESPACE)
    adopted.wait_for(lambda: adopted.kanary() is None)
    now = shop(adopted)["spec"]
    assert now["selector"] == {"app": "shop", "tier": "web"}
    assert now["ports"][0]["targetPort"] == 9090


def test_without_consent_the_proxies_wait_beside_it(live: Scene) -> None:
    live.declare(**{**ADOPTING, "adoptDestination": False})
    live.wait_for_phase("Degraded", reason="DestinationExists")
    message = live.wait_for(lambda: (m := live.status()["message"]).endswith("2 of 2 proxies serve revision 1") and m)
    assert "or set spec.adoptDestination to true" in message
    assert leads_to(live, "shop")
    assert not writes(live)
    live.server.store.delete("services", "shop", NAMESPACE)
    live.wait_for_phase("Ready")
    assert shop(live)["metadata"]["ownerReferences"]


def test_a_former_destination_serves_until_the_new_one_is_adopted(live: Scene) -> None:
    live.declare(**SPLIT)
    live.wait_for_phase("Ready")
    live.declare(**{**ADOPTING, "adoptDestination": False})
    live.wait_for_phase("Degraded", reason="DestinationExists")
    assert live.get("services", "myapp")
    live.declare(**ADOPTING)
    live.wait_for_phase("Ready")
    live.wait_for(lambda: not live.get("services", "myapp"))
    assert leads_to(live, "rule-haproxy")


def test_a_second_kanary_does_not_take_an_adopted_service(adopted: Scene) -> None:
    switched = shop(adopted)
    adopted.declare("second", **ADOPTING)
    status = adopted.wait_for_phase("Degraded", "second", reason="DestinationTaken")
    assert "Kanary rule" in status["message"]
    assert shop(adopted) == switched


def test_a_service_is_not_adopted_by_a_kanary_that_would_send_its_connections_back(adopted: Scene) -> None:
    backend = {"type": "ClusterIP", "selector": {"app": "myapp-v1"}, "ports": [{**PORT, "targetPort": 9000}]}
    adopted.put("v1", "Service", "myapp-v1", spec=backend)
    before = (adopted.get("services", "myapp-v1") or {})["spec"]
    adopted.declare("back", destination="myapp-v1", adoptDestination=True, routes=routes(shop=100))
    status = adopted.wait_for_phase("Degraded", "back", reason="DestinationNotAdoptable")
    assert "Service shop of a route leads to a Kanary that sends connections back to it" in status["message"]
    adopted.wait_for(lambda: adopted.status("back")["message"].endswith("serve revision 1"))
    assert (adopted.get("services", "myapp-v1") or {})["spec"] == before
    assert adopted.status()["phase"] == "Ready"


def test_of_two_kanaries_one_adopts_it(live: Scene) -> None:
    names = "first", "second"
    for name in names:
        live.declare(name, **ADOPTING)
    live.wait_for(lambda: {live.status(name).get("reason") for name in names} == {"Serving", "DestinationTaken"})
    taken = next(name for name in names if live.status(name)["reason"] == "DestinationTaken")
    live.wait_for(lambda: not ((live.kanary(taken) or {})["metadata"].get("finalizers")))


def test_one_that_is_created_again_is_switched_again(adopted: Scene) -> None:
    adopted.server.store.delete("services", "shop", NAMESPACE)
    service(adopted)
    adopted.wait_for(lambda: (adopted.get("services", "shop") or {"spec": {}})["spec"].get("selector") == PROXIES)
    adopted.server.store.delete("kanaries", "rule", NAMESPACE)
    adopted.wait_for(lambda: adopted.kanary() is None)
    assert shop(adopted)["spec"]["selector"] == THEIRS


def merge(scene: Scene) -> None:
    """`kubectl apply` of the manifest to the Service that the operator has created."""

    def apply(found: Json) -> None:
        found["spec"]["selector"] |= THEIRS
        found["spec"]["ports"] = [PORT]

    scene.server.store.change("services", "shop", apply, NAMESPACE)


def test_one_that_the_operator_creates_first_is_theirs_again_once_they_apply_it(adopted: Scene) -> None:
    adopted.server.store.delete("services", "shop", NAMESPACE)
    adopted.wait_for(lambda: (adopted.get("services", "shop") or {"metadata": {}})["metadata"].get("ownerReferences"))
    created = shop(adopted)
    assert created["spec"]["selector"] == PROXIES, "clients connect meanwhile"
    adopted.wait_for(lambda: not finalizers(adopted))
    merge(adopted)
    adopted.wait_for(lambda: not shop(adopted)["metadata"].get("ownerReferences"))
    now = shop(adopted)
    assert (now["metadata"]["uid"], now["spec"]["selector"]) == (created["metadata"]["uid"], PROXIES)
    assert now["spec"]["ports"] == [{**PORT, "targetPort": "split"}]
    assert not [key for key in now["metadata"]["labels"] if not key.startswith("endpointslice")], "it is not Kanary's"
    assert finalizers(adopted)
    adopted.wait_for_phase("Ready")
    adopted.server.store.delete("kanaries", "rule", NAMESPACE)
    adopted.wait_for(lambda: adopted.kanary() is None)
    assert shop(adopted)["spec"]["selector"] == THEIRS
    assert shop(adopted)["spec"]["ports"] == [PORT]
    adopted.wait_for(lambda: leads_to(adopted, "shop"))


def test_without_consent_one_of_the_operator_stays_its_own_whatever_is_applied_to_it(live: Scene) -> None:
    live.server.store.delete("services", "shop", NAMESPACE)
    live.declare(**{**ADOPTING, "adoptDestination": False})
    live.wait_for_phase("Ready")
    merge(live)
    live.wait_for(lambda: shop(live)["spec"]["selector"] == PROXIES)
    assert shop(live)["metadata"]["ownerReferences"]


NOT_ADOPTABLE: dict[str, tuple[Json, str]] = {
    "an external name": (
        {"type": "ExternalName", "externalName": "a.example", "clusterIP": None},
        "has the type ExternalName",
    ),
    "headless": ({"clusterIP": "None"}, "is headless"),
    "without a selector": ({"selector": None}, "has no selector"),
    "another port": ({"ports": [{**PORT, "port": 8000}]}, "has no TCP port 80, but 8000/TCP: set spec.port"),
    "UDP": ({"ports": [{**PORT, "protocol": "UDP"}]}, "has no TCP port 80, but 80/UDP"),
    "two ports": (
        {"ports": [PORT, {**PORT, "name": "m", "port": 9090}]},
        "has port 9090 (m), which no entry of spec.ports serves: add one",
    ),
    "a UDP port as well": (
        {"ports": [PORT, {**PORT, "name": "dns", "port": 53, "protocol": "UDP"}]},
        "also has port 53/UDP, and Kanary splits TCP connections: move that to a Service of its own",
    ),
    "an SCTP port of the same number": (
        {"ports": [PORT, {**PORT, "name": "sctp", "protocol": "SCTP"}]},
        "also has port 80/SCTP",
    ),
    "six ports": (
        {"ports": [{**PORT, "name": f"p{number}", "port": number} for number in range(80, 86)]},
        "has 6 TCP ports, and a Kanary at most 5: move others to a Service of its own",
    ),
    "unready pods": ({"publishNotReadyAddresses": True}, "has publishNotReadyAddresses"),
    "local traffic": ({"internalTrafficPolicy": "Local"}, "has internalTrafficPolicy Local"),
}


@pytest.mark.parametrize("case", NOT_ADOPTABLE)
def test_a_service_that_cannot_be_adopted_says_why(live: Scene, case: str) -> None:
    spec, message = NOT_ADOPTABLE[case]
    service(live, **spec)
    before = shop(live)["spec"]
    live.declare(**ADOPTING)
    status = live.wait_for_phase("Degraded", reason="DestinationNotAdoptable")
    assert message in status["message"]
    live.wait_for(lambda: live.status()["message"].endswith("2 of 2 proxies serve revision 1"))
    assert shop(live)["spec"] == before
    assert not finalizers(live), "nothing has to be given back"


def test_a_service_of_a_controller_cannot_be_adopted(live: Scene) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}
    live.server.store.change("services", "shop", lambda obj: obj["metadata"].update(ownerReferences=[owner]), NAMESPACE)
    live.declare(**ADOPTING)
    status = live.wait_for_phase("Degraded", reason="DestinationNotAdoptable")
    assert "belongs to StatefulSet db" in status["message"]
    live.wait_for(lambda: not finalizers(live))
