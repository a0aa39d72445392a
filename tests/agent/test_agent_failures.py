"""Connections that fail are in the report with their pod, their client and the cause, against a real HAProxy."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kanary_agent.failures import KEPT, ROUTES, Failures, cause_of
from kanary_agent.records import PIPE, Pipe, read_record
from kanary_agent.revisions import Revisions
from kanary_agent.slots import Slots

from engine.render.config import Pool, ProxyConfig, Server
from engine.render.haproxy import RETRIES, render
from engine.render.slots import slot_names
from kanary.cli.main import main
from states import OnEmptyRoute
from tests.agent.live import LiveProxy, pod
from tests.agent.moods import (
    MoodyPods,
    Visit,
    answer_and_close,
    answer_and_reset_when_confirmed,
    ask,
    ask_and_confirm,
    ask_and_wait_for_the_end,
    leave,
    reset,
    reset_when_asked,
    swallow,
    visits,
)
from tests.apiserver import ApiServer
from tests.cli.conftest import Printed
from tests.cli.test_get import Stage
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import POD_USERS, config_of, free_port
from tests.unit.proxies import live_pod
from tests.waiting import await_that

Json = dict[str, Any]
DURATION = r"(\d+ ms|\d+\.\d s)"


@contextlib.contextmanager
def logging(config: ProxyConfig, *replacements: tuple[str, str]) -> Iterator[LiveProxy]:
    """A proxy that serves this configuration with a log of failures."""
    config = replace(config, failure_log=True)
    text = render(config).text
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    with pod(config) as proxy:
        proxy.mount(text)
        proxy.await_served()
        yield proxy


UNCHECKED = ("default-server check", "default-server")
"""Without checks, connections go to pods that are down."""


@pytest.fixture
def moody() -> Iterator[MoodyPods]:
    with MoodyPods() as running_pods:
        yield running_pods


def failures_of(proxy: LiveProxy, backend: str) -> list[Json]:
    found: list[Json] = proxy.reported().get("failures", {}).get(backend, [])
    return found


def await_failure(proxy: LiveProxy, number: int = 0) -> Json:
    """The newest failure of a route, as soon as there is one."""
    backend = proxy.config.routes[number].backend
    await_that(lambda: failures_of(proxy, backend) != [], f"a connection to {backend} has failed")
    return failures_of(proxy, backend)[0]


def address_of(server: Server) -> str:
    return f"{server.address}:{server.port}"


def visit(proxy: LiveProxy, client: Visit) -> str:
    """One client; returns its address."""
    with contextlib.suppress(ConnectionError), proxy.connect() as connection:
        address = connection.getsockname()
        client(connection)
    return f"{address[0]}:{address[1]}"


def refusing(weight: int) -> Pool:
    return Pool("bad:http", weight, (Server("127.77.0.1", 9),))  # type: ignore[arg-type]


def test_a_refused_connection_names_pod_client_and_cause(pods: Pods) -> None:
    before = time.monotonic()
    # With pods of another route that serve, so that only one of the two versions has a failure.
    config = config_of(pods.route(1, 1), refusing(99), on_empty_route=OnEmptyRoute.FAIL)
    with logging(config, UNCHECKED, (f"retries {RETRIES}", "retries 1")) as proxy:
        clients = [visit(proxy, ask) for _ in range(2)]
        failure = await_failure(proxy, 1)
        assert failure["server"] == address_of(config.routes[1].servers[0])
        assert failure["client"] in clients
        assert re.fullmatch(rf"refused or unreachable: 2 attempts within {DURATION}", failure["cause"])
        assert 0 <= failure["secondsAgo"] <= time.monotonic() - before
        assert failures_of(proxy, config.routes[0].backend) == []


def test_a_connection_that_finds_no_pod_up_says_so(pods: Pods) -> None:
    config = config_of(refusing(100), on_empty_route=OnEmptyRoute.FAIL)
    with logging(config) as proxy:
        await_that(lambda: proxy.report()["routes"].get("bad:http", {}).get("down") == 1, "the pod is down")
        visit(proxy, ask)
        failure = await_failure(proxy)
        assert (failure["server"], failure["cause"]) == ("", "no pod was up")


def test_a_pod_that_drops_packets_is_not_accepting(pods: Pods) -> None:
    silent = Server("127.77.0.1", free_port())
    config = config_of(Pool("bad:http", 100, (silent,)), connect_milliseconds=20)  # type: ignore[arg-type]
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((silent.address, silent.port), backlog=0))
        for _ in range(3):
            # A backlog that is full accepts nothing.
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        proxy = stack.enter_context(logging(config, UNCHECKED, (f"retries {RETRIES}", "retries 2")))
        visit(proxy, ask)
        failure = await_failure(proxy)
        assert failure["server"] == address_of(silent)
        assert re.fullmatch(rf"not accepted: 3 attempts within {DURATION}", failure["cause"])


@pytest.mark.parametrize(
    ("mood", "behaviour", "sent"),
    [(reset_when_asked, ask_and_wait_for_the_end, 0), (answer_and_reset_when_confirmed, ask_and_confirm, 6)],
)
def test_a_reset_connection_has_its_time_and_bytes(moody: MoodyPods, mood: Any, behaviour: Any, sent: int) -> None:
    config = config_of(moody.route(100, 1))
    moody.put(mood, *config.routes[0].servers)
    with logging(config) as proxy:
        client = visit(proxy, behaviour)
        failure = await_failure(proxy)
        assert (failure["server"], failure["client"]) == (address_of(config.routes[0].servers[0]), client)
        assert re.fullmatch(rf"reset after {DURATION}, {sent} bytes sent to the client", failure["cause"])


def test_a_connection_that_waits_too_long_for_a_free_one_says_so(pods: Pods) -> None:
    config = config_of(pods.route(100, 1), source_ports=1)
    with logging(config, ("timeout queue 10s", "timeout queue 100ms")) as proxy, proxy.connect() as first:
        assert first.recv(100)
        visit(proxy, ask)
        assert re.fullmatch(rf"no pod had a free connection within {DURATION}", await_failure(proxy)["cause"])


def test_clients_that_leave_and_normal_ends_are_no_failures(moody: MoodyPods) -> None:
    config = config_of(moody.route(50, 1), moody.route(50, 1))
    bad = config.routes[1].servers
    moody.put(answer_and_close, *config.routes[0].servers)
    moody.put(swallow, *bad)
    with logging(config) as proxy:
        for client in (leave, reset):
            list(visits(proxy, client, 6))
        moody.put(answer_and_close, *bad)
        list(visits(proxy, ask_and_wait_for_the_end, 6))
        # HAProxy may connect long after a client has left, to a pod that resets by then.
        await_that(lambda: (proxy.clients(), proxy.clients("sessions_total")) == (0, 18), "all visits have ended")
        # What HAProxy has sent by now is read before a failure that follows.
        moody.put(reset_when_asked, *bad)
        list(visits(proxy, ask, 2))
        assert await_failure(proxy, 1)["cause"].startswith("reset")
        assert len(failures_of(proxy, config.routes[1].backend)) == 1
        assert failures_of(proxy, config.routes[0].backend) == []


def test_the_last_failures_stay_over_a_reload_and_the_newest_is_first(moody: MoodyPods) -> None:
    config = config_of(moody.route(100, 1), drain_seconds=60)
    moody.put(reset_when_asked, *config.routes[0].servers)
    with logging(config) as proxy:
        clients = []
        for _ in range(KEPT + 2):
            clients.append(visit(proxy, ask))
            await_that(lambda: clients[-1] == await_failure(proxy)["client"], "it is reported")
        last = [failure["client"] for failure in failures_of(proxy, config.routes[0].backend)]
        assert last == clients[: -KEPT - 1 : -1]
        proxy.serve(replace(proxy.config, drain_seconds=61))
        assert [failure["client"] for failure in failures_of(proxy, config.routes[0].backend)] == last
        visit(proxy, ask)
        await_that(lambda: await_failure(proxy)["client"] != last[0], "the new worker reports as well")


def test_haproxy_serves_without_an_agent_and_reports_to_the_next_one(moody: MoodyPods) -> None:
    config = config_of(moody.route(100, 1))
    with logging(config) as proxy:
        for _ in range(2):
            proxy.kill_agent()
            moody.put(reset_when_asked, *config.routes[0].servers)
            list(visits(proxy, ask, 20))
            moody.put(answer_and_close, *config.routes[0].servers)
            assert all(visits(proxy, ask, 20))
            proxy.start_agent()
            proxy.await_served()
        moody.put(reset_when_asked, *config.routes[0].servers)
        visit(proxy, ask)
        assert await_failure(proxy)["cause"].startswith("reset")


@pytest.mark.parametrize("user", POD_USERS)
def test_it_works_as_in_a_pod(moody: MoodyPods, user: int) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    config = config_of(moody.route(100, 1), failure_log=True)
    moody.put(reset_when_asked, *config.routes[0].servers)
    with pod(config, pod_user=user) as proxy:
        proxy.serve(config)
        visit(proxy, ask)
        assert await_failure(proxy)["cause"].startswith("reset")


def test_the_command_line_finds_the_failure_through_a_port_forward(
    moody: MoodyPods, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> Printed:
        return Printed(main(list(arguments)), *capsys.readouterr())

    v1, v2 = moody.route(80, 1), moody.route(20, 1)
    moody.put(reset_when_asked, *v2.servers)
    config = config_of(replace(v1, backend="myapp-v1:http"), replace(v2, backend="myapp-v2:9090"))
    with logging(config) as proxy, ApiServer() as server, contextlib.ExitStack() as stack:
        clients = [visit(proxy, ask) for _ in range(5)]
        await_failure(proxy, 1)
        counted = {"myapp-v1:http": 4, "myapp-v2:9090": 1}
        await_that(
            lambda: {name: r["connections"] for name, r in proxy.report()["routes"].items()} == counted, "counted"
        )
        stage = Stage(server, server.kubeconfig(tmp_path / "kubeconfig"), run, stack)
        stage.pod(live_pod("x-1"), proxy.report_port)
        served, failed = stage.document()["routes"]
        assert (served["connections"], served["failures"]) == (4, [])
        assert (failed["connections"], failed["failed"]) == (1, 1)
        (failure,) = failed["failures"]
        assert failure["server"] == address_of(v2.servers[0])
        assert failure["client"] in clients
        assert failure["cause"].startswith("reset after")


class Log:
    """A pipe of records, as HAProxy writes them."""

    def __init__(self, folder: Path, slots: Slots, revisions: Revisions | None = None) -> None:
        self.failures = Failures(Pipe(str(folder)), slots, revisions or Revisions())
        self._pipe = os.open(folder / PIPE, os.O_WRONLY | os.O_NONBLOCK)

    def write(self, *lines: bytes) -> None:
        for line in lines:
            os.write(self._pipe, line)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path, slots_of("v0:http", "v1:http"))


def test_of_a_storm_the_last_failures_are_kept(log: Log) -> None:
    log.write(*(line(slot="ab"[number % 2], port=number) for number in range(1000)))
    while not log.failures._pipe.is_empty:
        log.failures.step()
    found = log.failures.of({"v0:http": 1, "v1:http": 1})
    assert found["v1:http"][0]["client"] == "10.0.0.1:999"
    assert {len(failures) for failures in found.values()} == {KEPT}


def test_thousands_of_records_wait_for_the_agent_and_what_does_not_fit_is_dropped(log: Log) -> None:
    kept = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            log.write(line())
            kept += 1
    assert kept > 5000
    log.failures.step()
    log.write(line(port=7))
    while not log.failures._pipe.is_empty:
        log.failures.step()
    assert log.failures.of({"v0:http": 1})["v0:http"][0]["client"] == "10.0.0.1:7"


def test_the_next_agent_reads_what_the_former_one_has_not_read(tmp_path: Path) -> None:
    former = Log(tmp_path, slots_of("v0:http"))
    former.write(line(port=7))
    assert Log(tmp_path, slots_of("v0:http")).failures.of({"v0:http": 1}) == {}
    latest = Log(tmp_path, slots_of("v0:http"))
    latest.failures.step()
    assert latest.failures.of({"v0:http": 1})["v0:http"][0]["client"] == "10.0.0.1:7"


def test_the_memory_is_bounded_for_any_number_of_routes(tmp_path: Path) -> None:
    names = [f"v{number}:http" for number in range(ROUTES + 10)]
    log = Log(tmp_path, slots_of(*names))
    for slot in slot_names(len(names)):
        log.write(line(slot=slot))
        log.failures.step()
    assert list(log.failures.of(dict.fromkeys(names))) == names[10:]


def test_a_failure_belongs_to_the_backend_that_the_slot_had_when_the_connection_began(tmp_path: Path) -> None:
    slots = slots_of("v1:http")
    log = Log(tmp_path, slots)
    slots.observe({"a": "v2:http"})
    log.write(line(milliseconds=60_000), line(milliseconds=0))
    log.failures.step()
    found = log.failures.of({"v1:http": 1, "v2:http": 1})
    assert {name: len(failures) for name, failures in found.items()} == {"v1:http": 1, "v2:http": 1}


def test_the_pod_is_named_without_the_header_that_it_receives() -> None:
    record = read_record("8 5 10.0.0.1 1 a 10.0.0.2:9000_V2 SD 0 12 0 3 ECONNRESET")
    assert record is not None
    assert record.server == "10.0.0.2:9000"


def slots_of(*backends: str) -> Slots:
    slots = Slots()
    slots.observe(dict(zip(slot_names(len(backends)), backends, strict=True)))
    return slots


def line(
    *,
    slot: str = "a",
    state: str = "SD",
    port: int = 1,
    milliseconds: int = 12,
    sent: int = 0,
    error: str = "ECONNRESET",
    number: int = 5,
) -> bytes:
    head = f"8 {number} 10.0.0.1 {port} {slot}"
    return f"{head} 10.0.0.2:9000 {state} 0 {milliseconds} {sent} 3 {error}\n".encode()


@pytest.mark.parametrize(
    ("state", "sent", "error", "cause"),
    [
        ("SD", 7, "ETIMEDOUT returned by OS", "lost after 12 ms, 7 bytes sent to the client"),
        ("SC", 0, "Out of local source ports on the system", "no free source port: 1 attempt within 12 ms"),
        ("SC", 0, "-", "refused or unreachable: 1 attempt within 12 ms"),
        ("RC", 0, "-", "the proxy has no free file descriptor or memory"),
        ("sQ", 0, "-", "no pod had a free connection within 12 ms"),
        ("sD", 0, "Success", None),
        ("cD", 7, "Success", None),
        ("--", 0, "Success", None),
        ("CC", 0, "Success", None),
        ("CD", 0, "ECONNRESET", None),
        ("KD", 0, "-", None),
    ],
)
def test_each_end_has_a_cause_in_plain_words(log: Log, state: str, sent: int, error: str, cause: str | None) -> None:
    log.write(line(state=state, sent=sent, error=error))
    log.failures.step()
    assert [failure["cause"] for failure in log.failures.of({"v0:http": 1}).get("v0:http", [])] == (
        [cause] * bool(cause)
    )


def test_addresses_of_ipv6_have_brackets() -> None:
    record = read_record("8 5 fd00::7 41796 v1:http fd00::1:9000 sC +2 1204 0 3 -\n")
    assert record is not None
    assert (record.client, record.server) == ("[fd00::7]:41796", "[fd00::1]:9000")
    assert cause_of(record) == "not accepted: 3 attempts within 1.2 s"


@pytest.mark.parametrize("text", ["", "Proxy split started.", "a b c d e f g h i j k l", "\ufffd" * 100])
def test_other_lines_are_ignored(text: str) -> None:
    assert read_record(text) is None
