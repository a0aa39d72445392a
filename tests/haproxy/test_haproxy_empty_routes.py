"""What becomes of the share of a route that has no pod, from the start or since a moment ago."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest

from engine.render.config import OnEmptyRoute
from engine.render.selection import COUNTING_ALL, TURNS
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, greeted_by, running, windows

CLOSING = [OnEmptyRoute.FAIL, OnEmptyRoute.HOLD]


def test_redistribute_gives_the_share_of_an_empty_route_to_the_others_in_proportion(pods: Pods) -> None:
    config = config_of(pods.route(60, 2), pods.route(30, 0), pods.route(10, 1))
    with running(config) as proxy:
        taken = proxy.take(700)
    assert all(window == {0: 6, 2: 1} for window in windows(taken, 7))


@pytest.mark.parametrize("on_empty_route", CLOSING)
def test_otherwise_the_share_of_an_empty_route_is_closed_and_the_others_keep_theirs(
    pods: Pods, on_empty_route: OnEmptyRoute
) -> None:
    config = config_of(pods.route(60, 2), pods.route(30, 0), pods.route(10, 1), on_empty_route=on_empty_route)
    with running(config) as proxy:
        taken = proxy.take(500)
    assert all(window == {0: 60, None: 30, 2: 10} for window in windows(taken, 100))


@pytest.mark.parametrize("on_empty_route", OnEmptyRoute)
def test_without_any_pod_every_connection_is_closed_and_a_route_of_weight_0_stays_unused(
    pods: Pods, on_empty_route: OnEmptyRoute
) -> None:
    config = config_of(pods.route(0, 1), pods.route(100, 0), pods.route(0, 1), on_empty_route=on_empty_route)
    with running(config) as proxy:
        assert proxy.take(100) == [None] * 100


@pytest.mark.parametrize("split", [(60, 30, 10), (61, 3, 36), (62.5, 25, 12.5), (61.2, 30.1, 8.7)])
def test_redistribute_stays_exact_after_a_whole_route_died_and_after_it_came_back(
    pods: Pods, split: tuple[float, float, float]
) -> None:
    """From the first connection on whose turn would have been the dead route's."""
    first, dead, last = in_lowest_terms(split)
    total = first + dead + last
    routes = pods.route(split[0], 2), pods.route(split[1], 3), pods.route(split[2], 1)
    with running(config_of(*routes)) as proxy:
        pods.kill(*routes[1].servers)
        proxy.await_servers_up(route=1, count=0)
        assert None not in proxy.take(total)
        taken = proxy.take(3 * (first + last))
        assert all(window == {0: first, 2: last} for window in windows(taken, first + last))

        pods.revive(*routes[1].servers)
        proxy.await_servers_up(route=1, count=3)
        taken = proxy.take(3 * total)
        assert all(window == {0: first, 1: dead, 2: last} for window in windows(taken, total))


def in_lowest_terms(split: Sequence[float]) -> list[int]:
    """The same proportions in the smallest whole numbers: 6, 3 and 1 for 60, 30 and 10."""
    tenths = [round(10 * weight) for weight in split]
    return [number // math.gcd(*tenths) for number in tenths]


def test_a_dead_route_of_weight_0_changes_nothing_of_the_order_of_turns(pods: Pods) -> None:
    """Redistributed turns would come in longer runs."""
    routes = pods.route(50, 1), pods.route(0, 1), pods.route(50, 1), pods.route(0, 0)
    with running(config_of(*routes)) as proxy:
        pods.kill(*routes[1].servers)
        proxy.await_servers_up(route=1, count=0)
        taken = proxy.take(100)
    assert taken in ([0, 2] * 50, [2, 0] * 50)


@pytest.mark.parametrize("on_empty_route", CLOSING)
def test_otherwise_the_others_keep_exactly_theirs_after_a_whole_route_died(
    pods: Pods, on_empty_route: OnEmptyRoute
) -> None:
    routes = pods.route(60, 2), pods.route(30, 3), pods.route(10, 1)
    with running(config_of(*routes, on_empty_route=on_empty_route)) as proxy:
        pods.kill(*routes[1].servers)
        proxy.await_servers_up(route=1, count=0)
        taken = proxy.take(500)
    assert all(window == {0: 60, None: 30, 2: 10} for window in windows(taken, 100))


def test_connections_count_the_servers_of_all_routes_only_until_each_has_one(pods: Pods) -> None:
    """To count them for each connection would cost more than everything else."""
    routes = pods.route(50, 1), pods.route(50, 1)
    with running(config_of(*routes)) as proxy:
        assert f"<{COUNTING_ALL}>" in proxy.command("@1 get var proc.turns")
        proxy.ask()
        assert f"<{TURNS}>" in proxy.command("@1 get var proc.turns")

        pods.kill(*routes[1].servers)
        proxy.await_servers_up(route=1, count=0)
        assert proxy.take(4) == [0] * 4
        assert f"<{COUNTING_ALL}>" in proxy.command("@1 get var proc.turns")


def test_the_death_of_a_whole_route_costs_a_handful_of_connections(pods: Pods) -> None:
    """A real connection that fails starts the checks: otherwise the next one would be seconds later.

    One thread checks and connects, in turn: a second one could connect while the first one waits for a core.
    """
    routes = pods.route(70, 2), pods.route(30, 3)
    with running(config_of(*routes, threads=1)) as proxy:
        pods.kill(*routes[1].servers)
        taken = Counter(proxy.take(1000))
    assert taken[1] == 0
    # Eight checks in a row, a millisecond apart on an idle machine. Without them it would be all 300 of that route.
    assert taken[None] <= 30


def test_connections_closed_for_want_of_a_pod_are_closed_at_once(pods: Pods) -> None:
    """Their clients need not send anything first, and wait for no time limit: the limits here are an hour."""
    hour = 3_600_000
    config = config_of(pods.route(100, 0), on_empty_route=OnEmptyRoute.FAIL, connect_milliseconds=hour)
    with running(config) as proxy, proxy.connect() as connection:
        assert greeted_by(connection) is None
