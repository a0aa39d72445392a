"""Held connections when there is little time to drain."""

from __future__ import annotations

import time

from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of
from tests.held.kubelet import SETTLE_SECONDS, node
from tests.held.report import Report
from tests.held.service import LAG_SECONDS, Service
from tests.held.traffic import traffic
from tests.waiting import PATIENCE

RATE = 100
HELD = 200
DRAIN_SECONDS = 2


def test_a_deleted_proxy_serves_what_it_holds_until_the_drain_time_passes_and_not_less(
    pods: Pods, report: Report
) -> None:
    route = pods.route(100, 3)
    with node(Service()) as proxies:
        deleted = proxies.start(config_of(route, drain_seconds=DRAIN_SECONDS))
        with traffic(RATE, HELD) as clients:
            proxies.start(config_of(route, drain_seconds=600))
            told = time.monotonic()
            proxies.delete(deleted, lag=LAG_SECONDS)
            assert deleted.process.wait(timeout=PATIENCE) == 0
            seen = clients.stop()
    report.change(f"Rolling: one deleted, with a drain time of {DRAIN_SECONDS} s", 1, seen)
    assert not seen.failures
    assert seen.cuts.total() == HELD
    assert all(held.cut_at > told + SETTLE_SECONDS + DRAIN_SECONDS for held in seen.held if held.cut_at)
