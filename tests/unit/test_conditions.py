"""The conditions that `kubectl wait` waits for."""

from itertools import product

import pytest

from engine.api import Condition
from engine.conditions import PROGRESSING, READY, conditions
from states import Decision, Phase, Reason

BEFORE, NOW = "2026-01-01T12:00:00Z", "2026-01-01T12:00:09Z"
SERVING = Decision(None, Reason.SERVING, "2 of 2 proxies serve the configuration of revision 3")
PAUSED = Decision(None, Reason.PAUSED, "spec.paused is true")


def statuses(found: tuple[Condition, ...]) -> dict[str, str]:
    return {condition.type: condition.status for condition in found}


@pytest.mark.parametrize(
    ("phase", "ready", "progressing"),
    [
        (Phase.PENDING, "False", "False"),
        (Phase.RENDERING, "False", "True"),
        (Phase.ROLLING, "False", "True"),
        (Phase.READY, "True", "False"),
        (Phase.DEGRADED, "False", "False"),
    ],
)
def test_each_phase_has_its_conditions(phase: Phase, ready: str, progressing: str) -> None:
    assert statuses(conditions((), phase, SERVING, 1, NOW)) == {READY: ready, PROGRESSING: progressing}


def test_whoever_is_paused_makes_no_progress() -> None:
    assert statuses(conditions((), Phase.RENDERING, PAUSED, 1, NOW)) == {READY: "False", PROGRESSING: "False"}


@pytest.mark.parametrize("phase", Phase)
def test_either_polarity_has_the_reason_and_the_message_of_the_phase(phase: Phase) -> None:
    for condition in conditions((), phase, SERVING, 4, NOW):
        assert (condition.reason, condition.message) == (SERVING.reason.value, SERVING.message)
        assert condition.observed_generation == 4


@pytest.mark.parametrize(("before", "after"), list(product(Phase, Phase)))
def test_the_transition_time_changes_with_the_status_and_only_then(before: Phase, after: Phase) -> None:
    first = conditions((), before, SERVING, 1, BEFORE)
    second = conditions(first, after, PAUSED, 2, NOW)
    for old, new in zip(first, second, strict=True):
        assert new.last_transition_time == (BEFORE if old.status == new.status else NOW)


def test_conditions_that_others_left_are_dropped() -> None:
    foreign = Condition(
        type="Foreign", status="True", observed_generation=1, last_transition_time=BEFORE, reason="Other", message=""
    )
    assert [condition.type for condition in conditions((foreign,), Phase.READY, SERVING, 1, NOW)] == [
        READY,
        PROGRESSING,
    ]
