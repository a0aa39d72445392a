"""Reports that arrive from agents, over real connections, and agents that do not report."""

from __future__ import annotations

import asyncio
import json
import queue
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from engine.fleet.proxy import read_proxy
from engine.fleet.reports import Report, RouteReport
from engine.ports import RetryLaterError
from engine.render.objects import KANARY_LABEL
from kanary.kube.backoff import Backoff
from kanary.kube.resources import Key
from kanary.operator import agents, proxy_agent, sending, streams
from kanary.operator.agents import Agents
from kanary.operator.run import raise_file_limit
from kanary.operator.sending import Push
from tests.unit.proxies import live_pod
from tests.unit.snapshots import NOW
from tests.waiting import PATIENCE, await_that

Json = dict[str, Any]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"


def pod(name: str = "x-1", address: str = "127.0.0.1", *, ready: bool = True, uid: str = "") -> Json:
    """A proxy pod of the Kanary x."""
    found = live_pod(name, ready=ready)
    found["metadata"] |= {"namespace": "shop", "uid": uid or f"uid-{name}", "labels": {KANARY_LABEL: "x"}}
    found["status"]["podIP"] = address
    return found


def line(name: str = "x-1", digest: str = "a" * 24, **fields: Any) -> bytes:
    """A report of that pod."""
    return json.dumps({"pod": f"uid-{name}", "digest": digest, **fields}).encode() + b"\n"


class Peers:
    """The agents of all pods on this host: `connections` are those that the operator has opened, in order."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("", 0), backlog=1000)
        self.port: int = self._listener.getsockname()[1]
        self.connections: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.connections.put(self._listener.accept()[0])

    def next(self) -> socket.socket:
        """The next connection, after its request."""
        connection = self.connections.get(timeout=PATIENCE)
        connection.settimeout(PATIENCE)
        assert connection.recv(4096).startswith(b"GET /reports ")
        return connection

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def peers() -> Iterator[Peers]:
    found = Peers()
    yield found
    found.close()


class Followed:
    """Agents that follow the pods in `cluster`, and the Kanaries that they reported news of."""

    def __init__(self, port: int) -> None:
        self.cluster: dict[Key, Json] = {}
        self.news: queue.SimpleQueue[Key] = queue.SimpleQueue()
        self.delays: list[float] = []
        self.agents = Agents(lambda: NOW, port)
        self.can_act = True
        self.counted: queue.SimpleQueue[tuple[str, str, int]] = queue.SimpleQueue()
        self.agents.start(self.cluster.get, list, self._take_news, lambda _key: self.can_act, count=self._count)

    def _take_news(self, kanary: Key, seconds: float) -> None:
        self.delays.append(seconds)
        self.news.put(kanary)

    def _count(self, namespace: str, name: str, former: Report, report: Report) -> None:
        self.counted.put((namespace, name, report.connections - former.connections))

    def put(self, *pods: Json) -> None:
        for found in pods:
            self.cluster[Key.of(found)] = found
            self.agents.changed(Key.of(found))

    def remove(self, gone: Json) -> None:
        del self.cluster[Key.of(gone)]
        self.agents.changed(Key.of(gone))

    def send(self, push: Push, *pods: Json) -> None:
        self.agents.send("shop", [read_proxy(each, None) for each in pods], push)

    def reports(self) -> dict[str, Report]:
        """Of all pods; of those that need not have reported yet, what is known."""
        return dict(self.agents.reports(list(self.cluster.values())))

    def failures(self) -> int:
        """How often no connection could be made."""
        return sum(agent.failures for agent in self.agents._agents.values())

    def sending(self) -> asyncio.Task[None]:
        """The task that sends a configuration to the only pod."""
        (found,) = self.agents._sendings.values()
        assert found._task
        return found._task

    def await_news(self) -> Key:
        return self.news.get(timeout=PATIENCE)


@pytest.fixture
def followed(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    # A busy machine may take longer to connect than it may take: the peers do not respond to further attempts.
    monkeypatch.setattr(streams, "AGENT_CONNECT_LIMIT", timedelta(seconds=PATIENCE))
    found = Followed(peers.port)
    yield found
    found.agents.stop()


def ends(connection: socket.socket) -> bool:
    """Whether the operator closes the connection."""
    with suppress(ConnectionResetError):
        while connection.recv(65_536):
            pass
    return True


def test_each_report_is_stored_and_news_for_its_kanary(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD + line(draining=1, connections=2, maxConnections=3, routes={"v1:http": {"unreachedSeconds": 3}}))
    assert followed.await_news() == Key("shop", "x")
    routes = {"v1:http": RouteReport(unreached_since=NOW - timedelta(seconds=3))}
    assert followed.reports() == {"x-1": Report("a" * 24, "", "", 1, 2, 3, routes=routes)}
    agent.sendall(line(digest="b" * 24))
    followed.await_news()
    assert followed.delays == [0, 0]
    assert followed.reports()["x-1"].digest == "b" * 24


def test_every_report_after_the_first_one_is_counted_also_on_another_connection(
    peers: Peers, followed: Followed
) -> None:
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD + line(connections=100))
    followed.await_news()
    agent.sendall(line(connections=107))
    assert followed.counted.get(timeout=PATIENCE) == ("shop", "x", 7)
    agent.close()
    peers.next().sendall(HEAD + line(connections=109))
    assert followed.counted.get(timeout=PATIENCE) == ("shop", "x", 2)


def test_a_report_may_arrive_in_parts(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    agent = peers.next()
    agent.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    content = HEAD + line()
    for part in (content[:10], content[10:-20], content[-20:-1]):
        agent.sendall(part)
        time.sleep(0.02)  # so that it is read alone; whether it is makes no difference to the result
    assert followed.news.empty()
    agent.sendall(content[-1:])
    followed.await_news()


def test_counts_are_stored_and_no_news(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD + line(connections=1, maxConnections=9))
    followed.await_news()
    agent.sendall(line(connections=9, maxConnections=9) + b"\n")
    await_that(lambda: followed.reports()["x-1"].connections == 9)
    assert followed.news.empty()
    agent.sendall(line(connections=9, maxConnections=9, full=True))
    # It is full: that is more than a count.
    followed.await_news()


def test_a_report_of_other_servers_alone_can_wait_for_the_write_of_counts(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    agent = peers.next()
    loaded, others = "a" * 12 + "b" * 12, "a" * 12 + "c" * 12
    for report in (line(digest=loaded), line(digest=others), line(digest=loaded, problem="x"), line(digest="")):
        agent.sendall((b"" if followed.delays else HEAD) + report)
        followed.await_news()
    assert followed.delays == [0, 1, 0, 0]


def test_the_last_report_stands_when_the_connection_is_lost_and_the_next_one_replaces_it(
    peers: Peers, followed: Followed
) -> None:
    """A proxy serves the same without a new configuration."""
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD + line())
    followed.await_news()
    agent.close()
    again = peers.next()
    assert followed.reports()["x-1"].digest == "a" * 24
    again.sendall(HEAD + line())
    await_that(followed.reports)
    assert followed.news.empty()
    again.sendall(line(digest="b" * 24))
    followed.await_news()


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n" + line(),
        HEAD + b"[]\n",
        HEAD + b"{\n",
        HEAD + b"\xff\n",
        HEAD + b"[" * 60_000 + b"\n",
        HEAD + b"x" * 70_000 + b"\n",
        HEAD + b"x" * 200_000,
        b"x" * 200_000,
        HEAD + line(draining=10**15),
        HEAD + line("another pod"),
        HEAD + line(maxConnections=-1),
    ],
    ids=["503", "a list", "half", "no text", "too deep", "too long", "no end", "no head", "huge", "another pod", "-1"],
)
def test_an_invalid_report_ends_the_connection(peers: Peers, followed: Followed, content: bytes) -> None:
    followed.put(pod(ready=False))
    agent = peers.next()
    with suppress(OSError):
        agent.sendall(content)
    assert ends(agent)
    assert followed.reports() == {}
    peers.next().sendall(HEAD + line())
    followed.await_news()


def test_a_new_pod_of_the_same_name_and_address_has_a_connection_and_a_report_of_its_own(
    peers: Peers, followed: Followed
) -> None:
    followed.put(pod())
    former = peers.next()
    former.sendall(HEAD + line())
    followed.await_news()
    followed.put(pod(uid="uid-new", ready=False))
    assert ends(former)
    assert followed.reports() == {}
    peers.next().sendall(HEAD + line("new", "b" * 24))
    followed.await_news()
    assert followed.reports()["x-1"].digest == "b" * 24


def test_a_pod_of_no_kanary_is_not_connected(
    peers: Peers, followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    """Anyone may create a pod with the other labels and annotations of a proxy."""
    stray = pod("stray")
    stray["metadata"]["labels"] = {}
    followed.put(stray, pod())
    peers.next().sendall(HEAD + line())
    followed.await_news()
    assert peers.connections.empty()
    assert not caplog.records


def test_a_pod_that_appears_while_connections_begin_is_connected(peers: Peers) -> None:
    """Else its first report would be awaited for ever."""
    agents, cluster = Agents(lambda: NOW, peers.port), {Key.of(pod()): pod()}

    def present() -> list[Key]:
        agents.changed(Key.of(pod()))
        return []

    agents.start(cluster.get, present, lambda _key, _seconds: None, lambda _key: True)
    peers.next()
    agents.stop()


def test_a_report_that_arrives_while_its_pod_is_forgotten_is_dropped(
    peers: Peers, followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD + line())
    followed.await_news()
    # Both are found in one round of the event loop.
    proceed = threading.Event()
    followed.agents._loop.run(lambda: proceed.wait(PATIENCE))
    agent.sendall(line(digest="b" * 24))
    followed.remove(pod())
    proceed.set()
    assert ends(agent)
    assert followed.news.empty()
    assert not caplog.records


def test_a_pod_that_is_gone_is_disconnected_and_forgotten(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD + line())
    followed.await_news()
    followed.remove(pod())
    assert ends(agent)
    assert followed.agents.reports([pod(ready=False)]) == {}


def test_a_stopping_pod_reports_as_long_as_its_agent_runs_and_is_not_connected_again(
    peers: Peers, followed: Followed
) -> None:
    """It still listens, and splits connections as before."""
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD + line())
    followed.await_news()
    stopping = pod()
    stopping["metadata"]["deletionTimestamp"] = "2026-01-01T12:10:00Z"
    followed.put(stopping)
    agent.sendall(line(digest="b" * 24))
    followed.await_news()
    agent.close()
    followed.put(pod("x-2"))
    # The first connection after that one is the other pod's.
    peers.next().sendall(HEAD + line("x-2"))
    followed.await_news()
    assert followed.reports()["x-1"].digest == "b" * 24
    assert peers.connections.empty()


def test_a_pod_that_gets_another_address_is_connected_there(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    former = peers.next()
    followed.put(pod(address="127.0.0.2"))
    assert ends(former)
    assert peers.next().getsockname()[0] == "127.0.0.2"


def test_a_ready_proxy_has_a_time_limit_for_its_first_report(
    monkeypatch: pytest.MonkeyPatch, peers: Peers, followed: Followed
) -> None:
    """A new leader has no reports: without them all proxies would seem to be behind."""
    clock = [100.0]
    monkeypatch.setattr(proxy_agent, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    followed.put(pod())
    peers.next()
    clock[0] += 2
    with pytest.raises(RetryLaterError, match="pod x-1 has not reported yet") as raised:
        followed.reports()
    assert raised.value.delay == pytest.approx(1)
    clock[0] += 1
    assert followed.reports() == {}


def test_a_pod_that_was_not_tried_yet_has_its_whole_time() -> None:
    agents = Agents(lambda: NOW)
    with pytest.raises(RetryLaterError) as raised:
        agents.reports([pod()])
    assert raised.value.delay == 3
    agents.stop()


def test_a_pod_that_becomes_ready_has_its_time_from_then(
    monkeypatch: pytest.MonkeyPatch, peers: Peers, followed: Followed
) -> None:
    """While it started, its agent could not answer."""
    clock = [100.0]
    monkeypatch.setattr(proxy_agent, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    followed.put(pod(ready=False))
    silent = peers.next()
    clock[0] += 60
    with pytest.raises(RetryLaterError):
        # The agents do not follow the change yet.
        followed.agents.reports([pod()])
    followed.put(pod())
    silent.close()
    peers.next()
    clock[0] += 2
    with pytest.raises(RetryLaterError) as raised:
        followed.reports()
    assert raised.value.delay == pytest.approx(1)
    clock[0] += 1
    assert followed.reports() == {}


def test_a_pod_that_becomes_ready_is_tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its agent has started meanwhile."""
    monkeypatch.setattr(proxy_agent, "_BACKOFF", Backoff(base=600, cap=600))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # Reserved, but nothing listens: connections are refused.
        followed = Followed(listener.getsockname()[1])
        followed.put(pod(ready=False))
        await_that(lambda: followed.failures() == 1)
        listener.listen()
        followed.put(pod())
        listener.settimeout(PATIENCE)
        listener.accept()[0].close()
    followed.agents.stop()


def test_a_flood_is_read_at_a_bounded_rate(peers: Peers, followed: Followed) -> None:
    """The rest waits in the kernel's buffers, and the sender with it."""
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD)
    agent.settimeout(1)
    sent, lines = 0, line() * 1000
    with suppress(TimeoutError):
        while sent < 10**9:
            sent += agent.send(lines)
    assert sent < 2 * 10**7
    followed.await_news()
    assert followed.reports()["x-1"].digest == "a" * 24


def test_a_line_that_follows_many_others_is_reported_within_a_second(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    agent = peers.next()
    agent.sendall(HEAD)
    for number in range(100):
        agent.sendall(line(digest=f"{number:024}"))
        time.sleep(0.001)
    followed.await_news()
    began = time.monotonic()
    await_that(lambda: followed.reports()["x-1"].digest == f"{99:024}")
    assert time.monotonic() - began < PATIENCE / 2


def test_the_kernel_ends_a_connection_whose_host_is_gone_for_60_s(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    peers.next().sendall(HEAD + line())
    followed.await_news()
    (agent,) = followed.agents._agents.values()
    await_that(lambda: agent._stream)
    assert agent._stream
    connection = agent._stream._transport.get_extra_info("socket")
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    options = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
    idle, interval, probes = (connection.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    assert idle + interval * probes == 60
    # Keepalive does not probe while a line is under way.
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


def test_few_connections_of_a_namespace_are_established_at_a_time_and_others_do_not_wait(
    monkeypatch: pytest.MonkeyPatch, peers: Peers, followed: Followed
) -> None:
    """Addresses that do not answer occupy only what their namespace has."""
    connecting: list[str] = []
    real = proxy_agent.connect

    async def connect(address: str, *arguments: Any) -> streams.ReportStream:
        if address.startswith("127.9."):
            connecting.append(address)
            await asyncio.sleep(PATIENCE)
        return await real(address, *arguments)

    monkeypatch.setattr(proxy_agent, "connect", connect)
    followed.put(*(pod(f"dead-{number}", f"127.9.0.{number}", ready=False) for number in range(1, 41)))
    await_that(lambda: len(connecting) == 16)
    other = pod()
    other["metadata"]["namespace"] = "other"
    followed.put(other)
    peers.next().sendall(HEAD + line())
    assert followed.await_news() == Key("other", "x")
    assert len(connecting) == 16
    # Those that wait for their turn keep their time.
    with pytest.raises(RetryLaterError) as raised:
        followed.agents.reports([pod("dead-40", "127.9.0.40")])
    assert raised.value.delay == 3


def test_many_proxies_are_connected_at_once(peers: Peers, followed: Followed) -> None:
    """After a restart of the operator."""
    pods = [pod(f"x-{number}", f"127.2.{number // 250}.{1 + number % 250}") for number in range(200)]
    followed.put(*pods)
    for _ in pods:
        agent = peers.next()
        *_, third, fourth = map(int, agent.getsockname()[0].split("."))
        agent.sendall(HEAD + line(f"x-{third * 250 + fourth - 1}"))
    for _ in pods:
        followed.await_news()
    assert len(followed.reports()) == len(pods)


def test_connections_leave_file_descriptors_for_everything_else(
    monkeypatch: pytest.MonkeyPatch, peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    monkeypatch.setattr(streams, "_RESERVED_FILES", files - 1)
    followed = Followed(peers.port)
    followed.put(pod(), pod("x-2"))
    agent = peers.next()
    await_that(lambda: followed.failures() > 0)
    assert peers.connections.empty()
    monkeypatch.setattr(proxy_agent, "FIRST_REPORT_LIMIT", timedelta())
    assert followed.reports() == {}
    assert [r.message for r in caplog.records if "limit of open files" in r.message]
    agent.close()
    followed.agents.stop()


def test_the_operator_may_open_as_many_files_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Configurations


PUSH = Push("uid-x", 7, "a" * 24, b"content", b"\x01\xff")


def receive(peers: Peers, status: str, content: bytes | None = None) -> tuple[bytes, bytes]:
    """The next request that sends a configuration, and the content that follows a status 100; then this response."""
    while True:
        connection = peers.connections.get(timeout=PATIENCE)
        connection.settimeout(PATIENCE)
        head = connection.recv(4096)
        if head.startswith(b"PUT "):
            break
        # Reports have a connection of their own.
        connection.sendall(HEAD + line(digest="b" * 24))
    received = b""
    if content is not None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(received) < len(content):
            received += connection.recv(4096)
    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    connection.close()
    return head, received


def test_a_configuration_is_sent_with_its_claims_before_its_content(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    followed.send(PUSH, pod())
    head, content = receive(peers, "202 Accepted", PUSH.content)
    lines = head.decode().split("\r\n")
    assert lines[0] == "PUT /configuration HTTP/1.1"
    assert {"Kanary-Configuration: uid-x 7", "Kanary-Signature: 01ff", "Content-Length: 7"} <= {*lines}
    assert content == PUSH.content


def test_an_accepted_one_is_sent_again_until_the_report_has_it(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    reports = peers.next()
    reports.sendall(HEAD + line(digest="b" * 24))
    followed.await_news()
    followed.send(PUSH, pod())
    receive(peers, "202 Accepted", PUSH.content)
    receive(peers, "409 Conflict")
    task = followed.sending()
    reports.sendall(line(digest=PUSH.digest))
    followed.await_news()
    await_that(task.done)
    assert followed.agents._sendings == {}


@pytest.mark.parametrize("status", ["503 Service Unavailable", "junk", "403 Forbidden"])
def test_one_that_is_not_accepted_is_sent_again(peers: Peers, followed: Followed, status: str) -> None:
    followed.put(pod())
    followed.send(PUSH, pod())
    receive(peers, status)
    receive(peers, "202 Accepted", PUSH.content)


def test_a_newer_one_replaces_it(peers: Peers, followed: Followed) -> None:
    newer = replace(PUSH, serial=8, digest="c" * 24)
    followed.put(pod())
    followed.send(PUSH, pod())
    receive(peers, "503 Service Unavailable")
    followed.send(newer, pod())
    await_that(lambda: b"uid-x 8" in receive(peers, "503 Service Unavailable")[0])
    assert b"uid-x 8" in receive(peers, "202 Accepted", newer.content)[0]


def test_a_pod_that_is_gone_or_replaced_is_sent_nothing(peers: Peers, followed: Followed) -> None:
    followed.put(pod())
    followed.send(PUSH, pod(uid="uid-former"))
    reports = peers.next()
    followed.send(PUSH, pod())
    receive(peers, "503 Service Unavailable")
    task = followed.sending()
    followed.remove(pod())
    reports.close()
    await_that(task.done)
    assert followed.agents._sendings == {}


def test_a_silent_agent_delays_no_other_one(monkeypatch: pytest.MonkeyPatch, peers: Peers, followed: Followed) -> None:
    # So the second request is no second attempt.
    monkeypatch.setattr(sending, "SEND_LIMIT", timedelta(seconds=3 * PATIENCE))
    followed.put(pod(), pod("x-2"))
    followed.send(PUSH, pod(), pod("x-2"))
    silent = list[socket.socket]()
    while len([c for c in silent if c.recv(4, socket.MSG_PEEK) == b"PUT "]) < 2:
        silent.append(peers.connections.get(timeout=PATIENCE))
    for connection in silent:
        connection.close()


# Signs that the operator can act


COUNTED = [{"revision": 7, "routes": {}}]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "AGENT_SIGN_INTERVAL", timedelta(seconds=0.05))


@pytest.mark.usefixtures("often")
def test_agents_of_a_rollout_receive_signs_as_long_as_the_operator_can_act(followed: Followed, peers: Peers) -> None:
    followed.put(pod())
    connection = peers.next()
    connection.sendall(HEAD + line(ledger="a", revisions=COUNTED))
    found = connection.makefile("rb")
    assert [found.readline() for _ in range(3)] == [b"operator of uid-x-1\n"] * 3
    followed.can_act = False
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        while found.readline():
            pass


@pytest.mark.usefixtures("often")
def test_an_agent_receives_nothing_before_and_after_a_rollout(followed: Followed, peers: Peers) -> None:
    followed.put(pod())
    connection = peers.next()
    connection.sendall(HEAD + line())
    followed.await_news()
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.recv(100)
    connection.settimeout(PATIENCE)
    connection.sendall(line(ledger="a", revisions=COUNTED))
    assert connection.recv(100).startswith(b"operator of uid-x-1\n")
    connection.sendall(line())
    await_that(lambda: not followed.agents._watching and followed.agents._next_sign is None)
