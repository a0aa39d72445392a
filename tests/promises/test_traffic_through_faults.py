"""Promise 4: connections, held and arriving, through faults of everything around HAProxy, and of HAProxy."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.render.config import ProxyConfig
from engine.render.haproxy import render
from tests.agent.live import LiveProxy, live, worker
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import Proxy
from tests.held.configs import config_for, elsewhere, weighted, with_servers
from tests.held.conftest import _able, _network, pods
from tests.held.report import kinds, milliseconds
from tests.held.service import LAG_SECONDS, Service
from tests.held.traffic import Seen, Traffic, traffic
from tests.promises.pod_process import pod_process
from tests.tables import Table, Tell
from tests.waiting import await_that

__all__ = ["_able", "_network", "pods"]

FAULTS = Table(
    "Promise 4: traffic through faults", ("fault", "new connections", "failed", "p99 ms", "slowest ms", "held", "cut")
)
RATE = 100
"""New connections per second: few enough for a busy machine, on which they would otherwise queue up."""
HELD = 200
FROZEN_SECONDS = 3
CHANGES = 100
KANARY = "uid-of-the-kanary"


def row(tell: Tell, fault: str, seen: Seen) -> None:
    slowest = [milliseconds(seen, share) for share in (0.99, 1)]
    tell(FAULTS, fault, len(seen.visits), kinds(seen.failures), *slowest, len(seen.held), kinds(seen.cuts))


def lose_nothing(tell: Tell, fault: str, clients: Traffic) -> None:
    clients.await_visits(RATE)
    seen = clients.stop()
    row(tell, fault, seen)
    assert not seen.failures
    assert not seen.cuts


@contextlib.contextmanager
def in_use(config: ProxyConfig, rate: int = RATE) -> Iterator[tuple[LiveProxy, Traffic]]:
    Service(config.split_port)
    with live(config) as proxy, traffic(rate, HELD) as clients:
        yield proxy, clients


def numbered(config: ProxyConfig, serial: int) -> ProxyConfig:
    """As the operator sends it."""
    return replace(config, kanary=KANARY, serial=serial)


def processes(proxy: Proxy) -> list[int]:
    """The master and its workers."""
    children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read_text().split()
    return [proxy.process.pid, *map(int, children)]


def send_signal(proxy: Proxy, number: signal.Signals) -> None:
    for process in processes(proxy):
        os.kill(process, number)


def test_the_operator_is_dead(tell: Tell, pods: Pods) -> None:
    """Meanwhile the agent restarts, and a pod stops accepting, to which nobody reacts but the proxy."""
    config = config_for(pods)
    with in_use(config) as (proxy, clients):
        for route in config.routes:
            proxy.restart_agent()
            pods.kill(route.servers[0])
            clients.await_visits(RATE)
            clients.hold(5)
        lose_nothing(tell, "operator dead; agent restarts, pods stop accepting", clients)


def test_the_api_server_is_dead(tell: Tell, pods: Pods) -> None:
    """The kubelet still mounts what was current then; the agent restarts and does not return to it."""
    stale = numbered(config_for(pods), 1)
    with in_use(stale) as (proxy, clients):
        newer = numbered(weighted(stale, 90), 2)
        assert proxy.push(newer) == 202
        proxy.await_served()
        process = worker(proxy)
        for _ in range(3):
            proxy.restart_agent()
            proxy.await_served()
            clients.await_visits(RATE)
            clients.hold(5)
        assert (worker(proxy), proxy.report()["digest"]) == (process, render(newer).digest)
        pods.kill(newer.routes[1].servers[0])
        lose_nothing(tell, "API server dead; agent restarts with a stale mount, a pod stops accepting", clients)


def test_the_database_is_dead(tell: Tell, pods: Pods) -> None:
    """The operator goes on: its changes reach the proxies as always (tests/integration/test_history.py)."""
    config = numbered(config_for(pods), 1)
    with in_use(config) as (proxy, clients):
        for serial in range(2, 22):
            assert proxy.push(numbered(weighted(config, serial), serial)) == 202
            proxy.await_served()
            clients.await_visits(RATE // 10)
        lose_nothing(tell, "database dead: 20 changes of weights arrive as always", clients)


def test_a_hundred_changes_in_a_row(tell: Tell, pods: Pods) -> None:
    """Weights and endpoints in turn, with connections held in each state."""
    config = config_for(pods, drain_seconds=1)
    with in_use(config, RATE // 2) as (proxy, clients):
        process = worker(proxy)
        for number in range(1, CHANGES // 2 + 1):
            config = weighted(config, number)
            proxy.serve(config)
            oldest, *others = config.routes[number % 2].servers
            config = with_servers(config, number % 2, *others, pods.add(f"127.{number % 2 + 1}.{number}.1"))
            proxy.serve(config)
            pods.kill(oldest)
            clients.hold(2)
        # No process drains: what has ended would have been cut.
        assert (worker(proxy), proxy.report()["draining"]) == (process, 0)
        lose_nothing(tell, f"{CHANGES} changes in a row, of weights and of endpoints", clients)


def test_the_node_of_a_pod_is_frozen(tell: Tell, pods: Pods) -> None:
    """Connections to the pod wait until it goes on."""
    config = config_for(pods)
    with pod_process("127.2.9.9") as (server, process):
        config = with_servers(config, 1, server, *config.routes[1].servers)
        with in_use(config) as (_, clients):
            process.send_signal(signal.SIGSTOP)
            frozen = time.monotonic()
            clients.await_visits(RATE)
            await_that(lambda: time.monotonic() > frozen + FROZEN_SECONDS, "the pod has been frozen for so long")
            process.send_signal(signal.SIGCONT)
            lose_nothing(tell, f"a pod frozen for {FROZEN_SECONDS} s", clients)


def test_a_pod_is_killed(tell: Tell, pods: Pods) -> None:
    """Its own connections end with it. No other connection fails, nor does one that comes later."""
    config = config_for(pods)
    with pod_process("127.2.9.9") as (server, process):
        config = with_servers(config, 1, server, *config.routes[1].servers)
        with in_use(config) as (_, clients):
            process.kill()
            process.wait()
            killed = time.monotonic()
            clients.await_visits(RATE)
            seen = clients.stop()
    row(tell, "a pod killed, with its connections", seen)
    failed = [visit for visit in seen.visits if visit.failed]
    assert all(visit.began <= killed and visit.pod in (server, None) for visit in failed)
    held_by_pod = [held for held in seen.held if held.pod == server]
    assert held_by_pod
    assert [held for held in seen.held if held.cut_at is not None] == held_by_pod


@contextlib.contextmanager
def two_proxies(config: ProxyConfig) -> Iterator[tuple[Proxy, Proxy, Service, Traffic]]:
    """Both serve the Service, which is here so that a test can say what the node knows of them."""
    service = Service()
    with live(config) as first, live(elsewhere(config)) as other:
        service.send_to(first.config.split_port, other.config.split_port)
        with traffic(RATE, HELD) as clients:
            yield first, other, service, clients


def test_the_node_of_a_proxy_is_frozen(tell: Tell, pods: Pods) -> None:
    """Its probes fail, and new connections go to the other proxy; those that it has already wait until it goes on."""
    with two_proxies(config_for(pods)) as (frozen, other, service, clients):
        send_signal(frozen, signal.SIGSTOP)
        try:
            service.hear_late([other.config.split_port], FROZEN_SECONDS).join()
            clients.await_visits(RATE)
        finally:
            send_signal(frozen, signal.SIGCONT)
        lose_nothing(tell, f"a proxy frozen, unready after {FROZEN_SECONDS} s", clients)


def test_a_proxy_is_killed(tell: Tell, pods: Pods) -> None:
    """The connections that it has end with it, and those that a node sends to it before it has learned of its end."""
    with two_proxies(config_for(pods)) as (killed, other, service, clients):
        send_signal(killed, signal.SIGKILL)
        service.hear_late([other.config.split_port], LAG_SECONDS).join()
        heard = time.monotonic()
        clients.await_visits(RATE)
        seen = clients.stop()
    row(tell, f"a proxy killed, which the node learns {LAG_SECONDS:.0f} s later", seen)
    assert all(visit.began <= heard for visit in seen.visits if visit.failed)
    # The other proxy keeps all that it has, about half of them.
    assert HELD / 4 < seen.cuts.total() < 3 * HELD / 4
