"""Changes that proxies take as they run, as stories."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from engine.model.states import read_written
from engine.ports import RetryLaterError
from tests.traces.world import World, routes

POD = "rule-haproxy-template1-0"


@pytest.fixture
def serving(world: World) -> World:
    """A Kanary that serves 80 to 20, over two pods and one."""
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.run("two Services with pods, and a Kanary of 80 to 20")
    return world


def declare(world: World, v1: int, v2: int, **spec: object) -> None:
    kanary = {"destination": "myapp", "routes": routes(myapp_v1=v1, myapp_v2=v2), "updateStrategy": "Live"}
    world.apply_kanary(**kanary | spec)


def proxies(world: World) -> set[str]:
    return {name for kind, name in world.objects if kind == "Pod"}


def strategy(world: World) -> str:
    return str(world.status()["proxies"]["strategy"])


def renewed_at(world: World) -> datetime | None:
    applied = read_written(world.objects["ConfigMap", "rule-haproxy"]).applied
    return applied.renewed_at if applied else None


def test_running_proxies_take_new_weights_and_their_pods_stay(serving: World) -> None:
    before = proxies(serving)
    declare(serving, 50, 50)
    serving.run("50 to 50")
    assert proxies(serving) == before
    assert serving.status()["display"] == {"weights": "myapp-v1:http=50 myapp-v2:http=50", "ready": "2/2"}


def test_running_proxies_take_new_endpoints(serving: World) -> None:
    before = proxies(serving)
    serving.scale("myapp-v1", 3)
    serving.run("a third pod")
    assert proxies(serving) == before


def test_ready_waits_for_the_report_of_every_proxy(serving: World) -> None:
    serving.sending_fails = True
    declare(serving, 50, 50)
    serving.run("50 to 50, and it does not reach the agents")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=80 myapp-v2:http=20"
    serving.sending_fails = False
    serving.wait(4)
    serving.run("4 s later it reaches their agents")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=50 myapp-v2:http=50"


def test_proxies_that_do_not_load_a_change_in_time_are_replaced(serving: World) -> None:
    before = proxies(serving)
    serving.sending_fails = True
    declare(serving, 50, 50)
    serving.run("50 to 50, and it does not reach the agents")
    serving.live_through(13)
    serving.wait(1)
    serving.run("15 s later")
    assert not proxies(serving) & before
    assert strategy(serving) == "Rolling"
    serving.scale("myapp-v1", 3)
    serving.run("a third pod: the proxies are replaced for it, too")
    assert strategy(serving) == "Rolling"
    serving.sending_fails = False
    declare(serving, 40, 60)
    serving.run("40 to 60: the next change of the spec gives it another try")
    assert strategy(serving) == "Live"


@pytest.mark.parametrize("writes", range(7))
def test_an_operator_that_dies_anywhere_leaves_proxies_their_time(writes: int) -> None:
    """Its successor leads 20 s later, and may be the first to request what is written."""
    world = World()
    world.create_service("myapp-v1", 2)
    declare(world, 100, 0, routes=routes(myapp_v1=100))
    world.settle()
    before = proxies(world)
    declare(world, 100, 0, routes=routes(myapp_v1=100), proxy={"idleSeconds": 60})
    world.die_after = writes
    with suppress(RetryLaterError):
        world.settle()
    world.die_after = None
    world.wait(20)
    world.settle()
    assert proxies(world) == before
    assert strategy(world) == "Live"


def test_a_dead_node_costs_the_other_proxy_nothing(serving: World) -> None:
    before = proxies(serving)
    serving.dead = {POD}
    declare(serving, 50, 50)
    serving.run("50 to 50, after a node has died, which the cluster does not know yet")
    serving.live_through(39)
    serving.run("39 s later")
    assert strategy(serving) == "Live"
    assert proxies(serving) == before
    assert "node-1" in serving.status()["message"]
    serving.objects["Pod", POD]["status"]["conditions"][0]["status"] = "False"
    serving.run("the cluster knows, and sends no connection there")
    assert proxies(serving) == before
    assert POD in serving.status()["message"]
    assert serving.status()["display"] == {"weights": "myapp-v1:http=50 myapp-v2:http=50", "ready": "1/2"}


def test_pods_that_come_and_go_change_no_phase_and_write_one_status_a_second(serving: World) -> None:
    writes, events, began = serving.status_writes, len(serving.events), serving.time
    moves = len(serving.moves())
    for pods in range(3, 23):
        serving.scale("myapp-v1", pods)
        serving.live_through(0.3)
        assert serving.status()["phase"] == "Ready"
    serving.live_through(2)
    assert (len(serving.moves()), len(serving.events)) == (moves, events)
    assert serving.status_writes - writes <= (serving.time - began).total_seconds()
    assert serving.status()["weights"][0]["ready"] == 22
    assert serving.status()["proxies"]["updated"] == 2


def test_pods_of_a_route_of_weight_0_reach_the_proxies_and_change_no_phase(serving: World) -> None:
    declare(serving, 100, 0)
    serving.run("100 to 0")
    moves = len(serving.moves())
    for pods in (0, 3):
        serving.scale("myapp-v2", pods)
        serving.live_through(2)
        assert serving.objects["ConfigMap", "rule-haproxy"]["data"]["haproxy.cfg"].count("\n  server ") == 2 + pods
        assert (serving.status()["phase"], serving.status()["proxies"]["updated"]) == ("Ready", 2)
    assert len(serving.moves()) == moves


@pytest.mark.parametrize("minutes", [-60, -5, 5, 60])
def test_no_wait_is_longer_than_twice_its_limit_whatever_clocks_say(minutes: int) -> None:
    world = World()
    world.clock_error = timedelta(minutes=minutes)
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 0)
    declare(world, 80, 20, updateStrategy="Rolling")
    world.settle()
    assert world.status()["reason"] == "WaitingForEndpoints"
    world.live_through(60)
    assert world.status()["reason"] == "RouteWithoutEndpoints"
    world.stop_slowly = True
    world.scale("myapp-v2", 1)
    declare(world, 50, 50, updateStrategy="Rolling")
    world.settle()
    world.live_through(12)
    assert world.status()["phase"] == "Ready"


def test_the_status_of_a_leader_whose_clock_was_ahead_holds_up_nothing(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 0)
    world.clock_error = timedelta(hours=1)
    declare(world, 80, 20)
    world.settle()
    world.clock_error = timedelta()
    world.live_through(60)
    assert world.status()["reason"] == "RouteWithoutEndpoints"


def test_unreachable_proxies_are_not_late(serving: World) -> None:
    before = proxies(serving)
    declare(serving, 50, 50)
    serving.die_after = 2
    with pytest.raises(RetryLaterError):
        serving.step()
    serving.die_after = None
    serving.wait(20)
    serving.run("50 to 50 is written 20 s before the operator can send it")
    assert proxies(serving) == before
    assert strategy(serving) == "Live"


def test_a_new_leader_gives_proxies_their_time_again(serving: World) -> None:
    serving.sending_fails = True
    declare(serving, 50, 50)
    serving.live_through(14)
    serving.wait(20)
    serving.restart_operator()
    serving.heard.clear()
    serving.silent_agents = proxies(serving)
    serving.run("50 to 50 reaches no agent; 14 s later another operator leads, after 20 s, and no agent answers")
    assert strategy(serving) == "Live"
    serving.silent_agents = set()
    serving.sending_fails = False
    serving.wait(4)
    serving.run("they do now")
    assert strategy(serving) == "Live"


def test_a_new_proxy_whose_agent_is_silent_is_replaced_by_one_without(world: World) -> None:
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    world.silent_agents = {f"rule-haproxy-template1-{number}" for number in range(2)}
    declare(world, 80, 20)
    world.run("no agent can be reached")
    world.live_through(13)
    world.wait(1)
    world.run("15 s later")
    assert world.status()["phase"] == "Ready"


def test_an_agent_that_falls_silent_changes_nothing(serving: World) -> None:
    serving.silent_agents = proxies(serving)
    serving.wait(600)
    serving.run("ten minutes later no agent answers")
    assert serving.status()["phase"] == "Ready"


def test_a_rejection_by_haproxy_is_quoted_and_the_next_change_is_applied(serving: World) -> None:
    serving.haproxy_rejects = "[ALERT] config : parsing [haproxy.cfg:7] : unknown keyword 'bind'"
    declare(serving, 50, 50)
    serving.run("50 to 50, and HAProxy refuses it")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=80 myapp-v2:http=20"
    serving.wait(60)
    serving.run("a minute later")
    assert strategy(serving) == "Live"
    serving.haproxy_rejects = ""
    declare(serving, 40, 60)
    serving.run("40 to 60, and it does not")


def test_a_proxy_that_is_lost_while_haproxy_rejects_the_latest_is_replaced_by_one_that_serves_the_last(
    serving: World,
) -> None:
    serving.haproxy_rejects = "[ALERT] config : parsing [haproxy.cfg:7] : unknown keyword 'bind'"
    declare(serving, 50, 50)
    serving.run("50 to 50, and HAProxy refuses it")
    before = serving.reported[POD].digest
    serving.lose(POD)
    serving.run("a proxy is lost")
    assert serving.reported[POD].digest == before != ""
    assert serving.status()["display"]["weights"] == "myapp-v1:http=80 myapp-v2:http=20"


def test_a_change_of_the_image_replaces_the_proxies(serving: World) -> None:
    before = proxies(serving)
    declare(serving, 80, 20, proxy={"image": "haproxy:3.2"})
    serving.run("another image")
    assert not proxies(serving) & before
    assert strategy(serving) == "Live"


def test_weights_are_reported_as_running_proxies_serve_them_though_their_successors_do_not_start(
    serving: World,
) -> None:
    serving.bad_images["haproxy:none"] = "no such image"
    declare(serving, 30, 70, proxy={"image": "haproxy:none"})
    serving.run("30 to 70, and an image that cannot be pulled")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=30 myapp-v2:http=70"
    assert serving.status()["phase"] == "Rolling"


def test_another_proxy_serves_before_the_kanary_is_ready(serving: World) -> None:
    serving.slow_proxies = True
    declare(serving, 80, 20, proxy={"replicas": 3})
    serving.run("three proxies, and they start slowly")
    serving.slow_proxies = False
    serving.run("the third is there")
    assert serving.status()["display"]["ready"] == "3/3"


def test_proxies_that_are_one_too_many_stop_and_the_kanary_stays_ready(serving: World) -> None:
    serving.stop_slowly = True
    serving.silent_agents = proxies(serving)
    declare(serving, 80, 20, proxy={"replicas": 1})
    serving.run("one proxy instead of two; the other stops, and listens for a while longer")
    assert serving.status()["display"]["ready"] == "1/1"
    assert serving.status()["phase"] == "Ready"
    ready = [move.to for move in serving.moves()]
    serving.live_through(7)
    assert [move.to for move in serving.moves()] == ready


def test_the_strategy_can_be_changed_both_ways(serving: World) -> None:
    declare(serving, 80, 20, updateStrategy="Rolling")
    serving.run("Rolling")
    assert strategy(serving) == "Rolling"
    declare(serving, 80, 20)
    serving.run("Live")
    assert strategy(serving) == "Live"
    assert [name for kind, name in serving.objects if kind == "ConfigMap"] == ["rule-haproxy"]


def test_endpoints_wait_while_many_processes_drain(serving: World) -> None:
    serving.reported = {name: replace(report, draining=12) for name, report in serving.reported.items()}
    serving.scale("myapp-v1", 3)
    serving.run("a third pod, while each proxy drains twelve processes")
    serving.wait(3)
    serving.run("3 s after the last change")
    declare(serving, 70, 30)
    serving.run("70 to 30 does not wait")
    assert serving.status()["display"]["weights"] == "myapp-v1:http=70 myapp-v2:http=30"


def written(world: World) -> str:
    applied = read_written(world.objects["ConfigMap", "rule-haproxy"]).applied
    return applied.digest if applied else ""


@pytest.mark.parametrize("trouble", ["none", "a route is empty", "a proxy is pending", "a proxy is short of memory"])
def test_reloads_are_spaced_whatever_is_wrong(trouble: str) -> None:
    world = World()
    world.create_service("myapp-v1", 10)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.settle()
    if trouble == "a route is empty":
        world.scale("myapp-v2", 0)
    if trouble == "a proxy is pending":
        world.slow_proxies = True
        declare(world, 80, 20, proxy={"replicas": 3})
    if trouble == "a proxy is short of memory":
        world.reported = {name: replace(report, is_full=True) for name, report in world.reported.items()}
    world.live_through(60)
    written_to = {written(world)}
    for number in range(20):
        world.reported = {name: replace(report, draining=18) for name, report in world.reported.items()}
        world.scale("myapp-v1", 11 + number % 2)
        world.live_through(0.5)
        written_to.add(written(world))
    assert len(written_to) - 1 == 3


def test_endpoints_wait_while_a_route_is_empty_too(serving: World) -> None:
    serving.scale("myapp-v2", 0)
    serving.run("the second version has no pod left")
    serving.reported = {name: replace(report, draining=12) for name, report in serving.reported.items()}
    serving.scale("myapp-v1", 3)
    serving.run("a third pod of the first, while each proxy drains twelve processes")
    assert serving.config().count("  server ") == 2
    serving.live_through(3)
    serving.run("3 s after the last change")
    assert serving.config().count("  server ") == 3


def test_endpoints_do_not_wait_where_most_pods_are_new(serving: World) -> None:
    serving.reported = {name: replace(report, draining=12) for name, report in serving.reported.items()}
    serving.scale("myapp-v1", 5)
    serving.run("three more pods than two")
    assert serving.config().count("  server ") == 6


def test_a_proxy_that_can_hold_less_than_promised_is_reported(serving: World) -> None:
    declare(serving, 80, 20, proxy={"maxConnections": 20_000})
    serving.run("20,000 connections each")
    serving.reported[POD] = replace(serving.reported[POD], max_connections=1000)
    serving.run("one proxy may open few files")
    assert serving.status()["phase"] == "Degraded"
    serving.reported[POD] = replace(serving.reported[POD], max_connections=20_000, is_full=True)
    serving.run("it may open as many as it needs, and holds all that it may")
    serving.reported[POD] = replace(serving.reported[POD], is_full=False)
    serving.run("some connections have ended")
    assert serving.status()["phase"] == "Ready"


def test_a_proxy_that_ran_out_of_memory_is_reported_for_a_while(serving: World) -> None:
    ended = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-23T12:00:00Z"}
    status = serving.objects["Pod", POD]["status"]
    container = {"name": "haproxy", "state": {"running": {}}, "lastState": {"terminated": ended}}
    status["containerStatuses"] = [container]
    serving.step()
    serving.step()
    assert serving.status()["phase"] == "Degraded"
    serving.wait(600)
    serving.run("ten minutes later")
    assert serving.status()["phase"] == "Ready"


def make_unschedulable(world: World, pod: str) -> None:
    """A pod that no node has room for, and that stays so."""
    reason = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes fit"}
    world.objects["Pod", pod]["status"] = {"conditions": [{"type": "Ready", "status": "False"}, reason]}
    world.dead = {pod}
    world.heard.pop(pod, None)


@pytest.mark.parametrize("others", ["load nothing", "do not answer"])
def test_proxies_that_load_nothing_are_replaced_though_another_one_cannot_be_scheduled(others: str) -> None:
    world = World()
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20)
    world.settle()
    make_unschedulable(world, POD)
    world.sending_fails = True
    if others == "do not answer":
        world.restart_operator()
        world.heard.clear()
        world.silent_agents = proxies(world)
    declare(world, 50, 50)
    world.live_through(59)
    assert strategy(world) == "Live"
    world.live_through(5)
    assert strategy(world) == "Rolling"
    world.live_through(30)
    assert world.status()["phase"] == "Ready"


def test_a_proxy_that_serves_is_not_replaced_for_one_that_cannot_be_scheduled(serving: World) -> None:
    make_unschedulable(serving, POD)
    before = proxies(serving)
    declare(serving, 50, 50)
    serving.run("50 to 50, and one of two proxies cannot be scheduled")
    serving.live_through(300)
    assert proxies(serving) == before
    assert strategy(serving) == "Live"
    assert "Unschedulable" in serving.status()["message"]


def test_a_silent_agent_after_a_restart_of_the_operator_is_reported_and_then_degrades_the_kanary() -> None:
    world = World()
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 80, 20, progressDeadlineSeconds=60)
    world.settle()
    world.restart_operator()
    world.heard.clear()
    world.silent_agents = {POD}
    before = proxies(world)
    world.live_through(20)
    assert world.status()["phase"] == "Rolling"
    assert f"pod {POD} on node node-1 did not answer the operator within 15 s" in world.status()["message"]
    for number in range(10):
        world.scale("myapp-v1", 2 + number % 2)
        world.live_through(5)
    assert world.status()["phase"] == "Degraded"
    assert f"pod {POD} on node node-1 did not answer" in world.status()["message"]
    assert proxies(world) == before
    world.silent_agents = set()
    world.live_through(60)
    assert world.status()["phase"] == "Ready"


def test_another_image_is_judged_by_its_own_proxies_though_haproxy_of_the_former_ones_rejects(serving: World) -> None:
    serving.haproxy_rejects = "[ALERT] config : parsing [haproxy.cfg:7] : unknown keyword 'bind'"
    declare(serving, 50, 50)
    serving.run("50 to 50, and HAProxy rejects it")
    serving.haproxy_rejects = ""
    serving.stop_slowly = serving.slow_proxies = True
    declare(serving, 50, 50, proxy={"image": "haproxy:3.2"})
    serving.run("another image, whose proxies start slowly")
    assert serving.status()["phase"] == "Rolling"
    serving.slow_proxies = False
    serving.run("they are ready, and the former ones stop, which takes ten minutes")
    serving.live_through(8)
    assert serving.status()["phase"] == "Ready"


def test_another_image_that_rejects_the_configuration_as_well_is_reported(serving: World) -> None:
    serving.haproxy_rejects = "[ALERT] config : parsing [haproxy.cfg:7] : unknown keyword 'bind'"
    declare(serving, 50, 50)
    serving.run("50 to 50, and HAProxy rejects it")
    declare(serving, 50, 50, proxy={"image": "haproxy:3.2"})
    serving.run("another image, which rejects it too")
    assert serving.status()["reason"] == "RejectedByHAProxy"


def draining(world: World, processes: int) -> None:
    """Each proxy runs as many processes of earlier reloads."""
    world.reported = {name: replace(report, draining=processes) for name, report in world.reported.items()}


def test_proxies_with_too_many_former_processes_are_replaced_once(serving: World) -> None:
    before = proxies(serving)
    draining(serving, 18)
    serving.run("18 processes of earlier reloads in each proxy")
    assert proxies(serving) == before
    draining(serving, 19)
    serving.run("19 of them")
    serving.live_through(5)
    replaced = proxies(serving)
    assert not replaced & before
    assert any("has 19 HAProxy processes of earlier reloads, with about 1" in event for event in serving.events)
    assert (strategy(serving), serving.status()["phase"]) == ("Live", "Ready")
    serving.live_through(60)
    declare(serving, 70, 30)
    serving.live_through(5)
    assert proxies(serving) == replaced
    # The next ones as well.
    draining(serving, 19)
    serving.live_through(5)
    assert not proxies(serving) & replaced


def test_an_agent_that_always_reports_former_processes_causes_one_replacement_a_minute(serving: World) -> None:
    found = {*proxies(serving)}
    for _ in range(180):
        draining(serving, 1000)
        serving.live_through(1)
        found |= proxies(serving)
    # The first two, and two each for 3 or 4 replacements in three minutes.
    assert 2 + 2 * 2 <= len(found) <= 2 + 2 * 4


def test_a_replacement_whose_deployment_is_rejected_is_tried_again_and_is_still_one(serving: World) -> None:
    serving.rejections["Deployment"] = "exceeded quota"
    draining(serving, 19)
    serving.live_through(5)
    planned = renewed_at(serving)
    assert planned
    serving.live_through(300)
    assert renewed_at(serving) == planned
    before = proxies(serving)
    del serving.rejections["Deployment"]
    serving.live_through(60)
    assert not proxies(serving) & before
    assert (renewed_at(serving), serving.status()["phase"]) == (planned, "Ready")


def test_a_proxy_that_runs_out_of_memory_is_reported_before_it_does(serving: World) -> None:
    """Its replacement does not start."""
    serving.slow_proxies = True
    draining(serving, 30)
    serving.run("30 processes of earlier reloads in each proxy, and no other proxy starts")
    serving.live_through(5)
    assert "has 30 HAProxy processes of earlier reloads, with about 2" in serving.status()["message"]
    draining(serving, 27)
    serving.run("27 of them")
    serving.live_through(5)
    assert "earlier reloads" not in serving.status()["message"]
