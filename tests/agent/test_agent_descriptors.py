"""Reloads cost HAProxy's master no file descriptors: with a low limit, it would once be unable to reload for good."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.agent.clients import held
from tests.agent.live import LiveProxy, live
from tests.haproxy.pods import Pods
from tests.haproxy.proxies import config_of
from tests.held.configs import reloading
from tests.waiting import await_that

LIMIT = 256
"""The lowest one with which HAProxy starts, with a few descriptors to spare."""
RELOADS = 12
HELD_SECONDS = 1
"""The agent keeps the former worker in a reload that is over by then, also if the worker is slow to accept."""


def descriptors(proxy: LiveProxy) -> int:
    """The fewest within a moment: connections to the master's socket come and go."""

    def count() -> int:
        time.sleep(0.01)
        return sum(1 for _ in Path(f"/proc/{proxy.process.pid}/fd").iterdir())

    return min(count() for _ in range(20))


def workers(proxy: LiveProxy) -> int:
    """As the master lists them."""
    return proxy.command("show proc").count(" worker ")


@pytest.mark.parametrize("connections", [0, 1])
def test_a_master_with_few_descriptors_reloads_as_often_as_it_has_to(pods: Pods, connections: int) -> None:
    """A worker without connections ends while the master reloads, unless the agent keeps it."""
    config, slow = config_of(pods.route(100, 1)), 0
    with live(config, descriptors=LIMIT) as proxy:
        before = descriptors(proxy)
        for number in range(1, RELOADS + 1):
            with held(proxy, connections):
                began = time.monotonic()
                proxy.serve(reloading(config, number))
                slow += time.monotonic() - began > HELD_SECONDS
            # A busy machine may lose one with each slow reload, as HAProxy does by itself.
            await_that(lambda: workers(proxy) <= 1 + slow, "the former worker has ended")  # noqa: B023
        # One more than at the start may be in use for good, from the first reload on.
        await_that(lambda: descriptors(proxy) <= before + 1 + slow, "the master has no more descriptors than before")
        assert proxy.report()["lost"] <= slow


def test_descriptors_that_are_lost_nevertheless_are_reported(pods: Pods) -> None:
    """HAProxy 3.0 loses one with each reload that the agent does not make; 3.2 loses none."""
    with live(config_of(pods.route(100, 1))) as proxy:
        before = descriptors(proxy)
        for _ in range(5):
            assert proxy.command("reload").startswith("Success=1")
        await_that(lambda: proxy.report()["draining"] == 0, "the former workers have ended")
        lost = workers(proxy) - 1
        await_that(lambda: proxy.report()["lost"] == lost, f"{lost} lost ones are reported")
        await_that(lambda: abs(descriptors(proxy) - before - lost) <= 1, f"the master has lost {lost}")
