"""A proxy prefers the servers of its own zone, the shares of the routes stay exact, and others take over."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from kanary_agent.zones import preferring_own_zone

from engine.render.config import Balance, Pool, ProxyConfig, ProxyProtocol, Server
from engine.render.haproxy import render, split_of
from engine.render.zones import by_zone
from tests.agent.clients import held, is_alive
from tests.agent.live import POD, LiveProxy, live, worker
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, slot_of
from tests.waiting import await_that

CONNECTIONS = 200


def zoned(pods: Pods, *, proxy: str = "a", **settings: object) -> ProxyConfig:
    """Two routes with the shares 90 and 10, each with one pod in zone `a` and two in zone `b`."""
    routes = [
        Pool(f"v{route}:http", weight, tuple(pods.add(f"127.1.{route}.{pod}") for pod in (1, 2, 3)))
        for route, weight in ((1, 90), (2, 10))
    ]
    config = config_of(*routes, **settings)
    return replace(config, zones=zones_of(config, proxy))


def zones_of(config: ProxyConfig, proxy: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    addresses = [server.address for route in config.routes for server in route.servers]
    servers = [("a" if address.endswith(".1") else "b", address) for address in addresses]
    return by_zone([*servers, (proxy, POD)])


def taken(proxy: LiveProxy, count: int = CONNECTIONS) -> Counter[str]:
    """The addresses that answer new connections; no connection fails."""
    answers = [proxy.ask() for _ in range(count)]
    assert None not in answers
    return Counter(server.address for server in answers if server)


def all_up(proxy: LiveProxy) -> bool:
    routes = proxy.reported().get("routes") or {}
    return {name: found["up"] for name, found in routes.items()} == {"v1:http": 3, "v2:http": 3}


def up(proxy: LiveProxy, kind: str) -> int:
    """The servers of the first route that are up, in HAProxy's own metrics."""
    _, metrics = proxy.fetch("/metrics?scope=backend")
    slot = slot_of(proxy.config, 0)
    found = re.search(rf'^haproxy_backend_{kind}_servers{{proxy="{slot}"}} (\d+)$', metrics, re.MULTILINE)
    assert found, metrics
    return int(found[1])


def test_the_metrics_of_haproxy_show_whether_a_route_leaves_the_zone(pods: Pods) -> None:
    with live(zoned(pods)) as proxy:
        await_that(lambda: (up(proxy, "active"), up(proxy, "backup")) == (1, 2), "one is of this zone")
        pods.kill(proxy.config.routes[0].servers[0])
        await_that(lambda: (up(proxy, "active"), up(proxy, "backup")) == (0, 2), "none is")


@pytest.mark.parametrize("balance", list(Balance))
def test_connections_stay_in_the_zone_and_the_split_is_exact(pods: Pods, balance: Balance) -> None:
    with live(zoned(pods, balance=balance)) as proxy:
        assert taken(proxy) == {"127.1.1.1": 180, "127.1.2.1": 20}


def test_the_last_pod_of_the_zone_dies_and_returns_and_no_new_connection_fails(pods: Pods) -> None:
    with live(zoned(pods)) as proxy, held(proxy, 20) as connections:
        process, (first, *_) = worker(proxy), proxy.config.routes[0].servers
        pods.kill(first)
        # From the first connection on, which finds a pod that refuses it.
        found = taken(proxy)
        assert found.keys() == {"127.1.1.2", "127.1.1.3", "127.1.2.1"}
        assert found["127.1.2.1"] == 20
        pods.revive(first)
        await_that(lambda: taken(proxy, 20) == {"127.1.1.1": 18, "127.1.2.1": 2}, "the zone is preferred again")
        assert worker(proxy) == process
        assert all(map(is_alive, connections))


def test_the_zone_of_a_proxy_becomes_known_without_a_reload(pods: Pods) -> None:
    known = zoned(pods)
    unknown = replace(known, zones=zones_of(known, ""), serial=known.serial + 1)
    with live(unknown) as proxy, held(proxy, 20) as connections:
        process = worker(proxy)
        assert len(taken(proxy)) == 6
        proxy.serve(replace(known, serial=known.serial + 2))
        assert taken(proxy) == {"127.1.1.1": 180, "127.1.2.1": 20}
        # It moves to the other zone, as far as the cluster says.
        proxy.serve(replace(known, zones=zones_of(known, "b"), serial=known.serial + 3))
        found = taken(proxy)
        assert found.keys() == {"127.1.1.2", "127.1.1.3", "127.1.2.2", "127.1.2.3"}
        assert found["127.1.2.2"] + found["127.1.2.3"] == 20
        assert worker(proxy) == process
        assert all(map(is_alive, connections))


def test_a_route_without_a_pod_in_the_zone_uses_all_others(pods: Pods) -> None:
    with live(zoned(pods, proxy="c")) as proxy:
        found = taken(proxy)
        assert len(found) == 6
        assert sum(count for address, count in found.items() if address.startswith("127.1.2.")) == 20


def test_pods_that_come_and_go_keep_the_preference_without_a_reload(pods: Pods) -> None:
    config = zoned(pods)
    near, far, *_ = config.routes[0].servers
    with live(config) as proxy:
        process = worker(proxy)
        only_far = replace(config.routes[0], servers=(far, pods.add("127.1.1.4")))
        moved = replace(config, routes=(only_far, config.routes[1]), serial=1)
        proxy.serve(replace(moved, zones=zones_of(moved, "a")))
        found = taken(proxy)
        assert found.keys() == {"127.1.1.2", "127.1.1.4", "127.1.2.1"}
        assert found["127.1.2.1"] == 20
        back = replace(config, serial=2)
        proxy.serve(back)
        assert taken(proxy) == {"127.1.1.1": 180, "127.1.2.1": 20}
        assert near in back.routes[0].servers
        assert worker(proxy) == process


def test_the_preference_survives_restarts_of_agent_and_haproxy(pods: Pods) -> None:
    with live(zoned(pods)) as proxy:
        proxy.restart_agent()
        proxy.restart_haproxy()
        proxy.await_served()
        assert taken(proxy) == {"127.1.1.1": 180, "127.1.2.1": 20}
        await_that(lambda: all_up(proxy), "the servers of other zones count as up")


def config_in(zone: str, *servers: Server, header: ProxyProtocol | None = None) -> ProxyConfig:
    zones = by_zone([("a", POD), *((zone, server.address) for server in servers)])
    return config_of(Pool("v1:http", 100, servers, header), zones=zones)  # type: ignore[arg-type]


@pytest.mark.parametrize("header", [None, *ProxyProtocol])
@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_a_server_of_another_zone_becomes_a_backup_of_another_name_once(
    address: str, header: ProxyProtocol | None
) -> None:
    text = render(config_in("b", Server(address, 9000), header=header)).text
    marked = preferring_own_zone(text, POD)
    (line,) = [line.split() for line in marked.splitlines() if line.startswith("  server ")]
    assert line[1].startswith(f"{address}:9000")
    assert line[1].endswith("_far")
    assert line[-1] == "backup"
    assert preferring_own_zone(marked, POD) == marked
    assert preferring_own_zone(text, "another pod") == text


def test_zones_are_no_part_of_the_split() -> None:
    config = config_in("a", Server("10.0.0.1", 9000))
    near, far = render(config), render(replace(config, zones=by_zone([("a", POD), ("b", "10.0.0.1")])))
    assert near.digest != far.digest
    assert split_of(near.digest) == split_of(far.digest)


@pytest.mark.parametrize("zone", ["a\nglobal", "", "a b", "-", "x" * 64])
def test_nothing_but_a_word_is_the_name_of_a_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="in zone"):
        config_of(Pool("v1:http", 100, ()), zones=((zone, ("10.0.0.1",)),))  # type: ignore[arg-type]
