"""A running proxy takes new weights without a reload: exact from the next connection on, and nothing is closed."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest
from kanary_agent import runtime
from kanary_agent.master import ANSWER_SECONDS, Master

from engine.render.config import OnEmptyRoute
from engine.render.haproxy import render
from tests.agent.clients import held, is_alive, stream
from tests.agent.configs import reweighted
from tests.agent.live import live, worker
from tests.agent.reweighting import HELD, Outcome, change_weights, mixes, shares
from tests.agent.test_agent_killed import is_at_rest, new_agent, survives, work
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import CONFIG_FILE, MASTER_SOCKET, config_of, windows
from tests.held.configs import with_servers
from tests.waiting import await_that

CHANGES = 200
COUNTED = 50
"""After so many more, the connections of a round are counted."""


def test_changes_under_load_close_no_connection_and_each_is_exact(pods: Pods) -> None:
    config = config_of(pods.route(100, 2), pods.route(0, 1), pods.route(0, 3), drain_seconds=1)
    with live(config) as proxy:
        begun, process = proxy.count(), worker(proxy)
        outcomes = [change_weights(proxy, COUNTED, window=100), change_weights(proxy, CHANGES, window=0)]
        assert proxy.count() == begun + sum(HELD + outcome.served for outcome in outcomes)
        assert worker(proxy) == process
    assert [replace(outcome, served=0) for outcome in outcomes] == [
        Outcome(served=0, failed=0, cut=0, windows=windows, inexact=0, processes=0) for windows in (COUNTED, 0)
    ]
    assert all(outcome.served > 0 for outcome in outcomes)


def test_every_window_between_two_changes_holds_exactly_the_weights(pods: Pods) -> None:
    config = config_of(pods.route(34, 2), pods.route(33, 1), pods.route(33, 1))
    with live(config) as proxy:
        process = worker(proxy)
        for weights in itertools.islice(mixes(3), 12):
            config = reweighted(config, *weights)
            proxy.serve(config)
            assert all(window == shares(config) for window in windows(proxy.take(250), 100))
        assert worker(proxy) == process


def test_a_route_goes_from_half_of_the_connections_to_one_in_a_thousand_without_a_reload(pods: Pods) -> None:
    config = config_of(pods.route(50, 1), pods.route(50, 1))
    with live(config) as proxy:
        process = worker(proxy)
        for first, second in [(0.1, 99.9), (50, 50), (99.9, 0.1), (12.5, 87.5)]:
            proxy.serve(reweighted(config, first, second))
            tenths = {0: round(10 * first), 1: round(10 * second)}
            assert all(window == tenths for window in windows(proxy.take(1500), 1000))
        assert worker(proxy) == process


def test_a_route_gets_its_first_weight_and_loses_its_last_without_a_reload(pods: Pods) -> None:
    config = config_of(pods.route(100, 2), pods.route(0, 1))
    with live(config) as proxy:
        process = worker(proxy)
        for second in (5, 0, 5, 100, 0):
            proxy.serve(reweighted(config, 100 - second, second))
            assert Counter(proxy.take(100)) == shares(proxy.config)
        assert worker(proxy) == process


def test_held_connections_of_a_route_that_loses_its_weight_go_on_beyond_the_drain_time(pods: Pods) -> None:
    config = config_of(pods.route(100, 1), pods.route(0, 1), drain_seconds=1)
    with live(config) as proxy, held(proxy, 10) as connections:
        proxy.serve(reweighted(config, 0, 100))
        # What a reload leaves behind shows when the drain time is over.
        control_config = config_of(*config.routes, drain_seconds=1)
        with live(control_config) as control, held(control, 1) as (left,):
            control.serve(replace(control_config, idle_seconds=60))
            await_that(lambda: not is_alive(left), "the drain time is over")
        assert all(is_alive(connection) for connection in connections)
        assert proxy.report()["draining"] == 0


@pytest.mark.parametrize("policy", [OnEmptyRoute.REDISTRIBUTE, OnEmptyRoute.FAIL])
def test_all_weight_goes_from_pods_that_leave_to_pods_that_come_in_one_change(pods: Pods, policy: OnEmptyRoute) -> None:
    """No connection finds its route without a pod: pods come before the weights, and leave after them."""
    first, second = pods.route(100, 2), pods.route(0, 2)
    config = config_of(first, replace(second, servers=()), on_empty_route=policy)
    other = replace(config, routes=(replace(first, weight=0, servers=()), replace(second, weight=100)))
    with live(config) as proxy, stream(proxy) as clients:
        process = worker(proxy)
        for change in [other, config] * 5:
            proxy.serve(change)
        assert worker(proxy) == process
    assert clients.failed == 0


class WithoutAdditions(Master):
    """HAProxy adds no server, as if it had no memory."""

    def execute(self, *commands: str, seconds: float = ANSWER_SECONDS) -> str:
        return super().execute(*(command for command in commands if "add server" not in command), seconds=seconds)


def test_weights_do_not_go_to_a_route_whose_pods_could_not_be_added(pods: Pods) -> None:
    """A reload brings both at once."""
    first, second = pods.route(100, 1), pods.route(0, 1)
    config = config_of(first, replace(second, servers=()))
    other = replace(config, routes=(replace(first, weight=0), replace(second, weight=100)))
    with live(config) as proxy:
        master = WithoutAdditions(str(proxy.run / MASTER_SOCKET), str(proxy.run))
        assert runtime.update(master, render(config).text, render(other).text, count=lambda: None) == ""
        assert proxy.take(20) == [0] * 20


def test_the_share_of_an_empty_route_is_redistributed_by_the_latest_weights(pods: Pods) -> None:
    routes = pods.route(60, 2), pods.route(30, 1), pods.route(10, 1)
    config = config_of(*routes)
    with live(config) as proxy:
        process = worker(proxy)
        for weights in [(50, 30, 20), (10, 30, 60), (0, 30, 70), (23, 60, 17)]:
            proxy.serve(with_servers(reweighted(config, *weights), 1))
            first, _, last = weights
            expected = {number: weight for number, weight in ((0, first), (2, last)) if weight}
            assert all(window == expected for window in windows(proxy.take(250), first + last))
            proxy.serve(reweighted(config, *weights))
            assert all(window == shares(proxy.config) for window in windows(proxy.take(200), 100))
        assert worker(proxy) == process


def test_a_route_that_is_down_gives_its_share_by_the_latest_weights(pods: Pods) -> None:
    config = config_of(pods.route(60, 2), pods.route(30, 2), pods.route(10, 1))
    with live(config) as proxy:
        pods.kill(*config.routes[1].servers)
        proxy.await_servers_up(route=1, count=0)
        for weights in [(50, 30, 20), (10, 30, 60), (23, 60, 17)]:
            proxy.serve(reweighted(config, *weights))
            first, _, last = weights
            assert all(window == {0: first, 2: last} for window in windows(proxy.take(250), first + last))


@pytest.mark.parametrize("policy", [OnEmptyRoute.REDISTRIBUTE, OnEmptyRoute.FAIL])
def test_without_any_pod_connections_are_closed_until_one_comes(pods: Pods, policy: OnEmptyRoute) -> None:
    config = config_of(pods.route(60, 1), pods.route(40, 1), pods.route(0, 1), on_empty_route=policy)
    with live(config) as proxy:
        process = worker(proxy)
        proxy.serve(with_servers(with_servers(config, 0), 1))
        assert proxy.take(20) == [None] * 20
        proxy.serve(with_servers(config, 0))
        shared = {1: 100} if policy is OnEmptyRoute.REDISTRIBUTE else {None: 60, 1: 40}
        assert Counter(proxy.take(100)) == shared
        proxy.serve(config)
        assert Counter(proxy.take(100)) == {0: 60, 1: 40}
        assert worker(proxy) == process


def test_a_hundred_routes_of_the_longest_names_take_new_weights(pods: Pods) -> None:
    routes = [pods.route(1, 1) for _ in range(100)]
    named = [replace(route, backend=f"{'v' * 61}{number:02}:_{'9' * 15}") for number, route in enumerate(routes)]
    config = config_of(*named)
    with live(config) as proxy:
        process = worker(proxy)
        for second in (0, 2, 40):
            weights = [100 - 60 - second, second, *[1] * 60, *[0] * 38]
            proxy.serve(reweighted(config, *weights))
            assert Counter(proxy.take(100)) == shares(proxy.config)
        assert worker(proxy) == process


def test_haproxy_starts_again_with_the_latest_weights(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        for second in (50, 0, 70):
            proxy.serve(reweighted(config, 100 - second, second))
        assert (proxy.run / CONFIG_FILE).read_text() == render(proxy.config).text
        proxy.kill_agent()
        proxy.restart_haproxy()
        await_that(proxy.is_ready, "HAProxy is back")
        assert Counter(proxy.take(100)) == {0: 30, 1: 70}


def test_weights_that_somebody_else_set_are_corrected(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    with live(config) as proxy:
        process = worker(proxy)
        proxy.command(f"experimental-mode on; @1 set var proc.split str({'1' * 1000})")
        await_that(lambda: "111111" not in proxy.command("@1 get var proc.split"), "the agent has corrected it")
        assert Counter(proxy.take(100)) == {0: 80, 1: 20}
        assert worker(proxy) == process


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_before_or_after_any_effect_the_next_agent_completes_the_change(pods: Pods, after: bool) -> None:
    config = config_of(pods.route(99, 1), pods.route(1, 1))
    with live(config) as proxy, held(proxy, 5) as connections:
        proxy.kill_agent()
        process = worker(proxy)
        for effects in itertools.count():
            weight = 99 - effects
            proxy.mount(reweighted(config, weight, 100 - weight))
            if survives(new_agent(proxy), proxy, effects, after):
                break
            if f"<{render(proxy.config).digest}>" in proxy.command("@1 get var proc.digest"):
                # What is reported is in force.
                assert Counter(proxy.take(100)) == shares(proxy.config)
            work(new_agent(proxy), proxy)
            assert Counter(proxy.take(100)) == shares(proxy.config)
        # The check, the files, and what is requested and set.
        assert effects >= 8
        assert worker(proxy) == process
        assert all(is_alive(connection) for connection in connections)


def test_killed_between_two_changes_it_does_not_leave_the_weights_of_one_with_the_digest_of_the_other(
    pods: Pods,
) -> None:
    """The change is taken back before the next agent has begun."""
    config = config_of(pods.route(80, 1), pods.route(20, 1))
    other = reweighted(config, 30, 70)
    with live(config) as proxy:
        proxy.kill_agent()
        text = render(other).text.partition("set-var proc.split ")[2].splitlines()[0]
        # As an agent leaves things that was killed before it set the digest.
        proxy.command(f"experimental-mode on; @1 set var proc.split {text}")
        proxy.start_agent()
        await_that(lambda: text[4:-1] not in proxy.command("@1 get var proc.split"), "the agent has corrected it")
        assert Counter(proxy.take(100)) == {0: 80, 1: 20}
        assert is_at_rest(proxy)
