"""A proxy that has no more source ports.

On a network, a port that a closed connection has left is free after 60 s; on loopback, Linux uses it again at once.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.render.config import ProxyConfig, Server, connections_to_a_server
from tests.agent.live import live
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, greeted_by, running
from tests.waiting import PATIENCE, await_that

PORTS = 64
TCP = Path("/proc/sys/net/ipv4")


def limit_ports() -> None:
    """Of the network of this test."""
    (TCP / "ip_local_port_range").write_text(f"40000 {40000 + PORTS - 1}")
    (TCP / "tcp_tw_reuse").write_text("0")


def answer(client: socket.socket) -> Server | None:
    """The pod that serves the client; none if the client waits, which it does for 10 s."""
    client.settimeout(5)
    with contextlib.suppress(TimeoutError):
        return greeted_by(client)
    return None


def answers(clients: Sequence[socket.socket], least: int) -> list[Server]:
    """The pods that serve the clients: so many at least, and no more within two seconds; the other clients wait."""
    waiting, found = list(clients), list[Server]()
    while readable := select.select(waiting, [], [], 2 if len(found) >= least else PATIENCE)[0]:
        for client in readable:
            waiting.remove(client)
            if server := greeted_by(client):
                found.append(server)
    return found


def connected(config: ProxyConfig, number: int) -> socket.socket:
    """A client with a port of its own, whose number is not used twice."""
    client = socket.socket()
    client.bind(("127.0.0.1", 50000 + number))
    client.connect(("127.0.0.1", config.split_port))
    return client


def test_no_pod_is_down_because_the_proxy_has_no_source_ports_left(pods: Pods) -> None:
    """Connections beyond the limit wait for one of the others to end."""
    config = config_of(pods.route(50, 1), pods.route(50, 1), source_ports=PORTS)
    limit = connections_to_a_server(PORTS)
    with running(config) as proxy, contextlib.ExitStack() as clients:
        limit_ports()
        connections = []
        for number in range(2 * limit + 2):
            connections.append(clients.enter_context(connected(config, number)))
        served = Counter(answers(connections, least=2 * limit))
        assert served == {pod: limit for route in config.routes for pod in route.servers}
        assert [proxy.servers_up(route) for route in (0, 1)] == [1, 1]


def test_a_pod_stays_in_service_if_clients_that_close_first_leave_the_proxy_without_source_ports(pods: Pods) -> None:
    """Its connections wait, and the other route receives its own share. Without the agent it would receive all."""
    config = config_of(pods.route(90, 1), pods.route(10, 1), source_ports=PORTS)
    busy, other = (route.servers[0] for route in config.routes)
    with live(config) as proxy, contextlib.ExitStack() as clients:
        limit_ports()
        numbers = itertools.count()
        while client := clients.enter_context(connected(config, next(numbers))):
            if answer(client) is None:
                break
            client.close()
        # By the socket: reading the report takes ports as well.
        await_that(lambda: "no check" in proxy.command("@1 show stat -1 4 -1"), "the pod is not checked any more")
        later = [clients.enter_context(connected(config, next(numbers))) for _ in range(40)]
        served = Counter(answers(later, least=3))
        assert served[other] == pytest.approx(4, abs=1)
        assert served[busy] <= 1
        # While no port is free, it is down for a moment after each check.
        await_that(lambda: [proxy.servers_up(route) for route in (0, 1)] == [1, 1], "both pods are up")

        def is_reported() -> bool:
            report = proxy.reported()
            routes = report.get("routes", {}).values()
            is_short = report.get("shortOfPorts") == [f"{busy.address}:{busy.port}"]
            return is_short and [route["down"] for route in routes] == [0, 0]

        await_that(is_reported, "the report has the pod without ports, which is up")
