"""What counts as a failed connection, and for which revision, against a real HAProxy (docs/evidence.md)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kanary_agent.reporter import COUNTS_SECONDS

from engine.fleet.reports import read_report
from engine.fleet.tally import is_split
from engine.render.config import Pool, ProxyConfig, Server
from engine.render.haproxy import RETRIES
from states.evidence import Counts
from tests.agent.clients import stream
from tests.agent.configs import reweighted
from tests.agent.live import LiveProxy, live, worker
from tests.agent.moods import (
    RESET_ON_CLOSE,
    MoodyPods,
    Visit,
    answer_and_close,
    answer_and_reset_when_confirmed,
    ask,
    ask_and_confirm,
    ask_and_wait_for_the_end,
    break_off,
    close_at_once,
    echo,
    leave,
    reset,
    reset_when_asked,
    swallow,
    visits,
)
from tests.agent.test_agent_failures import UNCHECKED, logging, refusing
from tests.haproxy.proxies import config_of, free_port
from tests.unit.snapshots import NOW
from tests.waiting import await_that

VISITS = 5


@pytest.fixture
def pods() -> Iterator[MoodyPods]:
    with MoodyPods() as running_pods:
        yield running_pods


def revisions_of(proxy: LiveProxy) -> dict[int, dict[str, Counts]]:
    """The counts in the report, as the operator reads them."""
    return {revision: dict(routes) for revision, routes in read_report(proxy.reported(), NOW).revisions.items()}


def counts_of(proxy: LiveProxy, route: int = 0, revision: int = 0) -> Counts:
    """The counts of a route in this or the present revision."""
    revision = revision or proxy.config.watched
    return revisions_of(proxy).get(revision, {}).get(proxy.config.routes[route].backend, Counts())


def await_counts(proxy: LiveProxy, expected: Counts, route: int = 0, revision: int = 0) -> None:
    await_that(
        lambda: counts_of(proxy, route, revision) == expected, lambda: f"{expected} are counted: {proxy.reported()}"
    )


def total_of(proxy: LiveProxy, route: int = 0) -> tuple[int, int]:
    """Connections and failures since the pod started, by HAProxy's counters alone."""
    found = proxy.report()["routes"][proxy.config.routes[route].backend]
    return found["connections"], found["unconnected"] + found["reset"]


def settle(proxy: LiveProxy) -> None:
    """HAProxy's counters have been compared with its records: a failure without a record would count by now."""
    time.sleep(1.5)
    await_that(lambda: proxy.report()["problem"] == "", "HAProxy responds")


def watching(*routes: Pool, **settings: Any) -> ProxyConfig:
    return config_of(*routes, watched=7, **settings)


# What counts as a failure


@contextlib.contextmanager
def stalled(connections: int = 1) -> Iterator[Server]:
    """A pod that accepts nothing, because its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.77.0.1", free_port()), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield Server(*listener.getsockname())


def one_failure_each(proxy: LiveProxy, visit: Visit) -> None:
    list(visits(proxy, visit, VISITS))
    await_counts(proxy, Counts(VISITS, VISITS))
    settle(proxy)
    assert counts_of(proxy) == Counts(VISITS, VISITS)
    assert total_of(proxy) == (VISITS, VISITS)
    backend = proxy.config.routes[0].backend
    assert len(proxy.report()["failures"][backend]) == VISITS


def no_failure(proxy: LiveProxy, visit: Visit) -> None:
    list(visits(proxy, visit, VISITS))
    await_counts(proxy, Counts(VISITS, 0))
    settle(proxy)
    assert counts_of(proxy) == Counts(VISITS, 0)
    assert total_of(proxy) == (VISITS, 0)
    assert proxy.report()["failures"] == {}


def test_a_connection_that_is_refused_fails(pods: MoodyPods) -> None:
    with logging(watching(refusing(100)), UNCHECKED, (f"retries {RETRIES}", "retries 2")) as proxy:
        one_failure_each(proxy, ask)


def test_a_connection_that_no_pod_accepts_in_time_fails(pods: MoodyPods) -> None:
    with stalled() as pod:
        config = watching(Pool("bad:http", 100, (pod,)), connect_milliseconds=20)  # type: ignore[arg-type]
        with logging(config, UNCHECKED, (f"retries {RETRIES}", "retries 2")) as proxy:
            one_failure_each(proxy, ask)


def test_a_connection_to_a_route_without_a_pod_that_is_up_fails() -> None:
    with logging(watching(refusing(100))) as proxy:
        await_that(lambda: proxy.report()["routes"].get("bad:http", {}).get("down") == 1, "the pod is down")
        one_failure_each(proxy, ask)


def test_a_connection_that_waits_too_long_for_a_free_one_fails(pods: MoodyPods) -> None:
    config = watching(pods.route(100, 1), source_ports=1)
    with logging(config, ("timeout queue 10s", "timeout queue 100ms")) as proxy, proxy.connect() as first:
        assert first.recv(100)
        list(visits(proxy, ask, VISITS))
        await_counts(proxy, Counts(VISITS + 1, VISITS))
        settle(proxy)
        assert counts_of(proxy) == Counts(VISITS + 1, VISITS)


@pytest.mark.parametrize(
    ("mood", "visit"),
    [(reset_when_asked, ask_and_wait_for_the_end), (answer_and_reset_when_confirmed, ask_and_confirm)],
)
def test_a_connection_that_its_pod_resets_fails_before_and_after_the_first_byte(
    pods: MoodyPods, mood: Any, visit: Visit
) -> None:
    config = watching(pods.route(100, 1))
    pods.put(mood, *config.routes[0].servers)
    with logging(config) as proxy:
        one_failure_each(proxy, visit)


def test_a_connection_that_a_second_pod_accepts_does_not_fail(pods: MoodyPods) -> None:
    good = pods.route(100, 1)
    config = watching(replace(good, servers=(*good.servers, Server("127.77.0.1", 9))))
    with logging(config, UNCHECKED) as proxy:
        no_failure(proxy, ask)


@pytest.mark.parametrize("mood", [answer_and_close, close_at_once])
def test_a_connection_that_its_pod_closes_does_not_fail(pods: MoodyPods, mood: Any) -> None:
    config = watching(pods.route(100, 1))
    pods.put(mood, *config.routes[0].servers)
    with logging(config) as proxy:
        no_failure(proxy, ask_and_wait_for_the_end)


@pytest.mark.parametrize("client", [leave, reset])
@pytest.mark.parametrize("mood", [swallow, echo])
def test_a_client_that_leaves_is_no_failure(pods: MoodyPods, client: Visit, mood: Any) -> None:
    config = watching(pods.route(100, 1))
    pods.put(mood, *config.routes[0].servers)
    with logging(config) as proxy:
        no_failure(proxy, client)


def test_a_client_that_leaves_before_a_pod_accepts_is_no_failure() -> None:
    def leave_soon(connection: socket.socket) -> None:
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    with stalled() as pod:
        config = watching(Pool("bad:http", 100, (pod,)), connect_milliseconds=1000)  # type: ignore[arg-type]
        with logging(config, UNCHECKED) as proxy:
            no_failure(proxy, leave_soon)


@pytest.mark.parametrize("mood", [swallow, echo])
def test_a_connection_that_is_idle_for_too_long_is_no_failure(pods: MoodyPods, mood: Any) -> None:
    """Also if there was no answer."""
    config = watching(pods.route(100, 1), idle_seconds=1)
    pods.put(mood, *config.routes[0].servers)
    with logging(config) as proxy:
        no_failure(proxy, ask_and_wait_for_the_end)


# By revision


async def echo_until_told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A pod that resets a connection when its client says so."""
    while data := await reader.read(100):
        if data == b"reset":
            break_off(writer)
            return
        writer.write(data)


def split_of(pods: MoodyPods, *weights: int, each: int = 1) -> ProxyConfig:
    """A watched configuration of routes with so many such pods each.

    With a pod for each connection, every failure counts: connections that one pod drops together are one failure.
    """
    config = watching(*(pods.route(weight, each) for weight in weights), failure_log=True)
    pods.put(echo_until_told, *(server for route in config.routes for server in route.servers))
    return config


def next_of(config: ProxyConfig, *weights: float) -> ProxyConfig:
    """The next revision, with these weights."""
    return replace(reweighted(config, *weights), watched=config.watched + 1)


def told_to_reset(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.sendall(b"reset")


@contextlib.contextmanager
def talking(proxy: LiveProxy, count: int) -> Iterator[list[socket.socket]]:
    """As many connections that each have had an answer."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(proxy.connect()) for _ in range(count)]
        assert all(ask(connection) for connection in connections)
        yield connections


def test_connections_of_a_former_revision_fail_there(pods: MoodyPods) -> None:
    config = split_of(pods, 90, 10, each=100)
    with live(config) as proxy, talking(proxy, 100) as former:
        await_counts(proxy, Counts(90, 0))
        proxy.serve(next_of(config, 50, 50))
        changes = proxy.report()
        with talking(proxy, 20) as latest:
            told_to_reset(former)
            await_counts(proxy, Counts(90, 90), 0, revision=7)
            await_counts(proxy, Counts(10, 10), 1, revision=7)
            settle(proxy)
            assert counts_of(proxy, 0) == counts_of(proxy, 1) == Counts(10, 0)
            told_to_reset(latest)
            await_counts(proxy, Counts(10, 10))
            await_counts(proxy, Counts(10, 10), 1)
        assert counts_of(proxy, 0, revision=7) == Counts(90, 90)
        assert proxy.report()["ledger"] == changes["ledger"]


def test_a_draining_worker_counts_for_its_revision_also_after_its_agent_was_killed(pods: MoodyPods) -> None:
    config = split_of(pods, 50, 50, each=20)
    with live(config) as proxy, talking(proxy, 20) as former:
        former_worker = worker(proxy)
        proxy.serve(replace(next_of(config, 90, 10), idle_seconds=1800))
        assert worker(proxy) != former_worker
        with talking(proxy, 10):
            await_counts(proxy, Counts(9, 0))
            proxy.restart_agent()
            told_to_reset(former)
            await_counts(proxy, Counts(10, 10), revision=7)
            settle(proxy)
            assert counts_of(proxy) == Counts(9, 0)


def test_failures_while_there_is_no_agent_count_for_their_revisions(pods: MoodyPods) -> None:
    config = split_of(pods, 50, 50, each=20)
    with live(config) as proxy, talking(proxy, 20) as former:
        proxy.serve(next_of(config, 90, 10))
        with talking(proxy, 10) as latest:
            await_counts(proxy, Counts(9, 0))
            proxy.kill_agent()
            told_to_reset([*former, *latest])
            proxy.start_agent()
            proxy.await_served()
            await_counts(proxy, Counts(10, 10), revision=7)
            await_counts(proxy, Counts(9, 9))
            settle(proxy)
            assert revisions_of(proxy) == {
                8: {config.routes[0].backend: Counts(9, 9), config.routes[1].backend: Counts(1, 1)},
                7: {route.backend: Counts(10, 10) for route in config.routes},
            }


def test_counts_continue_when_haproxy_is_killed(pods: MoodyPods) -> None:
    config = split_of(pods, 50, 50, each=10)
    with live(config) as proxy:
        with talking(proxy, 20):
            await_counts(proxy, Counts(10, 0))
            proxy.restart_haproxy()
            proxy.await_served()
        with talking(proxy, 20) as latest:
            await_counts(proxy, Counts(20, 0))
            told_to_reset(latest)
            await_counts(proxy, Counts(20, 10))


def test_a_storm_of_a_former_revision_leaves_the_present_one_alone(pods: MoodyPods) -> None:
    config = split_of(pods, 50, 50, each=200)
    with live(config) as proxy, talking(proxy, 400) as former:
        proxy.serve(next_of(config, 90, 10))
        with talking(proxy, 10):
            told_to_reset(former)
            await_counts(proxy, Counts(200, 200), revision=7)
            settle(proxy)
            assert counts_of(proxy) == Counts(9, 0)


def test_of_a_stream_of_clients_nearly_all_are_counted_and_each_revision_is_split_exactly(pods: MoodyPods) -> None:
    config = watching(pods.route(50, 1), pods.route(50, 1), failure_log=True)
    counted, certain = [], 0
    with live(config) as proxy, stream(proxy) as clients:
        for weights in [(90, 10), (99, 1), (0, 100), (33.3, 66.7), (50, 50)]:
            before, former = clients.served, proxy.config
            await_that(lambda before=before: clients.served > before + 300, "some clients")  # type: ignore[misc]
            certain = clients.served
            proxy.serve(next_of(former, *weights))
            # After the change, the former counts are final.
            found = [counts_of(proxy, route, former.watched).connections for route in (0, 1)]
            assert is_split(found, [route.weight for route in former.routes])
            counted += found
    assert clients.failed == 0
    assert 0.8 * certain < sum(counted) <= clients.served


def test_failures_are_sent_long_before_other_counts(pods: MoodyPods) -> None:
    config = split_of(pods, 50, 50, each=10)
    with live(config) as proxy, proxy.streamed() as found, talking(proxy, 20) as connections:
        next(report for report in found if counted_in(report) == (20, 0))
        began = time.monotonic()
        told_to_reset(connections[:1])
        next(report for report in found if counted_in(report) == (20, 1))
        told_to_reset(connections[2:])
        next(report for report in found if counted_in(report)[1] >= 18)
        # Counts alone would take up to 30 s each time; the tests of the stream have the exact times.
        assert time.monotonic() - began < COUNTS_SECONDS / 2


def counted_in(report: dict[str, Any]) -> tuple[int, int]:
    """Connections and failures of the present revision of all routes."""
    routes = report["revisions"][0]["routes"].values()
    return sum(route["connections"] for route in routes), sum(route["failed"] for route in routes)


def test_watching_begins_and_ends_without_new_weights_and_a_reload(pods: MoodyPods) -> None:
    config = replace(split_of(pods, 50, 50, each=10), watched=0)
    with live(config) as proxy, talking(proxy, 10) as former:
        assert "revisions" not in proxy.report()
        process = worker(proxy)
        proxy.serve(replace(config, watched=7))
        with talking(proxy, 10):
            await_counts(proxy, Counts(5, 0))
            told_to_reset(former)
            await_that(lambda: total_of(proxy) == (10, 5), "they have failed")
            settle(proxy)
            assert counts_of(proxy) == Counts(5, 0)
        proxy.serve(config)
        assert "revisions" not in proxy.report()
        assert worker(proxy) == process


def test_connections_that_take_the_share_of_a_dead_route_are_left_out(pods: MoodyPods) -> None:
    config = split_of(pods, 50, 50)
    with live(config) as proxy:
        with talking(proxy, 20):
            await_counts(proxy, Counts(10, 0))
        pods.kill(config.routes[1].servers[0])
        await_that(lambda: proxy.report()["routes"][config.routes[1].backend]["down"] == 1, "it is down")
        list(visits(proxy, ask, 3))
        await_that(lambda: total_of(proxy)[0] == 13, "they are counted")
        settle(proxy)
        before = counts_of(proxy)
        list(visits(proxy, ask, 20))
        await_that(lambda: total_of(proxy)[0] == 33, "they are counted")
        settle(proxy)
        assert counts_of(proxy) == before
