"""The proxies of these tests stop as the pods do."""

from __future__ import annotations

from pathlib import Path

from engine.objects import ENDPOINTS_SETTLE_SECONDS, deployment
from tests.held.kubelet import SETTLE_SECONDS
from tests.held.service import LAG_SECONDS
from tests.unit.kanaries import OWNER, spec

DOCKERFILE = Path(__file__).parents[2] / "images" / "haproxy" / "Dockerfile"


def test_a_pod_sleeps_then_gets_the_stop_signal_and_only_the_sleep_is_shorter_here() -> None:
    pod = deployment(OWNER, spec(), "0123456789abcdef", "kanary-haproxy")["spec"]["template"]["spec"]
    (haproxy,) = (container for container in pod["containers"] if container["name"] == "haproxy")
    assert haproxy["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", str(ENDPOINTS_SETTLE_SECONDS)]}}}
    assert "STOPSIGNAL SIGUSR1" in DOCKERFILE.read_text().splitlines()
    assert LAG_SECONDS < SETTLE_SECONDS < ENDPOINTS_SETTLE_SECONDS
