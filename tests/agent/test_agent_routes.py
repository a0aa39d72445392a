"""What the report has about each route, against a real HAProxy."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kanary_agent import counters, routes
from kanary_agent.counters import Counts, Load, SlotFigures, Summary
from kanary_agent.slots import Slots
from kanary_agent.totals import Totals

from engine.render.config import Pool, Server
from states import OnEmptyRoute
from tests.agent.clients import held
from tests.agent.configs import changes_of, reweighted
from tests.agent.live import LiveProxy, live
from tests.agent.moods import ask, visits
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, free_port
from tests.waiting import await_that


def route_of(proxy: LiveProxy, number: int = 0) -> dict[str, Any]:
    """The report's part about a route, empty until there is one."""
    found: dict[str, Any] = proxy.reported().get("routes", {}).get(proxy.config.routes[number].backend, {})
    return found


def await_route(proxy: LiveProxy, number: int = 0, **expected: object) -> dict[str, Any]:
    """The report's part about a route once it has these values."""

    def found() -> dict[str, Any]:
        route = route_of(proxy, number)
        return route if route.items() >= expected.items() else {}

    return await_that(found, f"route {number} has {expected}")


def without_times(route: dict[str, Any]) -> dict[str, Any]:
    """The report's part about a route, without durations."""
    servers = [{**server, "seconds": None} for server in route["servers"]]
    return {**route, "unreachedSeconds": None, "servers": servers}


def refusing(weight: int, servers: int = 1) -> Pool:
    """A route to a port on which nothing listens, and which no test takes."""
    return Pool("bad:http", weight, tuple(Server(f"127.77.0.{n}", 9) for n in range(1, servers + 1)))  # type: ignore[arg-type]


def test_servers_that_refuse_are_down_with_haproxys_words(pods: Pods) -> None:
    began = time.monotonic()
    config = config_of(pods.route(50, 2), refusing(50))
    with live(config) as proxy:
        assert await_route(proxy, 0, up=2, unreachedSeconds=None)["servers"] == []
        bad = await_route(proxy, 1, up=0, down=1, ejected=0)
        assert 0 <= bad["unreachedSeconds"] <= time.monotonic() - began + 1
        (server,) = bad["servers"]
        assert server["address"] == f"{config.routes[1].servers[0].address}:{config.routes[1].servers[0].port}"
        assert (server["status"], server["check"]) == ("DOWN", "L4CON")
        assert server["text"] == "Layer4 connection problem: Connection refused"
        assert 0 <= server["seconds"] <= time.monotonic() - began + 1


def test_a_route_is_reached_as_soon_as_one_check_passes(pods: Pods) -> None:
    route = pods.route(100, 2)
    pods.kill(*route.servers)
    with live(config_of(route)) as proxy:
        await_that(lambda: (route_of(proxy).get("unreachedSeconds") or 0) >= 2, "it is unreached for 2 s")
        pods.revive(route.servers[0])
        await_route(proxy, up=1, down=1, unreachedSeconds=None)
        killed = time.monotonic()
        pods.kill(route.servers[0])
        assert await_route(proxy, up=0, down=2)["unreachedSeconds"] <= time.monotonic() - killed + 1


def test_what_is_down_stays_so_over_a_reload_and_a_restart_of_the_agent(pods: Pods) -> None:
    with live(config_of(pods.route(50, 1), refusing(50))) as proxy:
        before = await_route(proxy, 1, up=0, down=1)
        proxy.serve(next(changes_of(proxy.config)))
        for _ in range(20):
            assert without_times(route_of(proxy, 1)) == without_times(before)
        proxy.restart_agent()
        proxy.await_served()
        after = await_route(proxy, 1, up=0, down=1)
        assert after["unreachedSeconds"] >= before["unreachedSeconds"]
        assert after["servers"][0]["seconds"] >= before["servers"][0]["seconds"]


def test_a_route_is_unreached_until_the_first_check_of_a_new_server(pods: Pods) -> None:
    """HAProxy takes it for up, and balances connections to it."""
    silent = Pool("bad:http", 50, (Server("127.77.0.1", free_port()),))  # type: ignore[arg-type]
    with socket.create_server((silent.servers[0].address, silent.servers[0].port), backlog=0) as listener:
        # A backlog that is full accepts nothing.
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        with contextlib.ExitStack() as stack, live(config_of(pods.route(50, 1), silent)) as proxy:
            for filler in fillers:
                stack.enter_context(filler)
            assert await_route(proxy, 1, up=1)["unreachedSeconds"] is not None
            server = await_route(proxy, 1, down=1)["servers"][0]
            assert (server["status"], server["check"]) == ("DOWN", "L4TOUT")


def test_a_route_stays_reached_when_servers_are_added(pods: Pods) -> None:
    route = pods.route(100, 1)
    more = pods.add("127.99.0.1")
    with live(config_of(route, kanary="k", serial=1)) as proxy:
        await_route(proxy, up=1, unreachedSeconds=None)
        proxy.serve(replace(proxy.config, serial=2, routes=(replace(route, servers=(*route.servers, more)),)))
        await_route(proxy, up=2, unreachedSeconds=None)


def test_a_route_without_servers_is_not_unreached(pods: Pods) -> None:
    with live(config_of(pods.route(100, 1), Pool("empty:http", 0, ()))) as proxy:  # type: ignore[arg-type]
        assert await_route(proxy, 1, up=0, down=0)["unreachedSeconds"] is None


def test_at_most_10_servers_of_a_route_are_listed(pods: Pods) -> None:
    with live(config_of(pods.route(50, 1), refusing(50, servers=30))) as proxy:
        assert len(await_route(proxy, 1, up=0, down=30)["servers"]) == 10


def test_connections_are_counted_over_reloads_and_restarts_of_haproxy(pods: Pods) -> None:
    config = config_of(pods.route(100, 1), drain_seconds=600)
    with live(config) as proxy, contextlib.ExitStack() as stack:
        proxy.take(5)
        await_route(proxy, connections=5, open=0)
        stack.enter_context(held(proxy, 3))
        await_route(proxy, connections=8, open=3)
        proxy.serve(next(changes_of(config)))
        # Those of the former worker are still open.
        await_route(proxy, connections=8, open=3)
        proxy.take(2)
        await_route(proxy, connections=10, open=3)
        proxy.restart_haproxy()
        proxy.await_served()
        proxy.take(4)
        await_route(proxy, connections=14, open=0)


def test_connections_are_counted_over_restarts_of_the_agent(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy:
        proxy.take(5)
        await_route(proxy, connections=5)
        proxy.serve(next(changes_of(config)))
        proxy.restart_haproxy()
        proxy.await_served()
        proxy.take(2)
        # The workers that have counted the others have ended.
        await_route(proxy, connections=7)
        proxy.kill_agent()
        proxy.take(4)
        proxy.start_agent()
        await_route(proxy, connections=11)
        proxy.kill_agent()
        proxy.haproxy.kill()
        proxy.haproxy.wait()
        proxy.start_agent()
        # HAProxy does not respond yet.
        await_route(proxy, connections=11, up=0)
        proxy.restart_haproxy()
        await_route(proxy, connections=11, up=1)


def since_change(proxy: LiveProxy) -> list[int | None]:
    return [route_of(proxy, number).get("sinceChange") for number in range(len(proxy.config.routes))]


def await_since_change(proxy: LiveProxy, *counts: int) -> None:
    await_that(lambda: since_change(proxy) == list(counts), f"the routes have had {counts} connections")


def test_connections_since_the_weights_changed_are_counted(pods: Pods) -> None:
    """Over reloads, and restarts of the agent and of HAProxy, but not over a change of the weights."""
    config = config_of(pods.route(80, 1), pods.route(20, 1), drain_seconds=600)
    with live(config) as proxy:
        await_since_change(proxy, 0, 0)
        proxy.take(10)
        await_since_change(proxy, 8, 2)
        proxy.restart_agent()
        await_since_change(proxy, 8, 2)
        with held(proxy, 10):
            proxy.serve(replace(proxy.config, idle_seconds=proxy.config.idle_seconds + 1))
            await_since_change(proxy, 16, 4)
        proxy.restart_haproxy()
        proxy.await_served()
        proxy.take(10)
        await_since_change(proxy, 24, 6)
        proxy.serve(reweighted(proxy.config, 50, 50))
        assert since_change(proxy) == [0, 0]
        proxy.take(10)
        await_since_change(proxy, 5, 5)
        proxy.restart_agent()
        await_since_change(proxy, 5, 5)


def test_connections_that_other_routes_receive_are_counted_where_they_are(pods: Pods) -> None:
    config = config_of(pods.route(80, 1), pods.route(20, 1))
    with live(config) as proxy:
        proxy.take(10)
        await_since_change(proxy, 8, 2)
        proxy.serve(replace(config, routes=(config.routes[0], replace(config.routes[1], servers=()))))
        proxy.take(10)
        await_since_change(proxy, 18, 2)


@pytest.mark.parametrize("policy", OnEmptyRoute)
@pytest.mark.parametrize("servers", [0, 1])
def test_connections_that_are_closed_because_no_route_is_up_are_counted(policy: OnEmptyRoute, servers: int) -> None:
    """As failures of the route whose turn it was."""
    with live(
        config_of(refusing(50, servers), replace(refusing(50, servers), backend="worse:http"), on_empty_route=policy)
    ) as proxy:
        for number in (0, 1):
            await_route(proxy, number, up=0, down=servers)
        for _ in range(4):
            with proxy.connect() as client:
                assert client.recv(1) == b""
        for number in (0, 1):
            await_route(proxy, number, connections=2, unconnected=2)


def test_failures_are_counted_by_kind(pods: Pods) -> None:
    with live(config_of(pods.route(50, 1), refusing(50), on_empty_route=OnEmptyRoute.FAIL)) as proxy:
        await_route(proxy, 1, down=1)
        proxy.take(4)
        await_route(proxy, 1, connections=2, unconnected=2, reset=0)
    route = pods.route(100, 1)
    with resetting() as server, live(config_of(replace(route, servers=(*route.servers, server)))) as proxy:
        await_route(proxy, up=2)
        list(visits(proxy, ask, 4))
        await_route(proxy, connections=4, unconnected=0, reset=2)


@contextlib.contextmanager
def resetting() -> Iterator[Server]:
    """A pod that resets what it accepts."""

    async def reset(reader: Any, writer: Any) -> None:
        # Before HAProxy has seen that the connection is there, it would take it for a refusal, and try another pod.
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    with Pods(reset) as bad:
        yield bad.add("127.98.0.1")


def test_a_worker_that_hangs_loses_no_count(pods: Pods) -> None:
    config = config_of(pods.route(100, 1), drain_seconds=600)
    with live(config) as proxy, held(proxy, 2):
        await_route(proxy, connections=2)
        former = int(proxy.command("@1 show info").partition("\nPid: ")[2].split()[0])
        proxy.serve(next(changes_of(config)))
        os.kill(former, signal.SIGSTOP)
        try:
            assert route_of(proxy)["connections"] == 2
        finally:
            os.kill(former, signal.SIGCONT)
        await_route(proxy, connections=2, open=2)


def summary(worker: str, connections: int, reset: int = 0) -> Summary:
    figures = SlotFigures(1, 0, 0, Counts(connections, 0, reset, 0, 0))
    return Summary(worker, Load(0, 0), {"a": figures}, {"a": "a:http"})


def test_totals_never_decrease(tmp_path: Path) -> None:
    totals = Totals(str(tmp_path / "counts.json"))
    for worker, connections, total in (("1", 5, 5), ("1", 7, 7), ("2", 1, 8), ("1", 8, 9), ("2", 0, 9), ("3", 2, 11)):
        totals.add(summary(worker, connections))
        assert totals.of("a:http").connections == total
    totals.forget_all_but(["3"])
    assert totals.of("a:http").connections == 11
    totals.forget_all_but([])
    assert totals.of("a:http").connections == 0


def test_totals_continue_where_a_former_agent_saved_them(tmp_path: Path) -> None:
    path = str(tmp_path / "counts.json")
    former = Totals(path)
    for found in (summary("1", 5, reset=1), summary("2", 3)):
        former.add(found)
    former.save()
    # Not saved, and not lost.
    former.add(summary("2", 4))
    totals = Totals(path)
    assert totals.of("a:http") == Counts(8, 0, 1, 0, 0)
    for worker, connections, total in (("2", 6, 11), ("1", 5, 11), ("3", 2, 13)):
        totals.add(summary(worker, connections))
        assert totals.of("a:http").connections == total


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"totals": {}}',
        '{"totals": {}, "workers": {"1": {"a": [9, 0, 0, 0, 0]}}}',
        '{"totals": {}, "workers": {"1": {"a": [9, 0, 0, 0, 0]}}, "backends": {"1": {"a": 7}}}',
        '{"totals": {"a:http": [1, 2]}, "workers": {}}',
        '{"totals": {"a:http": [1, 0, 0, 0, -1]}, "workers": {}}',
        '{"totals": {"a:http": "12345"}, "workers": {}}',
        '{"totals": {"a:http": [9, 0, 0, 0, 0]}, "workers": {"1": {"a": 7}}}',
    ],
)
def test_a_damaged_file_of_totals_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "counts.json").write_text(text)
    totals = Totals(str(tmp_path / "counts.json"))
    totals.add(summary("1", 5))
    assert totals.of("a:http").connections == 5


def test_counters_stay_with_the_backend_when_a_slot_passes_to_another_one(tmp_path: Path) -> None:
    """Also if the agent is restarted."""
    path = str(tmp_path / "counts.json")
    for connections, backends in ((5, {"a": "a:http"}), (6, {}), (9, {"a": "b:http"})):
        totals = Totals(path)
        totals.add(summary("1", connections)._replace(backends=backends))
        totals.save()
    assert (totals.of("a:http").connections, totals.of("b:http").connections) == (6, 3)
    totals.forget_all_but(["1"])
    assert (totals.of("a:http").connections, totals.of("b:http").connections) == (0, 3)


def test_a_text_with_commas_and_quotes_is_read() -> None:
    lines = [
        "# pxname,svname,addr,status,lastchg,check_status,check_desc,last_chk,\n",
        'a:http,p1,10.0.0.1:9000,DOWN 1/2,7,* L4CON,"Layer4, problem","no ""route""",\n',
        "a:http,p2,10.0.0.2:9000,MAINT,7,,,,\n",
    ]
    (server,) = counters.health(lines)
    assert (server.status, server.unchanged, server.check) == ("DOWN 1/2", 7, "L4CON")
    assert server.text == 'Layer4, problem: no "route"'


def test_a_pod_is_ejected_since_it_was_drained_and_not_since_its_checks_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For HAProxy, an ejected server is up."""
    now, statuses = [1000.0], ["UP"]

    class Stat:
        def stream(self, _: str) -> list[str]:
            checked = [f"a:http,p1,10.0.0.1:9000,{status},{int(now[0]) - 10},L4OK,,,\n" for status in statuses]
            return ["# pxname,svname,addr,status,lastchg,check_status,check_desc,last_chk,\n", *checked]

    monkeypatch.setattr(routes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    read: Any = routes.Routes(Stat(), Slots(), Totals(str(tmp_path / "counts.json")))  # type: ignore[arg-type]
    found = []
    for status, up in (("UP", 1), ("DRAIN", 0), ("DRAIN", 0), ("UP", 1), ("DRAIN", 0)):
        now[0], statuses[0] = now[0] + 30, status
        figures = SlotFigures(up, 1, 0, Counts(0, 0, 0, 0, 0))
        read.observe(Summary("1", Load(0, 9), {"a": figures}, {"a": "a:http"}), {"a": 1})
        found += [server["seconds"] for server in read.figures()["a:http"]["servers"]]
    assert found == [0, 30, 0]


def test_a_report_about_100_routes_fits_into_a_line_of_a_stream(pods: Pods) -> None:
    name = "a" * 60
    routes = tuple(Pool(f"{name}{n:03}:{'b' * 15}", 1, (Server("127.77.0.1", 1 + n),)) for n in range(100))  # type: ignore[arg-type]
    with live(config_of(*routes, watched=7)) as proxy:
        await_that(lambda: sum(len(route["servers"]) for route in proxy.reported()["routes"].values()) == 100, "listed")
        proxy.take(200)
        proxy.serve(replace(proxy.config, watched=8))
        proxy.take(99)
        await_that(lambda: len(proxy.report()["revisions"][0]["routes"]) == 99, "counted")
        # Those of the present revision, and as many of the former one as there is room for.
        assert [len(revision["routes"]) for revision in proxy.report()["revisions"]] == [99, 1]
        status, line = proxy.get_from_agent("/report")
        assert (status, len(line) < 65_536) == (200, True)
