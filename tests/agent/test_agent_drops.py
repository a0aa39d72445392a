"""Connections that a pod drops together are one failure, against a real HAProxy and pods that are killed."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.render.config import Pool, ProxyConfig, Server
from engine.render.haproxy import RETRIES
from states.evidence import Counts
from tests.agent.live import LiveProxy, live, worker
from tests.agent.moods import ask, visits
from tests.agent.test_agent_evidence import await_counts, counts_of, next_of, settle, talking, total_of, watching
from tests.agent.test_agent_failures import UNCHECKED, logging
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import free_port
from tests.waiting import await_that

LASTING_SECONDS = 2.2
FEW_RETRIES = f"retries {RETRIES}", "retries 2"
SERVE = """
import socket, sys, threading

listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=4096)
print("ready", flush=True)
connections = []
while True:
    connections.append(listener.accept()[0])
    connections[-1].sendall(b"hello")
    if sys.argv[3:] == ["reads"]:
        threading.Thread(target=connections[-1].recv, args=(100,), daemon=True).start()
"""
"""A pod that answers before it has read what its client sends. The kernel resets what has unread data when it ends."""


class Killable:
    """A pod that is a process."""

    def __init__(self, address: str, *options: str) -> None:
        self.server = Server(address, free_port())
        command = [sys.executable, "-c", SERVE, address, str(self.server.port), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout
        with self._process.stdout as output:
            assert output.readline() == b"ready\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def canaries(count: int, *options: str) -> Iterator[list[Killable]]:
    found = [Killable(f"127.88.0.{number}", *options) for number in range(1, count + 1)]
    try:
        yield found
    finally:
        for canary in found:
            canary.kill()


def split(pods: Pods, killable: list[Killable]) -> ProxyConfig:
    """Half of the connections are the canary's."""
    canary = Pool("canary:http", 50, tuple(pod.server for pod in killable))  # type: ignore[arg-type]
    return watching(pods.route(50, 1), canary, failure_log=True)


def fail_together(proxy: LiveProxy, killable: list[Killable], count: int) -> None:
    """The canary's connections, which are half of so many, last for a while until its pods are killed."""
    with talking(proxy, count):
        await_lasting(proxy)
        for pod in killable:
            pod.kill()
        settle(proxy)


def await_lasting(proxy: LiveProxy) -> None:
    """Until all connections have lasted by HAProxy's clock, which leaves out the time in which it was not run."""
    workers = re.findall(r"^(\d+) +worker ", proxy.command("show proc"), re.MULTILINE)
    ends = {each: uptime(proxy, each) + LASTING_SECONDS for each in workers}
    await_that(lambda: all(uptime(proxy, each) > end for each, end in ends.items()), "the connections have lasted")


def uptime(proxy: LiveProxy, process: str) -> float:
    """The seconds that a worker has been there by its own clock."""
    found = re.search(r"^Uptime_sec: (.+)$", proxy.command(f"@!{process} show info float"), re.MULTILINE)
    assert found
    return float(found[1])


def await_settled(proxy: LiveProxy, expected: Counts) -> None:
    """Until the canary has these counts; and they stay."""
    await_counts(proxy, expected, 1)
    settle(proxy)
    assert counts_of(proxy, 1) == expected


@pytest.mark.parametrize("killed", [1, 3])
def test_all_connections_of_a_pod_that_is_killed_are_one_failure(pods: Pods, killed: int) -> None:
    with canaries(killed) as killable, live(split(pods, killable)) as proxy:
        fail_together(proxy, killable, 120)
        await_settled(proxy, Counts(60, killed))
        assert counts_of(proxy, 0) == Counts(60, 0)
        # All the same, this is what became of them.
        assert total_of(proxy, 1) == (60, 60)


def test_a_pod_that_is_killed_after_it_has_read_everything_closes_its_connections(pods: Pods) -> None:
    with canaries(1, "reads") as killable, live(split(pods, killable)) as proxy:
        fail_together(proxy, killable, 100)
        await_settled(proxy, Counts(50, 0))


def test_connections_that_the_ended_pod_refuses_are_a_failure_each(pods: Pods) -> None:
    with canaries(1) as killable, logging(split(pods, killable), UNCHECKED, FEW_RETRIES) as proxy:
        fail_together(proxy, killable, 100)
        list(visits(proxy, ask, 10))
        await_settled(proxy, Counts(55, 6))
        assert counts_of(proxy, 0) == Counts(55, 0)


def test_connections_of_two_workers_to_a_pod_that_is_killed_are_one_failure_of_the_latest_revision(pods: Pods) -> None:
    with canaries(1) as killable, live(split(pods, killable)) as proxy, talking(proxy, 40):
        former = worker(proxy)
        proxy.serve(replace(next_of(proxy.config, 60, 40), idle_seconds=1800))
        assert worker(proxy) != former
        fail_together(proxy, killable, 50)
        await_settled(proxy, Counts(20, 1))
        assert counts_of(proxy, 1, revision=7) == Counts(20, 0)


def test_thousands_of_connections_to_a_pod_that_is_killed_are_one_failure(pods: Pods) -> None:
    with canaries(1) as killable, live(split(pods, killable)) as proxy:
        fail_together(proxy, killable, 4000)
        await_settled(proxy, Counts(2000, 1))
        assert total_of(proxy, 1) == (2000, 2000)
