"""The conditions that `kubectl wait` waits for."""

from itertools import product
from typing import Any

import pytest

from engine.conditions import (
    HISTORY_RECORDED,
    READY,
    RECONCILING,
    RECORDED,
    STALLED,
    Recording,
    conditions,
    with_defect,
)
from engine.model.status import Condition, KanaryStatus
from states import Decision, Reason
from tests.unit.snapshots import NOW as MOMENT

SERVED = "2 of 2 proxies serve revision 3"
BEFORE, NOW = "2026-01-01T12:00:00Z", "2026-01-01T12:00:09Z"
OUTCOMES = [
    (True, Reason.SERVING),
    (False, Reason.ROLLING_OUT),
    (False, Reason.INVALID_WEIGHTS),
    (False, Reason.PAUSED),
]
"""Ready, on its way, waiting for a person's change, and stopped by a person."""


def made(*before: Condition, **changes: Any) -> tuple[Condition, ...]:
    """The conditions of a Kanary that is ready, with these arguments changed."""
    arguments: dict[str, Any] = {
        "is_ready": True,
        "decision": Decision(None, Reason.SERVING, SERVED),
        "recording": RECORDED,
        "generation": 1,
        "now": NOW,
    }
    return conditions(before, **(arguments | changes))


def statuses(found: tuple[Condition, ...]) -> dict[str, str]:
    return {condition.type: condition.status for condition in found}


def statuses_of(is_ready: bool, reason: Reason) -> dict[str, str]:
    return statuses(made(is_ready=is_ready, decision=Decision(None, reason, "why")))


@pytest.mark.parametrize("reason", Reason)
def test_a_kanary_that_is_ready_neither_reconciles_nor_stalls(reason: Reason) -> None:
    assert statuses_of(True, reason) == {
        READY: "True",
        RECONCILING: "False",
        STALLED: "False",
        HISTORY_RECORDED: "True",
    }


@pytest.mark.parametrize("reason", Reason)
def test_only_what_a_person_stopped_neither_reconciles_nor_stalls_while_it_is_not_ready(reason: Reason) -> None:
    found = statuses_of(False, reason)
    assert found[READY] == "False"
    is_held = reason in (Reason.PAUSED, Reason.ROLLOUT_PAUSED, Reason.WAITING_FOR_PROMOTION, Reason.FROZEN)
    assert sorted((found[RECONCILING], found[STALLED])) == (["False", "False"] if is_held else ["False", "True"])


@pytest.mark.parametrize(
    ("reason", "true"),
    [
        (Reason.BACKEND_NOT_FOUND, RECONCILING),
        (Reason.NO_READY_ENDPOINTS, RECONCILING),
        (Reason.ROLLING_OUT, RECONCILING),
        (Reason.WAITING_FOR_EVIDENCE, RECONCILING),
        (Reason.INVALID_WEIGHTS, STALLED),
        (Reason.DESTINATION_EXISTS, STALLED),
        (Reason.PROGRESS_DEADLINE_EXCEEDED, STALLED),
        (Reason.ROLLED_BACK, STALLED),
    ],
)
def test_what_continues_reconciles_and_what_a_person_has_to_change_stalls(reason: Reason, true: str) -> None:
    assert statuses_of(False, reason)[true] == "True"


@pytest.mark.parametrize(("is_ready", "reason"), OUTCOMES)
def test_true_or_false_each_has_reason_message_and_generation(is_ready: bool, reason: Reason) -> None:
    for condition in made(is_ready=is_ready, decision=Decision(None, reason, SERVED), generation=4)[:3]:
        assert (condition.reason, condition.observed_generation) == (reason.value, 4)
        assert condition.message == SERVED


@pytest.mark.parametrize(("before", "after"), list(product(OUTCOMES, OUTCOMES)))
def test_the_transition_time_changes_with_the_status_and_only_then(
    before: tuple[bool, Reason], after: tuple[bool, Reason]
) -> None:
    first = made(is_ready=before[0], decision=Decision(None, before[1], "why"), now=BEFORE)
    other = Decision(None, after[1], "another message changes no status")
    second = made(*first, is_ready=after[0], decision=other, generation=2)
    for old, new in zip(first, second, strict=True):
        assert new.last_transition_time == (BEFORE if old.status == new.status else NOW)


def test_conditions_that_others_left_are_dropped() -> None:
    foreign = Condition(
        type="Foreign", status="True", observed_generation=1, last_transition_time=BEFORE, reason="Other", message=""
    )
    assert [condition.type for condition in made(foreign)] == [READY, RECONCILING, STALLED, HISTORY_RECORDED]


def test_what_keeps_the_history_from_taking_changes_is_reported_by_a_condition_of_its_own() -> None:
    full = Recording(False, "DatabaseFull", "the disk is full: make room")
    found = made(recording=full)
    assert statuses(found) == {READY: "True", RECONCILING: "False", STALLED: "False", HISTORY_RECORDED: "False"}
    assert (found[3].reason, found[3].message) == ("DatabaseFull", "the disk is full: make room")


# A defect of ours

DEFECT = "reconcile failed: KeyError: 'spec'; the proxies keep what they have"


def test_a_defect_makes_ready_unknown_and_leaves_the_other_conditions() -> None:
    before = KanaryStatus(conditions=made(now=BEFORE))
    found = with_defect(before, DEFECT, MOMENT)
    assert statuses(found.conditions) == {
        READY: "Unknown",
        RECONCILING: "False",
        STALLED: "False",
        HISTORY_RECORDED: "True",
    }
    ready = found.conditions[0]
    assert (ready.reason, ready.message, ready.observed_generation) == ("ReconcileFailed", DEFECT, 1)
    assert found.model_copy(update={"conditions": before.conditions}) == before


def test_a_defect_that_lasts_keeps_its_time_and_a_good_reconcile_ends_it() -> None:
    first = with_defect(KanaryStatus(conditions=made(now=BEFORE)), DEFECT, MOMENT)
    again = with_defect(first, DEFECT, MOMENT.replace(hour=13))
    assert again == first
    assert first.conditions[0].last_transition_time == "2026-01-01T12:00:00Z"
    well = made(*first.conditions, now=NOW)
    assert statuses(well)[READY] == "True"
    assert (well[0].reason, well[0].last_transition_time) == ("Serving", NOW)


def test_a_kanary_without_a_status_can_have_a_defect() -> None:
    assert statuses(with_defect(KanaryStatus(), DEFECT, MOMENT).conditions) == {READY: "Unknown"}
