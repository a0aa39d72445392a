"""What clients see of pods that go wrong: how often, and until when."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.agent.live import live
from tests.haproxy.proxies import config_of, running
from tests.held.configs import with_servers
from tests.held.course import stage
from tests.held.report import Report
from tests.held.service import LAG_SECONDS
from tests.held.unruly import UnrulyPods
from tests.waiting import await_that

with_others_left_and_without = pytest.mark.parametrize(("count", "bad"), [(3, 1), (2, 2)], ids=["1 of 3", "2 of 2"])

# Longer than a test takes.
OUT_SECONDS = 60


@pytest.fixture
def pods(_network: None) -> Iterator[UnrulyPods]:
    with UnrulyPods() as running_pods:
        yield running_pods


@with_others_left_and_without
@pytest.mark.parametrize("fault", ["refuse", "drop packets"])
def test_nobody_fails_while_other_pods_are_left_and_otherwise_only_until_the_pods_are_found_out(
    pods: UnrulyPods, report: Report, fault: str, count: int, bad: int
) -> None:
    strike, undo = {"refuse": (pods.kill, pods.revive), "drop packets": (pods.drop, pods.let_through)}[fault]
    config = config_of(pods.route(70, 3), pods.route(30, count))
    with running(config) as proxy, stage(proxy, bad) as on_stage:

        def heal() -> None:
            undo(*on_stage.bad)
            proxy.await_servers_up(1, count)

        on_stage.strike(strike)
        course = on_stage.course(found=lambda: proxy.await_servers_up(1, on_stage.good), heal=heal)
    report.fault(f"{bad} of {count} {fault}", *course.cells())
    assert not (course.failed if on_stage.good else course.failed_once_found)
    # 1 to 4.
    assert len(course.failed) <= 12 or fault != "refuse"
    assert course.share == pytest.approx(30 if on_stage.good else 0, abs=3)


@with_others_left_and_without
def test_pods_that_reset_what_they_accepted_are_out_as_long_as_others_are_left(
    pods: UnrulyPods, report: Report, count: int, bad: int
) -> None:
    """Their checks pass, and what was accepted cannot be tried elsewhere: the agent finds them by HAProxy's counters.

    A route that resets as a whole is not the proxy's to judge, and keeps its share.
    """
    config = config_of(pods.route(70, 3), pods.route(30, count))
    with live(config, eject_seconds=OUT_SECONDS) as proxy, stage(proxy, bad) as on_stage:
        on_stage.strike(pods.reset)
        course = on_stage.course(found=(lambda: proxy.await_servers_up(1, on_stage.good)) if on_stage.good else None)
    report.fault(f"{bad} of {count} reset", *course.cells())
    assert course.failed
    assert bool(course.failed_once_found) == (on_stage.good == 0)
    assert course.share == pytest.approx(30, abs=3)


def test_without_an_agent_a_pod_that_resets_what_it_accepted_fails_its_own_connections_and_no_others(
    pods: UnrulyPods, report: Report
) -> None:
    """The counterpart of the test above. So it is with Rolling: only the pod's own readiness can tell."""
    config = config_of(pods.route(70, 3), pods.route(30, 3))
    with running(config) as proxy, stage(proxy, 1) as on_stage:
        on_stage.strike(pods.reset)
        course = on_stage.course()
    report.fault("1 of 3 reset, no agent", *course.cells())
    assert course.share == pytest.approx(30, abs=3)
    assert 0 < len(course.failed_once_found) / len(course.seen.visits) < 0.3


def test_a_pod_that_goes_on_resetting_costs_a_connection_or_few_each_time_it_is_tried_again(
    pods: UnrulyPods, report: Report
) -> None:
    config = config_of(pods.route(70, 3), pods.route(30, 3))
    with live(config) as proxy, stage(proxy, 1) as on_stage:
        on_stage.strike(pods.reset)

        def tried_again() -> None:
            await_that(lambda: sum(line.startswith("ejected: ") for line in proxy.agent_log()) == 2, "it is out again")

        course = on_stage.course(found=tried_again)
    report.fault("1 of 3 reset, tried again once", *course.cells())
    assert not course.failed_once_found
    assert course.share == pytest.approx(30, abs=3)


@with_others_left_and_without
@pytest.mark.parametrize("grace", ["with grace", "without grace"])
def test_a_pod_that_is_deleted_before_the_proxy_hears_of_it_is_found_out_as_one_that_refuses_or_drops(
    pods: UnrulyPods, report: Report, grace: str, count: int, bad: int
) -> None:
    """With grace it refuses new connections, without it its address leads nowhere; a second later it is removed."""
    config = config_of(pods.route(70, 3), pods.route(30, count))
    with live(config) as proxy, stage(proxy, bad) as on_stage:
        removed = with_servers(config, 1, *set(config.routes[1].servers).difference(on_stage.bad))
        removal = threading.Timer(LAG_SECONDS, proxy.mount, [removed])

        def found() -> None:
            removal.join()
            proxy.await_served()

        removal.start()
        on_stage.strike(pods.kill if grace == "with grace" else pods.vanish)
        course = on_stage.course(found)
    report.fault(f"{bad} of {count} deleted {grace}", *course.cells())
    assert not course.failed_once_found
    # Of what a pod that is killed was saying, nothing can be told elsewhere.
    assert not on_stage.good or all(visit.began < course.struck for visit in course.failed)
    assert course.share == pytest.approx(30 if on_stage.good else 0, abs=3)
