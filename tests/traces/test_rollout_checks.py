"""Webhooks and queries of rollouts, as stories."""

import pytest

from engine.checks import CheckOutcome, CheckResult
from tests.traces.rollouts import HALF, OLD, declare, message, serve, serving_v1, state, weights
from tests.traces.world import World

HOOK = {"name": "gate", "url": "http://gate:8080"}
QUERY = {"name": "p99", "address": "http://prometheus:9090", "query": "p99", "max": 0.5}


def test_webhooks_hold_a_step_before_and_after_it_and_are_called_at_the_end(world: World) -> None:
    serving_v1(world)
    steps = [{"to": 50, "for": "1m"}, {"to": 100, "for": "1m"}]
    world.checks.answers["p99"] = CheckResult(CheckOutcome.PASSED, "query p99: 0.1")
    declare(world, 0, 100, rollout={"steps": steps, "analysis": {"prometheus": [QUERY]}, "webhooks": [HOOK]})
    world.run("v2 is to have all connections, and a webhook has not answered yet")
    assert (weights(world), state(world)) == (OLD, ("Waiting", "WaitingForWebhook"))
    world.checks.answers["gate"] = CheckResult(CheckOutcome.PASSED, "webhook gate: 200")
    world.run("it agrees")
    assert weights(world) == HALF
    world.checks.answers["gate"] = CheckResult(CheckOutcome.PENDING, "webhook gate: not now")
    serve(world, 70, rate=1000)
    assert state(world) == ("Waiting", "WaitingForWebhook")
    world.checks.answers["gate"] = CheckResult(CheckOutcome.FAILED, "webhook gate refuses: no")
    world.run("it refuses after the step")
    assert weights(world) == OLD
    assert [check.split("_", 2)[2] for check in world.checks.asked if check.endswith("_gate")] == [
        "1_1_BeforeStep_gate",
        "1_1_AfterStep_gate",
        "1_1_Result_gate",
    ]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (CheckOutcome.PENDING, ("Waiting", "WaitingForEvidence")),
        (CheckOutcome.INCONCLUSIVE, ("Waiting", "WaitingForEvidence")),
        (CheckOutcome.PASSED, ("Completed", "Serving")),
        (CheckOutcome.FAILED, ("RolledBack", "RolledBack")),
    ],
)
def test_a_step_passes_only_if_each_query_does(outcome: CheckOutcome, expected: tuple[str, str]) -> None:
    world = serving_v1(World())
    declare(world, 0, 100, rollout={"steps": [{"to": 100, "for": "1m"}], "analysis": {"prometheus": [QUERY]}})
    world.checks.answers["p99"] = CheckResult(outcome, "query p99: 0.7")
    world.settle()
    serve(world, 70, rate=1000)
    assert state(world) == expected
    assert ("query p99: 0.7" in message(world)) is (expected[0] != "Completed")


def test_a_webhook_that_has_not_answered_at_the_end_is_called_again_after_a_restart(world: World) -> None:
    serving_v1(world)
    hook = HOOK | {"events": ["Result"]}
    declare(world, 0, 100, rollout={"steps": [{"to": 100, "for": "1m"}], "webhooks": [hook]})
    world.run("v2 is to have all connections")
    serve(world, 70, rate=1000)
    assert list(world.checks.wanted) == [world.checks.asked[-1]]
    world.restart_operator()
    world.run("the operator is restarted")
    assert len(world.checks.asked) == 2
    world.checks.answers["gate"] = CheckResult(CheckOutcome.PASSED, "webhook gate: 200")
    world.run("the webhook answers")
    world.restart_operator()
    world.run("the operator is restarted again")
    assert (len(world.checks.asked), world.checks.wanted) == (2, {})
