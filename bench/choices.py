"""What rollouts of some steps lead to at some rates of connections, by `kanary simulate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from statistics import median_high
from typing import Any

from bench.stats import table
from engine.resolve.validation import read_spec
from kanary.cli.replay import Moment, Replay, RunResult, Scenario
from kanary.cli.times import took_text
from kanary.cli.traffic import TrafficModel

STEPS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "1, 10, 50, 100": (
        {"to": 1, "for": "5m"},
        {"to": 10, "for": "10m"},
        {"to": 50, "for": "10m"},
        {"to": 100, "for": "10m"},
    ),
    "10, 100": ({"to": 10, "for": "10m"}, {"to": 100, "for": "5m"}),
}
RATES = 1, 10, 50, 500
DETECT = 1, 5
OTHERS = 0.001
CANARIES = 0.001, 0.01, 0.03, 0.5
"""The failing fraction of the canary's connections."""
_WORDS = {RunResult.COMPLETED: "complete", RunResult.ROLLED_BACK: "back", RunResult.WAITING: "waits"}


def choices(rollouts: int) -> str:
    """What becomes of a good canary and of bad ones."""
    rows = [
        [
            f"{rate}/s",
            name,
            f"{detect} %",
            *(_cell(_runs(steps, rate, detect, canary, rollouts)) for canary in CANARIES),
        ]
        for name, steps in STEPS.items()
        for rate in RATES
        for detect in DETECT
    ]
    header = ["connections", "steps", "`detect`", *(f"{100 * canary:g} %" for canary in CANARIES)]
    return table(header, rows)


def _runs(
    steps: Sequence[Mapping[str, Any]], rate: float, detect: float, canary: float, rollouts: int
) -> Sequence[Moment]:
    """The last moment of each run, with the random numbers of `kanary simulate`."""
    start, goal = (_spec(steps, detect, weight) for weight in (100, 0))
    assert goal.rollout
    before, after = (str(route.backend) for route in goal.routes)
    traffic = TrafficModel(rate, {before: OTHERS, after: canary})
    scenario = Scenario(start.routes, goal.routes, goal.rollout, traffic)
    return [list(Replay(scenario, Random(f"1/{number}")).moments())[-1] for number in range(rollouts)]


def _spec(steps: Sequence[Mapping[str, Any]], detect: float, weight: int) -> Any:
    """A Kanary's spec with this weight of the first version."""
    weights = {"v1": weight, "v2": 100 - weight}
    routes = [{"backend": {"serviceName": f"{each}", "servicePort": 80}, "weight": weights[each]} for each in weights]
    rollout = {"steps": list(steps), "analysis": {"detect": {"percent": detect}}}
    spec = {"destination": "service", "routes": routes, "rollout": rollout}
    return read_spec({"metadata": {"name": "service"}, "spec": spec})


def _cell(runs: Iterable[Moment]) -> str:
    """The most frequent result, with medians."""
    found = list(runs)
    result, count = Counter(each.result for each in found).most_common(1)[0]
    chosen = [each for each in found if each.result is result]
    share = "" if count == len(found) else f"{100 * count / len(found):.0f} %: "
    failed = f", {median_high(each.failed for each in chosen)} failed" if result is RunResult.ROLLED_BACK else ""
    word = _WORDS[result] if result else ""
    return f"{share}{word} {took_text(median_high(each.seconds for each in chosen))}{failed}"
