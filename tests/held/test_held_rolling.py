"""Held and new connections while the proxies are replaced, scaled and deleted."""

from __future__ import annotations

import contextlib

from tests.agent.live import live
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import running
from tests.held.configs import config_for, elsewhere, weighted
from tests.held.kubelet import node
from tests.held.report import Report
from tests.held.service import LAG_SECONDS, Service
from tests.held.traffic import traffic

RATE = 300
HELD = 200
CHANGES = 20


def test_rolling_the_proxies_costs_no_connection(pods: Pods, report: Report) -> None:
    """The node hears of some changes early, and of the last ones as late as nodes do."""
    config = config_for(pods)
    with node(Service()) as proxies:
        proxies.start(config)
        with traffic(RATE, HELD) as clients:
            for number in range(1, CHANGES + 1):
                proxies.roll(elsewhere(weighted(config, 5 * number)), lag=LAG_SECONDS * number / CHANGES)
                clients.hold(5)
            seen = clients.stop()
    report.change("Rolling: a new proxy for each change", CHANGES, seen)
    assert not seen.failures
    assert not seen.cuts


def test_scaling_and_deleting_proxies_costs_no_connection(pods: Pods, report: Report) -> None:
    """These have an agent: what is not in their configuration rolls, scales and deletes them just so."""
    config = config_for(pods)
    with node(Service(), run=live) as proxies:
        first = proxies.start(config)
        with traffic(RATE, HELD) as clients:
            proxies.start(elsewhere(config), lag=LAG_SECONDS)
            proxies.start(elsewhere(config), lag=LAG_SECONDS)
            clients.hold(50)
            # A deleted proxy is replaced at once, but its successor is ready only when it is.
            proxies.delete(first, lag=LAG_SECONDS)
            proxies.start(elsewhere(config), lag=LAG_SECONDS)
            clients.hold(50)
            proxies.delete(*proxies.ready[1:], lag=LAG_SECONDS)
            clients.await_visits(RATE)
            seen = clients.stop()
    report.change("Live: 1 proxy to 3, one deleted, back to 1", 5, seen)
    assert not seen.failures
    assert not seen.cuts


# Negative controls: these clients can see a failure and a cut.


def test_control_stop_and_start_fails_new_connections_and_cuts_held_ones(pods: Pods, report: Report) -> None:
    config = config_for(pods)
    Service(config.split_port)
    with contextlib.ExitStack() as clients_end:
        with running(config):
            clients = clients_end.enter_context(traffic(RATE, HELD))
        for _ in range(4):
            with running(config):
                clients.await_visits(RATE // 10)
        seen = clients.stop()
    report.change("control: stop and start", 4, seen)
    assert seen.failures
    assert seen.cuts.total() == HELD


def test_control_no_settle_time_fails_new_connections(pods: Pods, report: Report) -> None:
    """The old proxies stop listening while the slow node still sends them all connections."""
    config = config_for(pods)
    with node(Service()) as proxies:
        proxies.start(config)
        with traffic(RATE, HELD) as clients:
            for number in range(1, 4):
                proxies.roll(elsewhere(weighted(config, 5 * number)), lag=LAG_SECONDS, settle=0)
            seen = clients.stop()
    report.change("control: stop signal without the sleep", 3, seen)
    assert seen.failures
    assert not seen.cuts
