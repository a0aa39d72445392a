"""The policy of rollouts: a second ordered chain of small pure rules. The first rule that returns a decision decides.

Rollbacks precede everything that waits: a rollout is judged in each of its states, also while it is paused.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from states.evidence import VerdictKind
from states.reasons import Reason
from states.rollout_snapshot import Judgement, OnFailure, OnInconclusive, RolloutSnapshot
from states.rollouts import ENDED, UNDER_WAY, RolloutState, RolloutTrigger
from states.snapshot import Problem
from states.timing import ROLLOUT_RECHECK, Limit, Requeue, duration_text


@dataclass(frozen=True, slots=True)
class RolloutDecision:
    """What becomes of a rollout, and why."""

    trigger: RolloutTrigger | None
    """The move to make, or None to stay in the state."""
    reason: Reason
    message: str
    requeue: Requeue | None = None
    limit: Limit | None = None
    """Until when this lasts at the latest; None if only a change ends it."""
    rule: str = ""
    """The name of the rule that took the decision."""


FAILURES = (Reason.VERDICT_FAILED, Reason.CANARY_LOST, Reason.WEBHOOK_REFUSED, Reason.STEP_DEADLINE_EXCEEDED)
"""Why a step has failed. With `onFailure: Pause`, it waits for a person."""
LONGEST_BLOCK = timedelta(days=1)
"""After this time, a freeze is checked again: no timer can wait for centuries."""

_WITHOUT_EVIDENCE = {
    OnInconclusive.PAUSE: f"a person has to decide ({Reason.INCONCLUSIVE})",
    OnInconclusive.PROCEED: "the step ends without a verdict",
    OnInconclusive.ROLLBACK: f"the rollout is rolled back ({Reason.INCONCLUSIVE})",
}
_WAYS_OUT = "kanary promote continues, kanary abort rolls back"

RolloutRule = Callable[[RolloutSnapshot], RolloutDecision | None]


def last_good_weights_are_declared(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """If the spec declares the last good weights again, they return at once, even while frozen or paused."""
    if not (snapshot.is_new and snapshot.is_former) or snapshot.state is RolloutState.COMPLETED:
        return None
    message = f"rollout {snapshot.number} ends: the spec declares the last good weights again"
    return RolloutDecision(RolloutTrigger.RETURN, Reason.ROLLOUT_COMPLETED, message)


def other_weights_are_declared(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """Other weights begin another rollout, from the weights that serve now."""
    if not snapshot.is_new or snapshot.frozen:
        return None
    return RolloutDecision(RolloutTrigger.BEGIN, Reason.ROLLOUT_BEGUN, f"rollout {snapshot.number + 1} begins")


def rollout_is_retried(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A rollout that was rolled back is tried again by hand only."""
    if snapshot.state is not RolloutState.ROLLED_BACK or not snapshot.retried or snapshot.frozen:
        return None
    message = f"rollout {snapshot.number} is tried again, {snapshot.retried}"
    return RolloutDecision(RolloutTrigger.BEGIN, Reason.ROLLOUT_BEGUN, message)


def rollout_has_ended(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A rollout that has ended stays as it is; while the weights are frozen, other ones wait."""
    if snapshot.state not in ENDED:
        return None
    if snapshot.is_new and snapshot.frozen:
        return _blocked(snapshot, snapshot.frozen)
    is_back = snapshot.state is RolloutState.ROLLED_BACK
    default = Reason.ROLLED_BACK if is_back else Reason.ROLLOUT_COMPLETED
    decision = RolloutDecision(None, snapshot.reason or default, snapshot.message)
    if not (is_back and snapshot.retried and snapshot.frozen) or snapshot.opens is None:
        return decision
    requeue = Requeue(max(min(snapshot.opens, LONGEST_BLOCK), timedelta(seconds=1)), "the freeze ends")
    return replace(decision, requeue=requeue, limit=Limit(snapshot.opens, "the rollout is tried again"))


def rollback_is_under_way(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A rollback is complete when every proxy serves the last good weights."""
    if snapshot.state is not RolloutState.ROLLING_BACK:
        return None
    trigger = RolloutTrigger.RESTORE if snapshot.is_served else None
    return RolloutDecision(trigger, Reason.ROLLED_BACK, snapshot.message)


def rollout_is_aborted(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """An abort by hand rolls back at once."""
    if not snapshot.aborted or snapshot.state not in UNDER_WAY:
        return None
    return _fail(Problem(Reason.ABORTED, f"aborted in {snapshot.place}, {snapshot.aborted}"))


def step_has_failed(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A step that fails is rolled back at once, or held with `onFailure: Pause`."""
    problem = _failure(snapshot) if snapshot.state in UNDER_WAY else None
    if problem is None:
        return None
    if snapshot.on_failure is OnFailure.ROLLBACK:
        return _fail(problem)
    if snapshot.promoted or (snapshot.is_new and not snapshot.frozen):
        return None
    message = f"{problem.message} (spec.rollout.onFailure: Pause): {_WAYS_OUT}"
    return _hold(snapshot, Problem(problem.reason, message))


def _failure(snapshot: RolloutSnapshot) -> Problem | None:
    judgement = snapshot.judgement
    if snapshot.step and judgement.verdict is VerdictKind.FAILED:
        return Problem(Reason.VERDICT_FAILED, f"{snapshot.place} failed: {judgement.text}")
    is_served = snapshot.state is not RolloutState.SHIFTING
    lost = snapshot.absent or snapshot.unreached
    if snapshot.step and is_served and lost:
        return Problem(Reason.CANARY_LOST, f"{snapshot.place} failed: no pod of {', '.join(lost)} is usable")
    refusal = next((each for each in (snapshot.after, snapshot.before) if each.verdict is VerdictKind.FAILED), None)
    if refusal and is_served:
        return Problem(Reason.WEBHOOK_REFUSED, f"{snapshot.place} failed: {refusal.text}")
    obstacle = _late(snapshot) if snapshot.waited >= snapshot.deadline else ""
    if obstacle:
        limit = f"{snapshot.deadline.total_seconds():.0f} s (spec.progressDeadlineSeconds)"
        return Problem(Reason.STEP_DEADLINE_EXCEEDED, f"{snapshot.place} failed: {obstacle} after {limit}")
    return None


def _late(snapshot: RolloutSnapshot) -> str:
    """What the progress deadline limits, and has not been reached."""
    if snapshot.state is RolloutState.SHIFTING and not snapshot.is_served:
        return "not every proxy serves it"
    if snapshot.state is RolloutState.SHIFTING and snapshot.unreached:
        return f"no health check of {', '.join(snapshot.unreached)} has passed"
    if snapshot.reason is Reason.WAITING_FOR_ENDPOINTS and snapshot.absent:
        return f"no pod of {', '.join(snapshot.absent)} is ready"
    return ""


def step_is_loaded(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A step counts from when every proxy serves it, and its canaries are reached."""
    if snapshot.state is not RolloutState.SHIFTING:
        return None
    if snapshot.is_served and not snapshot.unreached:
        return RolloutDecision(RolloutTrigger.WATCH, Reason.STEP_WATCHED, f"{snapshot.place} is served")
    requeue = Requeue(_until(snapshot.deadline - snapshot.waited), "the step is checked again")
    waits = f"the first health check of {', '.join(snapshot.unreached)}" if snapshot.is_served else "the proxies"
    limit = None if snapshot.paused else _step_deadline(snapshot, snapshot.deadline - snapshot.waited)
    return RolloutDecision(None, Reason.STEP_STARTED, f"{snapshot.place}: waiting for {waits}", requeue, limit)


def rollout_is_paused(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """While paused, no time counts, and no step follows."""
    if not snapshot.paused:
        return None
    held = _hold(snapshot, Problem(Reason.ROLLOUT_PAUSED, f"{snapshot.place} is paused, {snapshot.paused}"))
    trigger = None if snapshot.reason is Reason.ROLLOUT_PAUSED else RolloutTrigger.PAUSE
    return replace(held, trigger=trigger)


def rollout_is_resumed(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """The end of a pause is a separate transition, so that the history always records it."""
    if snapshot.reason is not Reason.ROLLOUT_PAUSED:
        return None
    message = ", ".join(filter(None, (f"{snapshot.place} is resumed", snapshot.resumed)))
    return RolloutDecision(RolloutTrigger.RESUME, Reason.ROLLOUT_RESUMED, message)


def verdict_waits_for_a_person(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A step that has failed, or was paused for lack of evidence, does not continue by itself."""
    if snapshot.promoted or snapshot.reason not in (*FAILURES, Reason.INCONCLUSIVE):
        return None
    problem = Problem(snapshot.reason, snapshot.message)
    if snapshot.reason in FAILURES and snapshot.on_failure is OnFailure.ROLLBACK:
        return _fail(problem)
    return _hold(snapshot, problem)


def step_is_watched(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """The time of a step passes."""
    remaining = snapshot.duration - snapshot.served
    if snapshot.promoted or remaining <= timedelta():
        return None
    trigger = None if snapshot.state is RolloutState.WATCHING else RolloutTrigger.WATCH
    requeue = Requeue(min(remaining, ROLLOUT_RECHECK), "the time of the step passes")
    message = f"{snapshot.place} is watched for {duration_text(snapshot.duration)}"
    limit = Limit(remaining, "the step passes, or reports what it waits for")
    return RolloutDecision(trigger, Reason.STEP_WATCHED, message, requeue, limit)


def step_waits_for_promotion(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A step with `until: Promoted` waits for `kanary promote`."""
    if not snapshot.until_promoted or snapshot.promoted:
        return None
    return _hold(snapshot, Problem(Reason.WAITING_FOR_PROMOTION, f"{snapshot.place}: waiting for kanary promote"))


def evidence_is_missing(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """A step whose evidence does not suffice waits for more, up to a limit."""
    judgement = snapshot.judgement
    if snapshot.promoted or judgement.verdict is not VerdictKind.INCONCLUSIVE:
        return None
    if snapshot.served - snapshot.duration < snapshot.max_wait:
        message = f"{snapshot.place}: waiting for evidence: {judgement.text}"
        limit = Limit(
            snapshot.max_wait + snapshot.duration - snapshot.served, _WITHOUT_EVIDENCE[snapshot.on_inconclusive]
        )
        return replace(_hold(snapshot, Problem(Reason.WAITING_FOR_EVIDENCE, message)), limit=limit)
    waited = f"after {duration_text(snapshot.max_wait)} (spec.rollout.analysis.maxWait)"
    message = f"{snapshot.place} is inconclusive {waited}: {judgement.text}"
    match snapshot.on_inconclusive:
        case OnInconclusive.PROCEED:
            return None
        case OnInconclusive.ROLLBACK:
            return _fail(Problem(Reason.INCONCLUSIVE, message))
        case OnInconclusive.PAUSE:
            return _hold(snapshot, Problem(Reason.INCONCLUSIVE, f"{message}; {_WAYS_OUT}"))


def webhook_after_the_step_is_due(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """Webhooks may hold the end of a step."""
    return _awaited(snapshot, snapshot.after)


def last_step_has_passed(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """After its last step, a rollout is complete."""
    if snapshot.step < snapshot.steps:
        return None
    message = _passed(snapshot, f"rollout {snapshot.number} is complete")
    return RolloutDecision(RolloutTrigger.COMPLETE, Reason.ROLLOUT_COMPLETED, message)


def no_step_may_start(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """While the weights are frozen, or outside of the windows, the next step waits."""
    block = snapshot.frozen or snapshot.closed
    return _blocked(snapshot, block) if block else None


def pods_are_missing(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """Pods that are not there yet hold the step, not the traffic."""
    if not snapshot.absent:
        return None
    message = f"{snapshot.place}: waiting for the first ready pod of {', '.join(snapshot.absent)}"
    held = _hold(snapshot, Problem(Reason.WAITING_FOR_ENDPOINTS, message))
    is_known = snapshot.reason is Reason.WAITING_FOR_ENDPOINTS
    remaining = snapshot.deadline - (snapshot.waited if is_known else timedelta())
    requeue = Requeue(_until(remaining), "pods may be ready, or late")
    return replace(held, requeue=requeue, limit=_step_deadline(snapshot, remaining))


def webhook_before_the_step_is_due(snapshot: RolloutSnapshot) -> RolloutDecision | None:
    """Webhooks may hold the start of a step."""
    return _awaited(snapshot, snapshot.before)


def next_step_follows(snapshot: RolloutSnapshot) -> RolloutDecision:
    """If nothing is missing, the next step starts."""
    done = "is promoted" if snapshot.promoted else "has passed"
    what = f"{snapshot.place} {done}" if snapshot.step else f"rollout {snapshot.number} starts"
    return RolloutDecision(RolloutTrigger.ADVANCE, Reason.STEP_STARTED, _passed(snapshot, what))


ROLLOUT_RULES: tuple[RolloutRule, ...] = (
    last_good_weights_are_declared,
    rollout_is_aborted,
    step_has_failed,
    other_weights_are_declared,
    rollout_is_retried,
    rollout_has_ended,
    rollback_is_under_way,
    verdict_waits_for_a_person,
    step_is_loaded,
    rollout_is_paused,
    rollout_is_resumed,
    step_is_watched,
    step_waits_for_promotion,
    evidence_is_missing,
    webhook_after_the_step_is_due,
    last_step_has_passed,
    no_step_may_start,
    pods_are_missing,
    webhook_before_the_step_is_due,
    next_step_follows,
)


def decide_rollout(snapshot: RolloutSnapshot) -> RolloutDecision:
    """The decision of the first rule of `ROLLOUT_RULES` that returns one; the last rule always does."""
    decisions = ((rule, rule(snapshot)) for rule in ROLLOUT_RULES)
    return next(replace(decision, rule=rule.__name__) for rule, decision in decisions if decision)


def _until(remaining: timedelta) -> timedelta:
    """When to look again, so that the time until then counts."""
    return max(min(remaining, ROLLOUT_RECHECK), timedelta(seconds=1))


def _hold(snapshot: RolloutSnapshot, problem: Problem) -> RolloutDecision:
    trigger = RolloutTrigger.HOLD if snapshot.state in (RolloutState.SHIFTING, RolloutState.WATCHING) else None
    requeue = Requeue(ROLLOUT_RECHECK, "the rollout is judged again") if snapshot.step else None
    return RolloutDecision(trigger, problem.reason, problem.message, requeue)


def _blocked(snapshot: RolloutSnapshot, problem: Problem) -> RolloutDecision:
    held = _hold(snapshot, problem)
    if snapshot.opens is None:
        return held
    after = min(snapshot.opens, ROLLOUT_RECHECK if held.requeue else LONGEST_BLOCK)
    requeue = Requeue(max(after, timedelta(seconds=1)), "steps may start")
    return replace(held, requeue=requeue, limit=Limit(snapshot.opens, "steps may start"))


def _step_deadline(snapshot: RolloutSnapshot, remaining: timedelta) -> Limit | None:
    """With `onFailure: Pause`, a promoted step has no deadline."""
    if snapshot.promoted and snapshot.on_failure is OnFailure.PAUSE:
        return None
    return Limit(remaining, f"the step fails ({Reason.STEP_DEADLINE_EXCEEDED})")


def _awaited(snapshot: RolloutSnapshot, answer: Judgement) -> RolloutDecision | None:
    if answer.verdict is VerdictKind.PASSED:
        return None
    return _hold(
        snapshot, Problem(Reason.WAITING_FOR_WEBHOOK, f"{snapshot.place}: waiting for webhooks: {answer.text}")
    )


def _passed(snapshot: RolloutSnapshot, what: str) -> str:
    """What has passed, by whom and why if it was promoted, and the evidence."""
    promoted = f", {snapshot.promotion}" if snapshot.promoted else ""
    evidence = snapshot.judgement.text if snapshot.step else ""
    return f"{what}{promoted}" + (f"{';' if promoted else ':'} {evidence}" if evidence else "")


def _fail(problem: Problem) -> RolloutDecision:
    return RolloutDecision(RolloutTrigger.FAIL, problem.reason, problem.message)
