"""`kanary simulate`: rollouts against a model of traffic, by the engine's own rules."""

import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from math import sqrt
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from engine.resolve.validation import read_spec
from engine.shares import weights_of
from kanary.cli.main import main
from kanary.cli.replay import Moment, Replay, RunResult, Scenario
from kanary.cli.traffic import Burst, Flow, TrafficModel, binomial, read_burst, read_failing, read_rate
from tests.unit.kanaries import Json, kanary, route

V1, V2 = "myapp-v1:http", "myapp-v2:http"
STEPS = [{"to": 10, "for": "5m"}, {"to": 50, "for": "5m"}, {"to": 100, "for": "5m"}]
GOOD = {V1: 0.001, V2: 0.001}


def declared(v1: float = 0, v2: float = 100, **rollout: Any) -> Json:
    routes = [route("myapp-v1", v1), route("myapp-v2", v2)]
    return kanary(routes=routes, rollout={"steps": STEPS} | rollout)


def scenario(traffic: TrafficModel, **rollout: Any) -> Scenario:
    goal = read_spec(declared(**rollout))
    assert goal.rollout
    return Scenario(read_spec(declared(100, 0)).routes, goal.routes, goal.rollout, traffic)


def run(traffic: TrafficModel, seed: int = 1, **rollout: Any) -> list[Moment]:
    return list(Replay(scenario(traffic, **rollout), Random(seed)).moments())


def results(runs: int, traffic: TrafficModel, **rollout: Any) -> Counter[RunResult | None]:
    made = scenario(traffic, **rollout)
    return Counter([*Replay(made, Random(number)).moments()][-1].result for number in range(runs))


# TrafficModel


@pytest.mark.parametrize(("total", "probability"), [(5, 0.5), (50, 0.9), (1000, 0.001), (1000, 0.3), (10**7, 0.01)])
def test_counts_of_failures_have_the_mean_and_the_variance_of_the_binomial_distribution(
    total: int, probability: float
) -> None:
    random = Random(1)
    drawn = [binomial(total, probability, random) for _ in range(4000)]
    mean, variance = total * probability, total * probability * (1 - probability)
    assert all(0 <= each <= total for each in drawn)
    assert abs(sum(drawn) / len(drawn) - mean) < 4 * sqrt(variance / len(drawn))
    measured = sum((each - mean) ** 2 for each in drawn) / len(drawn)
    assert abs(measured / variance - 1) < 0.15


@pytest.mark.parametrize("total", [0, 1, 100, 10**9])
def test_what_always_or_never_fails_does_so(total: int) -> None:
    assert binomial(total, 0.0, Random(1)) == 0
    assert binomial(total, 1.0, Random(1)) == total


def test_connections_are_split_exactly() -> None:
    flow = Flow(TrafficModel(33.3, {}), {V1: Decimal("87.5"), V2: Decimal("12.5")}, 10.0, Random(1))
    for second in range(11, 1011):
        flow.advance(second)
    assert flow.connections == {V1: 29137, V2: 4162}
    assert flow.failures([V1, V2]) == 0


def test_a_burst_adds_to_the_failures_of_each_version() -> None:
    traffic = TrafficModel(50, {V2: 0.5}, (Burst(0.1, 60, 90),))
    assert [traffic.failing_at(V1, time) for time in (59, 60, 89, 90)] == pytest.approx([0, 0.1, 0.1, 0])
    assert traffic.failing_at(V2, 60) == pytest.approx(0.55)
    assert [traffic.constant_until(time) for time in (0, 60, 75)] == [60, 90, 90]
    flow = Flow(traffic, {V1: Decimal(100)}, 0, Random(1))
    failed = []
    for time in (60, 90, 200):
        flow.advance(time)
        failed.append(flow.failed[V1])
    assert failed[0] == 0
    assert 100 < failed[1] < 200
    assert failed[2] == failed[1]


def test_options_are_read() -> None:
    assert (read_rate("50/s"), read_rate("0.5/s")) == (50, 0.5)
    assert read_failing("myapp-v2=0.1%") == ("myapp-v2", pytest.approx(0.001))
    assert read_burst("5%@10m+30s") == Burst(0.05, 600, 630)


# Runs


def test_a_good_version_gets_all_connections_step_by_step() -> None:
    moments = run(TrafficModel(50, GOOD))
    weights = [each.weights.get(each.rollout.goal[1].backend, 0) for each in moments if each.rollout.step]
    assert list(dict.fromkeys(weights)) == [10, 50, 100]
    assert moments[-1].result is RunResult.COMPLETED
    assert moments[-1].seconds >= 900
    assert all(before.seconds <= after.seconds for before, after in pairwise(moments))
    assert "rollout 1 is complete" in moments[-1].rollout.message


def test_a_dead_version_is_rolled_back_within_seconds() -> None:
    last = run(TrafficModel(50, {V2: 1.0}))[-1]
    assert (last.result, last.rollout.reason) == (RunResult.ROLLED_BACK, "VerdictFailed")
    assert last.weights == weights_of(last.rollout.good)
    assert last.seconds < 3
    assert last.failed < 10


def test_the_same_random_numbers_give_the_same_run() -> None:
    one, same, other = (run(TrafficModel(50, {V2: 0.01}), seed) for seed in (1, 1, 2))
    assert one == same
    assert one[-1] != other[-1]


def test_more_failures_never_help() -> None:
    completed = [
        results(40, TrafficModel(50, {V1: 0.001, V2: fraction}))[RunResult.COMPLETED]
        for fraction in (0.001, 0.004, 0.01, 0.1)
    ]
    assert completed == sorted(completed, reverse=True)
    assert completed[0] == 40
    assert completed[-1] == 0


def test_a_good_version_is_rolled_back_no_more_often_than_declared() -> None:
    analysis = {"falseAlarms": 0.1, "tolerate": {"ratio": 1, "percent": 1e-6}, "detect": {"percent": 100}}
    steps = [{"to": 30, "for": "40s"}, {"to": 100, "for": "1s"}]
    found = results(2000, TrafficModel(15, {V1: 0.02, V2: 0.02}), steps=steps, analysis=analysis)
    assert 0 < found[RunResult.ROLLED_BACK] <= 200


def test_failures_of_all_versions_alike_are_no_reason_to_roll_back() -> None:
    traffic = TrafficModel(50, GOOD, (Burst(0.2, 120, 180),))
    assert results(20, traffic, analysis={"detect": {"percent": 10}}) == {RunResult.COMPLETED: 20}


@pytest.mark.parametrize(
    ("policy", "result", "reason"),
    [
        ("Pause", RunResult.WAITING, "Inconclusive"),
        ("Rollback", RunResult.ROLLED_BACK, "Inconclusive"),
        ("Proceed", RunResult.COMPLETED, "RolloutCompleted"),
    ],
)
def test_with_few_connections_the_spec_decides(policy: str, result: RunResult, reason: str) -> None:
    last = run(TrafficModel(0.1, {}), analysis={"onInconclusive": policy, "maxWait": "20m"})[-1]
    assert (last.result, last.rollout.reason) == (result, reason)
    assert last.seconds == pytest.approx({"Proceed": 3 * 1500}.get(policy, 1500))


def test_a_step_ends_once_the_evidence_suffices() -> None:
    moments = run(TrafficModel(5, {}))
    assert "WaitingForEvidence" in [each.rollout.reason for each in moments]
    first = next(each for each in moments if each.rollout.step == 2)
    # Without failures, a step of 10 % has to see some 17,000 connections.
    assert 3300 < first.seconds < 3900


def test_a_failed_step_may_wait_for_a_person() -> None:
    last = run(TrafficModel(50, {V2: 1.0}), onFailure="Pause")[-1]
    assert (last.result, last.rollout.reason) == (RunResult.WAITING, "VerdictFailed")


# The command


def written(tmp_path: Path, *documents: Any) -> str:
    path = tmp_path / "kanary.yml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> Mapping[str, Any]:
    assert main(["simulate", "--output", "json", *arguments]) == 0
    found: Mapping[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_text_has_the_story_of_a_run_and_the_results_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rate", "50/s", "--fail", "myapp-v2=5%", "--fail", f"{V1}=0.1%", "--runs", "20"]
    assert main(["simulate", "-f", written(tmp_path, declared()), *options]) == 0
    text = capsys.readouterr().out
    assert f"from {V1}=100 (assumed; see --from) to {V2}=100, at 50 connections per second" in text
    assert f"Failing connections: {V1} 0.1 %, {V2} 5 %\n" in text
    assert f"0s    1/3 10%  {V1}=90 {V2}=10" in text
    assert f"rolled back to {V1}=100: step 1/3 failed: " in text
    assert "RolledBack (VerdictFailed)  20    100 %  1/3:20" in text


def test_programs_get_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filename = written(tmp_path, declared(analysis={"detect": {"percent": 5}}))
    found = report(capsys, "-f", filename, "--rate", "50/s", "--runs", "5", "--from", "myapp-v1=100")
    assert (found["from"], found["to"], found["rate"]) == ({V1: 100}, {V2: 100}, 50)
    assert found["story"][-1]["reason"] == "RolloutCompleted"
    (result,) = found["results"]
    assert (result["result"], result["runs"], result["steps"]) == ("Completed", 5, {"3": 5})
    assert result["seconds"] == {"median": 900, "p95": 900}
    assert result["failed"] == {"median": 0, "p95": 0}


def test_the_first_run_is_the_same_for_any_number_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-f", written(tmp_path, declared()), "--rate", "50/s", "--fail", "myapp-v2=1%"]
    one, same, other = (
        report(capsys, *arguments, *more) for more in (["--runs=1"], ["--runs=2"], ["--runs=1", "--seed=2"])
    )
    assert one["story"] == same["story"] != other["story"]


def test_a_rollout_may_begin_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filename = written(tmp_path, declared())
    found = report(capsys, "-f", filename, "--rate", "50/s", "--runs", "1", "--from", "myapp-v1=60,myapp-v2=40")
    weights = [each["weights"][V2] for each in found["story"]]
    assert list(dict.fromkeys(weights)) == [40, 46, 70, 100]


def test_a_promotion_may_come_late(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"to": 50, "until": "Promoted"}, {"to": 100, "for": "5m"}]
    arguments = ["-f", written(tmp_path, declared(steps=steps)), "--rate", "50/s", "--runs", "1"]
    at_once, late = (report(capsys, *arguments, *more) for more in ([], ["--promote-after", "10m"]))
    assert at_once["story"][-1]["seconds"] == 300
    assert late["story"][-1]["seconds"] == 900


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["simulate", *arguments])
    captured = capsys.readouterr()
    assert code in (1, 2)
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--rate 50", "invalid rate '50', expected connections per second such as 50/s or 0.5/s"),
        ("--rate 0/s", "invalid rate '0/s'"),
        ("--rate 50/s --fail myapp-v2=3", "'myapp-v2=3', expected BACKEND=PERCENT% such as myapp-v2=3%"),
        ("--rate 50/s --fail myapp-v2=101%", "from 0% to 100%"),
        ("--rate 50/s --fail myapp-v3=3%", f"--fail: 'myapp-v3' names 0 routes: use {V1}, {V2}"),
        ("--rate 50/s --burst 5%", "invalid burst '5%', expected PERCENT%@START+DURATION such as 5%@10m+30s"),
        ("--rate 50/s --burst 5%@10m+0s", "invalid burst"),
        ("--rate 50/s --from myapp-v1=90", "--from: the weights sum to 90: change them so that they sum to 100"),
        ("--rate 50/s --from myapp-v1", "--from: 'myapp-v1' is not BACKEND=WEIGHT[,...] with weights from 0 to 100"),
        ("--rate 50/s --from myapp-v1=1e9", "--from: 'myapp-v1=1e9' is not BACKEND=WEIGHT[,...]"),
        ("--rate 50/s --from myapp-v2=100", f"begins with the declared weights, {V2}=100, so nothing changes"),
        ("--rate 50/s --from myapp-v1=50,myapp-v1=50", f"--from: {V1} is given twice: leave one out"),
        ("--rate 50/s --fail myapp-v2=1% --fail myapp-v2=2%", f"--fail: {V2} is given twice: leave one out"),
        ("--rate 50/s --promote-after soon", "invalid time 'soon'"),
        ("--rate 50/s --runs 0", "'--runs'"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, expected: str
) -> None:
    assert expected in refusal(capsys, "-f", written(tmp_path, declared()), *arguments.split())


def test_a_kanary_without_steps_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, "-f", written(tmp_path, kanary()), "--rate", "50/s")
    assert "Kanary 'shop/myapp-split' has no spec.rollout: its weights change at once; add its steps" in error


def test_of_several_kanaries_the_one_with_steps_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [kanary() | {"metadata": {"namespace": "shop", "name": name}} for name in ("a", "b")]
    for number, each in enumerate(others):
        each["spec"]["destination"] = f"other-{number}"
    assert report(capsys, "-f", written(tmp_path, *others, declared()), "--rate", "50/s", "--runs", "1")["kanary"] == (
        "shop/myapp-split"
    )
    assert "has several Kanaries: shop/a, shop/b" in refusal(capsys, "-f", written(tmp_path, *others), "--rate", "50/s")
