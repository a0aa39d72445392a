"""The agent ejects pods that reset their connections for a while, and no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from engine.render.config import Server
from tests.agent import moods
from tests.agent.clients import is_alive
from tests.agent.configs import changes_of
from tests.agent.live import LiveProxy, live
from tests.agent.moods import MoodyPods, Visit, failures, visits
from tests.haproxy.pods import Talk, greet_and_echo
from tests.haproxy.proxies import config_of, greeted_by
from tests.held.configs import with_servers
from tests.waiting import await_that

# Longer than any test takes.
LONG = 600
# Long enough for what a test does meanwhile, also if it is held up for two seconds.
SHORT = 4


@pytest.fixture
def pods() -> Iterator[MoodyPods]:
    with MoodyPods() as running_pods:
        yield running_pods


def spelled(*servers: Server) -> list[str]:
    return sorted(f"{server.address}:{server.port}" for server in servers)


def ejections(proxy: LiveProxy) -> list[str]:
    return [line for line in proxy.agent_log() if line.startswith("ejected: ")]


def await_ejected(proxy: LiveProxy, *servers: Server) -> int:
    """Returns when just these are out, while clients ask. How many of them failed."""
    failed = 0

    def are_out() -> bool:
        nonlocal failed
        failed += failures(proxy, 5)
        return proxy.ejected() == spelled(*servers)

    await_that(are_out, f"just {spelled(*servers)} are ejected")
    return failed


@pytest.mark.parametrize("mood", [moods.reset_at_once, moods.reset_when_asked])
@pytest.mark.parametrize("balance", ["roundrobin", "leastconn"])
def test_a_pod_that_resets_is_out_and_its_route_keeps_its_share(pods: MoodyPods, mood: Talk, balance: str) -> None:
    config = config_of(pods.route(70, 2), pods.route(30, 3), balance=balance)
    bad = config.routes[1].servers[0]
    with live(config, eject_seconds=LONG) as proxy:
        assert failures(proxy, 100) == 0
        pods.put(mood, bad)
        assert await_ejected(proxy, bad) > 0
        assert Counter(proxy.take(200)) == {0: 140, 1: 60}
        assert proxy.servers_up(1) == 2
        (line,) = ejections(proxy)
        assert line.startswith(f"ejected: {spelled(bad)[0]} for {LONG} s: it has reset ")


def test_a_pod_that_was_bad_from_the_start_is_out_too(pods: MoodyPods) -> None:
    config = config_of(pods.route(100, 2))
    bad = config.routes[0].servers[0]
    pods.put(moods.reset_at_once, bad)
    with live(config, eject_seconds=LONG) as proxy:
        await_ejected(proxy, bad)
        assert failures(proxy, 50) == 0


def test_connections_of_an_ejected_pod_continue(pods: MoodyPods) -> None:
    config = config_of(pods.route(100, 2))
    with live(config, eject_seconds=LONG) as proxy, proxy.connect() as connection:
        bad = greeted_by(connection)
        assert bad
        pods.put(moods.reset_at_once, bad)
        await_ejected(proxy, bad)
        assert is_alive(connection)


def test_a_pod_that_has_recovered_is_back(pods: MoodyPods) -> None:
    config = config_of(pods.route(100, 2))
    bad = config.routes[0].servers[0]
    with live(config, eject_seconds=SHORT) as proxy:
        pods.put(moods.reset_at_once, bad)
        await_ejected(proxy, bad)
        pods.put(greet_and_echo, bad)
        await_ejected(proxy)
        assert {proxy.ask() for _ in range(10)} == set(config.routes[0].servers)
        assert f"returned: {spelled(bad)[0]} receives connections again" in proxy.agent_log()
        assert len(ejections(proxy)) == 1


def test_a_pod_that_is_back_and_still_resets_is_out_for_longer_after_a_connection_or_few(pods: MoodyPods) -> None:
    config = config_of(pods.route(100, 2))
    bad = config.routes[0].servers[0]
    with live(config, eject_seconds=SHORT) as proxy:
        pods.put(moods.reset_at_once, bad)
        await_ejected(proxy, bad)
        await_that(lambda: proxy.ejected() == [], "it receives connections again")
        await_ejected(proxy, bad)
        first, second = ejections(proxy)
        assert f"for {SHORT} s" in first
        assert f"for {2 * SHORT} s" in second


@pytest.mark.parametrize(("count", "bad", "out"), [(1, 1, 0), (2, 2, 0), (3, 3, 0), (3, 2, 1), (4, 3, 2), (5, 2, 2)])
def test_at_most_half_of_a_route_is_ejected_and_none_if_all_pods_fail(
    pods: MoodyPods, count: int, bad: int, out: int
) -> None:
    config = config_of(pods.route(50, 1), pods.route(50, count))
    servers = config.routes[1].servers[:bad]
    with live(config, eject_seconds=LONG) as proxy:
        pods.put(moods.reset_at_once, *servers)
        await_that(lambda: failures(proxy, 20) >= 0 and len(proxy.ejected()) >= out, f"{out} are out")
        failures(proxy, 200)
        ejected = proxy.ejected()
        assert len(ejected) == out
        assert set(ejected) <= set(spelled(*servers))


def test_the_last_pod_that_is_up_stays(pods: MoodyPods) -> None:
    config = config_of(pods.route(50, 1), pods.route(50, 2))
    bad, other = config.routes[1].servers
    with live(config, eject_seconds=LONG) as proxy:
        pods.kill(other)
        proxy.await_servers_up(1, 1)
        pods.put(moods.reset_at_once, bad)
        failures(proxy, 100)
        assert proxy.ejected() == []


def test_a_pod_that_is_out_is_better_than_none(pods: MoodyPods) -> None:
    config = config_of(pods.route(50, 1), pods.route(50, 2))
    bad, other = config.routes[1].servers
    with live(config, eject_seconds=LONG) as proxy:
        pods.put(moods.reset_at_once, bad)
        await_ejected(proxy, bad)
        pods.kill(other)
        await_ejected(proxy)
        # What it did to connections may have marked it down for a moment, until the next check.
        await_that(lambda: proxy.servers_up(1) == 1, "the pod takes connections again")


def service(*cases: tuple[Talk, Visit]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("mood", "visit"), cases, ids=lambda function: function.__name__)


@service(
    (greet_and_echo, moods.listen),
    (moods.echo, moods.ask),
    (moods.echo, moods.send_the_last_byte_first),
    (moods.echo, moods.leave),
    (moods.echo, moods.reset),
    (moods.answer_and_reset, moods.ask_and_wait_for_the_end),
    (moods.answer_and_reset, moods.ask),
    (moods.swallow, moods.tell),
    (moods.close_at_once, moods.listen),
    # These reset without a word, but as the whole route does so, that is how it serves.
    (moods.close_when_asked, moods.tell),
    (moods.swallow_and_reset, moods.tell),
    (moods.reset_some, moods.ask),
)
def test_a_service_with_an_unusual_protocol_keeps_all_its_pods(pods: MoodyPods, mood: Talk, visit: Visit) -> None:
    config = config_of(pods.route(100, 3))
    pods.put(mood, *config.routes[0].servers)
    with live(config) as proxy:
        for _ in visits(proxy, visit, 3000):
            pass
        assert proxy.ejected() == []
        assert ejections(proxy) == []


@service(
    (moods.echo, moods.send_the_last_byte_first),
    (moods.echo, moods.leave),
    (moods.answer_and_reset, moods.ask_and_wait_for_the_end),
    (moods.answer_and_reset, moods.ask),
    (moods.swallow, moods.tell),
    # It may have said what it had to say.
    (moods.close_at_once, moods.ask),
)
def test_a_pod_that_ends_its_conversations_otherwise_than_the_others_stays(
    pods: MoodyPods, mood: Talk, visit: Visit
) -> None:
    config = config_of(pods.route(100, 3))
    unlike, *others = config.routes[0].servers
    pods.put(mood, unlike)
    pods.put(moods.answer_and_close, *others)
    with live(config) as proxy:
        for _ in visits(proxy, visit, 1000):
            pass
        assert proxy.ejected() == []
        assert ejections(proxy) == []


def test_who_is_out_stays_out_over_a_reload_under_another_name(pods: MoodyPods) -> None:
    config = config_of(pods.route(30, 1), pods.route(70, 3))
    servers = config.routes[1].servers
    bad = servers[1]
    with live(config, eject_seconds=LONG) as proxy:
        pods.put(moods.reset_at_once, bad)
        await_ejected(proxy, bad)
        for change in (with_servers(config, 1, *servers[1:]), config, next(changes_of(config))):
            proxy.serve(change)
            assert proxy.ejected() == spelled(bad)
            assert failures(proxy, 50) == 0


def test_who_is_out_stays_out_when_haproxy_is_started_again(pods: MoodyPods) -> None:
    config = config_of(pods.route(100, 3))
    bad = config.routes[0].servers[0]
    with live(config, eject_seconds=LONG) as proxy:
        pods.put(moods.reset_at_once, bad)
        await_ejected(proxy, bad)
        proxy.restart_haproxy()
        # The report may be from before.
        await_that(proxy.is_ready, "HAProxy is back")
        proxy.await_served()
        await_that(lambda: proxy.servers_up(0) == 2, "it is out again")
        assert len(ejections(proxy)) == 1


def test_whom_a_dead_agent_has_left_out_its_successor_knows_and_puts_back(pods: MoodyPods) -> None:
    config = config_of(pods.route(100, 2))
    bad = config.routes[0].servers[0]
    with live(config, eject_seconds=SHORT) as proxy:
        pods.put(moods.reset_at_once, bad)
        await_ejected(proxy, bad)
        proxy.kill_agent()
        pods.put(greet_and_echo, bad)
        assert proxy.servers_up(0) == 1
        proxy.start_agent()
        await_that(lambda: proxy.ejected() == spelled(bad), "the new agent knows")
        await_ejected(proxy)
        await_that(lambda: proxy.servers_up(0) == 2, "both take connections again")
