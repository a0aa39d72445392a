"""Rollouts that people steer: each order acts on the rollout that it names, and the history has who and why."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from engine.model.entries import RolloutChange, WeightChange
from tests.traces import rollouts
from tests.traces.rollouts import declare, serve, state, weights, withdraw
from tests.traces.world import World

STEPS = [{"to": 10, "until": "Promoted"}, {"to": 50, "for": "5m"}, {"to": 100, "for": "5m"}]
STEERED: Mapping[str, Any] = {"rollout": {"steps": STEPS}}


@pytest.fixture
def begun() -> World:
    """A rollout whose first step waits for a person."""
    world = World()
    world.create_service("myapp-v1", 2)
    world.create_service("myapp-v2", 1)
    declare(world, 100, 0, **STEERED)
    world.run("two Services with pods, and a Kanary of 100 to 0")
    declare(world, 0, 100, **STEERED)
    world.run("v2 is to have all connections")
    assert state(world) == ("Waiting", "WaitingForPromotion")
    return world


def order(world: World, what: str, reason: str = "", **fields: int) -> None:
    rollouts.order(world, what, by="jane", reason=reason, **fields)
    world.settle()


def changes(world: World) -> list[tuple[str, str]]:
    """The moves of the rollouts, with their messages."""
    found = [entry for entry in world.entries.values() if isinstance(entry, RolloutChange)]
    return [(entry.trigger, entry.message) for entry in found]


def causes(world: World) -> list[str]:
    return [entry.cause for entry in world.entries.values() if isinstance(entry, WeightChange)]


def test_a_promotion_starts_the_next_step_and_the_history_has_who_and_why(begun: World) -> None:
    order(begun, "promote", "dashboards are fine", step=1)
    assert weights(begun) == "myapp-v1:http=50 myapp-v2:http=50"
    cause = causes(begun)[-1]
    assert cause.startswith("step 1/3 is promoted, by jane: dashboards are fine; ")
    assert ("advance", cause) in changes(begun)
    begun.live_through(60)
    assert weights(begun) == "myapp-v1:http=50 myapp-v2:http=50"


def test_a_promotion_names_the_evidence_that_there_was(begun: World) -> None:
    serve(begun, 10)
    order(begun, "promote", step=1)
    assert causes(begun)[-1].startswith("step 1/3 is promoted, by jane; 0 of 200 connections to myapp-v2:http failed")


def test_a_full_promotion_starts_the_last_step_which_is_watched(begun: World) -> None:
    order(begun, "promote", step=2)
    assert weights(begun) == "myapp-v1:http=0 myapp-v2:http=100"
    assert begun.status()["rollout"]["step"] == 3
    assert state(begun) == ("Watching", "StepWatched")


def test_a_promoted_last_step_completes_the_rollout(begun: World) -> None:
    order(begun, "promote", step=2)
    order(begun, "promote", "shipped", step=3)
    assert begun.status()["phase"] == "Ready"
    trigger, message = changes(begun)[-1]
    assert (trigger, message.partition(";")[0]) == ("complete", "rollout 1 is complete, by jane: shipped")


def test_an_order_about_another_rollout_changes_nothing(begun: World) -> None:
    before = changes(begun)
    for what in ("promote", "pause", "abort", "retry"):
        order(begun, what, rollout=2, step=1)
    assert changes(begun) == before


def test_a_pause_and_its_end_are_in_the_history_also_while_the_step_waits(begun: World) -> None:
    order(begun, "pause", "lunch")
    assert state(begun) == ("Waiting", "RolloutPaused")
    withdraw(begun, "pause")
    order(begun, "resume", "back")
    assert state(begun) == ("Waiting", "WaitingForPromotion")
    assert changes(begun)[-2:] == [
        ("pause", "step 1/3 is paused, by jane: lunch"),
        ("resume", "step 1/3 is resumed, by jane: back"),
    ]


def test_the_time_of_a_step_stops_while_it_is_paused(begun: World) -> None:
    order(begun, "promote", step=1)
    serve(begun, 100)
    order(begun, "pause", "lunch")
    serve(begun, 1000)
    assert begun.status()["rollout"]["seconds"] == pytest.approx(100, abs=11)
    withdraw(begun, "pause")
    order(begun, "resume", "back")
    assert state(begun) == ("Watching", "StepWatched")
    assert [trigger for trigger, _ in changes(begun)][-3:] == ["pause", "resume", "watch"]


def test_an_abort_returns_to_the_last_good_weights(begun: World) -> None:
    order(begun, "abort", "bad logs")
    assert weights(begun) == "myapp-v1:http=100 myapp-v2:http=0"
    assert state(begun) == ("RolledBack", "RolledBack")
    cause = "rolled back to myapp-v1:http=100: aborted in step 1/3, by jane: bad logs"
    assert ("fail", cause) in changes(begun)
    assert causes(begun)[-1] == cause


def test_a_retry_begins_another_rollout_to_the_same_weights(begun: World) -> None:
    order(begun, "abort", "bad logs")
    order(begun, "retry", "logs were old")
    assert begun.status()["rollout"]["number"] == 2
    assert weights(begun) == "myapp-v1:http=90 myapp-v2:http=10"
    cause = "rollout 1 is tried again, by jane: logs were old"
    assert ("begin", cause) in changes(begun)
    assert causes(begun)[-1] == cause


def test_a_rollout_by_the_spec_has_no_cause_of_a_retry(begun: World) -> None:
    order(begun, "abort")
    order(begun, "retry")
    declare(begun, 20, 80, **STEERED)
    begun.run("other weights")
    assert causes(begun)[-1] == "spec changed"


def test_an_order_of_several_lines_is_one_line(begun: World) -> None:
    order(begun, "pause", "lunch\n\x0b  with\tbob")
    assert changes(begun)[-1] == ("pause", "step 1/3 is paused, by jane: lunch with bob")


def test_the_end_of_a_step_is_in_the_status_while_its_time_passes(begun: World) -> None:
    def ends_in() -> float:
        return (datetime.fromisoformat(begun.status()["rollout"]["until"]) - begun.time).total_seconds()

    assert "until" not in begun.status()["rollout"]
    order(begun, "promote", step=1)
    serve(begun, 100)
    assert ends_in() == pytest.approx(200, abs=1)
    order(begun, "pause")
    serve(begun, 500)
    assert "until" not in begun.status()["rollout"]
    withdraw(begun, "pause")
    begun.settle()
    assert ends_in() == pytest.approx(200, abs=11)


def test_a_promotion_while_paused_waits_for_the_end_of_the_pause(begun: World) -> None:
    order(begun, "pause", "lunch")
    order(begun, "promote", "fine", step=1)
    assert begun.status()["rollout"]["step"] == 1
    withdraw(begun, "pause")
    order(begun, "resume", "back")
    assert begun.status()["rollout"]["step"] == 2
    assert [trigger for trigger, _ in changes(begun)][-4:] == ["pause", "resume", "advance", "watch"]


def test_a_paused_step_that_fails_is_rolled_back(begun: World) -> None:
    order(begun, "pause", "lunch")
    serve(begun, 10, v2=1.0)
    assert state(begun) == ("RolledBack", "RolledBack")
