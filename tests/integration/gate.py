"""The receiver of a webhook: a Service with one pod, and a rollout that waits for it."""

from __future__ import annotations

from tests.integration.scene import Json, Scene

POD = "127.0.0.9"
"""An address that every test can reach, but no check may."""
POD_SPEC = {"containers": [{"name": "a", "image": "a"}]}


def add_gate(scene: Scene) -> None:
    """Add the Service `gate` with its pod."""
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


def gated(url: str) -> Json:
    """A rollout that calls this URL before its first step."""
    webhook = {"name": "gate", "url": url, "retries": 0}
    return {"steps": [{"to": 50, "for": "1h"}, {"to": 100}], "webhooks": [webhook]}
