"""Rollouts by steps, as stories."""

import pytest

from tests.traces.rollouts import (
    HALF,
    NEW,
    OLD,
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
)
from tests.traces.world import World


@pytest.fixture
def serving(world: World) -> World:
    """A Kanary whose connections all go to the first version."""
    return serving_v1(world)


def test_a_good_version_reaches_all_connections(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    assert weights(serving) == "myapp-v1:http=90 myapp-v2:http=10"
    assert serving.status()["display"]["step"] == "1/3 10%"
    serve(serving, 300)
    assert weights(serving) == "myapp-v1:http=50 myapp-v2:http=50"
    serve(serving, 610)
    assert serving.status()["phase"] == "Ready"
    assert weights(serving) == "myapp-v1:http=0 myapp-v2:http=100"
    assert "step" not in serving.status()["display"]


def test_a_version_that_resets_everything_goes_back(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 1, stride=1, v2=1.0)
    assert weights(serving) == "myapp-v1:http=100 myapp-v2:http=0"
    assert (serving.status()["phase"], serving.status()["reason"]) == ("Degraded", "RolledBack")
    serve(serving, 20)
    assert weights(serving) == "myapp-v1:http=100 myapp-v2:http=0"
    declare(serving, 100, 0)
    serving.run("the spec declares the last good weights again")
    assert serving.status()["phase"] == "Ready"


def test_a_step_waits_until_a_bad_version_would_have_been_found(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections, and only one client connects each second")
    serve(serving, 310, rate=1)
    assert state(serving) == ("Waiting", "WaitingForEvidence")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_bad_version_goes_back_at_each_step(step: int) -> None:
    world = serving_v1(World())
    declare(world, 0, 100)
    world.run("v2 is to have all connections")
    serve(world, 310 * (step - 1))
    assert state(world) == ("Watching", "StepWatched")
    assert world.status()["rollout"]["step"] == step
    serve(world, 10, v2=0.2, v1=0.001)
    assert (weights(world), phase(world)) == (OLD, ("Degraded", "RolledBack"))
    assert "rollouts of good versions has so many failures" in message(world)
    assert [text for *_, text in revisions(world)] == [*[OLD, TENTH, HALF, NEW][: step + 1], OLD]
    assert [(rollout, place) for _, rollout, place, _ in revisions(world)][1] == (1, "1/3 10%")
    assert [results(world)[number] for number in range(2, step + 3)] == ["Superseded"] * step + ["Ready"]


def test_a_burst_of_failures_on_both_versions_goes_on(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 50)
    serve(serving, 20, v1=0.05, v2=0.05)
    assert state(serving) == ("Watching", "StepWatched")
    serve(serving, 300, rate=1000)
    assert weights(serving) == HALF
    assert state(serving) == ("Watching", "StepWatched")


def test_pods_that_are_not_there_yet_hold_the_step_and_not_the_traffic(serving: World) -> None:
    serving.scale("myapp-v2", 0)
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections, and has no pod")
    serve(serving, 60)
    assert (weights(serving), state(serving)) == (OLD, ("Waiting", "WaitingForEndpoints"))
    serving.scale("myapp-v2", 1)
    serving.run("a pod of v2 is ready")
    assert (weights(serving), serving.status()["display"]["step"]) == (TENTH, "1/3 10%")


def test_pods_that_never_come_end_the_rollout(serving: World) -> None:
    serving.scale("myapp-v2", 0)
    declare(serving, 0, 100, progressDeadlineSeconds=120)
    serving.run("v2 is to have all connections, and has no pod")
    serve(serving, 100)
    assert state(serving) == ("Waiting", "WaitingForEndpoints")
    serve(serving, 30)
    assert (weights(serving), phase(serving)) == (OLD, ("Degraded", "RolledBack"))
    assert "no pod of myapp-v2:http is ready after 120 s (spec.progressDeadlineSeconds)" in message(serving)


def test_a_version_that_loses_its_pods_goes_back(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 50)
    serving.scale("myapp-v2", 0)
    serving.run("the only pod of v2 is gone")
    assert (weights(serving), phase(serving)) == (OLD, ("Degraded", "RolledBack"))
    assert "no pod of myapp-v2:http is usable" in message(serving)


def test_a_retry_begins_at_the_first_step(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 10, v2=1.0)
    order(serving, "retry", reason="fixed")
    serving.run("ann tries again")
    assert (weights(serving), state(serving)) == (TENTH, ("Watching", "StepWatched"))
    assert serving.status()["rollout"]["number"] == 2
    serve(serving, 10, v2=1.0)
    assert (weights(serving), phase(serving)) == (OLD, ("Degraded", "RolledBack"))
    serve(serving, 100)
    assert serving.status()["rollout"]["number"] == 2, "an order about rollout 1 says nothing about rollout 2"


def test_another_spec_in_the_middle_starts_from_the_weights_that_serve(serving: World) -> None:
    serving.create_service("myapp-v3", 1)
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 320)
    declare_routes(serving, {"myapp_v3": 100})
    serving.run("v3 is to have all connections, and v1 and v2 are not declared any more")
    serve(serving, 10)
    assert weights(serving) == "myapp-v3:http=10 myapp-v1:http=45 myapp-v2:http=45"
    serve(serving, 10, v3=1.0)
    assert weights(serving) == "myapp-v3:http=0 myapp-v1:http=100"
    assert phase(serving) == ("Degraded", "RolledBack")


def test_a_second_rollout_leaves_the_first_version_behind(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    serve(serving, 930)
    serving.create_service("myapp-v3", 1)
    declare_routes(serving, {"myapp_v2": 0, "myapp_v3": 100})
    serving.run("v3 is to have all connections, and v1 is not declared any more")
    serve(serving, 930)
    assert weights(serving) == "myapp-v2:http=0 myapp-v3:http=100"
    assert phase(serving) == ("Ready", "Serving")
    assert [(rollout, place) for _, rollout, place, _ in revisions(serving)] == [
        (None, None),
        (1, "1/3 10%"),
        (1, "2/3 50%"),
        (1, "3/3 100%"),
        (2, "0/3"),  # v3 is a route without connections, and v1 is none any more
        (2, "1/3 10%"),
        (2, "2/3 50%"),
        (2, "3/3 100%"),
    ]
    ready = [number for number, result in results(serving).items() if result == "Ready"]
    assert ready == [1, 4, 8]
    assert moves(serving)[-1] == "Watching -> Completed"


def test_several_canaries_are_judged_each_by_itself(serving: World) -> None:
    serving.create_service("myapp-v3", 1)
    declare_routes(serving, {"myapp_v1": 50, "myapp_v2": 25, "myapp_v3": 25})
    serving.run("v2 and v3 are to have a quarter each")
    serve(serving, 100)
    assert weights(serving) == "myapp-v1:http=95 myapp-v2:http=2.5 myapp-v3:http=2.5"
    serve(serving, 20, v3=0.5)
    assert phase(serving) == ("Degraded", "RolledBack")
    assert "myapp-v3:http" in message(serving).partition("which had")[0]


def test_a_step_so_small_that_the_canary_gets_nothing_passes_by_its_time(serving: World) -> None:
    steps = [{"to": 0.1, "for": "1m"}, {"to": 100, "for": "1m"}]
    declare(serving, 99.9, 0.1, rollout={"steps": steps})
    serving.run("v2 is to have a thousandth, and the first step is a thousandth of that")
    serve(serving, 50)
    assert (weights(serving), serving.status()["display"]["step"]) == (OLD, "1/2 0.1%")
    serve(serving, 30)
    assert weights(serving) == "myapp-v1:http=99.9 myapp-v2:http=0.1"


def test_inconclusive_evidence_pauses_until_a_person_decides(serving: World) -> None:
    declare(serving, 0, 100, rollout={"steps": STEPS, "analysis": {"maxWait": "2m"}})
    serving.run("v2 is to have all connections, and one client connects each second")
    serve(serving, 310, rate=1)
    assert state(serving) == ("Waiting", "WaitingForEvidence")
    serve(serving, 150, rate=1)
    assert state(serving) == ("Waiting", "Inconclusive")
    serve(serving, 300)
    assert state(serving) == ("Waiting", "Inconclusive"), "later evidence does not start a step at any time of the day"
    order(serving, "promote", step=1)
    serving.run("ann promotes it")
    assert weights(serving) == HALF
    order(serving, "promote", step=1)
    serve(serving, 100)
    assert weights(serving) == HALF


@pytest.mark.parametrize(("then", "expected"), [("Proceed", HALF), ("Rollback", OLD)])
def test_inconclusive_evidence_leads_where_the_spec_says(then: str, expected: str) -> None:
    world = serving_v1(World())
    declare(world, 0, 100, rollout={"steps": STEPS, "analysis": {"maxWait": "2m", "onInconclusive": then}})
    world.run("v2 is to have all connections")
    serve(world, 450, rate=1)
    assert weights(world) == expected


def test_a_failure_that_pauses_stays_until_a_person_decides(serving: World) -> None:
    declare(serving, 0, 100, rollout={"steps": STEPS, "onFailure": "Pause"})
    serving.run("v2 is to have all connections")
    serve(serving, 10, v2=0.05)
    assert (weights(serving), state(serving)) == (TENTH, ("Waiting", "VerdictFailed"))
    serve(serving, 600, rate=500)
    assert (weights(serving), state(serving)) == (TENTH, ("Waiting", "VerdictFailed")), "though it fails no more"
    order(serving, "promote", step=1)
    serving.run("ann promotes it")
    assert weights(serving) == HALF
    serve(serving, 300)
    assert weights(serving) == NEW
    serve(serving, 10, v2=1.0)
    assert state(serving) == ("Waiting", "VerdictFailed")
    order(serving, "abort")
    serving.run("ann aborts it")
    assert (weights(serving), phase(serving)) == (OLD, ("Degraded", "RolledBack"))


def test_failures_and_time_count_as_they_are_reported(serving: World) -> None:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    connect(serving, 1000, v1=0.01, v2=0.01)
    serving.live_through(41)
    tally = serving.status()["rollout"]["evidence"][0]["tally"]["routes"]
    assert tally["myapp-v2:http"] == {"weight": 10, "connections": 200, "failed": 2}
    assert tally["myapp-v1:http"] == {"weight": 90, "connections": 1800, "failed": 18}
    assert 30 <= serving.status()["rollout"]["seconds"] <= 41
