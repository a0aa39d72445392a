"""Rollouts while specs, objects, clocks, proxies and the operator change under them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from engine.ports import RetryLaterError
from tests.traces.rollouts import (
    HALF,
    NEW,
    OLD,
    PLAN,
    STEPS,
    TENTH,
    connect,
    declare,
    declare_routes,
    message,
    moves,
    order,
    phase,
    results,
    revisions,
    serve,
    serving_v1,
    state,
    weights,
    withdraw,
)
from tests.traces.world import World

SHORT = [{"to": 10, "for": "30s"}, {"to": 50, "for": "30s"}, {"to": 100, "for": "30s"}]


@pytest.fixture
def serving() -> World:
    """A Kanary whose connections all go to the first version."""
    return serving_v1(World())


@pytest.fixture
def watching(serving: World) -> World:
    """Its rollout, 20 s after the begin of step 1."""
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 20)
    return serving


def goes_back(world: World) -> bool:
    """Whether it still finds a version that fails."""
    serve(world, 10, v2=0.5)
    return (weights(world).count("myapp-v1:http=100"), world.status()["rollout"]["state"]) == (1, "RolledBack")


# Orders


def test_orders_may_be_sent_twice(watching: World) -> None:
    for _ in range(2):
        order(watching, "pause", reason="lunch")
        serve(watching, 400)
        assert (weights(watching), state(watching)) == (TENTH, ("Waiting", "RolloutPaused"))
        assert "paused, by ann: lunch" in message(watching)
    withdraw(watching, "pause")
    watching.run("it is resumed")
    assert state(watching)[0] == "Watching"
    assert 10 <= watching.status()["rollout"]["seconds"] <= 50
    for _ in range(2):
        order(watching, "promote", step=1)
        serve(watching, 20)
        assert weights(watching) == HALF
    for _ in range(2):
        order(watching, "promote", step=99)
        watching.run("ann promotes all steps")
        assert weights(watching) == NEW
    for _ in range(2):
        order(watching, "abort")
        serve(watching, 20)
        assert phase(watching)[1] in ("Serving", "RolledBack")


def test_a_paused_rollout_is_judged(watching: World) -> None:
    order(watching, "pause")
    serve(watching, 20)
    assert goes_back(watching)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"rollout": "1"}', '{"rollout": 1, "step": 1e99}', "[" * 9999])
def test_an_order_that_cannot_be_read_orders_nothing(watching: World, text: str) -> None:
    for what in ("promote", "pause", "resume", "abort", "retry"):
        watching.annotate(f"kanary.k8s.io/{what}", text)
    serve(watching, 20)
    assert (weights(watching), state(watching)) == (TENTH, ("Watching", "StepWatched"))


# Freezes and windows


def test_a_freeze_holds_the_weights_and_not_the_way_back(watching: World) -> None:
    declare(watching, 0, 100, freeze={"reason": "holidays"})
    serve(watching, 400)
    assert (weights(watching), state(watching)) == (TENTH, ("Waiting", "Frozen"))
    assert "frozen until spec.freeze is removed (spec.freeze): holidays" in message(watching)
    assert goes_back(watching)


def test_the_end_of_a_freeze_needs_no_other_event(serving: World) -> None:
    until = (serving.time + timedelta(minutes=5)).isoformat()
    declare(serving, 0, 100, freeze={"until": until})
    serving.live_through(290)
    assert (weights(serving), phase(serving)) == (OLD, ("Rolling", "Frozen"))
    serving.live_through(20)
    assert weights(serving) == TENTH


def test_the_end_of_a_freeze_without_a_rollout_needs_no_other_event(serving: World) -> None:
    until = (serving.time + timedelta(minutes=5)).isoformat()
    declare(serving, 0, 100, rollout=None, freeze={"until": until})
    serving.live_through(290)
    assert (weights(serving), phase(serving)) == (OLD, ("Rolling", "Frozen"))
    serving.live_through(20)
    assert (weights(serving), phase(serving)) == (NEW, ("Ready", "Serving"))


def test_a_freeze_of_centuries_is_no_timer(serving: World) -> None:
    declare(serving, 0, 100, freeze={"until": "9999-12-31T23:59:59Z"})
    requeue = serving.settle().requeue
    assert requeue
    assert requeue.after <= timedelta(days=1)


def test_weights_that_waited_for_a_freeze_and_are_withdrawn_leave_no_trace(serving: World) -> None:
    declare(serving, 0, 100, freeze={})
    serving.run("other weights, while they are frozen")
    assert phase(serving) == ("Rolling", "Frozen")
    declare(serving, 100, 0)
    serving.run("neither")
    assert phase(serving) == ("Ready", "Serving")


def test_a_freeze_after_a_rollback_does_not_hide_it(watching: World) -> None:
    assert goes_back(watching)
    before = message(watching)
    declare(watching, 50, 50, freeze={})
    watching.run("other weights, while they are frozen")
    assert phase(watching) == ("Degraded", "Frozen")
    declare(watching, 0, 100)
    watching.run("the former spec again")
    assert (phase(watching), message(watching)) == (("Degraded", "RolledBack"), before)


def test_steps_start_in_windows_only(watching: World) -> None:
    # It is Monday, 12:00 UTC, 21:00 in Tokyo.
    windows = [{"days": ["Tue"], "start": "01:00", "end": "02:00", "timeZone": "Asia/Tokyo"}]
    declare(watching, 0, 100, rollout={"steps": STEPS, "windows": windows})
    serve(watching, 600)
    assert (weights(watching), state(watching)) == (TENTH, ("Waiting", "OutsideWindow"))
    assert "opens at 2026-11-23T16:00:00" in message(watching)
    watching.time += timedelta(hours=3, minutes=58)
    serve(watching, 30)
    assert weights(watching) == HALF


# Specs in the middle


def test_a_pause_of_the_spec_pauses_the_rollout_and_not_its_judgement(watching: World) -> None:
    declare(watching, 0, 100, paused=True)
    serve(watching, 400)
    assert weights(watching) == TENTH
    assert watching.status()["rollout"]["state"] == "Waiting"
    assert goes_back(watching)


def test_an_invalid_spec_holds_the_step_and_not_the_judgement(watching: World) -> None:
    declare(watching, 0, 90)
    serve(watching, 400)
    assert (weights(watching), phase(watching)) == (TENTH, ("Degraded", "InvalidWeights"))
    assert goes_back(watching)


def test_an_invalid_spec_that_is_mended_goes_on(watching: World) -> None:
    declare(watching, 0, 90)
    serve(watching, 20)
    declare(watching, 0, 100)
    serve(watching, 320)
    assert weights(watching) == HALF
    assert watching.status()["rollout"]["number"] == 1


def test_a_strategy_without_agents_holds_the_step_and_not_the_judgement(watching: World) -> None:
    declare(watching, 0, 100, updateStrategy="Rolling")
    serve(watching, 400)
    assert (weights(watching), phase(watching)[0]) == (TENTH, "Degraded")
    assert "spec.updateStrategy" in message(watching)
    assert goes_back(watching)


def test_a_service_that_goes_holds_the_step_and_not_the_judgement(watching: World) -> None:
    watching.remove("Service", "myapp-v1")
    serve(watching, 400)
    assert (weights(watching), phase(watching)) == (TENTH, ("Degraded", "BackendNotFound"))
    assert goes_back(watching)


def test_a_spec_without_a_plan_that_cannot_be_applied_ends_no_rollout(watching: World) -> None:
    watching.remove("Service", "myapp-v1")
    declare(watching, 0, 100, rollout=None)
    serve(watching, 400)
    assert (weights(watching), phase(watching)) == (TENTH, ("Degraded", "BackendNotFound"))
    assert goes_back(watching)


def test_without_a_plan_the_declared_weights_are_served_at_once(watching: World) -> None:
    declare(watching, 0, 100, rollout=None)
    serve(watching, 10)
    assert (weights(watching), phase(watching)) == (NEW, ("Ready", "Serving"))


def test_orders_about_former_rollouts_mean_nothing_after_a_time_without_a_plan(watching: World) -> None:
    order(watching, "abort")
    serve(watching, 10)
    declare(watching, 0, 100, rollout=None)
    serve(watching, 10)
    declare(watching, 50, 50)
    serve(watching, 20)
    assert watching.status()["rollout"]["number"] == 2
    assert (weights(watching), state(watching)[0]) == ("myapp-v1:http=5 myapp-v2:http=95", "Watching")


@pytest.mark.parametrize(
    ("steps", "places"),
    [
        ([{"to": 100, "for": "1m"}], ["1/3 10%", "2/2 100%"]),
        ([{"to": 10}, {"to": 100, "for": "1m"}], ["1/3 10%", "2/2 100%"]),
        ([{"to": 20, "for": "1m"}, {"to": 100, "for": "1m"}], ["1/3 10%", "2/3 20%", "3/3 100%"]),
        ([{"to": 1}, {"to": 2}, {"to": 3}, {"to": 60, "for": "1m"}, {"to": 100}], ["1/3 10%", "2/3 60%", "3/3 100%"]),
    ],
)
def test_edited_steps_go_on_with_the_next_one_that_leads_further(
    watching: World, steps: list[dict[str, Any]], places: list[str]
) -> None:
    declare(watching, 0, 100, rollout={"steps": steps})
    serve(watching, 900)
    assert [place for _, rollout, place, _ in revisions(watching) if rollout and place] == places
    assert phase(watching) == ("Ready", "Serving")


def test_fewer_steps_do_not_end_a_rollout_that_is_not_at_its_end(watching: World) -> None:
    serve(watching, 320)
    assert weights(watching) == HALF
    declare(watching, 0, 100, rollout={"steps": [{"to": 100, "for": "5m"}]})
    serve(watching, 10)
    assert (weights(watching), watching.status()["display"]["step"]) == (NEW, "3/3 100%")
    assert goes_back(watching)


def test_other_limits_apply_at_once(watching: World) -> None:
    serve(watching, 20, v1=0.002, v2=0.01)
    assert state(watching)[0] == "Watching"
    strict = {"tolerate": {"ratio": 1, "percent": 0.0001}, "falseAlarms": 0.5}
    declare(watching, 0, 100, rollout={"steps": STEPS, "analysis": strict})
    watching.run("a strict analysis")
    assert phase(watching) == ("Degraded", "RolledBack")


def test_a_route_that_is_not_declared_any_more_stays_until_the_rollout_ends(watching: World) -> None:
    declare_routes(watching, {"myapp_v2": 100})
    serve(watching, 20)
    assert weights(watching) == "myapp-v2:http=10 myapp-v1:http=90"
    assert watching.status()["rollout"]["number"] == 1, "the declared weights are the same"
    assert goes_back(watching)


def test_more_than_a_hundred_declared_and_former_routes_are_refused(serving: World) -> None:
    former = {f"old_{number}": 1 for number in range(100)}
    later = {f"new_{number}": 1 for number in range(100)}
    for name in (*former, *later):
        serving.create_service(name.replace("_", "-"), 1)
    declare_routes(serving, former, rollout=None)
    serve(serving, 10)
    assert phase(serving) == ("Ready", "Serving")
    declare_routes(serving, later)
    serve(serving, 20)
    assert phase(serving) == ("Degraded", "InvalidSpec")
    assert "200" in message(serving)
    assert "at most 100" in message(serving)
    assert "remove spec.rollout" in message(serving)
    declare_routes(serving, later, rollout=None)
    serve(serving, 20)
    assert phase(serving) == ("Ready", "Serving")


# Proxies


def test_proxies_that_come_and_go_lose_no_evidence(watching: World) -> None:
    before = watching.status()["rollout"]["evidence"][0]["tally"]["routes"]["myapp-v1:http"]["connections"]
    declare(watching, 0, 100, proxy={"replicas": 4})
    watching.run("more proxies")
    serve(watching, 50)
    declare(watching, 0, 100, proxy={"replicas": 1})
    watching.run("fewer proxies")
    serve(watching, 50)
    watching.lose(next(name for kind, name in watching.objects if kind == "Pod"))
    serve(watching, 60)
    after = watching.status()["rollout"]["evidence"][0]["tally"]["routes"]["myapp-v1:http"]["connections"]
    # Each second, 100 clients connect at each proxy: 4 of them, then 1 twice. The status is up to 10 s old.
    assert before + 90 * (4 * 50 + 50 + 40) <= after <= before + 90 * (4 * 60 + 50 + 60)
    assert state(watching) == ("Watching", "StepWatched")
    assert goes_back(watching)


def test_dead_proxies_do_not_stop_the_way_back_of_the_others(watching: World) -> None:
    dead = next(name for kind, name in watching.objects if kind == "Pod")
    watching.dead.add(dead)
    serve(watching, 10, v2=0.5)
    assert watching.status()["rollout"]["state"] == "RollingBack"
    others = {name: report.digest for name, report in watching.reported.items() if name != dead}
    assert set(others.values()) == {watching.status()["configHash"]}
    watching.dead.clear()
    serve(watching, 10)
    assert (weights(watching), state(watching)) == (OLD, ("RolledBack", "RolledBack"))


# What is lost


def _delete_status(world: World) -> None:
    del world.objects["Kanary", "rule"]["status"]


def _delete_rollout(world: World) -> None:
    del world.objects["Kanary", "rule"]["status"]["rollout"]


def _damage(**fields: Any) -> Callable[[World], None]:
    def damage(world: World) -> None:
        kanary = world.objects["Kanary", "rule"]
        rollout = {**kanary["status"]["rollout"], **fields}
        world.objects["Kanary", "rule"] = {**kanary, "status": {**kanary["status"], "rollout": rollout}}

    return damage


def _empty_rollout(world: World) -> None:
    kanary = world.objects["Kanary", "rule"]
    world.objects["Kanary", "rule"] = {**kanary, "status": {**kanary["status"], "rollout": {}}}


def _delete_config_map(world: World) -> None:
    world.remove("ConfigMap", "rule-haproxy")


def _delete_both(world: World) -> None:
    _delete_config_map(world)
    _delete_status(world)


LOSSES = {
    "status": _delete_status,
    "rollout": _delete_rollout,
    "all of the rollout": _empty_rollout,
    "state": _damage(state="Dancing"),
    "good": _damage(good=[]),
    "goal": _damage(goal=[{"backend": {"serviceName": "x", "servicePort": 1}, "weight": 1}]),
    "evidence": _damage(evidence=[{"step": 1, "revision": 2, "tally": {"routes": {}, "ledgers": {"a": [1]}}}]),
    "step": _damage(step=-5),
    "seconds": _damage(seconds=-1),
    "ConfigMap": _delete_config_map,
    "ConfigMap and status": _delete_both,
}
# Only the process has the rollout if both are lost.
LOST = [(lost, restarts) for lost in LOSSES for restarts in (False, True) if not (restarts and "and" in lost)]


@pytest.mark.parametrize(("lost", "restarts"), LOST)
def test_what_is_lost_in_the_middle_is_restored(watching: World, lost: str, restarts: bool) -> None:
    LOSSES[lost](watching)
    if restarts:
        watching.restart_operator()
    serve(watching, 60)
    assert (weights(watching), state(watching)) == (TENTH, ("Watching", "StepWatched"))
    assert goes_back(watching)


@pytest.mark.parametrize(("lost", "restarts"), LOST)
def test_what_is_lost_after_a_rollback_is_restored(watching: World, lost: str, restarts: bool) -> None:
    assert goes_back(watching)
    LOSSES[lost](watching)
    if restarts:
        watching.restart_operator()
    serve(watching, 60)
    assert (weights(watching), state(watching)) == (OLD, ("RolledBack", "RolledBack"))


# Time


@pytest.mark.parametrize("jump", [timedelta(hours=5), timedelta(hours=-5), timedelta(days=400)])
def test_a_clock_that_jumps_ends_no_step(watching: World, jump: timedelta) -> None:
    before = watching.status()["rollout"]["seconds"]
    watching.clock_error = jump
    serve(watching, 20)
    assert (weights(watching), state(watching)) == (TENTH, ("Watching", "StepWatched"))
    watching.clock_error = timedelta()
    serve(watching, 20)
    assert (weights(watching), state(watching)) == (TENTH, ("Watching", "StepWatched"))
    assert before <= watching.status()["rollout"]["seconds"] <= before + 40 + 60
    serve(watching, 320)
    assert weights(watching) == HALF


@pytest.mark.parametrize("jump", [timedelta(hours=5), timedelta(hours=-5)])
def test_a_clock_that_jumps_while_proxies_load_exceeds_no_deadline(serving: World, jump: timedelta) -> None:
    serving.sending_fails = serving.slow_proxies = True
    declare(serving, 0, 100)
    serve(serving, 20)
    assert serving.status()["rollout"]["state"] == "Shifting"
    serving.clock_error = jump
    serve(serving, 20)
    assert serving.status()["rollout"]["state"] == "Shifting"
    serving.sending_fails = serving.slow_proxies = False
    serve(serving, 20)
    assert (weights(serving), serving.status()["rollout"]["state"]) == (TENTH, "Watching")


def test_a_step_that_no_proxy_loads_in_time_goes_back(serving: World) -> None:
    serving.sending_fails = serving.slow_proxies = True
    declare(serving, 0, 100, progressDeadlineSeconds=60)
    serve(serving, 50)
    assert serving.status()["rollout"]["state"] == "Shifting"
    serve(serving, 30)
    assert serving.status()["rollout"]["state"] in ("RollingBack", "RolledBack")
    serving.sending_fails = serving.slow_proxies = False
    serve(serving, 30)
    assert (weights(serving), phase(serving)) == (OLD, ("Degraded", "RolledBack"))
    assert "not every proxy serves it after 60 s (spec.progressDeadlineSeconds)" in message(serving)


def test_an_operator_that_was_away_does_not_count_its_absence(serving: World) -> None:
    declare(serving, 0, 100)
    while serving.status().get("rollout", {}).get("state") != "Shifting":
        serving.step()
    serving.restart_operator()
    serving.roll_proxies()
    serving.time += timedelta(hours=3)
    serve(serving, 20)
    assert (weights(serving), serving.status()["rollout"]["state"]) == (TENTH, "Watching")
    serving.time += timedelta(hours=3)
    serving.restart_operator()
    serve(serving, 10)
    assert (weights(serving), serving.status()["rollout"]["state"]) == (TENTH, "Watching")
    assert serving.status()["rollout"]["seconds"] <= 80


# Ends of the operator


def _course(world: World, reconcile: Callable[[World], None]) -> tuple[list[Any], list[str], str]:
    """A good rollout and a bad one, with `reconcile` in place of each settling; what the history has of it."""
    world.settle = lambda name="rule": reconcile(world) or _settle(world)  # type: ignore[method-assign,assignment]
    declare(world, 0, 100, rollout={"steps": SHORT})
    serve(world, 150, rate=300)
    declare(world, 100, 0, rollout={"steps": SHORT})
    serve(world, 20, rate=300)
    serve(world, 20, rate=300, v1=0.5)
    return [(each[1:]) for each in revisions(world)], moves(world), weights(world)


def _settle(world: World) -> Any:
    return World.settle(world)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[Any], list[str], str]:
    return _course(serving_v1(World()), lambda _: None)


def test_a_restart_before_each_reconcile_changes_nothing(undisturbed: tuple[list[Any], list[str], str]) -> None:
    found = _course(serving_v1(World()), World.restart_operator)
    assert found == undisturbed


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_process_that_dies_after_any_write_changes_nothing(
    undisturbed: tuple[list[Any], list[str], str], writes: int
) -> None:
    def die_and_restart(world: World) -> None:
        world.die_after = writes
        try:
            for _ in range(5):
                world.step()
        except RetryLaterError:
            pass
        world.die_after = None
        world.restart_operator()

    world = serving_v1(World())
    found = _course(world, die_and_restart)
    assert found == undisturbed
    assert set(results(world).values()) <= {"Ready", "Superseded"}


def test_evidence_is_counted_once_over_restarts(watching: World) -> None:
    def counted() -> int:
        return int(watching.status()["rollout"]["evidence"][0]["tally"]["routes"]["myapp-v1:http"]["connections"])

    connect(watching, 1000)
    watching.live_through(20)
    before = counted()
    for _ in range(5):
        watching.restart_operator()
        watching.live_through(20)
    assert counted() == before


def test_two_kanaries_have_a_rollout_each(watching: World) -> None:
    watching.create_service("other-v1", 1)
    watching.create_service("other-v2", 1)
    spec = {"destination": "other", "updateStrategy": "Live", "rollout": PLAN}
    other = [{"backend": {"serviceName": f"other-v{v}", "servicePort": "http"}} for v in (1, 2)]
    watching.apply_kanary("other", **spec, routes=[{**other[0], "weight": 100}, {**other[1], "weight": 0}])
    watching.run("another Kanary", "other")
    watching.apply_kanary("other", **spec, routes=[{**other[0], "weight": 0}, {**other[1], "weight": 100}])
    watching.run("has a rollout too", "other")
    assert watching.status("other")["display"]["weights"] == "other-v1:http=90 other-v2:http=10"
    assert goes_back(watching)
    watching.settle("other")
    assert watching.status("other")["rollout"]["state"] == "Watching"
