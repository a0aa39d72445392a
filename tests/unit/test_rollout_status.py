"""The state of a rollout in the status: its size, and what is refused of it."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from engine.evidence import tallied
from engine.model.course import RolloutStatus
from engine.model.spec import Backend, Route
from engine.shares import between, weights_of
from states.evidence import Counts
from states.rollouts import RolloutState

PROXIES = [f"{number:032x}" for number in range(100)]


def split(first: int, count: int) -> tuple[Route, ...]:
    """As many routes with the longest names, which share all connections."""
    weights = [Decimal(1000 // count) / 10] * (count - 1)
    names = [f"v{number}".ljust(63, "x") for number in range(first, first + count)]
    backends = [Backend(service_name=name, service_port="p" * 15) for name in names]
    return tuple(Route(backend=b, weight=w) for b, w in zip(backends, [*weights, 100 - sum(weights)], strict=True))


def after_steps(canaries: int, others: int, steps: int) -> RolloutStatus:
    """A rollout after as many steps, in each of which every proxy has counted ten million connections."""
    good, goal = split(0, others), split(others, canaries)
    rollout = RolloutStatus(number=1, state=RolloutState.WATCHING, good=good, start=good, goal=goal)
    for step in range(1, steps + 1):
        rollout = rollout.model_copy(update={"step": step, "to": Decimal(50 + step) / 2})
        weights = between(weights_of(good), weights_of(goal), Decimal(50 + step) / 2)
        counts = {str(backend): Counts(int(weight * 100_000), int(weight)) for backend, weight in weights.items()}
        # The proxies of earlier steps are left out of the status: to add them up would take a minute.
        reported = dict.fromkeys(PROXIES if step > steps - 2 else PROXIES[:1], counts)
        written = step, {backend: weight for backend, weight in weights.items() if weight}
        rollout = rollout.model_copy(
            update={"evidence": tallied(rollout, written, {step - 1: reported, step: reported}.__getitem__)}
        )
    return rollout


@pytest.mark.parametrize(("canaries", "others"), [(1, 1), (1, 99), (10, 10), (50, 50), (99, 1)])
def test_the_status_of_50_steps_of_100_routes_at_100_proxies_is_bounded(canaries: int, others: int) -> None:
    rollout = after_steps(canaries, others, 50)
    assert len(rollout.model_dump_json(by_alias=True, exclude_none=True)) < 300_000
    assert rollout.evidence[-1].step == 50
    assert rollout.evidence[-1].tally.ledgers.keys() == set(PROXIES)


def test_a_rollout_of_two_versions_keeps_the_counts_of_all_50_steps() -> None:
    assert [each.step for each in after_steps(1, 1, 50).evidence] == list(range(1, 51))


GOOD: dict[str, Any] = {
    "number": 1,
    "state": "Watching",
    "step": 1,
    "to": 10,
    "good": [{"backend": {"serviceName": "v1", "servicePort": 80}, "weight": 100}],
    "start": [{"backend": {"serviceName": "v1", "servicePort": 80}, "weight": 100}],
    "goal": [{"backend": {"serviceName": "v2", "servicePort": 80}, "weight": 100}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"state": "Dancing"},
        {"number": -1},
        {"step": -1},
        {"step": 0},
        {"to": None},
        {"to": 101},
        {"good": []},
        {"goal": [{"backend": {"serviceName": "v2", "servicePort": 80}, "weight": 10}]},
        {"seconds": "NaN"},
        {"waitedSeconds": -1},
        {"since": "yesterday"},
    ],
)
def test_what_cannot_be_resumed_is_refused(change: dict[str, Any]) -> None:
    assert RolloutStatus.model_validate(GOOD, by_alias=True, by_name=False).step == 1
    with pytest.raises(ValidationError):
        RolloutStatus.model_validate(GOOD | change, by_alias=True, by_name=False)


def test_the_number_alone_is_enough_for_a_kanary_without_a_plan() -> None:
    assert RolloutStatus.model_validate({"number": 3}, by_alias=True, by_name=False).number == 3
