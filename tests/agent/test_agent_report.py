"""The agent's report: fresh, read-only, and there for everybody whatever one client does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time

import pytest
from kanary_agent.fullness import CALM_SECONDS, Fullness
from kanary_agent.ports import Ports
from kanary_agent.reporter import COUNTS_SECONDS, Reporter
from kanary_agent.slots import Slots

from engine.render.haproxy import render
from tests.agent.clients import held
from tests.agent.configs import changes_of, no_rollback
from tests.agent.live import POD, live
from tests.agent.test_agent_killed import counting, master_of, new_agent
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import CONFIG_FILE, config_of
from tests.waiting import PATIENCE, await_that


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def test_the_report_shows_what_is_served(pods: Pods) -> None:
    """Not what was served when the agent last looked."""
    config = config_of(pods.route(100, 1))
    with live(config) as proxy:
        # It would reload the configuration that is mounted.
        proxy.kill_agent()
        agent, master, (routes, _) = new_agent(proxy), master_of(proxy), counting(proxy)
        reporter = Reporter(
            POD, master, agent, Fullness(), routes, ports=Ports(master, Slots(), routes), rollback=no_rollback()
        )
        agent.step()
        for change in (next(changes_of(config)), config):
            (proxy.run / CONFIG_FILE).write_text(render(change).text)
            assert proxy.command("reload").startswith("Success=1")
            assert json.loads(reporter.report())["digest"] == render(change).digest


def test_the_report_counts_open_connections_and_draining_workers(pods: Pods) -> None:
    config = config_of(pods.route(100, 1), drain_seconds=600)
    changes = changes_of(config)
    with live(config) as proxy:
        assert proxy.report()["draining"] == 0
        with held(proxy, 3):
            # A report may be a turn of the agent's loop old.
            await_that(lambda: proxy.report()["connections"] == 3, "the connections are counted")
            proxy.serve(next(changes))
            await_that(lambda: proxy.report()["connections"] == 0, "the new worker holds none")
            await_that(lambda: proxy.report()["draining"] == 1, "the former worker drains")
            with held(proxy, 2):
                proxy.serve(next(changes))
                await_that(lambda: proxy.report()["draining"] == 2, "both former workers drain")
        await_that(lambda: proxy.report()["draining"] == 0, "the former workers have ended with their connections")


def test_a_former_worker_that_hangs_hides_nothing(pods: Pods) -> None:
    config = config_of(pods.route(100, 1), drain_seconds=600)
    change = next(changes_of(config))
    with live(config) as proxy, held(proxy, 1):
        former = int(proxy.command("@1 show info").partition("\nPid: ")[2].split()[0])
        proxy.serve(change)
        os.kill(former, signal.SIGSTOP)
        try:
            report = proxy.report()
        finally:
            os.kill(former, signal.SIGCONT)
        assert (report["digest"], report["draining"]) == (render(change).digest, 1)


def test_the_report_shows_the_effective_limit_of_connections(pods: Pods) -> None:
    with live(config_of(pods.route(100, 1), max_connections=50)) as proxy:
        assert proxy.report()["maxConnections"] == 50
    with live(config_of(pods.route(100, 1)), descriptors=300) as proxy:
        limit = proxy.report()["maxConnections"]
        assert 50 < limit < 150
        with held(proxy, limit), proxy.connect():
            # The one more waits in the kernel's queue.
            await_that(lambda: proxy.report()["connections"] == limit, "all that it can hold are counted")


def test_a_proxy_that_is_full_is_reported_at_once(pods: Pods) -> None:
    with live(config_of(pods.route(100, 1), max_connections=5)) as proxy, proxy.streamed() as found:
        assert next(found)["full"] is False
        with held(proxy, 5):
            began = time.monotonic()
            full = next(report for report in found if report["full"])
            assert (full["connections"], full["maxConnections"]) == (5, 5)
            # Counts alone would take up to 30 s.
            assert time.monotonic() - began < COUNTS_SECONDS / 2
        assert any(not report["full"] for report in found)
        assert time.monotonic() - began >= CALM_SECONDS


def test_it_can_be_read_and_nothing_else(pods: Pods) -> None:
    with live(config_of(pods.route(100, 1))) as proxy:
        assert proxy.get_from_agent("/healthz")[0] == 200
        assert proxy.get_from_agent("/report?fresh=1")[0] == 200
        assert proxy.get_from_agent("/")[0] == 404
        assert proxy.get_from_agent("/../report")[0] == 404
        for method in ("POST", "PUT", "DELETE", "HEAD"):
            assert proxy.get_from_agent("/report", method=method)[0] == 405


@pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
def test_it_is_there_on_ipv6_too(pods: Pods) -> None:
    with live(config_of(pods.route(100, 1))) as proxy:
        assert proxy.get_from_agent("/report", host="::1")[0] == 200


def test_silent_clients_delay_no_other_client_and_are_disconnected(pods: Pods) -> None:
    config = config_of(pods.route(100, 1))
    with live(config) as proxy, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(proxy.connect_to_agent()) for _ in range(100)]
        for client in silent[::2]:
            with contextlib.suppress(OSError):
                client.sendall(b"GET /report HTTP/1.1\r\n")
        proxy.serve(next(changes_of(config)))
        # Each is closed in the end; a reset will do.
        for client in silent:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""


def test_an_endless_request_is_cut_short(pods: Pods) -> None:
    with live(config_of(pods.route(100, 1))) as proxy, proxy.connect_to_agent() as client:
        with contextlib.suppress(OSError):
            for _ in range(1000):
                client.sendall(b"GET /report HTTP/1.1" * 1000)
        assert proxy.report()["problem"] == ""
        client.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(12) in (b"HTTP/1.1 431", b"")
