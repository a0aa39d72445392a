"""The checks of a rollout: the queries about a step, and the webhooks before it, after it and at the end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from engine.checks import Check, CheckOutcome, CheckResult, Occasion, RolloutStep, query_check, webhook_checks
from engine.evidence import compared
from engine.model.checks import WebhookEvent
from engine.model.course import RolloutStatus
from engine.model.entries import Share
from engine.model.rollout import RolloutSpec
from engine.render.objects import Identity
from engine.rollout_facts import next_step
from engine.shares import Weights, between, weights_of
from states.evidence import VerdictKind
from states.rollout_rules import RolloutDecision, decide_rollout
from states.rollout_snapshot import WORST_FIRST, Judgement, RolloutSnapshot
from states.rollouts import UNDER_WAY, RolloutState, RolloutTrigger


class LatestResults(Protocol):
    """Returns the latest results of the checks that a Kanary needs now, by their ids."""

    def __call__(self, needed: Sequence[Check], *, are_all: bool = True) -> Mapping[str, CheckResult]:
        """If they are all, other checks of the Kanary end."""


_HAVE_ENDED_STEP = ("last_step_has_passed", "no_step_may_start", "pods_are_missing", "next_step_follows")
"""The rules that decide after a step has ended, but for webhooks."""
_VERDICTS = {CheckOutcome.PASSED: VerdictKind.PASSED, CheckOutcome.FAILED: VerdictKind.FAILED}


def decide_with_checks(
    owner: Identity, rollout: RolloutStatus, facts: RolloutSnapshot, plan: RolloutSpec, results_of: LatestResults
) -> tuple[RolloutSnapshot, RolloutDecision]:
    """The decision about a rollout, and the facts with the answers that it depends on.

    A webhook is called when nothing else is missing: after a step when it would end, before one when it would start.
    """
    queries = tuple(_queries(owner, rollout, plan)) if facts.state in UNDER_WAY and facts.step else ()
    # Webhooks that are being called must go on: only the results of the queries say whether they are needed.
    known = results_of(queries, are_all=False)
    facts = replace(facts, judgement=worst([facts.judgement, *_judgements(queries, known)]))
    decision = decide_rollout(facts)
    step = RolloutStep(owner, rollout.number, facts.step, facts.steps)

    def hooks(event: WebhookEvent, at: RolloutStep, weights: Weights) -> tuple[Check, ...]:
        shares = tuple(Share(backend=str(backend), weight=weight) for backend, weight in weights.items())
        occasion = Occasion(event, at, shares, facts.judgement.text, rollout.state, rollout.message)
        return webhook_checks(occasion, plan.webhooks)

    has_ended = facts.step and decision.rule in _HAVE_ENDED_STEP
    after = hooks(WebhookEvent.AFTER_STEP, step, _weights(rollout, rollout.to)) if has_ended else ()
    known = results_of((*queries, *after), are_all=False)
    facts = replace(facts, after=worst(_judgements(after, known)))
    decision = decide_rollout(facts)
    before: tuple[Check, ...] = ()
    if decision.trigger is RolloutTrigger.ADVANCE:
        number, to = next_step(rollout, facts, plan)
        before = hooks(WebhookEvent.BEFORE_STEP, replace(step, step=number), _weights(rollout, to))
    known = results_of((*queries, *after, *before))
    facts = replace(facts, before=worst(_judgements(before, known)))
    return facts, decide_rollout(facts)


def announced(owner: Identity, rollout: RolloutStatus, plan: RolloutSpec, results_of: LatestResults) -> bool:
    """Whether every webhook about the end of a rollout has been answered; those that are not are called."""
    weights = weights_of(rollout.goal if rollout.state == RolloutState.COMPLETED else rollout.good)
    shares = tuple(Share(backend=str(backend), weight=weight) for backend, weight in weights.items())
    at = RolloutStep(owner, rollout.number, rollout.step, rollout.steps)
    occasion = Occasion(WebhookEvent.RESULT, at, shares, rollout.verdict, rollout.state, rollout.message)
    calls = webhook_checks(occasion, plan.webhooks)
    known = results_of(calls)
    return all(known[call.id].outcome in _VERDICTS for call in calls)


def worst(judgements: Iterable[Judgement]) -> Judgement:
    """The worst of them, with the texts of all that are as bad; Passed if there are none."""
    found = list(judgements)
    kind = min((each.verdict for each in found), key=WORST_FIRST.index, default=VerdictKind.PASSED)
    return Judgement(kind, "; ".join(each.text for each in found if each.verdict is kind and each.text))


def _queries(owner: Identity, rollout: RolloutStatus, plan: RolloutSpec) -> Iterable[Check]:
    at = RolloutStep(owner, rollout.number, rollout.step, rollout.steps)
    canaries = compared(rollout).canaries
    for query in plan.analysis.prometheus:
        for backend in weights_of(rollout.goal):
            if str(backend) in canaries:
                yield query_check(at, query, backend)


def _judgements(checks: Sequence[Check], known: Mapping[str, CheckResult]) -> list[Judgement]:
    results = [known[check.id] for check in checks]
    return [
        Judgement(_VERDICTS.get(each.outcome, VerdictKind.INCONCLUSIVE), each.message or "no answer yet")
        for each in results
    ]


def _weights(rollout: RolloutStatus, percent: Decimal | None) -> Weights:
    return between(weights_of(rollout.start), weights_of(rollout.goal), percent or Decimal())
