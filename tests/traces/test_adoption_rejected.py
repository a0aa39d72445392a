"""What the API server, users and neighbours do to an adoption, and what the traffic keeps meanwhile."""

import json
from typing import Any

import pytest

from engine.render.adoption import FINALIZER
from engine.render.objects import ADOPTED_ANNOTATION
from tests.promises.haproxy_reading import meaning_of
from tests.traces.world import World, routes

Json = dict[str, Any]

SELECTOR = {"app": "myapp"}
PROXIES = {"kanary.k8s.io/name": "rule"}
WEB = "Service", "myapp"
RULE = "Kanary", "rule"


def declare(world: World, **spec: Any) -> None:
    split = routes(myapp_v1=100)
    world.apply_kanary(**{"destination": "myapp", "routes": split, "updateStrategy": "Live", **spec})


@pytest.fixture
def adopted(there: World) -> World:
    declare(there, adoptDestination=True)
    there.settle()
    assert there.objects[WEB]["spec"]["selector"] == PROXIES
    return there


def servers(world: World) -> int:
    return sum(map(len, meaning_of(world.config()).servers.values()))


@pytest.mark.parametrize("how", ["a wrong port", "a second port", "further ports", "an owner", "an invalid weight"])
def test_what_can_no_more_be_adopted_stays_split(adopted: World, how: str) -> None:
    web = adopted.objects[WEB]
    match how:
        case "a wrong port":
            declare(adopted, adoptDestination=True, port=81)
        case "a second port":
            web["spec"]["ports"] = [*web["spec"]["ports"], {"name": "more", "port": 81, "protocol": "TCP"}]
        case "further ports":
            declare(adopted, adoptDestination=True, ports=[{"name": "more", "port": 81, "servicePort": 80}])
        case "an owner":
            web["metadata"]["ownerReferences"] = [{"kind": "Shop", "name": "shop", "uid": "u", "controller": False}]
        case "an invalid weight":
            declare(adopted, adoptDestination=True, routes=routes(myapp_v1=90))
    adopted.live_through(60)
    assert adopted.objects[WEB]["spec"]["selector"] == PROXIES
    assert adopted.status()["phase"] == "Degraded"
    adopted.create_service("myapp-v1", 3)
    adopted.live_through(60)
    # The proxies serve what is declared; what the Service leads to stays.
    assert servers(adopted) == (6 if how == "further ports" else 3)


def test_nothing_is_adopted_while_a_part_of_its_connections_would_reach_no_pod(there: World) -> None:
    """The Service itself leads to pods. A port is a route as well."""
    there.create_service("myapp-v2", 0)
    declare(there, adoptDestination=True, routes=routes(myapp_v1=50, myapp_v2=50), onEmptyRoute="Fail")
    there.live_through(120)
    assert there.status()["reason"] == "RouteWithoutEndpoints"
    assert "has no ready endpoint: Service myapp leads to its former pods" in there.status()["message"]
    assert there.objects[WEB]["spec"]["selector"] == SELECTOR
    there.scale("myapp-v2", 1)
    there.live_through(60)
    assert there.status()["phase"] == "Ready"
    assert there.objects[WEB]["spec"]["selector"] == PROXIES
    there.scale("myapp-v2", 0)
    there.live_through(60)
    assert there.objects[WEB]["spec"]["selector"] == PROXIES, "once adopted, it stays"


def test_a_configmap_that_says_it_is_adopted_gains_nothing(adopted: World) -> None:
    uid = adopted.objects[RULE]["metadata"]["uid"]
    content = {"kanary": "rule", "uid": uid, "selector": {"a": "b"}, "ports": []}
    forged = {"metadata": {"annotations": {ADOPTED_ANNOTATION: json.dumps(content)}}, "data": {}}
    adopted._put("ConfigMap", "forged", forged)
    adopted.objects["ConfigMap", "forged"]["metadata"]["annotations"] = forged["metadata"]["annotations"]
    declare(adopted, adoptDestination=True, routes=routes(myapp_v1=100), proxy={"idleSeconds": 77})
    adopted.live_through(60)
    assert adopted.status()["phase"] == "Ready"
    assert ("ConfigMap", "forged") in adopted.objects
    adopted.objects[RULE]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    adopted.settle()
    assert adopted.objects[WEB]["spec"]["selector"] == SELECTOR
    assert not adopted.objects[RULE]["metadata"]["finalizers"]


BACK: dict[str, Json] = {
    "client-side": {"selector": {**PROXIES, **SELECTOR}},
    "server-side": {"selector": SELECTOR, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    "a target port": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
}


def reverts(world: World) -> list[str]:
    return [event for event in world.events if "DestinationReverted" in event]


@pytest.mark.parametrize("how", BACK)
def test_who_switches_it_back_learns_what_to_take_out_of_the_manifest(adopted: World, how: str) -> None:
    for _ in range(3):
        adopted.objects[WEB]["spec"] |= BACK[how]
        adopted.settle()
        assert adopted.objects[WEB]["spec"]["selector"] == PROXIES
    # The same text each time, so that the cluster has one Event.
    assert len(reverts(adopted)) == 3
    assert len(set(reverts(adopted))) == 1
    assert "Service myapp was changed" in reverts(adopted)[0]
    assert "take selector and targetPort out of its manifest" in reverts(adopted)[0]


@pytest.mark.parametrize(
    "spec",
    [
        {"selector": None, "ports": [{"name": "http", "port": 80, "targetPort": 80}]},
        {"ports": [{"name": "http", "port": 80, "targetPort": "split", "appProtocol": "http"}]},
        {"sessionAffinity": "ClientIP"},
    ],
)
def test_what_takes_no_connection_away_is_no_event(adopted: World, spec: Json) -> None:
    assert not reverts(adopted), "the adoption itself"
    adopted.objects[WEB]["spec"] |= spec
    adopted.settle()
    assert adopted.objects[WEB]["spec"]["selector"] == PROXIES
    declare(adopted, adoptDestination=False)
    adopted.settle()
    assert adopted.objects[WEB]["spec"]["selector"] == SELECTOR
    assert not reverts(adopted)


def test_a_rejected_finalizer_stops_nothing_else(there: World) -> None:
    """The right to patch Kanaries may be missing, or an admission policy may refuse."""
    declare(there, destination="other")
    there.settle()
    there.rejections["Kanary"] = "policy says no"
    declare(there, adoptDestination=True)
    there.live_through(60)
    assert there.status()["reason"] == "RejectedByCluster"
    assert "policy says no" in there.status()["message"]
    assert there.objects[WEB]["spec"]["selector"] == SELECTOR, "without a finalizer it would stay switched"
    there.create_service("myapp-v1", 3)
    there.live_through(60)
    assert servers(there) == 3
    writes = there.writes
    there.live_through(300)
    assert there.writes - writes < 20
    there.rejections.clear()
    there.live_through(60)
    assert there.objects[WEB]["spec"]["selector"] == PROXIES
    assert there.status()["phase"] == "Ready"


def test_a_service_that_cannot_be_given_back_keeps_its_proxies(adopted: World) -> None:
    adopted.rejections["Service"] = "policy says no"
    adopted.objects[RULE]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    adopted.live_through(60)
    assert adopted.objects[RULE]["metadata"]["finalizers"] == [FINALIZER]
    assert "policy says no" in adopted.status()["message"]
    adopted.create_service("myapp-v1", 3)
    adopted.live_through(60)
    assert servers(adopted) == 3
    adopted.rejections.clear()
    adopted.live_through(60)
    assert adopted.objects[WEB]["spec"]["selector"] == SELECTOR
    assert not adopted.objects[RULE]["metadata"]["finalizers"]


@pytest.mark.parametrize("ends", ["deleted", "withdrawn"])
def test_a_silent_watch_of_services_leaves_none_turned_to_deleted_proxies(
    adopted: World, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    with monkeypatch.context() as silent:
        silent.setattr(adopted, "owned_by", lambda *_: [])
        if ends == "deleted":
            adopted.objects[RULE]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        else:
            declare(adopted, adoptDestination=False)
        adopted.live_through(60)
        is_turned = adopted.objects[WEB]["spec"]["selector"] == PROXIES
        assert adopted.objects[RULE]["metadata"]["finalizers"] == [FINALIZER] * is_turned
    adopted.live_through(60)
    assert adopted.objects[WEB]["spec"]["selector"] == SELECTOR
    assert not adopted.objects[RULE]["metadata"]["finalizers"]
