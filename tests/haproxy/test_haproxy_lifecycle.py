"""A proxy from its start to its end, as the kubelet and the operator see it."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from engine.render.haproxy import ready_path, render
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import POD_USERS, Proxy, config_of, greeted_by, running
from tests.waiting import PATIENCE, await_that

DRAIN_SECONDS = 2


def test_it_is_ready_for_the_configuration_that_it_serves_and_for_no_other(pods: Pods) -> None:
    config = config_of(pods.route(80, 2), pods.route(20, 1))
    other = config_of(pods.route(50, 2), pods.route(50, 1))
    with running(config) as proxy:
        assert proxy.get(ready_path(render(config).digest)) == 200
        assert proxy.get(ready_path(render(other).digest)) == 404
        assert proxy.get("/healthz") == 200
        assert proxy.get("/readyz") == 200
        assert proxy.get("/") == 404


@pytest.mark.parametrize("path", ["/readyz", None])
def test_a_stopping_proxy_is_not_ready(pods: Pods, path: str | None) -> None:
    """It accepts no new connections, and a probe that was already connected is told 503."""
    config, statuses = config_of(pods.route(100, 1)), list[int]()

    def is_answered() -> bool:
        with running(config) as proxy, held_connection(proxy):
            probe = http.client.HTTPConnection("127.0.0.1", config.ops_port, timeout=PATIENCE)
            with contextlib.closing(probe):
                probe.connect()
                proxy.stop()
                with pytest.raises(ConnectionRefusedError):
                    proxy.get("/healthz")
                probe.request("GET", path or ready_path(render(config).digest))
                statuses.append(probe.getresponse().status)
        # On a busy machine, the stop may take longer than HAProxy waits for a request.
        return statuses[-1] != http.HTTPStatus.REQUEST_TIMEOUT

    await_that(is_answered, "a request that is in time")
    assert statuses[-1] == 503


def test_a_stopping_proxy_ends_with_its_last_connection(pods: Pods) -> None:
    with running(config_of(pods.route(100, 1), drain_seconds=600)) as proxy:
        with held_connection(proxy) as held:
            proxy.stop()
            assert is_echoed(held)
            assert proxy.process.poll() is None
        assert proxy.process.wait(timeout=PATIENCE) == 0


def test_a_stopping_proxy_cuts_what_is_left_when_the_drain_time_is_over_and_not_before(pods: Pods) -> None:
    route = pods.route(100, 1)
    with (
        running(config_of(route, drain_seconds=DRAIN_SECONDS)) as proxy,
        held_connection(proxy) as held,
        running(config_of(route, drain_seconds=600)) as patient,
        held_connection(patient) as held_on,
    ):
        patient.stop()
        began = time.monotonic()
        proxy.stop()
        assert held.recv(1) == b""
        assert time.monotonic() - began >= DRAIN_SECONDS
        assert proxy.process.wait(timeout=PATIENCE) == 0
        assert is_echoed(held_on)


@contextlib.contextmanager
def held_connection(proxy: Proxy) -> Iterator[socket.socket]:
    with proxy.connect() as held:
        assert greeted_by(held) is not None
        yield held


def is_echoed(connection: socket.socket) -> bool:
    connection.sendall(b"ping")
    return connection.recv(4) == b"ping"


def test_a_container_that_allows_few_descriptors_gets_a_proxy_for_fewer_connections_that_says_so(pods: Pods) -> None:
    with running(config_of(pods.route(100, 20)), descriptors=512) as proxy:
        assert proxy.take(100) == [0] * 100
        assert 100 < maxconn(proxy) < 512 / 2


def test_a_container_that_allows_enough_descriptors_gets_a_proxy_for_some_connections_more(pods: Pods) -> None:
    """Room for the ops port."""
    with running(config_of(pods.route(100, 20), max_connections=1000)) as proxy:
        assert 1200 < maxconn(proxy) < 2000


def maxconn(proxy: Proxy) -> int:
    """How many connections the worker says that it takes at once."""
    found = re.search(r"^Maxconn: (\d+)$", proxy.command("@1 show info"), re.MULTILINE)
    assert found
    return int(found[1])


def test_the_metrics_count_the_connections_of_each_route(pods: Pods) -> None:
    with running(config_of(pods.route(80, 2), pods.route(20, 1))) as proxy:
        proxy.take(100)
        _, metrics = proxy.fetch("/metrics?scope=backend")
    for slot, count in (("a", 80), ("b", 20)):
        assert f'haproxy_backend_sessions_total{{proxy="{slot}"}} {count}' in metrics.splitlines()


def can_play_the_kubelet() -> bool:
    """Whether this user may become another one and may mount, which not every container's root may."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


@pytest.mark.skipif(not can_play_the_kubelet(), reason="needs root that may mount")
@pytest.mark.parametrize("user", POD_USERS)
def test_it_runs_as_any_user_without_capabilities_on_a_read_only_root(pods: Pods, user: int) -> None:
    with running(config_of(pods.route(80, 2), pods.route(20, 1)), pod_user=user) as proxy:
        status = proxy.status()
        assert status["Uid"].split() == [str(user)] * 4
        assert int(status["CapBnd"], 16) == 0
        assert Counter(proxy.take(100)) == {0: 80, 1: 20}
        with held_connection(proxy) as held:
            proxy.stop()
            assert is_echoed(held)
        assert proxy.process.wait(timeout=PATIENCE) == 0
