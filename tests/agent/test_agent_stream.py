"""The stream of reports: each change arrives by itself, and no client of a stream harms the agent or another one."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kanary_agent import contact, reporter, reports
from kanary_agent.contact import Contact
from kanary_agent.counters import Counts, Load, SlotFigures, Summary
from kanary_agent.fullness import CALM_SECONDS, Fullness
from kanary_agent.master import Figures, SilentError, WorkerState
from kanary_agent.records import Record
from kanary_agent.reporter import BYTES_PER_SECOND, CHANGE_SECONDS, COUNTS_SECONDS, SERVERS_SECONDS, Reporter
from kanary_agent.reports import STREAMS, ReportServer
from kanary_agent.routes import Routes, Servers
from kanary_agent.slots import Slots
from kanary_agent.totals import Totals

from engine.render.haproxy import render
from tests.agent.configs import changes_of, no_inbox, no_rollback
from tests.agent.live import POD, live
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of, free_port
from tests.waiting import PATIENCE


def test_each_configuration_is_reported_when_it_is_served(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy, proxy.streamed() as found:
        first = next(found)
        assert (first["pod"], first["digest"]) == (POD, render(config).digest)
        for change in itertools.islice(changes_of(config), 3):
            proxy.mount(change)
            assert render(change).digest in (report["digest"] for report in found)


def test_a_rejection_is_reported(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy, proxy.streamed() as found:
        next(found)
        proxy.mount(render(config).text.replace("mode tcp", "mode nonsense") + "\n")
        rejected = next(report for report in found if report["rejected"])
        assert "nonsense" in rejected["rejected"]["message"]
        assert rejected["digest"] == render(config).digest


def test_a_haproxy_that_has_ended_is_reported_and_so_is_its_return(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy, proxy.streamed() as found:
        next(found)
        proxy.process.kill()
        proxy.process.wait()
        silent = next(report for report in found if not report["digest"])
        assert "master socket: Connection refused" in silent["problem"]
        proxy.restart_haproxy()
        assert next(report for report in found if report["digest"])["digest"] == render(config).digest


class Proxy:
    """What a reporter reports about."""

    def __init__(self) -> None:
        self.serving = "a"
        self.split = "some weights"
        self.rejected = None
        self.problem = ""
        self.draining = 0
        self.is_full = False
        self.short = ()
        self.asked = 0
        self.is_silent = False

    def digest_of(self, state: WorkerState) -> str:
        return state.digest

    def figures(self) -> Figures:
        self.asked += 1
        if self.is_silent:
            raise SilentError("HAProxy does not respond")
        return Figures(WorkerState(self.serving, self.split), self.draining, [], Summary("", Load(5, 9), {}, {}))


def reporting(proxy: Any) -> tuple[Reporter, Routes]:
    routes = Routes(proxy, Slots(), Totals("no such folder/counts.json"))
    return Reporter(POD, proxy, proxy, proxy, routes, ports=proxy, rollback=no_rollback()), routes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    for module in (reporter, reports):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: 10 * now[0]))
    return now


def test_changes_are_news_after_50_ms_and_counts_after_30_s(clock: list[float]) -> None:
    proxy: Any = Proxy()
    found, _ = reporting(proxy)
    assert json.loads(found.news())["digest"] == "a"
    # These weights have been in force for a while.
    clock[0] += COUNTS_SECONDS
    assert found.news() == ""
    proxy.serving = "b"
    clock[0] += CHANGE_SECONDS / 2
    assert found.news() == ""
    clock[0] += CHANGE_SECONDS
    assert json.loads(found.news())["digest"] == "b"
    asked, proxy.draining = proxy.asked, 5
    clock[0] += COUNTS_SECONDS - 1
    assert found.news() == ""
    # Nobody has asked HAProxy meanwhile.
    assert proxy.asked == asked
    clock[0] += 1
    assert json.loads(found.news())["draining"] == 5
    clock[0] += COUNTS_SECONDS
    assert found.news() == ""


def test_after_a_change_of_weights_counts_are_news_when_they_may_have_doubled(clock: list[float]) -> None:
    proxy: Any = Proxy()
    found, _ = reporting(proxy)
    found.news()
    clock[0] += 100
    proxy.serving, proxy.split = "b", "other weights"
    news = []
    for _ in range(1000):
        clock[0] += 0.1
        proxy.draining += 1
        if found.news():
            news.append(clock[0] - 200)
    assert news == pytest.approx([0.1, 1.1, 2.1, 4.1, 8.1, 16.1, 32.1, 62.1, 92.1], rel=0.12)


def test_servers_are_news_after_1_s(clock: list[float]) -> None:
    found, routes = reporting(Proxy())
    assert json.loads(found.news())["routes"] == {}
    routes.servers = {"v1:http": Servers(up=1, down=1)}
    clock[0] += SERVERS_SECONDS / 2
    assert found.news() == ""
    clock[0] += SERVERS_SECONDS / 2
    assert json.loads(found.news())["routes"]["v1:http"]["down"] == 1


def test_a_route_that_is_reached_or_not_is_news_after_50_ms(clock: list[float]) -> None:
    found, routes = reporting(Proxy())
    routes.servers = {"v1:http": Servers(up=1, unreached_since=7)}
    found.news()
    routes.servers = {"v1:http": Servers(up=1)}
    clock[0] += CHANGE_SECONDS
    assert json.loads(found.news())["routes"]["v1:http"]["unreachedSeconds"] is None


def test_a_proxy_that_becomes_full_is_news_after_50_ms(clock: list[float]) -> None:
    proxy: Any = Proxy()
    found, _ = reporting(proxy)
    assert json.loads(found.news())["full"] is False
    proxy.is_full = True
    clock[0] += CHANGE_SECONDS
    assert json.loads(found.news())["full"] is True


def test_a_proxy_is_full_until_it_has_been_below_its_limit_for_10_s() -> None:
    fullness = Fullness()
    fullness.observe(Load(0, 0), now=0)
    assert not fullness.is_full
    for now, connections, is_full in (
        (1, 159, False),
        (2, 160, True),
        (8, 150, True),
        (8 + CALM_SECONDS - 1, 149, True),
        (8 + CALM_SECONDS, 149, False),
        (30, 159, False),
    ):
        fullness.observe(Load(connections, 160), now)
        assert fullness.is_full is is_full, now


def test_counts_are_news_if_their_first_two_binary_digits_change(clock: list[float]) -> None:
    found, routes = reporting(Proxy())
    routes.servers = {"v1:http": Servers(up=1)}
    news = []
    for connections, failed in ((2**20, 0), (2**20 + 2**18, 0), (2**20 + 2**19, 0), (2**20 + 2**19, 1)):
        figures = SlotFigures(1, 0, 0, Counts(connections, 0, failed, 0, 0))
        routes.observe(Summary("worker", Load(0, 0), {"a": figures}, {"a": "v1:http"}), {"a": 1})
        clock[0] += COUNTS_SECONDS
        news.append(found.news())
    assert [bool(each) for each in news] == [True, False, True, True]
    assert json.loads(news[-1])["routes"]["v1:http"]["connections"] == 2**20 + 2**19


def test_counts_of_a_watched_revision_are_news_after_1_s_and_the_first_failure_at_once(clock: list[float]) -> None:
    totals = Totals("no such folder/counts.json")
    routes = Routes(Proxy(), Slots(), totals)  # type: ignore[arg-type]
    proxy: Any = Proxy()
    found = Reporter(POD, proxy, proxy, proxy, routes, ports=proxy, rollback=no_rollback())
    routes.servers = {"v1:http": Servers(up=1)}

    def counted(connections: int, failed: int = 0, watched: int = 7) -> None:
        figures = SlotFigures(1, 0, 0, Counts(connections, 0, 0, 0, 0))
        summary = Summary("8 1", Load(0, 0), {"a": figures}, {"a": "v1:http"}, watched, next_number=connections)
        routes.observe(summary, {"a": 1})
        for number in range(failed):
            record = Record("8", number, "10.0.0.1:1", "a", "10.0.0.2:9000", "SD", 1, 100, 0, 9, "ECONNRESET")
            totals.revisions.record(record, "v1:http", clock[0])

    counted(5)
    assert json.loads(found.news())["revisions"] == [{"revision": 7, "routes": {}}]
    counted(9)
    clock[0] += SERVERS_SECONDS / 2
    assert found.news() == ""
    clock[0] += SERVERS_SECONDS / 2
    (revision,) = json.loads(found.news())["revisions"]
    assert revision == {"revision": 7, "routes": {"v1:http": {"connections": 4, "failed": 0}}}
    # Number 0 is from before the agent.
    counted(9, failed=7)
    clock[0] += CHANGE_SECONDS
    assert json.loads(found.news())["revisions"][0]["routes"]["v1:http"]["failed"] == 2
    counted(9, failed=6)
    clock[0] += SERVERS_SECONDS / 2
    assert found.news() == ""
    clock[0] += SERVERS_SECONDS / 2
    assert json.loads(found.news())["revisions"][0]["routes"]["v1:http"]["failed"] == 3
    counted(9, watched=0)
    clock[0] += CHANGE_SECONDS
    assert "revisions" not in json.loads(found.news())
    counted(10, watched=0)
    clock[0] += SERVERS_SECONDS
    assert found.news() == ""


def test_time_that_passes_is_no_news(clock: list[float]) -> None:
    found, routes = reporting(Proxy())
    routes.servers = {"v1:http": Servers(down=1, unreached_since=7)}
    assert found.news()
    clock[0] += COUNTS_SECONDS
    assert found.news() == ""


def test_large_news_about_servers_follow_each_other_as_slowly_as_the_operator_reads(clock: list[float]) -> None:
    found, routes = reporting(Proxy())
    routes.servers = {f"v{number}:http": Servers(up=1) for number in range(100)}
    size = len(found.news())
    routes.servers = routes.servers | {"v0:http": Servers(down=1)}
    clock[0] += size / BYTES_PER_SECOND - 0.1
    assert found.news() == ""
    clock[0] += 0.2
    assert json.loads(found.news())["routes"]["v0:http"]["down"] == 1


def test_a_report_that_one_client_has_read_is_still_news_for_the_streams(clock: list[float]) -> None:
    proxy: Any = Proxy()
    found, _ = reporting(proxy)
    found.news()
    proxy.serving = "b"
    found.report()
    clock[0] += 1
    assert json.loads(found.news())["digest"] == "b"


def test_a_stream_that_began_while_haproxy_was_silent_gets_the_report_of_before(clock: list[float]) -> None:
    """To the operator, a proxy that does not respond serves nothing."""
    proxy: Any = Proxy()
    found, _ = reporting(proxy)
    found.news()
    proxy.is_silent = True
    assert json.loads(found.report())["digest"] == ""
    proxy.is_silent = False
    clock[0] += CHANGE_SECONDS
    assert json.loads(found.news())["digest"] == "a"


class Server(ReportServer):
    """A server with these pages; `news` are what it sends next."""

    def __init__(self, report: str = "{}") -> None:
        self.port = free_port()
        self.news: list[str] = []
        self.contact = Contact(POD, lost_seconds=0)
        pages = {"/reports": lambda: report}
        super().__init__(self.port, pages, lambda: self.news.pop() if self.news else "", no_inbox(), self.contact)

    @contextlib.contextmanager
    def streaming(self, host: str = "127.0.0.1") -> Iterator[socket.socket]:
        """A client on that address that has sent its request, and has read what it got."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE, source_address=(host, 0)) as client:
            client.sendall(b"GET /reports HTTP/1.1\r\n\r\n")
            # Once is not always enough on a busy machine.
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline and not select.select([client], [], [], 0)[0]:
                self.serve(0.05)
            assert client.recv(65_536).endswith(b"\r\n\r\n{}\n")
            client.setblocking(False)
            yield client

    def serves(self, client: socket.socket) -> bool:
        """Whether that client gets the next news."""
        self.news = ["news"]
        self.serve(0.05)
        with contextlib.suppress(OSError):
            return client.recv(65_536) == b"news\n"
        return False


def test_a_stream_without_news_costs_nothing_and_ends_if_its_host_is_gone_for_60_s() -> None:
    server = Server()
    with server.streaming() as client:
        server.serve(0.15)
        with pytest.raises(BlockingIOError):
            client.recv(10)
        connection = server._clients[0].connection
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


def test_a_client_that_does_not_read_is_dropped() -> None:
    server = Server()
    with server.streaming() as client:
        client.setblocking(True)
        for _ in range(2000):
            server.news = ["x" * 60_000]
            server.serve(0)
            if not server._clients:
                break
        assert not server._clients


@pytest.mark.parametrize("sent", [b"more", b"operator of another pod\n", b"\n"])
def test_a_client_that_sends_anything_but_signs_of_the_operator_is_dropped(sent: bytes) -> None:
    server = Server()
    with server.streaming() as client:
        client.sendall(sent)
        server.serve(0.05)
        assert not server.serves(client)


def test_a_sign_of_the_operator_renews_the_contact_in_whatever_pieces_it_arrives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, now = Server(), [time.monotonic()]
    monkeypatch.setattr(contact, "time", SimpleNamespace(monotonic=lambda: now[0]))
    sign = server.contact.sign
    with server.streaming() as client:
        for piece in (sign[:5], sign[5:] + sign[:-1]):
            now[0] += 1
            client.sendall(piece)
            server.serve(0.05)
        assert not server.contact.is_lost
        now[0] += 1
        assert server.contact.is_lost
        assert server.serves(client)


def test_no_other_host_can_displace_a_stream() -> None:
    server = Server()
    with server.streaming("127.0.0.2") as operator, contextlib.ExitStack() as stack:
        for _ in range(3 * STREAMS):
            stack.enter_context(server.streaming("127.0.0.3"))
        assert server.serves(operator)
        assert len(server._clients) == STREAMS


def test_the_newest_of_a_host_displaces_its_oldest() -> None:
    server = Server()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.streaming()) for _ in range(STREAMS + 1)]
        assert server.serves(clients[-1])
        assert not server.serves(clients[0])
