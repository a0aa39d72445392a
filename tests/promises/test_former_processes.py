"""Promise 4: what reloads leave while connections are held, and the memory that it takes."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from engine.fleet.former_processes import MEBIBYTE, former_bytes, most_former
from engine.model.placement import Resources
from tests.agent.live import LiveProxy, live
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import Proxy
from tests.held.configs import config_for, elsewhere, reloading
from tests.held.conftest import _able, _network, pods
from tests.held.kubelet import node
from tests.held.report import kinds
from tests.held.service import LAG_SECONDS, Service
from tests.held.traffic import traffic
from tests.promises.test_traffic_through_faults import processes
from tests.tables import Table, Tell

__all__ = ["_able", "_network", "pods"]

FORMER = Table(
    "Promise 4: reloads with connections that stay",
    ("changes", "request", "held", "reloads", "pods", "processes of one", "its MiB", "estimate", "failed", "cut"),
)
RATE = 50


def memory(proxy: Proxy) -> float:
    """Of all processes of HAProxy's container, in MiB, as the kernel counts it: shared pages count once."""
    return sum(map(_kibibytes, processes(proxy))) / 1024


def _kibibytes(process: int) -> int:
    with contextlib.suppress(OSError):  # It has ended.
        found = re.search(r"^Pss: +(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


def reloads(proxy: LiveProxy) -> int:
    return sum(line.startswith("serving: ") for line in proxy.agent_log()) - 1


@pytest.mark.parametrize(("changes", "request_", "waits"), [(80, "64Mi", False), (12, "16Mi", True)])
def test_no_pod_has_more_former_processes_than_its_memory_allows(
    tell: Tell, pods: Pods, changes: int, request_: str, *, waits: bool
) -> None:
    """A connection is held from each state, and the proxy replaced as the operator does it.

    Changes that wait for each other take one reload each, others follow each other four times a second.
    """
    config = config_for(pods)
    servers = sum(len(route.servers) for route in config.routes)
    most = most_former(Resources(requests={"memory": request_}), servers)
    used, running = [], []
    with node(Service(), run=live) as proxies:
        proxy = proxies.start(config)
        seen_pods = [proxy]
        with traffic(RATE) as clients:
            for _ in range(changes):
                change = reloading(proxy.config, 1)
                (proxy.serve if waits else proxy.mount)(change)
                clients.hold(1)
                clients.await_visits(RATE // 4)
                used.append(memory(proxy))
                running.append(len(processes(proxy)))
                if proxy.reported().get("draining", 0) > most:
                    proxy = proxies.roll(elsewhere(change), lag=LAG_SECONDS)
                    seen_pods.append(proxy)
            seen = clients.stop()
        counts = sum(map(reloads, seen_pods)), len(seen_pods), max(running), f"{max(used):.0f}"
    estimate = f"{former_bytes(max(running), servers) / MEBIBYTE:.0f}"
    tell(FORMER, changes, request_, len(seen.held), *counts, estimate, kinds(seen.failures), kinds(seen.cuts))
    assert not seen.failures
    assert not seen.cuts
    assert len(seen_pods) > 1 or not waits
    # The master, the current worker, and what the reloads leave until the new proxy is ready.
    assert max(running) <= most + 2 + 3
