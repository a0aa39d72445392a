"""`kanary promote`, `pause`, `resume`, `abort` and `retry` with the operator, which may be down when they are given."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kanary.cli.main import main
from tests.integration.scene import NAMESPACE, Scene, routes

Kanary = Callable[..., str]

STEPS = [{"to": 10, "until": "Promoted"}, {"to": 50, "until": "Promoted"}, {"to": 100, "until": "Promoted"}]
REASON = ("--reason", "dashboards are fine")


@pytest.fixture
def kanary(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Kanary:
    """Runs a command about the Kanary."""
    scene.history_url = f"sqlite:///{tmp_path}/history.db"
    scene.backend("myapp-v1", "10.0.0.1")
    scene.backend("myapp-v2", "10.0.1.1")

    def run(verb: str, *arguments: str) -> str:
        where = ["-n", NAMESPACE, "--kubeconfig", scene.kubeconfig]
        assert main([verb, "rule", *where, *arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def declare(scene: Scene, v1: int) -> None:
    scene.declare(destination="myapp", routes=routes(myapp_v1=v1, myapp_v2=100 - v1), rollout={"steps": STEPS})


def wait_for_rollout(scene: Scene, **expected: Any) -> None:
    def is_there() -> bool:
        rollout = scene.status().get("rollout") or {}
        return all(rollout.get(key) == value for key, value in expected.items())

    scene.wait_for(is_there, lambda: f"not {expected}: {scene.status()}")


def test_a_rollout_is_steered_to_its_end(scene: Scene, kanary: Kanary) -> None:
    with scene.operating():
        declare(scene, 100)
        scene.wait_for_phase("Ready", revision=1)
        declare(scene, 0)
        wait_for_rollout(scene, step=1, reason="WaitingForPromotion")
        kanary("pause")
        wait_for_rollout(scene, step=1, reason="RolloutPaused")
        kanary("resume")
        wait_for_rollout(scene, step=1, reason="WaitingForPromotion")
        kanary("promote", *REASON)
        wait_for_rollout(scene, step=2, reason="WaitingForPromotion")
        kanary("promote", "--full")
        wait_for_rollout(scene, step=3, reason="WaitingForPromotion")
        kanary("promote", "--step", "3")
        scene.wait_for_phase("Ready", revision=4)
    printed = kanary("history", "--db", scene.history_url)
    assert "step 1/3 is promoted, by anyone: dashboards are fine" in printed
    moves = kanary("history", "--db", scene.history_url, "--transitions")
    assert "step 1/3 is paused, by anyone" in moves
    assert "step 1/3 is resumed, by anyone" in moves


def test_orders_are_obeyed_when_the_operator_is_back(scene: Scene, kanary: Kanary) -> None:
    with scene.operating():
        declare(scene, 100)
        scene.wait_for_phase("Ready", revision=1)
        declare(scene, 0)
        wait_for_rollout(scene, step=1, reason="WaitingForPromotion")
    kanary("abort")
    assert "is aborted already, by anyone" in kanary("abort")
    with scene.operating():
        wait_for_rollout(scene, number=1, state="RolledBack")
    kanary("retry")
    assert "is tried again already, by anyone" in kanary("retry")
    with scene.operating():
        wait_for_rollout(scene, number=2, step=1, reason="WaitingForPromotion")


def test_the_operator_says_which_rule_holds_a_rollout_and_a_pipeline_waits_for_its_end(
    scene: Scene, kanary: Kanary, capsys: pytest.CaptureFixture[str]
) -> None:
    with scene.operating():
        declare(scene, 100)
        assert kanary("status", "--timeout", "5m").splitlines()[-1].startswith("Ready - ")
        declare(scene, 0)
        wait_for_rollout(scene, step=1, reason="WaitingForPromotion")
        found = json.loads(kanary("why", "-o", "json"))
        assert (found["phase"]["rule"], found["rollout"]["rule"]) == (
            "rollout_is_under_way",
            "step_waits_for_promotion",
        )
        assert "kanary promote" in found["rollout"]["remedy"]
        where = ["-n", NAMESPACE, "--kubeconfig", scene.kubeconfig]
        assert main(["status", "rule", *where, "--timeout", "1s"]) == 3
        kanary("abort")
        assert main(["status", "rule", *where, "--timeout", "5m"]) == 1
        assert "RolledBack" in capsys.readouterr().err
        kanary("retry")
        assert main(["status", "rule", *where, "--timeout", "3s"]) == 3
        wait_for_rollout(scene, number=2, step=1, reason="WaitingForPromotion")
        for step in ("1", "2", "3"):
            kanary("promote", "--step", step)
            wait_for_rollout(scene, **({"step": int(step) + 1} if step != "3" else {"state": "Completed"}))
        assert kanary("status", "--timeout", "5m").splitlines()[-1].startswith("Ready - ")
