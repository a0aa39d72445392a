"""The proxies of these tests stop as the pods do."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.placement import BUILT_IN
from engine.render.pods import template
from states import UpdateStrategy
from states.timing import ENDPOINTS_SETTLE
from tests.held.kubelet import SETTLE_SECONDS
from tests.held.service import LAG_SECONDS
from tests.unit.kanaries import OWNER, spec

DOCKERFILE = Path(__file__).parents[2] / "images" / "haproxy" / "Dockerfile"


@pytest.mark.parametrize("strategy", UpdateStrategy)
def test_a_pod_sleeps_then_gets_the_stop_signal_and_only_the_sleep_is_shorter_here(strategy: UpdateStrategy) -> None:
    digest = "0123456789abcdef01234567"
    pod = template(OWNER, spec().proxy.over(BUILT_IN), digest, strategy, default_image="kanary-haproxy", sysctls={})[
        "spec"
    ]
    settle = int(ENDPOINTS_SETTLE.total_seconds())
    (haproxy,) = (container for container in pod["containers"] if container["name"] == "haproxy")
    assert haproxy["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", str(settle)]}}}
    assert "STOPSIGNAL SIGUSR1" in DOCKERFILE.read_text().splitlines()
    assert LAG_SECONDS < SETTLE_SECONDS < settle
