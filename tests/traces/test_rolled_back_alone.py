"""Proxies that have rolled back by themselves while no operator could act, as stories."""

from dataclasses import replace
from datetime import timedelta

import pytest
from kanary_agent.rollback_plan import RollbackPlan, plan_of
from kanary_agent.texts import split_of, turns_of

from engine.fleet.reports import RolledBack
from engine.model.states import read_written
from engine.ports import RetryLaterError
from engine.render.selection import TURNS
from states.evidence import Counts
from tests.traces.rollouts import (
    HALF,
    NEW,
    OLD,
    PLAN,
    TENTH,
    connect,
    declare,
    message,
    phase,
    serve,
    serving_v1,
    state,
    weights,
)
from tests.traces.world import World, rolled_back_digest

V1, V2 = "myapp-v1:http", "myapp-v2:http"


@pytest.fixture
def begun(world: World) -> World:
    """A rollout in its first step."""
    serving_v1(world)
    declare(world, 0, 100)
    world.run("v2 is to have all connections")
    serve(world, 20)
    return world


def plan_in(world: World) -> RollbackPlan | None:
    return plan_of(world.config())


def revision(world: World) -> int:
    applied = read_written(world.objects["ConfigMap", "rule-haproxy"]).applied
    assert applied
    return applied.revision


def roll_back_alone(world: World, revision: int) -> str:
    """The agent of one proxy convicts the canary; returns the name of its pod."""
    name = min(world.reported)
    found = RolledBack(revision, V2, Counts(10, 10), Counts(90, 0), 1e-6, world.time)
    report = world.reported[name]
    world.reported[name] = replace(report, digest=rolled_back_digest(report.digest), rolled_back=found, revisions={})
    return name


def test_an_operator_that_returns_makes_the_rollback_of_a_proxy_the_verdict(begun: World) -> None:
    at = begun.time.strftime("%Y-%m-%dT%H:%M:%SZ")
    name = roll_back_alone(begun, revision(begun))
    begun.time += timedelta(seconds=60)
    begun.restart_operator()
    begun.run("the operator was killed, one proxy rolled back by itself, and the operator is back")
    assert weights(begun) == OLD
    assert phase(begun) == ("Degraded", "RolledBack")
    assert f"pod {name} rolled back by itself at {at}, without contact to the operator: 10 of 10" in message(begun)
    assert begun.reported[name].rolled_back is None
    serve(begun, 60)
    assert weights(begun) == OLD


def test_an_operator_that_could_not_write_rolls_back_when_it_can(begun: World) -> None:
    """It is connected to the agents all the time."""
    begun.die_after = 0
    roll_back_alone(begun, revision(begun))
    for _ in range(3):
        with pytest.raises(RetryLaterError):
            begun.step()
        begun.time += timedelta(seconds=10)
    assert weights(begun) == TENTH
    begun.die_after = None
    begun.run("the API server takes writes again")
    assert weights(begun) == OLD
    assert phase(begun) == ("Degraded", "RolledBack")


def test_a_rollback_of_a_former_step_is_no_verdict(begun: World) -> None:
    former = revision(begun)
    serve(begun, 300)
    assert weights(begun) == HALF
    roll_back_alone(begun, former)
    begun.run("a proxy reports that it has rolled back the step before")
    assert state(begun)[0] != "RolledBack"
    serve(begun, 620)
    assert weights(begun) == NEW


def test_the_plan_is_in_the_configuration_while_the_rollout_is_under_way(world: World) -> None:
    serving_v1(world)
    last_good = split_of(world.config())
    assert plan_in(world) is None
    declare(world, 0, 100)
    world.run("v2 is to have all connections")
    first = revision(world)
    # A hundredth of the false alarms, for two proxies that may each be replaced once.
    assert plan_in(world) == RollbackPlan(first, last_good, {V2: {first: 0.1}}, [V1], 3, 0.001 * 0.01 / 4, 1.5, 0.001)
    serve(world, 300)
    second = revision(world)
    plan = plan_in(world)
    assert plan
    assert plan.canaries == {V2: {first: 0.1, second: 0.5}}
    assert plan.split == last_good
    serve(world, 300)
    plan = plan_in(world)
    assert plan
    assert plan.canaries == {V2: {first: 0.1, second: 0.5, revision(world): 1.0}}
    serve(world, 310)
    assert weights(world) == NEW
    assert plan_in(world) is None


def test_neither_counts_nor_time_change_the_configuration_of_a_step(begun: World) -> None:
    text = begun.config()
    serve(begun, 100, v1=0.01, v2=0.01)
    connect(begun, 10)
    begun.live_through(10)
    assert begun.config() == text


def test_agents_do_not_roll_back_what_the_spec_pauses(world: World) -> None:
    serving_v1(world)
    declare(world, 0, 100, rollout=PLAN | {"onFailure": "Pause"})
    world.run("v2 is to have all connections")
    assert plan_in(world) is None
    assert f"proc.revision int({revision(world)})" in world.config()


def test_the_way_back_is_that_of_all_ports(world: World) -> None:
    ports = [{"name": "more", "port": 81, "servicePort": 80}]
    serving_v1(world)
    declare(world, 100, 0, ports=ports)
    world.run("both Services have another port")
    last_good = split_of(world.config())
    declare(world, 0, 100, ports=ports)
    world.run("v2 is to have all connections")
    plan = plan_in(world)
    assert plan
    assert plan.split == last_good
    assert len(turns_of(last_good)) == 2 * TURNS
    declared = split_of(world.config())
    assert declared[:TURNS] != last_good[:TURNS]
    assert declared[TURNS : 2 * TURNS] != last_good[TURNS : 2 * TURNS]
