"""Checks of the whole operator: its caches, its client and its key, with the API server for tests."""

from __future__ import annotations

import pytest

from engine.checks import CheckOutcome, CheckResult, WebhookCheck
from engine.model.checks import Webhook
from tests.integration.scene import NAMESPACE, Scene
from tests.unit.receiver import receiving, reply

POD = "127.0.0.9"
POD_SPEC = {"containers": [{"name": "a", "image": "a"}]}


def check(url: str, retries: int = 0) -> WebhookCheck:
    return WebhookCheck("kanary_u-1_1_1_Result_gate", Webhook(name="gate", url=url, retries=retries), "{}")


def result(scene: Scene, wanted: WebhookCheck, **settings: str) -> CheckResult:
    """The first result of a check of the Kanary `rule`."""
    operator = scene.start_operator(**settings).operator

    def answered() -> CheckResult | None:
        checks = operator._checks
        found = checks.results(NAMESPACE, "rule", [wanted])[wanted.id] if checks else None
        return found if found and found.outcome is not CheckOutcome.PENDING else None

    found: CheckResult = scene.wait_for(answered)
    return found


@pytest.fixture
def gate(scene: Scene) -> Scene:
    """A Service with one pod, whose address every test can reach, but no check."""
    scene.backend("gate")
    scene.put("v1", "Pod", "gate-1", spec=POD_SPEC, status={"podIPs": [{"ip": POD}]})
    scene.put(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "gate-1",
        labels={"kubernetes.io/service-name": "gate"},
        addressType="IPv4",
        ports=[{"name": "http", "port": 9000, "protocol": "TCP"}],
        endpoints=[{"addresses": [POD], "targetRef": {"kind": "Pod", "name": "gate-1"}}],
    )
    return scene


def test_a_service_is_found_in_the_copies_and_its_pod_in_the_cluster(gate: Scene) -> None:
    found = result(gate, check("http://gate"))
    assert found.outcome is CheckOutcome.INCONCLUSIVE
    assert f"webhook gate: gate:80 is {POD}, a loopback address, which no check may use" in found.message


def test_an_endpoint_that_is_not_the_pod_it_names_is_refused(gate: Scene) -> None:
    gate.put("v1", "Pod", "gate-1", spec=POD_SPEC, status={})
    found = result(gate, check("http://gate.shop.svc"))
    assert f"{POD} is not an address of pod gate-1 of namespace {NAMESPACE}" in found.message


def test_the_api_server_is_no_receiver_even_if_an_admin_allows_its_host(scene: Scene) -> None:
    scene.server.store.put(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "192.0.2.1", "ports": [{"name": "https", "port": 443}]},
        }
    )
    found = result(scene, check("https://192.0.2.1"), allowed_hosts="192.0.2.1")
    assert "192.0.2.1:443 is 192.0.2.1, an address of the API server, which no check may use" in found.message


def test_a_webhook_arrives_with_the_signature_of_the_key_of_the_operator(
    gate: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kanary.outbound.peers.why_forbidden", lambda *_: "")
    with receiving(reply(204)) as receiver:
        found = result(gate, check(f"http://127.0.0.1:{receiver.port}"), allowed_hosts="127.0.0.1")
    assert found.outcome is CheckOutcome.PASSED
    assert receiver.requests[0].headers["webhook-signature"].startswith("v1a,")
    assert gate.get("secrets", "kanary-signing-key")
