"""The status names the rule that decided, and until when that lasts; neither is written again while it is the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.traces.rollouts import STEPS, declare, order, serve, serving_v1, state, withdraw
from tests.traces.world import World

Json = dict[str, Any]


@pytest.fixture
def serving() -> World:
    return serving_v1(World())


@pytest.fixture
def watching(serving: World) -> World:
    declare(serving, 0, 100)
    serving.run("v2 is to have all connections")
    assert state(serving) == ("Watching", "StepWatched")
    return serving


def left(world: World, part: Json) -> float:
    """Seconds until the limit of a part of the status."""
    return (datetime.fromisoformat(part["until"]) - world.time).total_seconds()


def test_a_step_that_is_watched_has_one_limit_for_all_of_its_time(watching: World) -> None:
    limits = set()
    for _ in range(20):
        serve(watching, 10)
        status = watching.status()
        assert (status["rule"], status["rollout"]["rule"]) == ("rollout_is_under_way", "step_is_watched")
        limits |= {status["until"], status["rollout"]["until"]}
    assert len(limits) == 1
    assert left(watching, watching.status()) == pytest.approx(100, abs=1)
    assert watching.status()["then"] == "the step passes, or reports what it waits for"


def test_a_pause_has_no_limit_and_gives_the_step_its_time_back(watching: World) -> None:
    order(watching, "pause")
    serve(watching, 60)
    for part in (watching.status(), watching.status()["rollout"]):
        assert {"until", "then"} & part.keys() == set()
    assert watching.status()["rollout"]["rule"] == "rollout_is_paused"
    withdraw(watching, "pause")
    watching.settle()
    assert left(watching, watching.status()["rollout"]) == pytest.approx(300, abs=11)


def test_evidence_is_waited_for_until_a_limit_that_stays(serving: World) -> None:
    declare(serving, 0, 100, rollout={"steps": STEPS, "analysis": {"maxWait": "30m"}})
    serving.run("v2 is to have all connections")
    serve(serving, 330, rate=1)
    assert serving.status()["rollout"]["rule"] == "evidence_is_missing"
    first = serving.status()["rollout"]["until"]
    serve(serving, 600, rate=1)
    assert serving.status()["rollout"]["until"] == first
    assert left(serving, serving.status()) == pytest.approx(35 * 60 - 930, abs=15)


@pytest.mark.parametrize("rollout", [{"steps": STEPS}, None])
def test_a_freeze_is_the_limit_with_a_rollout_and_without(serving: World, rollout: Json | None) -> None:
    end = serving.time + timedelta(minutes=5)
    declare(serving, 0, 100, rollout=rollout, freeze={"until": end.isoformat()})
    serving.settle()
    status = serving.status()
    assert (status["rule"], status["reason"]) == ("rollout_is_under_way", "Frozen")
    assert left(serving, status) == pytest.approx(300, abs=1)


def test_what_serves_has_no_limit(serving: World) -> None:
    status = serving.status()
    assert status["rule"] == "everything_is_served"
    assert {"until", "then"} & status.keys() == set()


def test_a_rejection_that_lasts_is_written_once(serving: World) -> None:
    """The first reconcile reports it by another rule than the next ones would."""
    serving.rejections["ConfigMap"] = "exceeded quota"
    declare(serving, 50, 50, rollout=None)
    serving.run("the API server rejects the configuration")
    assert serving.status()["rule"] == "cluster_rejects"
    written = serving.status_writes
    serving.live_through(120)
    assert serving.status_writes == written


def test_proxies_that_are_behind_have_until_the_progress_deadline(serving: World) -> None:
    serving.sending_fails = True
    declare(serving, 50, 50, rollout=None, progressDeadlineSeconds=100)
    serving.run("no proxy loads the change")
    serving.live_through(2)
    status = serving.status()
    assert status["rule"] == "proxies_are_behind"
    assert status["then"] == "Degraded (ProgressDeadlineExceeded)"
    until = datetime.fromisoformat(status["until"])
    assert until - datetime.fromisoformat(status["progressingSince"]) == timedelta(seconds=100)
