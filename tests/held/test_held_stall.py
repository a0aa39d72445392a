"""What clients see of a pod that accepts nothing for a short time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from engine.render.config import Pool
from tests.haproxy.proxies import config_of, running
from tests.held.report import Report, kinds, milliseconds
from tests.held.traffic import Seen, traffic
from tests.held.unruly import UnrulyPods

RATE = 100
BACKLOG = 50
AROUND_SECONDS = 1.0


@pytest.fixture
def pods(_network: None) -> Iterator[UnrulyPods]:
    with UnrulyPods() as running_pods:
        yield running_pods


def seen_of_a_stall(pods: UnrulyPods, seconds: float, weight: int) -> tuple[Seen, Pool]:
    """What clients see before, during and after a stall of the only pod of a route, and the route."""
    pod = pods.add_with_backlog("127.50.0.1", BACKLOG)
    route = Pool("stalls:http", weight, (pod,))
    others = [pods.route(100 - weight, 1)] if weight < 100 else []
    with (
        running(config_of(route, *others)) as proxy,
        traffic(RATE, address="127.0.0.1", port=proxy.config.split_port) as clients,
    ):
        time.sleep(AROUND_SECONDS)
        pods.stall(pod, seconds)
        time.sleep(AROUND_SECONDS)
        return clients.stop(), route


@pytest.mark.parametrize("seconds", [1.5, 10])
def test_no_connection_is_closed_while_the_only_pod_accepts_nothing_for_ten_seconds(
    pods: UnrulyPods, report: Report, seconds: float
) -> None:
    seen, _ = seen_of_a_stall(pods, seconds, weight=100)
    cells = kinds(seen.failures), "-", milliseconds(seen, 1), "never", "100 %", "-"
    report.fault(f"the only pod accepts nothing for {seconds:g} s", *cells)
    assert seen.failures["closed"] == seen.failures["reset"] == 0


def test_other_routes_receive_their_share_while_the_only_pod_of_a_route_accepts_nothing_for_five_seconds(
    pods: UnrulyPods,
) -> None:
    seen, route = seen_of_a_stall(pods, 5, weight=90)
    elsewhere = sum(visit.pod is not None and visit.pod not in route.servers for visit in seen.visits)
    assert elsewhere == pytest.approx(len(seen.visits) / 10, abs=3)
    assert not seen.failures["closed"]
