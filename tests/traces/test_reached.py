"""What proxies report about routes, in the phase and in the status."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from engine.fleet.reports import RouteReport, read_report
from states.timing import UNREACHED_LIMIT
from tests.traces.world import World, routes

LIMIT = UNREACHED_LIMIT.total_seconds()
REACHED = RouteReport(up=2)


@pytest.fixture
def serving() -> World:
    """A Kanary of 80 to 20, whose proxies reach both routes."""
    world = World()
    for name in ("myapp-v1", "myapp-v2"):
        world.create_service(name, 2)
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20), updateStrategy="Live")
    world.settle()
    report(world)
    world.live_through(60)
    return world


def report(world: World, v2: RouteReport = REACHED, v1: RouteReport = REACHED) -> None:
    """All agents report this about the routes."""
    found = {"myapp-v1:http": v1, "myapp-v2:http": v2}
    world.reported = {name: replace(known, routes=found) for name, known in world.reported.items()}


def down(world: World) -> RouteReport:
    """A route of which no server has passed a check from now on."""
    address = world.objects["EndpointSlice", "myapp-v2"]["endpoints"][0]["addresses"][0]
    return RouteReport(down=2, unreached_since=world.time, server=f"{address}:9000", line="DOWN L4CON refused")


def phase_and_reason(world: World) -> tuple[Any, Any]:
    return world.status()["phase"], world.status()["reason"]


def test_a_route_that_no_connection_reaches_degrades_and_recovers(serving: World) -> None:
    report(serving, down(serving))
    serving.live_through(LIMIT - 2)
    assert phase_and_reason(serving) == ("Ready", "Serving")
    assert serving.status()["weights"][1]["down"] == 2
    assert serving.status()["display"]["down"] == "myapp-v2:http=2"
    serving.live_through(4)
    assert phase_and_reason(serving) == ("Degraded", "RouteUnreachable")
    pod = serving.objects["EndpointSlice", "myapp-v2"]["endpoints"][0]["targetRef"]["name"]
    assert f"pod {pod} (" in serving.status()["message"]
    assert "DOWN L4CON refused" in serving.status()["message"]
    report(serving)
    serving.live_through(3)
    assert phase_and_reason(serving) == ("Ready", "Serving")
    assert "down" not in serving.status()["display"]


def test_a_stall_of_a_few_seconds_changes_no_phase(serving: World) -> None:
    moves = len(serving.moves())
    for _ in range(5):
        report(serving, down(serving))
        serving.live_through(LIMIT - 1)
        report(serving)
        serving.live_through(5)
    assert len(serving.moves()) == moves


def test_a_degraded_route_whose_agents_restart_stays_degraded(serving: World) -> None:
    report(serving, down(serving))
    serving.live_through(LIMIT + 2)
    moves = len(serving.moves())
    for _ in range(3):
        report(serving, down(serving))
        serving.live_through(5)
        serving.scale("myapp-v2", 3)
        serving.live_through(5)
        serving.scale("myapp-v2", 2)
    assert phase_and_reason(serving) == ("Degraded", "RouteUnreachable")
    assert len(serving.moves()) == moves


def test_a_change_of_weights_ends_the_wait_for_a_route_that_is_not_used_any_more(serving: World) -> None:
    report(serving, down(serving))
    serving.live_through(LIMIT + 2)
    serving.apply_kanary(destination="myapp", routes=routes(myapp_v1=100, myapp_v2=0), updateStrategy="Live")
    serving.live_through(3)
    assert phase_and_reason(serving) == ("Ready", "Serving")


def test_a_new_kanary_is_not_ready_before_a_check_has_passed() -> None:
    world = World()
    for name in ("myapp-v1", "myapp-v2"):
        world.create_service(name, 2)
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=80, myapp_v2=20), updateStrategy="Live")
    for _ in range(2):
        world.step()
    world.roll_proxies()
    report(world, replace(REACHED, unreached_since=world.time))
    world.live_through(LIMIT - 2)
    assert phase_and_reason(world) == ("Rolling", "RollingOut")
    assert "waiting for the first health check that passes of myapp-v2:http" in world.status()["message"]
    world.live_through(3)
    assert phase_and_reason(world) == ("Degraded", "RouteUnreachable")
    assert ("Rolling", "Ready") not in [(move.source, move.to) for move in world.moves()]


def test_some_pods_that_are_down_are_shown_and_the_kanary_stays_ready(serving: World) -> None:
    report(serving, RouteReport(up=1, down=1))
    serving.live_through(60)
    assert phase_and_reason(serving) == ("Ready", "Serving")
    shown = serving.status()["weights"][1]
    assert (shown["up"], shown["down"], shown["ejected"]) == (1, 1, 0)


def test_an_ejected_pod_is_one_event_until_it_returns(serving: World) -> None:
    serving.events.clear()
    for ejected in (1, 1, 0):
        report(serving, RouteReport(up=2 - ejected, ejected=ejected, failed=7))
        serving.live_through(10)
    (event,) = serving.events
    assert event.startswith("Warning PodEjected: myapp-v2:http: ")


def test_connections_alone_are_written_when_they_have_doubled(serving: World) -> None:
    writes = serving.status_writes
    for connections in range(0, 4096, 16):
        report(serving, replace(REACHED, connections=connections))
        serving.live_through(2)
    # For each power of two, from 16 on.
    assert serving.status_writes - writes == 8
    assert 4096 <= serving.status()["weights"][1]["connections"] <= 8192
    # With another change they are written as they are.
    serving.apply_kanary(destination="myapp", routes=routes(myapp_v1=70, myapp_v2=30), updateStrategy="Live")
    serving.live_through(2)
    assert serving.status()["weights"][1]["connections"] == 2 * (4096 - 16)


def test_connections_are_those_of_the_present_proxies(serving: World) -> None:
    report(serving, replace(REACHED, connections=3_000, failed=30))
    serving.live_through(2)
    shown = serving.status()["weights"][1]
    assert (shown["connections"], shown["failed"]) == (6_000, 60)
    declared = {"destination": "myapp", "routes": routes(myapp_v1=80, myapp_v2=20), "updateStrategy": "Live"}
    serving.apply_kanary(**declared, proxy={"replicas": 1})
    serving.live_through(30)
    shown = serving.status()["weights"][1]
    assert (shown["connections"], shown["failed"]) == (3_000, 30)


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_route_is_unreachable_after_10_s_whatever_the_clock_of_a_node_is(serving: World, hours: int) -> None:
    """The agent's times are durations; only the limit of a proxy's report passes."""
    raw = {"up": 0, "down": 2, "unreachedSeconds": 0}
    node_time = int((serving.time + timedelta(hours=hours)).timestamp())
    digest = next(iter(serving.reported.values())).digest
    reports = {"time": node_time, "digest": digest, "maxConnections": 20_000, "routes": {"myapp-v2:http": raw}}
    found = read_report(reports, serving.time)
    serving.reported = dict.fromkeys(serving.reported, found)
    serving.live_through(LIMIT - 2)
    assert phase_and_reason(serving) == ("Ready", "Serving")
    serving.live_through(4)
    assert phase_and_reason(serving) == ("Degraded", "RouteUnreachable")


def test_rolling_has_no_numbers() -> None:
    world = World()
    world.create_service("myapp-v1", 2)
    world.apply_kanary(destination="myapp", routes=routes(myapp_v1=100))
    world.settle()
    assert world.status()["weights"] == [{"backend": "myapp-v1:http", "weight": 100, "ready": 2, "unready": 0}]


def adopts_without_v2(there: World) -> None:
    """The proxies serve already when the Service may be adopted, and no connection reaches v2."""
    there.create_service("myapp-v2", 2)
    declared = {"destination": "myapp", "routes": routes(myapp_v1=80, myapp_v2=20), "updateStrategy": "Live"}
    there.apply_kanary(**declared)
    there.settle()
    report(there, down(there))
    there.apply_kanary(**declared, adoptDestination=True)
    there.settle()


def test_what_waits_to_adopt_a_service_says_which_route_no_connection_reaches(there: World) -> None:
    """Its proxies serve and wait for nothing else, however long."""
    adopts_without_v2(there)
    for seconds in (LIMIT + 2, 600, 600):
        there.live_through(seconds)
        assert phase_and_reason(there) == ("Degraded", "RouteUnreachable")
        message = there.status()["message"]
        assert "no connection reaches myapp-v2:http (weight 20): pod" in message
        assert "Service myapp leads to its former pods until a health check passes" in message
    report(there)
    there.live_through(60)
    assert phase_and_reason(there) == ("Ready", "Serving")
    assert there.objects["Service", "myapp"]["spec"]["selector"] == {"kanary.k8s.io/name": "rule"}


def test_until_the_first_check_has_failed_it_names_the_route_it_waits_for(there: World) -> None:
    adopts_without_v2(there)
    there.live_through(2)
    assert there.status()["phase"] == "Rolling"
    assert "waiting for the first health check that passes of myapp-v2:http" in there.status()["message"]
