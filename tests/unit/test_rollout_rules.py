"""The second table and the policy of rollouts: the decision of each rule, and the invariants of all decisions."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.machine import IllegalTransitionError, RolloutMachine, rollout_machine
from states import Problem, Reason
from states.evidence import VerdictKind
from states.rollout_rules import LONGEST_BLOCK, ROLLOUT_RULES, RolloutDecision, decide_rollout
from states.rollout_snapshot import Judgement, OnFailure, OnInconclusive, RolloutSnapshot
from states.rollouts import ROLLOUT_TRANSITIONS, UNDER_WAY, RolloutState, RolloutTrigger
from tests.unit.snapshots import NOW

State, Trigger = RolloutState, RolloutTrigger
BACK = (State.ROLLING_BACK, State.ROLLED_BACK)
FAILED = Judgement(VerdictKind.FAILED, "3 of 3 failed connections were those of v2")
UNDECIDED = Judgement(VerdictKind.INCONCLUSIVE, "about 1,000 more connections are needed")
FROZEN = Problem(Reason.FROZEN, "the weights are frozen until spec.freeze is removed (spec.freeze)")
CLOSED = Problem(Reason.OUTSIDE_WINDOW, "no step starts outside of spec.rollout.windows")
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def machine() -> RolloutMachine:
    return rollout_machine()


# The table


def destination(state: State, trigger: Trigger) -> State | None:
    rows = [row for row in ROLLOUT_TRANSITIONS if row.trigger is trigger and state in row.sources]
    assert len(rows) <= 1
    return rows[0].destination if rows else None


@pytest.mark.parametrize(("state", "trigger"), list(product(State, Trigger)))
def test_the_machine_does_what_the_table_says(machine: RolloutMachine, state: State, trigger: Trigger) -> None:
    expected = destination(state, trigger)
    if expected:
        assert machine.fire(state, trigger) is expected
    else:
        with pytest.raises(IllegalTransitionError, match=f"^{trigger} is not possible in {state}$"):
            machine.fire(state, trigger)


def test_every_state_is_reached_from_the_first_one_and_left_again() -> None:
    reached, before = {State.COMPLETED}, set[State]()
    while reached != before:
        before = set(reached)
        reached |= {found for state, trigger in product(before, Trigger) if (found := destination(state, trigger))}
    assert reached == set(State)
    assert {state for row in ROLLOUT_TRANSITIONS for state in row.sources} == set(State)


@pytest.mark.parametrize("state", State)
def test_the_way_back_is_two_moves_from_each_state_under_way_and_one_after(state: State) -> None:
    assert destination(state, Trigger.FAIL) is (State.ROLLING_BACK if state in UNDER_WAY else None)
    assert destination(State.ROLLING_BACK, Trigger.RESTORE) is State.ROLLED_BACK
    from_back = {trigger: destination(State.ROLLING_BACK, trigger) for trigger in Trigger}
    assert {trigger for trigger, found in from_back.items() if found} == {
        Trigger.RESTORE,
        Trigger.BEGIN,
        Trigger.RETURN,
    }


# Each rule


def watching(**changes: Any) -> RolloutSnapshot:
    """Step 1 of 3 has been served for its five minutes, and passes."""
    snapshot = RolloutSnapshot(
        state=State.WATCHING,
        now=NOW,
        reason=Reason.STEP_WATCHED,
        message="step 1/3 is watched for 5m",
        number=1,
        step=1,
        steps=3,
        is_served=True,
        served=5 * MINUTE,
        duration=5 * MINUTE,
        max_wait=60 * MINUTE,
    )
    return replace(snapshot, **changes)


def check(snapshot: RolloutSnapshot, rule: str, trigger: Trigger | None, reason: Reason) -> RolloutDecision:
    decision = decide_rollout(snapshot)
    assert (decision.rule, decision.trigger, decision.reason) == (rule, trigger, reason)
    return decision


HELD = {"state": State.WAITING, "on_failure": OnFailure.PAUSE}
DECISIONS: dict[str, tuple[dict[str, Any], str, Trigger | None, Reason]] = {
    "nothing is missing": ({}, "next_step_follows", Trigger.ADVANCE, Reason.STEP_STARTED),
    "time is left": ({"served": MINUTE}, "step_is_watched", None, Reason.STEP_WATCHED),
    "the last step has passed": ({"step": 3}, "last_step_has_passed", Trigger.COMPLETE, Reason.ROLLOUT_COMPLETED),
    "a failed verdict": ({"judgement": FAILED}, "step_has_failed", Trigger.FAIL, Reason.VERDICT_FAILED),
    "no pod is left": ({"absent": ("v2",)}, "step_has_failed", Trigger.FAIL, Reason.CANARY_LOST),
    "no pod is reached": ({"unreached": ("v2",)}, "step_has_failed", Trigger.FAIL, Reason.CANARY_LOST),
    "a webhook refuses": ({"after": FAILED}, "step_has_failed", Trigger.FAIL, Reason.WEBHOOK_REFUSED),
    "a failure that holds": (
        {"judgement": FAILED, "on_failure": OnFailure.PAUSE},
        "step_has_failed",
        Trigger.HOLD,
        Reason.VERDICT_FAILED,
    ),
    "a failure that held, and has faded": (
        HELD | {"reason": Reason.VERDICT_FAILED},
        "verdict_waits_for_a_person",
        None,
        Reason.VERDICT_FAILED,
    ),
    "a failure that held, and now leads back": (
        {"state": State.WAITING, "reason": Reason.VERDICT_FAILED},
        "verdict_waits_for_a_person",
        Trigger.FAIL,
        Reason.VERDICT_FAILED,
    ),
    "a failure that a person has overruled": (
        HELD | {"reason": Reason.VERDICT_FAILED, "judgement": FAILED, "promoted_step": 1},
        "next_step_follows",
        Trigger.ADVANCE,
        Reason.STEP_STARTED,
    ),
    "a failure beside other weights": (
        {"judgement": FAILED, "is_new": True},
        "step_has_failed",
        Trigger.FAIL,
        Reason.VERDICT_FAILED,
    ),
    "a failure that holds beside other weights": (
        HELD | {"judgement": FAILED, "is_new": True},
        "other_weights_are_declared",
        Trigger.BEGIN,
        Reason.ROLLOUT_BEGUN,
    ),
    "other weights": ({"is_new": True}, "other_weights_are_declared", Trigger.BEGIN, Reason.ROLLOUT_BEGUN),
    "the last good weights": (
        {"is_new": True, "is_former": True, "frozen": FROZEN, "judgement": FAILED},
        "last_good_weights_are_declared",
        Trigger.RETURN,
        Reason.ROLLOUT_COMPLETED,
    ),
    "other weights in a freeze": (
        {"state": State.COMPLETED, "is_new": True, "frozen": FROZEN},
        "rollout_has_ended",
        None,
        Reason.FROZEN,
    ),
    "a freeze": ({"frozen": FROZEN}, "no_step_may_start", Trigger.HOLD, Reason.FROZEN),
    "a closed window": ({"closed": CLOSED}, "no_step_may_start", Trigger.HOLD, Reason.OUTSIDE_WINDOW),
    "an abort": ({"aborted": "by ann"}, "rollout_is_aborted", Trigger.FAIL, Reason.ABORTED),
    "a promotion while time is left": (
        {"served": MINUTE, "promoted_step": 1, "judgement": UNDECIDED},
        "next_step_follows",
        Trigger.ADVANCE,
        Reason.STEP_STARTED,
    ),
    "a promotion that is missing": (
        {"until_promoted": True},
        "step_waits_for_promotion",
        Trigger.HOLD,
        Reason.WAITING_FOR_PROMOTION,
    ),
    "evidence that is missing": (
        {"judgement": UNDECIDED},
        "evidence_is_missing",
        Trigger.HOLD,
        Reason.WAITING_FOR_EVIDENCE,
    ),
    "evidence that stays missing": (
        {"judgement": UNDECIDED, "served": 65 * MINUTE},
        "evidence_is_missing",
        Trigger.HOLD,
        Reason.INCONCLUSIVE,
    ),
    "evidence that stays missing, and leads back": (
        {"judgement": UNDECIDED, "served": 65 * MINUTE, "on_inconclusive": OnInconclusive.ROLLBACK},
        "evidence_is_missing",
        Trigger.FAIL,
        Reason.INCONCLUSIVE,
    ),
    "evidence that stays missing, and goes on": (
        {"judgement": UNDECIDED, "served": 65 * MINUTE, "on_inconclusive": OnInconclusive.PROCEED},
        "next_step_follows",
        Trigger.ADVANCE,
        Reason.STEP_STARTED,
    ),
    "proxies that load the step": (
        {"state": State.SHIFTING, "is_served": False},
        "step_is_loaded",
        None,
        Reason.STEP_STARTED,
    ),
    "proxies that are late": (
        {"state": State.SHIFTING, "is_served": False, "waited": 10 * MINUTE},
        "step_has_failed",
        Trigger.FAIL,
        Reason.STEP_DEADLINE_EXCEEDED,
    ),
    "proxies that have loaded the step, after a long time": (
        {"state": State.SHIFTING, "waited": 10 * MINUTE},
        "step_is_loaded",
        Trigger.WATCH,
        Reason.STEP_WATCHED,
    ),
    "pods that are missing at the start": (
        {"state": State.WAITING, "step": 0, "absent": ("v2",), "served": timedelta(), "duration": timedelta()},
        "pods_are_missing",
        None,
        Reason.WAITING_FOR_ENDPOINTS,
    ),
    "a rollback that is served": (
        {"state": State.ROLLING_BACK, "message": "rolled back"},
        "rollback_is_under_way",
        Trigger.RESTORE,
        Reason.ROLLED_BACK,
    ),
    "a rollback that is not served": (
        {"state": State.ROLLING_BACK, "is_served": False, "aborted": "by ann", "judgement": FAILED},
        "rollback_is_under_way",
        None,
        Reason.ROLLED_BACK,
    ),
    "a retry": (
        {"state": State.ROLLED_BACK, "retried": "by ann"},
        "rollout_is_retried",
        Trigger.BEGIN,
        Reason.ROLLOUT_BEGUN,
    ),
    "a retry of what was not rolled back": (
        {"state": State.COMPLETED, "retried": "by ann", "reason": None},
        "rollout_has_ended",
        None,
        Reason.ROLLOUT_COMPLETED,
    ),
}


def test_a_retry_waits_until_the_freeze_ends() -> None:
    decision = decide_rollout(watching(state=State.ROLLED_BACK, retried="by ann", frozen=FROZEN, opens=5 * MINUTE))
    assert (decision.trigger, decision.rule) == (None, "rollout_has_ended")
    assert decision.requeue and decision.requeue.after == 5 * MINUTE
    assert decision.limit and decision.limit.after == 5 * MINUTE


@pytest.mark.parametrize("what", DECISIONS)
def test_the_first_rule_that_applies_decides(what: str) -> None:
    changes, rule, trigger, reason = DECISIONS[what]
    check(watching(**changes), rule, trigger, reason)


def test_a_freeze_that_ends_is_awaited_and_no_timer_waits_for_centuries() -> None:
    held = replace(watching(state=State.COMPLETED, step=0, is_new=True, frozen=FROZEN), opens=2 * MINUTE)
    for opens, after in ((2 * MINUTE, 2 * MINUTE), (timedelta(days=2_000_000), LONGEST_BLOCK)):
        requeue = decide_rollout(replace(held, opens=opens)).requeue
        assert requeue
        assert requeue.after == after
    assert decide_rollout(replace(held, opens=None)).requeue is None


# All decisions


def durations() -> st.SearchStrategy[timedelta]:
    return st.sampled_from([timedelta(), MINUTE, 5 * MINUTE, 10 * MINUTE, 65 * MINUTE, timedelta(days=400)])


def judgements() -> st.SearchStrategy[Judgement]:
    return st.sampled_from([Judgement(), FAILED, UNDECIDED])


def names() -> st.SearchStrategy[tuple[str, ...]]:
    return st.sampled_from([(), ("v2",), ("v2", "v3")])


def texts() -> st.SearchStrategy[str]:
    return st.sampled_from(["", "by ann"])


@st.composite
def rollouts(draw: st.DrawFn, states: tuple[State, ...] = tuple(State)) -> RolloutSnapshot:
    """Arbitrary snapshots: also those that no sequence of decisions leads to."""
    steps = draw(st.integers(1, 4))
    return RolloutSnapshot(
        state=draw(st.sampled_from(states)),
        now=NOW,
        reason=draw(st.none() | st.sampled_from(list(Reason))),
        message="as before",
        waited=draw(durations()),
        number=draw(st.integers(0, 3)),
        is_new=draw(st.booleans()),
        is_former=draw(st.booleans()),
        step=draw(st.integers(0, steps)),
        steps=steps,
        is_served=draw(st.booleans()),
        unreached=draw(names()),
        absent=draw(names()),
        served=draw(durations()),
        duration=draw(durations()),
        until_promoted=draw(st.booleans()),
        promoted_step=draw(st.integers(-1, 5)),
        promotion=draw(texts()),
        paused=draw(texts()),
        resumed=draw(texts()),
        aborted=draw(texts()),
        retried=draw(texts()),
        frozen=draw(st.sampled_from([None, FROZEN])),
        closed=draw(st.sampled_from([None, CLOSED])),
        opens=draw(st.none() | durations()),
        judgement=draw(judgements()),
        after=draw(judgements()),
        before=draw(judgements()),
        max_wait=draw(durations()),
        on_inconclusive=draw(st.sampled_from(OnInconclusive)),
        on_failure=draw(st.sampled_from(OnFailure)),
    )


def under_way() -> st.SearchStrategy[RolloutSnapshot]:
    return rollouts(UNDER_WAY)


@given(rollouts())
def test_each_decision_is_legal_and_explains_itself(snapshot: RolloutSnapshot) -> None:
    decision = decide_rollout(snapshot)
    assert decision.trigger is None or destination(snapshot.state, decision.trigger)
    assert decision.message
    assert decision.rule in [rule.__name__ for rule in ROLLOUT_RULES]
    assert decision.requeue is None or timedelta() < decision.requeue.after <= timedelta(days=1)


@given(under_way())
def test_an_abort_leads_back_at_once_from_any_state(snapshot: RolloutSnapshot) -> None:
    trigger = decide_rollout(replace(snapshot, aborted="by ann")).trigger
    assert trigger is (Trigger.RETURN if snapshot.is_new and snapshot.is_former else Trigger.FAIL)


@given(under_way())
def test_a_failed_verdict_leads_back_at_once_from_any_state_and_whatever_is_paused(snapshot: RolloutSnapshot) -> None:
    failed = replace(snapshot, step=max(snapshot.step, 1), judgement=FAILED, on_failure=OnFailure.ROLLBACK)
    trigger = decide_rollout(failed).trigger
    assert trigger is (Trigger.RETURN if snapshot.is_new and snapshot.is_former else Trigger.FAIL)


@given(rollouts((State.ROLLING_BACK,)))
def test_the_way_back_ends_when_it_is_served(snapshot: RolloutSnapshot) -> None:
    served = replace(snapshot, is_served=True, is_new=False)
    assert decide_rollout(served).trigger is Trigger.RESTORE
    other = decide_rollout(replace(snapshot, is_served=False, is_new=False))
    assert other.trigger is None


@given(rollouts())
def test_no_weights_change_in_a_freeze_except_back(snapshot: RolloutSnapshot) -> None:
    trigger = decide_rollout(replace(snapshot, frozen=FROZEN)).trigger
    assert trigger not in (Trigger.ADVANCE, Trigger.BEGIN)


@given(under_way())
def test_no_step_follows_while_paused_or_closed(snapshot: RolloutSnapshot) -> None:
    same = replace(snapshot, is_new=False)
    assert decide_rollout(replace(same, paused="by ann")).trigger not in (Trigger.ADVANCE, Trigger.COMPLETE)
    assert decide_rollout(replace(same, closed=CLOSED)).trigger is not Trigger.ADVANCE


@given(under_way())
def test_no_step_follows_a_failure_unless_a_person_says_so(snapshot: RolloutSnapshot) -> None:
    failed = replace(snapshot, step=max(snapshot.step, 1), judgement=FAILED, is_new=False)
    if decide_rollout(failed).trigger in (Trigger.ADVANCE, Trigger.COMPLETE):
        assert failed.on_failure is OnFailure.PAUSE
        assert failed.promoted_step >= failed.step


@given(under_way())
def test_a_step_that_goes_on_is_looked_at_again(snapshot: RolloutSnapshot) -> None:
    """Its time counts at most 30 s between two looks."""
    served = replace(snapshot, step=max(snapshot.step, 1))
    decision = decide_rollout(served)
    if decision.trigger is None:
        assert decision.requeue
        assert decision.requeue.after <= timedelta(seconds=10)
