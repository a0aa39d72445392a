"""Pods are added to a running proxy and removed from it without a reload, and no connection is closed for that."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.render.config import OnEmptyRoute, ProxyConfig, ProxyProtocol, Server
from engine.render.haproxy import render
from tests.agent.clients import held, is_alive, stream
from tests.agent.configs import changes_of
from tests.agent.live import LiveProxy, live, worker
from tests.agent.moods import MoodyPods, failures, reset_at_once
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import CONFIG_FILE, config_of, slot_of
from tests.held.configs import with_servers
from tests.waiting import await_that


def active(proxy: LiveProxy) -> set[str]:
    """Servers that HAProxy may give connections to, as `ROUTE/NAME`."""
    lines = [line.split(",") for line in proxy.command("@1 show stat -1 4 -1").splitlines()]
    head = next(cells for cells in lines if cells[0] == "# pxname")
    status = head.index("status")
    return {f"{cells[0]}/{cells[1]}" for cells in lines if len(cells) == len(head) and cells[status][:2] == "UP"}


def declared(config: ProxyConfig) -> set[str]:
    return {
        f"{slot_of(config, number)}/{server.address}:{server.port}"
        for number, route in enumerate(config.routes)
        for server in route.servers
    }


def reconfigured(config: ProxyConfig) -> ProxyConfig:
    return next(changes_of(config))


async def first_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what came first, in hexadecimal digits."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        writer.write((await reader.readexactly(6)).hex().encode())
    writer.close()


def start_of(proxy: LiveProxy) -> bytes:
    with proxy.connect() as connection:
        connection.sendall(b"hello!")
        return bytes.fromhex(connection.makefile().read())


def test_pods_come_and_go_without_a_reload(pods: Pods) -> None:
    config = config_of(pods.route(50, 2), pods.route(50, 1))
    with live(config) as proxy:
        process = worker(proxy)
        stays, goes = config.routes[0].servers
        other = with_servers(config, 0, stays, pods.add("127.1.1.1"), pods.add("127.1.1.2"))
        proxy.serve(other)
        assert worker(proxy) == process
        assert active(proxy) == declared(other)
        pods.kill(goes)
        assert {proxy.ask() for _ in range(60)} == {server for route in other.routes for server in route.servers}
        assert "changed without a reload: 2 servers added, 1 removed" in proxy.agent_log()


def test_connections_of_a_removed_pod_continue_beyond_the_drain_time(pods: Pods) -> None:
    config = config_of(pods.route(100, 2), drain_seconds=1)
    stays = config.routes[0].servers[0]
    with live(config) as proxy, held(proxy, 20) as connections:
        proxy.serve(with_servers(config, 0, stays, pods.add("127.1.1.1")))
        proxy.serve(with_servers(config, 0, stays))
        # What a reload leaves behind shows when the drain time is over.
        with live(config_of(*config.routes, drain_seconds=1)) as control, held(control, 1) as (left,):
            control.serve(reconfigured(control.config))
            await_that(lambda: not is_alive(left), "the drain time is over")
        assert all(is_alive(connection) for connection in connections)


def test_connections_of_all_routes_continue_if_the_pods_of_one_listen_on_another_port(pods: Pods) -> None:
    """The targetPort of its Service was changed: connections to the former port end when the pods end them."""
    one, other, later = pods.route(50, 2), pods.route(50, 2), pods.route(50, 2)
    config = config_of(one, other, drain_seconds=1)
    with live(config) as proxy, held(proxy, 20) as connections:
        process = worker(proxy)
        proxy.serve(replace(config, routes=(one, replace(later, backend=other.backend)), serial=1))
        assert worker(proxy) == process
        assert all(is_alive(connection) for connection in connections)


def test_the_split_continues_while_pods_are_added_and_removed(pods: Pods) -> None:
    config = config_of(pods.route(99, 1), pods.route(1, 1))
    more = [pods.add(f"127.1.1.{number}") for number in range(1, 11)]
    taken: Counter[int | None] = Counter()
    with live(config) as proxy:
        for number in range(20):
            proxy.serve(with_servers(config, 0, *config.routes[0].servers, *more[: number % 10]))
            taken.update(proxy.take(20))
    assert taken == {0: 396, 1: 4}


def test_a_pod_that_has_left_may_come_back(pods: Pods) -> None:
    config = config_of(pods.route(100, 2))
    fewer = with_servers(config, 0, config.routes[0].servers[0])
    with live(config) as proxy:
        process = worker(proxy)
        for _ in range(3):
            proxy.serve(fewer)
            assert active(proxy) == declared(fewer)
            proxy.serve(config)
            assert active(proxy) == declared(config)
        assert worker(proxy) == process
        assert len({proxy.ask() for _ in range(10)}) == 2


def test_a_pod_that_has_come_is_checked_like_any_other(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy:
        new = pods.add("127.1.1.1")
        proxy.serve(with_servers(config, 0, *config.routes[0].servers, new))
        proxy.await_servers_up(0, 2)
        pods.kill(new)
        proxy.await_servers_up(0, 1)
        pods.revive(new)
        proxy.await_servers_up(0, 2)


@pytest.mark.parametrize("version", ProxyProtocol)
def test_an_added_pod_receives_the_proxy_protocol_of_its_route(version: ProxyProtocol) -> None:
    with Pods(first_bytes) as pods:
        config = config_of(replace(pods.route(100, 1), proxy_protocol=version))
        with live(config) as proxy:
            process = worker(proxy)
            proxy.serve(with_servers(config, 0, *config.routes[0].servers, pods.add("127.1.1.1")))
            assert worker(proxy) == process
            starts = {start_of(proxy) for _ in range(4)}
            assert starts == {{ProxyProtocol.V1: b"PROXY ", ProxyProtocol.V2: b"\r\n\r\n\0\r"}[version]}


def test_with_anything_else_that_changes_there_is_a_reload(pods: Pods) -> None:
    config = config_of(pods.route(50, 1), pods.route(50, 1))
    more = with_servers(config, 0, *config.routes[0].servers, pods.add("127.1.1.1"))
    changes = {
        "a time": reconfigured(more),
        "a slot": replace(more, slots=(*(route.backend for route in more.routes), "")),
        "a policy": replace(more, on_empty_route=OnEmptyRoute.FAIL),
    }
    with live(config) as proxy:
        for what, change in changes.items():
            proxy.serve(config)
            process = worker(proxy)
            proxy.serve(change)
            assert worker(proxy) != process, what
            assert active(proxy) == declared(change), what


def test_other_parameters_of_a_server_that_stays_take_a_reload() -> None:
    """This version of the operator writes none, but the agent may be older than the operator."""
    with Pods(first_bytes) as pods:
        config = config_of(pods.route(100, 1))
        (stays,) = config.routes[0].servers
        with live(config) as proxy:
            socket = f"{stays.address}:{stays.port}"
            other = replace(config, serial=1)
            digest = render(other).digest
            proxy.mount(render(other).text.replace(f" {socket} {socket} ", f" {socket} {socket} send-proxy "))
            await_that(lambda: proxy.reported().get("digest") == digest, "the configuration is reported")
            assert start_of(proxy) == b"PROXY "


def test_when_over_four_hundred_come_and_go_at_once_there_is_a_reload(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    stays = config.routes[0].servers
    with live(config) as proxy:
        process = worker(proxy)
        for third, count in enumerate((200, 200, 201)):
            assert worker(proxy) == process
            more = (Server(f"127.9.{third}.{number}", 9) for number in range(1, count + 1))
            proxy.serve(with_servers(config, 0, *stays, *more))
        assert worker(proxy) != process


def test_those_that_have_left_do_not_add_up_for_ever(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    stays = config.routes[0].servers
    with live(config) as proxy:
        process = worker(proxy)
        served = 0
        while worker(proxy) == process:
            served += 1
            assert served <= 8
            proxy.serve(with_servers(config, 0, *stays, *(Server(f"127.9.{served}.{n}", 9) for n in range(1, 181))))
        assert served > 5
        assert proxy.command("@1 show servers state").count(" a ") == 181


def test_a_restarted_haproxy_has_the_added_pods(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    other = with_servers(config, 0, pods.add("127.1.1.1"), pods.add("127.1.1.2"))
    with live(config) as proxy:
        proxy.serve(other)
        assert (proxy.run / CONFIG_FILE).read_text() == render(other).text
        proxy.restart_haproxy()
        # The report may be from before.
        await_that(proxy.is_ready, "HAProxy is back")
        proxy.await_served()
        assert active(proxy) == declared(other)


def test_the_next_agent_completes_the_change_of_a_killed_agent(pods: Pods) -> None:
    config = config_of(pods.route(100, 2))
    new, other = pods.add("127.1.1.1"), pods.add("127.1.1.2")
    with live(config) as proxy, stream(proxy) as clients:
        process = worker(proxy)
        proxy.kill_agent()
        # The state after the first of several commands: added, but without connections yet.
        proxy.command(f"@1 add server a/{new.address}:{new.port} {new.address}:{new.port} check")
        proxy.start_agent()
        proxy.serve(with_servers(config, 0, new, other))
        assert worker(proxy) == process
        assert active(proxy) == declared(proxy.config)
    assert clients.failed == 0


def test_an_ejected_pod_that_leaves_stays_away(pods: Pods) -> None:
    """Its ejection ends after it was removed."""
    config = config_of(pods.route(100, 3))
    bad, *others = config.routes[0].servers
    with live(config, eject_seconds=4) as proxy:
        proxy.command(f"@1 set server a/{bad.address}:{bad.port} state drain")
        proxy.kill_agent()
        proxy.start_agent()
        await_that(lambda: proxy.ejected() == [f"{bad.address}:{bad.port}"], "it is ejected")
        proxy.serve(with_servers(config, 0, *others))
        await_that(lambda: any(line.startswith("returned: ") for line in proxy.agent_log()), "its time is over")
        await_that(lambda: proxy.ejected() == [], "it is reported")
        assert active(proxy) == declared(proxy.config)


def test_failures_of_a_pod_still_count_after_other_pods_were_added_and_removed() -> None:
    """With three connections between two changes, no one span between them shows a pod that resets."""
    with MoodyPods() as pods:
        config = config_of(pods.route(100, 3))
        bad, *_ = servers = config.routes[0].servers
        more = pods.add("127.1.1.1")
        with live(config, eject_seconds=600) as proxy:
            pods.put(reset_at_once, bad)
            for number in range(60):
                failures(proxy, 3)
                if proxy.ejected():
                    break
                proxy.serve(with_servers(config, 0, *servers, *([more] if number % 2 else [])))
            assert proxy.ejected() == [f"{bad.address}:{bad.port}"]


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(1, 6)), st.sets(st.integers(1, 6))), min_size=5, max_size=15))
def test_after_any_additions_and_removals_haproxy_has_the_declared_servers(
    rounds: list[tuple[set[int], set[int]]],
) -> None:
    with Pods() as pods:
        config = config_of(pods.route(60, 1), pods.route(40, 1))
        each = [[pods.add(f"127.{route}.1.{number}") for number in range(1, 7)] for route in (1, 2)]
        with live(config) as proxy:
            for first, second in rounds:
                config = with_servers(config, 0, *(each[0][number - 1] for number in first))
                config = with_servers(config, 1, *(each[1][number - 1] for number in second))
                proxy.serve(config)
                assert active(proxy) == declared(config)
