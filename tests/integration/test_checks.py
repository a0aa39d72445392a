"""Checks of the whole operator: its caches, its client and its key, with the API server for tests."""

from __future__ import annotations

import pytest

from tests.integration.gate import POD, POD_SPEC, add_gate, gated
from tests.integration.scene import NAMESPACE, Scene, routes
from tests.unit.receiver import receiving, reply


def call(scene: Scene, url: str, **settings: str) -> None:
    """Have an operator call a webhook before the first step of a rollout."""
    scene.backend("app-v1", "10.0.0.1")
    scene.backend("app-v2", "10.0.0.2")
    scene.start_operator(**settings)
    scene.declare(destination="app", routes=routes(app_v1=100, app_v2=0))
    scene.wait_for_phase("Ready")
    scene.declare(destination="app", routes=routes(app_v1=0, app_v2=100), rollout=gated(url))


def await_message(scene: Scene, message: str) -> None:
    def held() -> bool:
        rollout = scene.status().get("rollout") or {}
        return rollout.get("reason") == "WaitingForWebhook" and message in rollout["message"]

    scene.wait_for(held, lambda: f"{message!r}, but status is {scene.status().get('rollout')}")


@pytest.fixture
def gate(scene: Scene) -> Scene:
    """A Service with one pod, whose address every test can reach, but no check."""
    add_gate(scene)
    return scene


def test_a_service_is_found_in_the_copies_and_its_pod_in_the_cluster(gate: Scene) -> None:
    call(gate, "http://gate")
    await_message(gate, f"webhook gate: gate:80 is {POD}, a loopback address, which no check may use")


def test_an_endpoint_that_is_not_the_pod_it_names_is_refused(gate: Scene) -> None:
    gate.put("v1", "Pod", "gate-1", spec=POD_SPEC, status={})
    call(gate, "http://gate.shop.svc")
    await_message(gate, f"{POD} is not an address of pod gate-1 of namespace {NAMESPACE}")


def test_the_api_server_is_no_receiver_even_if_an_admin_allows_its_host(scene: Scene) -> None:
    scene.server.store.put(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "192.0.2.1", "ports": [{"name": "https", "port": 443}]},
        }
    )
    call(scene, "https://192.0.2.1", allowed_hosts="192.0.2.1")
    await_message(scene, "192.0.2.1:443 is 192.0.2.1, an address of the API server, which no check may use")


def test_a_webhook_arrives_with_the_signature_of_the_key_of_the_operator(
    gate: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kanary.outbound.peers.why_forbidden", lambda *_: "")
    with receiving(reply(204)) as receiver:
        call(gate, f"http://127.0.0.1:{receiver.port}", allowed_hosts="127.0.0.1")
        gate.wait_for(lambda: gate.status().get("rollout", {}).get("step") == 1, lambda: str(gate.status()))
    assert receiver.requests[0].headers["webhook-signature"].startswith("v1a,")
    assert gate.get("secrets", "kanary-signing-key")
