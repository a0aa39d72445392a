"""Several ports of one destination: each is split by the same weights, exactly, by a counter of its own."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from engine.model.spec import MAX_BACKENDS, MAX_PORTS
from engine.render.config import FurtherPort, OnEmptyRoute, Pool, ProxyConfig, Server
from engine.render.slots import assign, backends_by_slot
from tests.agent.live import live, worker
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, free_port, greeted_by, running, windows
from tests.waiting import PATIENCE

WEIGHTS = 75, 20, 5
SHARES = Counter(dict(enumerate(WEIGHTS)))
ROUND = 100


def asked(config: ProxyConfig, port: int, count: int) -> list[int | None]:
    """The routes of as many connections to a port, one after the other; None for each that is closed."""
    listening = [config.split_port, *(further.listen for further in config.further)][port]
    numbers = {server: number for number, route in enumerate(config.ports[port]) for server in route.servers}

    def answers() -> Iterator[Server | None]:
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", listening), timeout=PATIENCE) as connection:
                yield greeted_by(connection)

    return [None if server is None else numbers[server] for server in answers()]


def with_ports(pods: Pods, count: int, **settings: object) -> ProxyConfig:
    first, *others = ([pods.route(weight, 2) for weight in WEIGHTS] for _ in range(count))
    further = tuple(FurtherPort(free_port(), tuple(routes)) for routes in others)
    return config_of(*first, further=further, **settings)


def reweighted(config: ProxyConfig, *weights: int) -> ProxyConfig:
    def changed(routes: tuple[Pool, ...]) -> tuple[Pool, ...]:
        return tuple(
            Pool(route.backend, weight, route.servers)  # type: ignore[arg-type]  # a number is read
            for route, weight in zip(routes, weights, strict=True)
        )

    further = tuple(FurtherPort(port.listen, changed(port.routes)) for port in config.further)
    return replace(config, routes=changed(config.routes), further=further)


def without_servers(config: ProxyConfig, port: int, route: int) -> ProxyConfig:
    ports = [list(routes) for routes in config.ports]
    ports[port][route] = replace(ports[port][route], servers=())
    pairs = zip(config.further, ports[1:], strict=True)
    further = tuple(FurtherPort(each.listen, tuple(routes)) for each, routes in pairs)
    return replace(config, routes=tuple(ports[0]), further=further)


@pytest.mark.parametrize("on_empty_route", [OnEmptyRoute.REDISTRIBUTE, OnEmptyRoute.FAIL])
def test_each_port_is_exact_however_the_connections_to_them_mix(pods: Pods, on_empty_route: OnEmptyRoute) -> None:
    config = with_ports(pods, 3, on_empty_route=on_empty_route)
    taken: list[list[int | None]] = [[], [], []]
    with running(config):
        for count in (7, 31, 100, 62):
            for port in range(3):
                taken[port] += asked(config, port, count * (port + 1))
    assert all(window == SHARES for each in taken for window in windows(each, ROUND))


def test_many_backends_have_names_of_two_letters_and_are_exact(pods: Pods) -> None:
    config = config_of(
        *(pods.route(2, 1) for _ in range(50)),
        further=(FurtherPort(free_port(), tuple(pods.route(2, 1) for _ in range(50))),),
    )
    with running(config):
        taken = [asked(config, port, 2 * ROUND) for port in range(2)]
    even = Counter(dict.fromkeys(range(50), 2))
    assert all(window == even for each in taken for window in windows(each, ROUND))


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_empty_route_of_one_port_leaves_the_others_exact(pods: Pods, empty: int) -> None:
    config = without_servers(with_ports(pods, 3), empty, 1)
    with running(config):
        taken = [asked(config, port, 2 * ROUND) + asked(config, port, 2 * ROUND) for port in range(3)]
    expected = [SHARES] * 3
    assert all(
        window == expected[port] for port, each in enumerate(taken) if port != empty for window in windows(each, ROUND)
    )
    assert all(window == Counter({0: 75, 2: 5}) for window in windows(taken[empty], 80))


def test_closed_connections_of_an_empty_route_are_those_of_its_port(pods: Pods) -> None:
    config = without_servers(with_ports(pods, 2, on_empty_route=OnEmptyRoute.FAIL), 1, 1)
    with running(config):
        taken = [asked(config, port, ROUND) for port in range(2)]
    assert [Counter(each) for each in taken] == [SHARES, Counter({0: 75, None: 20, 2: 5})]


def test_a_running_proxy_takes_new_weights_of_all_ports_and_counts_on_after_a_reload(pods: Pods) -> None:
    config = with_ports(pods, 3)
    with live(config) as proxy:
        process = worker(proxy)
        for weights in ((10, 30, 60), (0, 100, 0), (75, 20, 5)):
            config = reweighted(config, *weights)
            proxy.serve(config)
            shares = Counter({route: weight for route, weight in enumerate(weights) if weight})
            for port in range(3):
                assert all(window == shares for window in windows(asked(config, port, 150), ROUND))
        assert worker(proxy) == process
        before = [asked(config, port, 37 + port) for port in range(3)]
        config = replace(config, idle_seconds=1800)
        proxy.serve(config)
        assert worker(proxy) != process
        after = [asked(config, port, ROUND) for port in range(3)]
    assert all(window == SHARES for port in range(3) for window in windows(before[port] + after[port], ROUND))


def test_a_port_that_is_added_and_removed_costs_the_others_nothing(pods: Pods) -> None:
    both = with_ports(pods, 3)
    slots = tuple(route.backend for route in both.all_routes)
    both = replace(both, slots=slots)
    first = replace(both, further=both.further[1:])
    with live(first) as proxy:
        taken = asked(first, 1, 33)
        proxy.serve(both)
        taken += asked(both, 2, 33)
        proxy.serve(first)
        taken += asked(first, 1, ROUND)
    assert all(window == SHARES for window in windows(taken, ROUND))


def test_haproxy_takes_the_data_of_as_many_routes_and_ports_as_there_may_be() -> None:
    routes = MAX_BACKENDS // (1 + MAX_PORTS)
    weights = [100 - (routes - 1) * Decimal("0.1"), *[Decimal("0.1")] * (routes - 1)]
    first, *others = (
        tuple(Pool(f"v{number}:{port}", weight, (Server("127.0.0.1", 9),)) for number, weight in enumerate(weights))
        for port in range(1 + MAX_PORTS)
    )
    further = tuple(FurtherPort(free_port(), routes) for routes in others)
    backends = [route.backend for routes in (first, *others) for route in routes]
    # A rollout of each route to another Service, one after the other, leaves as many slots.
    slots = assign(assign((), (), backends), backends, [f"former-{backend}" for backend in backends])
    known = {backend for _, backend in slots} - set(backends)
    named = (*backends, *(backend for backend in backends_by_slot(slots) if backend in known))
    config = config_of(*first, further=further, slots=named)
    reversed_ = tuple(replace(route, weight=weight) for route, weight in zip(first, weights[::-1], strict=True))
    with live(config) as proxy:
        process = worker(proxy)
        proxy.serve(replace(config, routes=reversed_))
        assert worker(proxy) == process, "the weights took a reload"
