"""What the operator sends is served at once; nobody else can change what is served."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kanary_agent import inbox
from kanary_agent.inbox import ACCEPTED, BAD_REQUEST, BUSY, NOT_NEWER, OTHER_KANARY, TOO_LARGE
from kanary_agent.reports import STREAMS

from engine.render.config import ProxyConfig
from engine.render.haproxy import render
from engine.render.placement import NOBODY
from tests.agent.clients import held, is_alive, stream
from tests.agent.configs import is_rejection_of, reweighted
from tests.agent.live import KEY, LiveProxy, live, pod, pushed, worker
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import CONFIG_FILE, config_of
from tests.waiting import PATIENCE, await_that


@pytest.fixture
def config(pods: Pods) -> ProxyConfig:
    return numbered(config_of(pods.route(80, 2), pods.route(20, 1), drain_seconds=600), 5)


def numbered(config: ProxyConfig, serial: int) -> ProxyConfig:
    return replace(config, kanary="uid-1", serial=serial)


def half(config: ProxyConfig, serial: int) -> ProxyConfig:
    return numbered(reweighted(config, 50, 50), serial)


def served(proxy: LiveProxy) -> str:
    return str(proxy.report()["digest"])


def test_weights_that_are_sent_are_served_at_once_without_a_reload(config: ProxyConfig) -> None:
    with live(config) as proxy, held(proxy, 5) as connections, stream(proxy) as clients:
        before = worker(proxy)
        assert proxy.push(half(config, 6)) == ACCEPTED
        proxy.await_served()
        assert worker(proxy) == before
        assert all(is_alive(connection) for connection in connections)
        assert (proxy.run / CONFIG_FILE).read_text() == render(proxy.config).text
    assert clients.failed == 0


def test_in_a_pod_as_user_nobody_what_is_sent_is_verified_and_served(config: ProxyConfig) -> None:
    with live(config, pod_user=NOBODY) as proxy:
        assert proxy.send(pushed(half(config, 99), Ed25519PrivateKey.generate())) == ACCEPTED
        await_that(lambda: any("not verified" in line for line in proxy.agent_log()), "it is not verified")
        with source("127.0.0.2"):
            assert proxy.push(half(config, 6)) == ACCEPTED
        proxy.await_served()


def test_the_older_text_that_is_mounted_does_not_come_back(config: ProxyConfig) -> None:
    """The kubelet mounts what was sent a minute later, and both containers may be restarted before."""
    with live(config) as proxy:
        assert proxy.push(half(config, 6)) == ACCEPTED
        proxy.await_served()
        proxy.restart_agent()
        proxy.restart_haproxy()
        proxy.await_served()
        proxy.mounted.swap(render(proxy.config).text)
        assert proxy.send(pushed(half(config, 6))) == NOT_NEWER
        proxy.serve(numbered(config, 7))


def test_what_is_mounted_later_is_served_if_it_is_newer(config: ProxyConfig) -> None:
    with live(config) as proxy:
        assert proxy.push(half(config, 6)) == ACCEPTED
        proxy.await_served()
        proxy.serve(numbered(config, 8))
        assert proxy.send(pushed(half(config, 7))) == NOT_NEWER
        assert served(proxy) == render(proxy.config).digest


def test_pods_and_settings_that_are_sent_are_served(config: ProxyConfig, pods: Pods) -> None:
    with live(config) as proxy:
        first, second = config.routes
        more = replace(first, servers=(*first.servers, *pods.route(1, 1).servers))
        assert proxy.push(numbered(replace(config, routes=(more, second)), 6)) == ACCEPTED
        proxy.await_served()
        assert proxy.push(numbered(replace(config, idle_seconds=77), 7)) == ACCEPTED
        proxy.await_served()


def test_many_that_are_sent_in_a_row_end_with_the_last(config: ProxyConfig) -> None:
    with live(config) as proxy, stream(proxy) as clients:
        for serial in range(6, 26):
            assert proxy.push(numbered(reweighted(config, 100 - serial, serial), serial)) == ACCEPTED
        proxy.await_served()
    assert clients.failed == 0


def test_one_that_haproxy_rejects_is_reported_and_the_next_one_is_served(config: ProxyConfig) -> None:
    with live(config) as proxy:
        good = pushed(half(config, 6))
        bad = good.content.replace(b"timeout connect", b"timeout konnect")
        assert proxy.send(replace(good, content=bad, signature=KEY.sign(bad))) == ACCEPTED
        await_that(lambda: is_rejection_of(half(config, 6), proxy.reported()), "the rejection is reported")
        assert served(proxy) == render(config).digest
        assert proxy.push(half(config, 7)) == ACCEPTED
        proxy.await_served()
        assert proxy.report()["rejected"] is None


# What others send


def test_a_forged_one_changes_nothing_and_the_operator_gets_through_at_once(config: ProxyConfig) -> None:
    with live(config) as proxy:
        forged = pushed(half(config, 99), Ed25519PrivateKey.generate())
        with source("127.0.0.2"):
            assert proxy.send(forged) == ACCEPTED
            await_that(lambda: any("not verified" in line for line in proxy.agent_log()), "it is not verified")
            # It has to wait for longer each time.
            await_that(lambda: proxy.send(forged) == BUSY, "its host has to wait")
        assert served(proxy) == render(config).digest
        assert proxy.push(half(config, 6)) == ACCEPTED
        proxy.await_served()


def test_one_of_another_kanary_or_an_old_one_is_refused_though_it_is_authentic(config: ProxyConfig) -> None:
    with live(config) as proxy:
        assert proxy.send(pushed(replace(half(config, 6), kanary="uid-2"))) == OTHER_KANARY
        assert proxy.send(pushed(half(config, 5))) == NOT_NEWER
        assert proxy.send(pushed(half(config, 4))) == NOT_NEWER
        assert proxy.send(replace(pushed(half(config, 4)), serial=6)) == BAD_REQUEST
        assert served(proxy) == render(config).digest


def test_one_that_is_too_large_is_refused_before_it_is_received(config: ProxyConfig) -> None:
    with live(config) as proxy:
        assert proxy.send(replace(pushed(half(config, 6)), content=b"x" * (2**20 + 1))) == TOO_LARGE


@pytest.mark.parametrize("part", [b"", b"half of it"], ids=["nothing", "a part"])
def test_an_incomplete_one_is_dropped_and_blocks_nobody(config: ProxyConfig, part: bytes) -> None:
    with live(config) as proxy, contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(proxy.connect_to_agent()) for _ in range(20)]
        for upload in uploads:
            upload.sendall(pushed(half(config, 6)).head + part)
        assert proxy.push(half(config, 6)) == ACCEPTED
        proxy.await_served()
        await_that(lambda: all(map(is_closed, uploads)), "the agent has dropped them")


def test_other_methods_are_not_allowed(config: ProxyConfig) -> None:
    with live(config) as proxy:
        for path, method, allowed in (("/configuration", "GET", "PUT"), ("/report", "PUT", "GET")):
            connection = http.client.HTTPConnection("127.0.0.1", proxy.report_port, timeout=PATIENCE)
            with contextlib.closing(connection):
                connection.request(method, path)
                response = connection.getresponse()
                assert (response.status, response.headers["Allow"]) == (405, allowed)


def test_a_flood_does_not_keep_out_the_operator(config: ProxyConfig) -> None:
    forged, serials = pushed(half(config, 99), Ed25519PrivateKey.generate()), itertools.count(6)
    with live(config) as proxy:
        for number in range(2, 42):
            with source(f"127.0.0.{number}"), contextlib.suppress(OSError):
                proxy.send(forged)
            if number % 10 == 0:
                change = half(config, next(serials))

                def is_served(change: ProxyConfig = change) -> bool:
                    proxy.push(change)
                    return served(proxy) == render(change).digest

                await_that(is_served, "the operator's is served")
        refused = sum("not verified" in line for line in proxy.agent_log())
        assert inbox.WAITING <= refused <= 40


def test_streams_of_many_others_do_not_end_the_one_of_the_operator(config: ProxyConfig) -> None:
    with live(config) as proxy, contextlib.ExitStack() as stack:
        assert proxy.push(half(config, 6)) == ACCEPTED
        proxy.await_served()
        found = stack.enter_context(proxy.streamed())
        next(found)
        for number in range(2, 2 * STREAMS):
            with source(f"127.0.0.{number}"):
                other = stack.enter_context(proxy.connect_to_agent())
            other.sendall(b"GET /reports HTTP/1.1\r\n\r\n")
            assert other.recv(1)
        assert proxy.push(half(config, 7)) == ACCEPTED
        assert render(half(config, 7)).digest in (report["digest"] for report in found)


def test_before_anything_is_mounted_nothing_is_accepted(config: ProxyConfig) -> None:
    with pod(config) as proxy:
        await_that(lambda: proxy.reported() != {}, "the agent answers")
        assert proxy.send(pushed(half(config, 6))) == OTHER_KANARY


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def source(address: str) -> Iterator[None]:
    """Connections come from this address."""
    with pytest.MonkeyPatch.context() as patch:
        plain = socket.socket.connect

        def connect(self: socket.socket, target: tuple[str, int]) -> None:
            self.bind((address, 0))
            plain(self, target)

        patch.setattr(socket.socket, "connect", connect)
        yield
