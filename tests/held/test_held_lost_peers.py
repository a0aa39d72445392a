"""Peers that vanish while data are under way: keepalive does not send probes then."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from engine.render.config import Server
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import Proxy, config_of, greeted_by, running
from tests.held.unruly import UnrulyPods, drop_packets
from tests.waiting import PATIENCE, await_that

LIMIT_SECONDS = 2
LONG_SECONDS = 600
CLIENT = "127.77.0.1"


@pytest.fixture
def pods(_network: None) -> Iterator[UnrulyPods]:
    with UnrulyPods() as running_pods:
        yield running_pods


@contextlib.contextmanager
def asking(proxy: Proxy) -> Iterator[tuple[socket.socket, Server]]:
    """A connection and its pod, which are there."""
    with proxy.connect() as connection:
        pod = greeted_by(connection)
        assert pod
        yield connection, pod


def test_a_connection_is_closed_if_its_pod_vanishes_with_a_request(pods: UnrulyPods) -> None:
    """With a long limit it is not."""
    route = pods.route(100, 1)
    with (
        running(config_of(route, unacknowledged_seconds=LIMIT_SECONDS)) as proxy,
        running(config_of(route, unacknowledged_seconds=LONG_SECONDS)) as control,
        asking(proxy) as (connection, pod),
        asking(control) as (patient, _),
    ):
        pods.drop(pod)
        began = time.monotonic()
        for each in (connection, patient):
            each.sendall(b"request")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
        assert time.monotonic() - began > LIMIT_SECONDS - 1
        patient.settimeout(1)
        with pytest.raises(TimeoutError):
            patient.recv(100)


def test_a_pod_is_released_if_its_client_vanishes_with_an_answer(_network: None) -> None:
    ended: list[float] = []

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"more\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        ended.append(time.monotonic())

    with Pods(talk) as talking:
        config = config_of(talking.route(100, 1), unacknowledged_seconds=LIMIT_SECONDS)
        address = "127.0.0.1", config.split_port
        with running(config), socket.create_connection(address, PATIENCE, source_address=(CLIENT, 0)) as client:
            assert client.recv(100)
            drop_packets(CLIENT)
            began = time.monotonic()
            await_that(lambda: bool(ended), "the pod's connection is closed")
    assert ended[0] - began > LIMIT_SECONDS - 1
