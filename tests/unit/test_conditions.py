"""The conditions that `kubectl wait` waits for."""

from itertools import product
from typing import Any

import pytest

from engine.conditions import HISTORY_RECORDED, PROGRESSING, READY, RECORDED, Recording, conditions, with_defect
from engine.model.status import Condition, KanaryStatus
from states import Decision, Reason
from tests.unit.snapshots import NOW as MOMENT

SERVED = "2 of 2 proxies serve revision 3"
BEFORE, NOW = "2026-01-01T12:00:00Z", "2026-01-01T12:00:09Z"
POLARITIES = list(product([True, False], repeat=2))


def made(*before: Condition, **changes: Any) -> tuple[Condition, ...]:
    """The conditions of a Kanary that is ready, with these arguments changed."""
    arguments: dict[str, Any] = {
        "is_ready": True,
        "is_behind": False,
        "decision": Decision(None, Reason.SERVING, SERVED),
        "recording": RECORDED,
        "generation": 1,
        "now": NOW,
    }
    return conditions(before, **(arguments | changes))


def statuses(found: tuple[Condition, ...]) -> dict[str, str]:
    return {condition.type: condition.status for condition in found}


@pytest.mark.parametrize(("is_ready", "is_behind"), POLARITIES)
def test_ready_and_progressing_are_distinguished(is_ready: bool, is_behind: bool) -> None:
    assert statuses(made(is_ready=is_ready, is_behind=is_behind)) == {
        READY: str(is_ready),
        PROGRESSING: str(is_behind),
        HISTORY_RECORDED: "True",
    }


@pytest.mark.parametrize("reason", Reason)
def test_proxies_behind_are_progress_unless_the_reason_says_that_nothing_moves(reason: Reason) -> None:
    stuck = [Reason.PAUSED, Reason.PROGRESS_DEADLINE_EXCEEDED, Reason.REJECTED_BY_CLUSTER, Reason.OBJECT_EXISTS]
    stuck += [Reason.ROLLOUT_PAUSED, Reason.WAITING_FOR_PROMOTION, Reason.INCONCLUSIVE, Reason.VERDICT_FAILED]
    stuck += [Reason.CANARY_LOST, Reason.WEBHOOK_REFUSED, Reason.STEP_DEADLINE_EXCEEDED]
    stuck += [Reason.FROZEN, Reason.ROLLED_BACK]
    found = made(is_ready=False, is_behind=True, decision=Decision(None, reason, "why"))
    assert statuses(found) == {READY: "False", PROGRESSING: str(reason not in stuck), HISTORY_RECORDED: "True"}


@pytest.mark.parametrize(("is_ready", "is_behind"), POLARITIES)
def test_either_polarity_has_reason_message_and_generation(is_ready: bool, is_behind: bool) -> None:
    for condition in made(is_ready=is_ready, is_behind=is_behind, generation=4)[:2]:
        assert (condition.reason, condition.observed_generation) == ("Serving", 4)
        assert condition.message == SERVED


@pytest.mark.parametrize(("before", "after"), list(product(POLARITIES, POLARITIES)))
def test_the_transition_time_changes_with_the_status_and_only_then(
    before: tuple[bool, bool], after: tuple[bool, bool]
) -> None:
    first = made(is_ready=before[0], is_behind=before[1], now=BEFORE)
    other = Decision(None, Reason.NO_READY_ENDPOINTS, "another reason and message change no status")
    second = made(*first, is_ready=after[0], is_behind=after[1], decision=other, generation=2)
    for old, new in zip(first, second, strict=True):
        assert new.last_transition_time == (BEFORE if old.status == new.status else NOW)


def test_conditions_that_others_left_are_dropped() -> None:
    foreign = Condition(
        type="Foreign", status="True", observed_generation=1, last_transition_time=BEFORE, reason="Other", message=""
    )
    assert [condition.type for condition in made(foreign)] == [READY, PROGRESSING, HISTORY_RECORDED]


def test_what_keeps_the_history_from_taking_changes_is_reported_by_a_condition_of_its_own() -> None:
    full = Recording(False, "DatabaseFull", "the disk is full: make room")
    found = made(recording=full)
    assert statuses(found) == {READY: "True", PROGRESSING: "False", HISTORY_RECORDED: "False"}
    assert (found[2].reason, found[2].message) == ("DatabaseFull", "the disk is full: make room")


# A defect of ours

DEFECT = "reconcile failed: KeyError: 'spec'; the proxies keep what they have"


def test_a_defect_makes_ready_unknown_and_leaves_the_other_conditions() -> None:
    before = KanaryStatus(conditions=made(now=BEFORE))
    found = with_defect(before, DEFECT, MOMENT)
    assert statuses(found.conditions) == {READY: "Unknown", PROGRESSING: "False", HISTORY_RECORDED: "True"}
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
