"""Routes of a running proxy are replaced, added and removed without a reload, and no connection is closed for that."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from dataclasses import replace

import pytest

from engine.model.weight import read_weight
from engine.render.config import Pool, ProxyProtocol, Server
from tests.agent.clients import held, is_alive, stream
from tests.agent.configs import Rollouts
from tests.agent.live import live, worker
from tests.agent.test_agent_killed import new_agent, survives, work
from tests.agent.test_agent_routes import await_route
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, windows
from tests.waiting import await_that


def reweighted(route: Pool, weight: int) -> Pool:
    return replace(route, weight=read_weight(weight))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
    writer.close()


def test_a_route_of_another_name_closes_and_fails_no_connection_and_the_split_stays_exact(pods: Pods) -> None:
    """The drain time passes: no former worker is there to close anything."""
    one, two, three = pods.route(80, 2), pods.route(20, 3), pods.route(20, 2)
    rollouts = Rollouts(config_of(one, two, drain_seconds=1))
    with live(rollouts.config) as proxy, held(proxy, 20) as connections:
        process = worker(proxy)
        with stream(proxy) as clients:
            proxy.serve(rollouts.to(one, three))
        assert worker(proxy) == process
        assert all(window == {0: 80, 1: 20} for window in windows(proxy.take(250), 100))
        assert all(is_alive(connection) for connection in connections)
    assert (clients.failed, clients.served > 0) == (0, True)


def test_twenty_rollouts_reuse_the_slots_of_one_worker(pods: Pods) -> None:
    stays = pods.route(70, 1)
    rollouts = Rollouts(config_of(stays, pods.route(30, 2), drain_seconds=1))
    with live(rollouts.config) as proxy, contextlib.ExitStack() as stack:
        process, connections = worker(proxy), stack.enter_context(held(proxy, 5))
        with stream(proxy) as clients:
            for _ in range(20):
                proxy.serve(rollouts.to(stays, pods.route(30, 2)))
                connections += stack.enter_context(held(proxy, 5))
        assert worker(proxy) == process
        assert Counter(proxy.take(100)) == {0: 70, 1: 30}
        assert all(is_alive(connection) for connection in connections)
        lines = proxy.command("@1 show stat -1 2 -1").splitlines()
        assert [name for line in lines if len(name := line.split(",")[0]) == 1] == ["a", "b", "c", "d"]
    assert (clients.failed, clients.served > 0) == (0, True)


def test_a_route_is_added_and_the_first_one_removed(pods: Pods) -> None:
    one, two, three = pods.route(90, 1), pods.route(10, 2), pods.route(30, 1)
    rollouts = Rollouts(config_of(one, two, drain_seconds=1))
    with live(rollouts.config) as proxy, held(proxy, 20) as connections:
        process = worker(proxy)
        for routes in ((reweighted(one, 60), two, three), (three, reweighted(two, 70))):
            with stream(proxy) as clients:
                proxy.serve(rollouts.to(*routes))
            assert clients.failed == 0
            assert Counter(proxy.take(100)) == {number: route.weight for number, route in enumerate(routes)}
        assert worker(proxy) == process
        assert all(is_alive(connection) for connection in connections)


def test_the_metrics_of_the_agent_have_the_backend_of_each_slot(pods: Pods) -> None:
    one, two, three = pods.route(50, 1), pods.route(50, 1), pods.route(50, 1)
    rollouts = Rollouts(config_of(one, two))
    with live(rollouts.config) as proxy:
        proxy.serve(rollouts.to(one, three))
        expected = {
            f'kanary_slot_backend{{proxy="{name}",backend="{r.backend}"}} 1' for name, r in (("a", one), ("c", three))
        }
        await_that(
            lambda: {line for line in proxy.get_from_agent("/metrics")[1].splitlines() if line[0] != "#"} == expected,
            "the slots are those of the present routes",
        )


def test_counters_are_those_of_a_routes_own_connections(pods: Pods) -> None:
    """Also in a slot that had another backend, and for a backend that returns."""
    stays, first = pods.route(50, 1), pods.route(50, 1)
    rollouts = Rollouts(config_of(stays, first))
    with live(rollouts.config) as proxy:
        proxy.take(20)
        await_route(proxy, 1, connections=10)
        for count in range(1, 6):
            proxy.serve(rollouts.to(stays, pods.route(50, 1)))
            proxy.take(4)
            await_route(proxy, 0, connections=10 + 2 * count)
            await_route(proxy, 1, connections=2, open=0, unreachedSeconds=None)
        former = rollouts.config
        proxy.serve(rollouts.to(stays, pods.route(50, 1)))
        proxy.take(2)
        await_route(proxy, 1, connections=1)
        proxy.serve(rollouts.to(*former.routes))
        proxy.take(2)
        await_route(proxy, 1, connections=3)


def test_a_route_that_no_connection_reaches_is_unreached_in_a_slot_that_another_one_had(pods: Pods) -> None:
    stays = pods.route(50, 1)
    rollouts = Rollouts(config_of(stays, pods.route(50, 1)))
    with live(rollouts.config) as proxy:
        for _ in range(3):
            proxy.serve(rollouts.to(stays, pods.route(50, 1)))
            await_route(proxy, 1, up=1, unreachedSeconds=None)
        silent = pods.route(50, 1)
        pods.kill(*silent.servers)
        began = time.monotonic()
        proxy.serve(rollouts.to(stays, silent))
        assert await_route(proxy, 1, up=0, down=1)["unreachedSeconds"] <= time.monotonic() - began + 1


@pytest.mark.parametrize("version", ProxyProtocol)
def test_another_header_replaces_the_servers_and_closes_no_connection(version: ProxyProtocol) -> None:
    with Pods(echo) as pods:
        config = config_of(pods.route(100, 2))
        with live(config) as proxy, proxy.connect() as held_connection:
            process = worker(proxy)
            assert is_alive(held_connection)
            proxy.serve(replace(config, routes=(replace(config.routes[0], proxy_protocol=version),), serial=1))
            with proxy.connect() as other:
                other.sendall(b"hello!")
                start = {ProxyProtocol.V1: b"PROXY ", ProxyProtocol.V2: b"\r\n\r\n\0\r"}[version]
                assert other.recv(6) == start
            assert is_alive(held_connection)
            assert worker(proxy) == process


def test_a_slot_that_passes_to_another_backend_at_once_takes_a_reload(pods: Pods) -> None:
    """The agent has missed the configurations between: both backends would have the share of one for a moment."""
    one, two, other = pods.route(60, 1), pods.route(40, 1), pods.route(40, 1)
    config = config_of(one, two)
    with live(config) as proxy:
        process = worker(proxy)
        proxy.serve(replace(config, routes=(one, other), serial=1))
        assert worker(proxy) != process
        assert Counter(proxy.take(100)) == {0: 60, 1: 40}


def test_more_routes_than_slots_take_a_reload(pods: Pods) -> None:
    routes = [pods.route(20, 1) for _ in range(5)]
    rollouts = Rollouts(config_of(reweighted(routes[0], 60), *routes[1:3]))
    with live(config_of(reweighted(routes[0], 60), *routes[1:3])) as proxy:
        process = worker(proxy)
        proxy.serve(rollouts.to(*routes))
        assert worker(proxy) != process
        assert Counter(proxy.take(100)) == dict.fromkeys(range(5), 20)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_agent_that_is_killed_at_any_moment_leaves_a_rollout_that_the_next_one_completes(
    pods: Pods, after: bool
) -> None:
    stays = pods.route(60, 1)
    others = [pods.route(40, 1) for _ in range(4)]
    rollouts = Rollouts(config_of(stays, others[0]))
    with live(rollouts.config) as proxy, held(proxy, 5) as connections:
        proxy.kill_agent()
        process = worker(proxy)
        for effects in itertools.count():
            proxy.mount(rollouts.to(stays, others[(effects + 1) % 4]))
            if survives(new_agent(proxy), proxy, effects, after):
                break
            work(new_agent(proxy), proxy)
            assert Counter(proxy.take(100)) == {0: 60, 1: 40}
        assert effects >= 8
        assert worker(proxy) == process
        assert all(is_alive(connection) for connection in connections)


def test_a_hundred_routes_of_the_longest_names_are_replaced(pods: Pods) -> None:
    routes = [replace(pods.route(1, 1), backend=f"{'v' * 60}{n:03}:{'p' * 60}{n:03}") for n in range(101)]
    rollouts = Rollouts(config_of(*routes[:100]))
    with live(rollouts.config) as proxy:
        process = worker(proxy)
        proxy.serve(rollouts.to(*routes[1:]))
        assert worker(proxy) == process
        assert Counter(proxy.take(100)) == dict.fromkeys(range(100), 1)
        assert set(proxy.report()["routes"]) == {route.backend for route in routes[1:]}


def test_a_route_of_two_hundred_pods_is_replaced_at_once(pods: Pods) -> None:
    stays, first = pods.route(100, 1), pods.route(0, 1)
    before, after = (
        replace(first, backend=f"v{k}:http", servers=tuple(Server(f"127.{k}.9.{n}", 9) for n in range(1, 201)))
        for k in (1, 2)
    )
    rollouts = Rollouts(config_of(stays, before))
    with live(rollouts.config) as proxy, held(proxy, 5) as connections:
        process = worker(proxy)
        proxy.serve(rollouts.to(stays, after))
        assert worker(proxy) == process
        assert all(is_alive(connection) for connection in connections)
