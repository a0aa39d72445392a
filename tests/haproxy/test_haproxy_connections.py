"""What one TCP connection through a real proxy goes through."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.render.config import Pool, ProxyProtocol, Server
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import Proxy, config_of, greeted_by, running
from tests.waiting import PATIENCE, await_that


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6 on loopback")


@contextlib.contextmanager
def one_pod() -> Iterator[tuple[socket.socket, Pool]]:
    """A pod whose side of each connection is the test's to play."""
    with socket.create_server(("127.1.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener, Pool("app:http", 100, (Server(*listener.getsockname()),))


def both_ends(proxy: Proxy, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """The client's and the pod's end of a new connection."""
    client = proxy.connect()
    client.sendall(b"hello")
    while True:
        pod, _ = listener.accept()
        pod.settimeout(PATIENCE)
        # Health checks connect too, and say nothing.
        with contextlib.suppress(ConnectionResetError):
            if pod.recv(5) == b"hello":
                return client, pod
        pod.close()


def test_idle_connections_live_until_the_idle_limit_and_not_less() -> None:
    """The control is cut after 11 s: longer than every other time limit in the configuration."""
    with (
        one_pod() as (listener, route),
        running(config_of(route, idle_seconds=3600)) as patient,
        running(config_of(route, idle_seconds=11)) as control,
    ):
        idle, idle_pod = both_ends(patient, listener)
        done_sending, waiting_pod = both_ends(patient, listener)
        done_sending.shutdown(socket.SHUT_WR)
        waiting, done_pod = both_ends(patient, listener)
        done_pod.shutdown(socket.SHUT_WR)
        cut, _ = both_ends(control, listener)

        assert cut.recv(1) == b""

        assert passes(idle, idle_pod)
        assert passes(idle_pod, idle)
        assert passes(waiting_pod, done_sending)
        assert passes(waiting, done_pod)


def passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Whether what one end sends arrives at the other."""
    sender.sendall(b"ping")
    return receiver.recv(4) == b"ping"


def test_a_client_that_is_done_sending_still_receives() -> None:
    with one_pod() as (listener, route), running(config_of(route)) as proxy:
        client, pod = both_ends(proxy, listener)
        client.shutdown(socket.SHUT_WR)
        assert pod.recv(1) == b""
        pod.sendall(b"answer")
        assert client.recv(6) == b"answer"


def test_a_pod_that_is_done_sending_still_receives() -> None:
    with one_pod() as (listener, route), running(config_of(route)) as proxy:
        client, pod = both_ends(proxy, listener)
        pod.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        client.sendall(b"more")
        assert pod.recv(4) == b"more"


def test_either_side_of_an_idle_connection_is_probed_by_keepalive() -> None:
    with one_pod() as (listener, route), running(config_of(route)) as proxy:
        client, pod = both_ends(proxy, listener)
        await_that(lambda: peer_has_keepalive_timer(client), "keepalive on the client's side")
        await_that(lambda: peer_has_keepalive_timer(pod), "keepalive on the pod's side")
        assert not has_keepalive_timer(client.getsockname(), client.getpeername())


def test_either_side_of_a_half_closed_connection_is_probed_by_keepalive() -> None:
    """So the idle limit is not what ends it when a peer is gone."""
    with one_pod() as (listener, route), running(config_of(route)) as proxy:
        client, pod = both_ends(proxy, listener)
        client.shutdown(socket.SHUT_WR)
        assert pod.recv(1) == b""
        await_that(lambda: peer_has_keepalive_timer(client, CLOSE_WAIT), "keepalive on the client's side")
        await_that(lambda: peer_has_keepalive_timer(pod, FIN_WAIT_2), "keepalive on the pod's side")


ESTABLISHED, FIN_WAIT_2, CLOSE_WAIT = "01", "05", "08"


def peer_has_keepalive_timer(end: socket.socket, state: str = ESTABLISHED) -> bool:
    """Whether the other end of this connection, the proxy's, waits for its keepalive timer in this state."""
    return has_keepalive_timer(end.getpeername(), end.getsockname(), state)


def has_keepalive_timer(local: tuple[str, int], remote: tuple[str, int], state: str = ESTABLISHED) -> bool:
    """Whether the IPv4 socket on this host with these two ends waits for its keepalive timer in this state.

    One end is not enough: a connection of another test to another port may come from the same port.
    """
    found: set[tuple[str, str]] = set()

    def is_seen() -> bool:
        # The kernel's list can miss a socket, or have it twice, while others come and go.
        found.clear()
        found.update(sockets_between(local, remote))
        return len(found) == 1

    await_that(is_seen, f"one socket from {local} to {remote}")
    return found == {(state, "02")}


def sockets_between(*ends: tuple[str, int]) -> Iterator[tuple[str, str]]:
    """State and timer of each IPv4 socket on this host with this local and this remote end."""
    wanted = [f"{int.from_bytes(socket.inet_aton(address), 'little'):08X}:{port:04X}" for address, port in ends]
    rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return ((row[3], row[5].split(":")[0]) for row in rows if row[1:3] == wanted)


def test_no_client_notices_that_a_pod_refuses_while_another_one_of_its_route_accepts(pods: Pods) -> None:
    route = pods.route(100, 4)
    with running(config_of(route)) as proxy:
        pods.kill(route.servers[0])
        answers = Counter(proxy.ask() for _ in range(400))
    assert set(answers) == set(route.servers[1:])


def test_a_route_with_a_refusing_pod_keeps_its_exact_share(pods: Pods) -> None:
    routes = pods.route(80, 3), pods.route(20, 2)
    with running(config_of(*routes)) as proxy:
        pods.kill(routes[0].servers[0], routes[1].servers[0])
        assert Counter(proxy.take(500)) == {0: 400, 1: 100}


class Announced:
    """A pod that greets only who sends a PROXY header ahead, with the client's address as the header tells it."""

    def __init__(self) -> None:
        self.checks = 0
        self.strangers = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            host, port = await self._read_header(reader)
            writer.write(f"{host} {port}\n".encode())
            if await reader.read(1) == b"":
                self.checks += 1
        except ValueError:
            self.strangers += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.checks += 1  # A health check resets the connection once it has sent the header.
        finally:
            writer.close()

    async def _read_header(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        start = await reader.readexactly(12)
        if start == b"\r\n\r\n\0\r\nQUIT\n":
            _, _, length = struct.unpack("!BBH", await reader.readexactly(4))
            addresses = await reader.readexactly(length)
            return (socket.inet_ntoa(addresses[:4]), *struct.unpack("!H", addresses[8:10])) if length else ("", 0)
        if start.startswith(b"PROXY TCP4 "):
            source, _, port, _ = (start + await reader.readuntil(b"\r\n")).decode().split()[2:]
            return source, int(port)
        raise ValueError(start)


@pytest.mark.parametrize("version", ProxyProtocol)
def test_pods_that_require_a_header_are_told_the_clients_address_and_pass_their_health_checks(
    version: ProxyProtocol,
) -> None:
    pod = Announced()
    with Pods(pod.talk) as pods, running(config_of(announced(pods, version))) as proxy:
        await_that(lambda: pod.checks > 0, "the pod is checked")
        proxy.await_servers_up(route=0, count=1)
        with socket.create_connection(("127.0.0.1", proxy.config.split_port), PATIENCE, ("127.77.0.1", 0)) as client:
            client.sendall(b"x")
            host, port = client.makefile().readline().split()
            assert (host, int(port)) == client.getsockname()
    assert pod.strangers == 0


def announced(pods: Pods, version: ProxyProtocol | None) -> Pool:
    return dataclasses.replace(pods.route(100, 1), proxy_protocol=version)


def test_pods_that_require_a_header_turn_away_a_proxy_that_sends_none() -> None:
    """The control."""
    pod = Announced()
    with Pods(pod.talk) as pods, running(config_of(announced(pods, None))) as proxy, proxy.connect() as client:
        client.sendall(b"a client that says enough")
        assert greeted_by(client) is None
    assert pod.strangers == 1


@needs_ipv6
def test_clients_and_pods_of_either_family_meet(pods: Pods) -> None:
    six, four = pods.add("::1"), pods.add("127.9.0.1")
    with running(config_of(Pool("app-v1:http", 50, (six,)), Pool("app-v2:http", 50, (four,)))) as proxy:
        for host in "127.0.0.1", "::1":
            assert Counter(proxy.ask(host) for _ in range(100)) == {six: 50, four: 50}


@needs_ipv6
@pytest.mark.parametrize(("ipv6", "error"), [(False, errno.ECONNREFUSED), (True, 0)])
def test_without_ipv6_pods_the_proxy_listens_on_ipv6_only_when_told(pods: Pods, ipv6: bool, error: int) -> None:
    config = config_of(pods.route(100, 1), ipv6=ipv6)
    with running(config), socket.socket(socket.AF_INET6) as client:
        assert client.connect_ex(("::1", config.split_port)) == error


def test_the_proxy_takes_as_many_connections_at_once_as_told_and_the_next_ones_wait(pods: Pods) -> None:
    with running(config_of(pods.route(100, 1), max_connections=3)) as proxy, contextlib.ExitStack() as clients:
        held = [clients.enter_context(proxy.connect()) for _ in range(3)]
        assert None not in map(greeted_by, held)
        waiting = clients.enter_context(proxy.connect())
        # By the time that these have been answered, it could have been served as well.
        assert [proxy.get(path) for path in ("/readyz", "/healthz", "/metrics")] == [200, 200, 200]
        assert proxy.clients() == 3
        held[0].close()
        assert greeted_by(waiting) is not None
        assert proxy.clients() == 3


def test_the_ops_port_has_connections_of_its_own(pods: Pods) -> None:
    """Probes and Prometheus are answered at once although the split port is full and many others ask, too."""
    with running(config_of(pods.route(100, 1), max_connections=50)) as proxy, contextlib.ExitStack() as clients:
        held = [clients.enter_context(proxy.connect()) for _ in range(50)]
        assert None not in map(greeted_by, held)
        ops = "127.0.0.1", proxy.config.ops_port
        for _ in range(50):
            clients.enter_context(socket.create_connection(ops, timeout=PATIENCE)).sendall(b"GET /me")
        assert [proxy.get(path) for path in ("/readyz", "/metrics")] == [200, 200]
        assert proxy.clients() == 50


def test_who_asks_the_ops_port_byte_by_byte_loses_the_place(pods: Pods) -> None:
    """Or a few such clients, each of which could stay for ever, would take all places from probes."""
    with running(config_of(pods.route(100, 1))) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.config.ops_port), timeout=0.1) as client:
            client.sendall(b"GET /readyz HTTP/1.1\r\nX: ")
            answer = b""

            def is_sent_away() -> bool:
                nonlocal answer
                with contextlib.suppress(TimeoutError):
                    answer = client.recv(100)
                    return True
                client.sendall(b"x")
                return False

            await_that(is_sent_away, "the client is sent away")
        assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_a_proxy_has_as_many_threads_as_told_but_no_more_than_cores(pods: Pods, threads: int) -> None:
    with running(config_of(pods.route(100, 1), threads=threads)) as proxy:
        _, metrics = proxy.fetch("/metrics?scope=global")
    assert f"haproxy_process_nbthread {min(threads, len(os.sched_getaffinity(0)))}" in metrics.splitlines()
