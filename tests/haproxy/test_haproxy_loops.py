"""One connection of a client through real proxies of Kanaries that lead to each other."""

from __future__ import annotations

import contextlib

import pytest

from engine.render.config import Pool, ProxyConfig, Server
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, free_port, greeted_by, running
from tests.traces.test_loops import ring
from tests.waiting import await_that

MOST = 60
"""Connections that a proxy takes: what the control fills."""


def configs(following: dict[int, int | None], own: Server) -> list[ProxyConfig]:
    """Of proxies that send connections to the next one or, where there is none, to a pod."""
    ports = [(free_port(), free_port()) for _ in following]
    return [
        config_of(
            Pool("app:http", 100, (own if target is None else Server("127.0.0.1", ports[target][0]),)),
            split_port=ports[number][0],
            ops_port=ports[number][1],
            max_connections=MOST,
        )
        for number, target in sorted(following.items())
    ]


@pytest.mark.parametrize("yields", [True, False], ids=["the youngest yields", "control: none yields"])
def test_a_connection_passes_each_proxy_of_a_circle_once(pods: Pods, yields: bool) -> None:
    count = 3
    world = ring(count)
    if yields:
        world.reconcile(range(count))
    sent = world.sent()
    following = {number: next(iter(sent[number]), None) for number in range(count)}
    own = pods.add("127.1.0.1")
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(running(config)) for config in configs(following, own)]
        for proxy in proxies:
            proxy.await_servers_up(0, 1)
        if not yields:
            with proxies[0].connect():
                await_that(lambda: any(proxy.clients() >= MOST for proxy in proxies), "one connection fills a proxy")
            return
        with proxies[0].connect() as connection:
            assert greeted_by(connection) == own
            # Health checks pass through as well, and end at once.
            await_that(lambda: [proxy.clients() for proxy in proxies] == [1] * count, "one connection in each proxy")
