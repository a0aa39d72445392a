"""A proxy that has no more source ports."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from pathlib import Path

from engine.render.config import Server, connections_to_a_server
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, greeted_by, running

PORTS = 64
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def answer(client: socket.socket) -> Server | None:
    """The pod that serves the client; none if the client waits."""
    client.settimeout(2)
    with contextlib.suppress(TimeoutError):
        return greeted_by(client)
    return None


def test_no_pod_is_down_because_the_proxy_has_no_source_ports_left(pods: Pods) -> None:
    """Connections beyond the limit wait for one of the others to end."""
    config = config_of(pods.route(50, 1), pods.route(50, 1), source_ports=PORTS)
    limit = connections_to_a_server(PORTS)
    with running(config) as proxy, contextlib.ExitStack() as clients:
        # Of the network of this test.
        RANGE.write_text(f"40000 {40000 + PORTS - 1}")
        connections = []
        for number in range(2 * limit + 2):
            client = clients.enter_context(socket.socket())
            client.bind(("127.0.0.1", 50000 + number))
            client.connect(("127.0.0.1", config.split_port))
            connections.append(client)
        served = Counter(map(answer, connections))
        assert served == {pod: limit for route in config.routes for pod in route.servers} | {None: 2}
        assert [proxy.servers_up(route) for route in (0, 1)] == [1, 1]
