"""`kanary simulate`: how a rollout by steps would go, against a model of traffic."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any, TypeVar

from engine.model.entries import Share
from engine.model.spec import Backend, KanarySpec, Route, weights_text
from engine.model.weight import TOTAL_WEIGHT, decimal_text, read_weight, weight_number
from engine.shares import Weights, weights_of, with_weights
from kanary.cli.manifest import InputError
from kanary.cli.output import json_text
from kanary.cli.render import read_valid
from kanary.cli.replay import Moment, Replay, RunResult, Scenario
from kanary.cli.text import write_table
from kanary.cli.traffic import Burst, TrafficModel
from states import Reason
from states.texts import one_line
from states.timing import duration_text

Value = TypeVar("Value")

_QUANTILES = (0.5, 0.95)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """How one run has ended."""

    result: RunResult
    reason: str
    step: int
    """In which step."""
    seconds: float
    """Since the rollout began."""
    failed: int
    """Connections to the canaries that failed until then."""


def simulate(
    filename: str,
    *,
    failing: Sequence[tuple[str, float]],
    rate: float,
    start: str | None,
    bursts: Sequence[Burst],
    promote_after: timedelta | None,
    runs: int,
    seed: int,
    output: str,
) -> None:
    """Print the story of the first run, and the results of all runs. Raises InputError."""
    name, spec = _rollout_of(filename)
    if spec.rollout is None:
        raise InputError(f"{filename}: Kanary {name!r} has no spec.rollout: its weights change at once; add its steps")
    former = _start(spec, start)
    traffic = TrafficModel(rate, _failing(failing, spec), tuple(bursts))
    scenario = Scenario(former, spec.routes, spec.rollout, traffic, promote_after or timedelta())
    # Each run has numbers of its own, so that the first one is the same for any number of runs.
    randoms = (Random(f"{seed}/{number}") for number in range(runs))  # noqa: S311 -- a model of traffic, no secret
    story = list(Replay(scenario, next(randoms)).moments())
    finished = [_finished(story), *(_finished(Replay(scenario, each).moments()) for each in randoms)]
    begin = f"{name}: from {_text(weights_of(former))}{'' if start else ' (assumed; see --from)'}"
    if output == "json":
        report = _report(name, scenario, story, finished)
        sys.stdout.write(json_text(report | {"seed": seed, "runs": runs}, sys.stdout, indent=2) + "\n")
        return
    sys.stdout.write(f"{begin} to {_text(weights_of(spec.routes))}, at {rate:.7g} connections per second\n")
    rates = (f"{backend} {100 * fraction:g} %" for backend, fraction in traffic.failing.items())
    sys.stdout.write(f"Failing connections: {', '.join(rates) or 'none'}\n\nThe first run:\n")
    _write_story(story)
    sys.stdout.write(f"\nAll {runs} runs:\n")
    _write_results(finished, len(spec.rollout.steps))


def _rollout_of(filename: str) -> tuple[str, KanarySpec]:
    """The only Kanary of the file, or the only one with a rollout, by its namespace and name."""
    found = [(f"{k['metadata']['namespace']}/{k['metadata']['name']}", spec) for k, spec in read_valid(filename)]
    chosen = [each for each in found if each[1].rollout] or found
    if len(chosen) > 1:
        names = ", ".join(name for name, _ in chosen)
        raise InputError(f"{filename}: has several Kanaries: {names}; give a file with one of them")
    return chosen[0]


def _start(spec: KanarySpec, text: str | None) -> tuple[Route, ...]:
    """The last good routes: as given, or all weight on the first route whose declared weight is 0, or on the first."""
    first = next((route for route in spec.routes if not route.weight), spec.routes[0])
    weights = {first.backend: Decimal(TOTAL_WEIGHT)} if text is None else _weights(text, spec)
    if weights == weights_of(spec.routes):
        raise InputError(
            f"the rollout begins with the declared weights, {_text(weights)}, so nothing changes: "
            "give the weights before it, such as --from myapp-v1=100, or declare others"
        )
    return with_weights(spec.routes, weights, ())


def _weights(text: str, spec: KanarySpec) -> dict[Backend, Decimal]:
    pairs = (part.partition("=") for part in text.split(","))
    numbers = _by_backend("--from", ((name, number) for name, _, number in pairs), spec)
    try:
        weights = {backend: read_weight(Decimal(number)) for backend, number in numbers.items()}
    except (InvalidOperation, ValueError):
        raise InputError(
            f"--from: {text[:80]!r} is not BACKEND=WEIGHT[,...] with weights from 0 to 100, such as "
            "myapp-v1=87.5,myapp-v2=12.5"
        ) from None
    if (total := sum(weights.values())) != TOTAL_WEIGHT:
        raise InputError(
            f"--from: the weights sum to {decimal_text(Decimal(total))}: change them so that they sum to 100"
        )
    return {backend: weight for backend, weight in weights.items() if weight}


def _failing(given: Iterable[tuple[str, float]], spec: KanarySpec) -> Mapping[str, float]:
    """The failing fraction of each route, by backend."""
    named = _by_backend("--fail", given, spec)
    return {str(route.backend): named.get(route.backend, 0.0) for route in spec.routes}


def _by_backend(option: str, given: Iterable[tuple[str, Value]], spec: KanarySpec) -> dict[Backend, Value]:
    found: dict[Backend, Value] = {}
    for name, value in given:
        backend = _backend(option, name, spec)
        if backend in found:
            raise InputError(f"{option}: {backend} is given twice: leave one out")
        found[backend] = value
    return found


def _backend(option: str, name: str, spec: KanarySpec) -> Backend:
    """The backend of a route, by its Service if this is unambiguous, or by Service and port."""
    backends = [route.backend for route in spec.routes]
    found = [each for each in backends if name in (str(each), each.service_name)]
    if len(found) != 1:
        raise InputError(f"{option}: {name[:80]!r} names {len(found)} routes: use {', '.join(map(str, backends))}")
    return found[0]


def _finished(moments: Iterable[Moment]) -> FinishedRun:
    *_, last = moments
    rollout = last.rollout
    return FinishedRun(last.result or RunResult.WAITING, rollout.reason, rollout.step, last.seconds, last.failed)


def _write_story(story: Iterable[Moment]) -> None:
    # Proxies serve each step at once.
    shown = [each for each in story if each.rollout.reason != Reason.STEP_WATCHED]
    rows = [
        [_duration(each.seconds), each.rollout.place, _text(each.weights), one_line(each.rollout.message)]
        for each in shown
    ]
    write_table(["TIME", "STEP", "WEIGHTS", "WHAT HAPPENS"], [rows], sys.stdout)


def _write_results(finished: Sequence[FinishedRun], steps: int) -> None:
    rows = []
    for (result, reason), found in _grouped(finished).items():
        in_step = Counter(each.step for each in found)
        rows.append(
            [
                f"{result} ({reason})",
                str(len(found)),
                f"{100 * len(found) / len(finished):.3g} %",
                " ".join(f"{step}/{steps}:{count}" for step, count in sorted(in_step.items())),
                *(_duration(each) for each in _quantiles([run.seconds for run in found])),
                *(str(each) for each in _quantiles([run.failed for run in found])),
            ]
        )
    headings = ["RESULT", "RUNS", "", "IN STEP", "TIME (MEDIAN)", "(95 %)", "FAILED (MEDIAN)", "(95 %)"]
    write_table(headings, [rows], sys.stdout)


def _report(name: str, scenario: Scenario, story: Iterable[Moment], finished: Sequence[FinishedRun]) -> dict[str, Any]:
    """What the text has, for programs."""
    return {
        "kanary": name,
        "from": _numbers(weights_of(scenario.start)),
        "to": _numbers(weights_of(scenario.goal)),
        "rate": scenario.traffic.rate,
        "failing": scenario.traffic.failing,
        "story": [
            {
                "seconds": each.seconds,
                "step": each.rollout.step,
                "weights": _numbers(each.weights),
                "state": each.rollout.state,
                "reason": each.rollout.reason,
                "message": each.rollout.message,
                "failed": each.failed,
            }
            for each in story
        ],
        "results": [
            {
                "result": result,
                "reason": reason,
                "runs": len(found),
                "steps": {str(step): count for step, count in sorted(Counter(each.step for each in found).items())},
                "seconds": dict(zip(("median", "p95"), _quantiles([each.seconds for each in found]), strict=True)),
                "failed": dict(zip(("median", "p95"), _quantiles([each.failed for each in found]), strict=True)),
            }
            for (result, reason), found in _grouped(finished).items()
        ],
    }


def _grouped(finished: Iterable[FinishedRun]) -> Mapping[tuple[str, str], Sequence[FinishedRun]]:
    """By result and reason, the most frequent ones first."""
    found: dict[tuple[str, str], list[FinishedRun]] = {}
    for each in finished:
        found.setdefault((each.result.value, each.reason), []).append(each)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _quantiles(numbers: Iterable[float]) -> Sequence[float]:
    """The median and the number that 95 % do not exceed: numbers of runs, not between them."""
    found = sorted(numbers)
    return [found[min(int(part * len(found)), len(found) - 1)] for part in _QUANTILES]


def _duration(seconds: float) -> str:
    return duration_text(timedelta(seconds=seconds))


def _text(weights: Weights) -> str:
    return weights_text(Share(backend=str(backend), weight=weight) for backend, weight in weights.items())


def _numbers(weights: Weights) -> Mapping[str, float]:
    return {str(backend): weight_number(weight) for backend, weight in weights.items()}
