"""Held and new connections while a running proxy gets new configurations from its agent."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from engine.render.config import ProxyConfig
from engine.render.haproxy import render
from tests.agent.configs import Rollouts
from tests.agent.live import LiveProxy, live, worker
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of
from tests.held.configs import config_for, reloading, weighted, with_servers
from tests.held.report import Report
from tests.held.service import Service
from tests.held.traffic import Traffic, traffic
from tests.waiting import await_that

RATE = 300
HELD = 200
CHANGES = 20
RELOADS = 10
"""More of them wait, because each leaves a process."""
DRAIN_SECONDS = 2


@contextlib.contextmanager
def in_use(config: ProxyConfig) -> Iterator[tuple[LiveProxy, Traffic]]:
    """A proxy behind a Service, with held and new connections."""
    Service(config.split_port)
    with live(config) as proxy, traffic(RATE, HELD) as clients:
        yield proxy, clients


def change_without_loss(config: ProxyConfig, changes: Iterable[ProxyConfig], what: str, report: Report) -> None:
    """No process is left behind, so the drain time, which passes several times, cuts nothing."""
    with in_use(config) as (proxy, clients):
        process = worker(proxy)
        for change in changes:
            proxy.serve(change)
            clients.await_visits(RATE // 10)
            clients.hold(5)
        assert (worker(proxy), proxy.report()["draining"]) == (process, 0)
        seen = clients.stop()
    report.change(what, CHANGES, seen)
    assert not seen.failures
    assert not seen.cuts


def test_reloads_cost_no_connection(pods: Pods, report: Report) -> None:
    config = config_for(pods)
    with in_use(config) as (proxy, clients):
        for number in range(1, RELOADS + 1):
            proxy.serve(reloading(config, number))
            clients.await_visits(RATE // 10)
            clients.hold(5)
        seen = clients.stop()
    report.change("Live: timeouts", RELOADS, seen)
    assert not seen.failures
    assert not seen.cuts


def test_a_burst_of_changes_costs_no_connection(pods: Pods, report: Report) -> None:
    config = config_for(pods)
    with in_use(config) as (proxy, clients):
        for number in range(1, CHANGES):
            proxy.mount(reloading(weighted(config, 5 * number), number))
            clients.await_visits(RATE // 20)
        proxy.serve(weighted(config, 100))
        clients.await_visits(RATE)
        seen = clients.stop()
    report.change("Live: weights and timeouts, not waiting in between", CHANGES, seen)
    assert not seen.failures
    assert not seen.cuts


def test_pods_that_come_and_go_cost_no_connection(pods: Pods, report: Report) -> None:
    """A pod that goes is taken out, refuses what comes after that, and serves what it holds to the end.

    So do all others, although the drain time passes several times.
    """
    config = config_for(pods, DRAIN_SECONDS)
    with in_use(config) as (proxy, clients):
        for number in range(CHANGES // 2):
            route = number % 2
            oldest, *others = config.routes[route].servers
            config = with_servers(config, route, oldest, *others, pods.add(f"127.{route + 1}.{number + 1}.1"))
            proxy.serve(config)
            clients.hold(5)
            config = with_servers(config, route, *config.routes[route].servers[1:])
            proxy.serve(config)
            pods.kill(oldest)
            clients.await_visits(RATE // 10)
        seen = clients.stop()
    report.change("Live: pods come and go", CHANGES, seen)
    assert not seen.failures
    assert not seen.cuts


def test_rollouts_of_a_route_cost_no_connection(pods: Pods, report: Report) -> None:
    """A Service of another name takes the place of the second route; the connections of all routes continue."""
    stays, other = pods.route(50, 3), pods.route(50, 2)
    rollouts = Rollouts(config_of(stays, other, drain_seconds=DRAIN_SECONDS))
    changes = (rollouts.to(stays, pods.route(50, 2)) for _ in range(CHANGES))
    change_without_loss(rollouts.config, changes, "Live: a route's Service is replaced", report)


def test_an_agent_that_is_killed_at_any_moment_costs_no_connection(pods: Pods, report: Report) -> None:
    config = config_for(pods)
    times = 10
    with in_use(config) as (proxy, clients):
        for number in range(1, times + 1):
            # Every other change takes a reload.
            proxy.mount(reloading(weighted(config, 5 * number), number // 2))
            # The next change is under way for ever longer: seen, checked, reloaded, served.
            clients.await_visits(number * RATE // 50)
            proxy.kill_agent()
            clients.hold(5)
            proxy.start_agent()
            proxy.await_served()
        seen = clients.stop()
    report.change("Live: weights and timeouts, the agent killed each time", times, seen)
    assert not seen.failures
    assert not seen.cuts


def test_a_configuration_that_haproxy_rejects_costs_no_connection(pods: Pods, report: Report) -> None:
    config = config_for(pods)
    times = 5
    with in_use(config) as (proxy, clients):
        for number in range(1, times + 1):
            proxy.mount(render(weighted(config, 50 + number)).text + "\nno such section\n")
            await_that(lambda: proxy.report()["rejected"] is not None, "HAProxy rejects the text")
            former = reloading(weighted(config, 50 + number - 1), number - 1)
            assert proxy.report()["digest"] == render(former).digest
            clients.await_visits(RATE // 10)
            proxy.serve(reloading(weighted(config, 50 + number), number))
        seen = clients.stop()
    report.change("Live: a rejected configuration, then a good one", times, seen)
    assert not seen.failures
    assert not seen.cuts


def test_a_former_worker_serves_what_it_holds_until_the_drain_time_passes_and_not_less(
    pods: Pods, report: Report
) -> None:
    """It is a control as well: these clients can see that a reload cuts them."""
    config = config_for(pods, drain_seconds=DRAIN_SECONDS)
    with in_use(config) as (proxy, clients):
        told = time.monotonic()
        proxy.serve(reloading(config, 1))
        await_that(lambda: proxy.report()["draining"] == 0, "the former worker has ended")
        seen = clients.stop()
    report.change(f"Live: timeouts, with a drain time of {DRAIN_SECONDS} s", 1, seen)
    assert not seen.failures
    assert seen.cuts.total() == HELD
    assert all(held.cut_at > told + DRAIN_SECONDS for held in seen.held if held.cut_at)
