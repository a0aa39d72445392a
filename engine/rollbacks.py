"""Rollbacks of proxies by themselves: what their agents need for them, and what becomes of them."""

from collections.abc import Iterable

from engine.evidence import compared, share_of, text_of
from engine.fleet.proxy import Proxy
from engine.model.course import RolloutStatus
from engine.model.states import Split
from engine.model.times import time_text
from engine.render.rollback import RollbackPlan
from engine.shares import weights_of, with_weights
from states.evidence import AGENTS, Sample, Verdict, VerdictKind
from states.rollout_snapshot import Judgement, OnFailure

_FORMER_STEPS = 2
"""Agents keep the counts of so many former revisions."""
_REPLACED = 2
"""Each proxy may be replaced once in a rollout; a new one begins to count."""


def rollback_plan(split: Split) -> RollbackPlan | None:
    """When each agent returns to the last good weights by itself; None if it never does."""
    rollout, plan = split.rollout, split.spec.rollout
    if rollout is None or plan is None or not split.is_watched or plan.on_failure is not OnFailure.ROLLBACK:
        return None
    names, good = compared(rollout), {str(backend): weight for backend, weight in weights_of(rollout.good).items()}
    former = [each for each in rollout.evidence if rollout.judged_from <= each.step < rollout.step]
    weights = {each.revision: each.weights for each in former[-_FORMER_STEPS:]}
    weights[split.revision] = {str(route.backend): route.weight for route in split.spec.routes if route.weight}
    if not good.keys() <= {str(route.backend) for route in split.spec.routes}:
        return None
    limits = plan.analysis
    routes = with_weights(split.spec.routes, weights_of(rollout.good), ())
    _, *further = split.spec.model_copy(update={"routes": routes}).splits
    return RollbackPlan(
        weights=good,
        further=tuple({str(route.backend): route.weight for route in routes} for routes in further),
        canaries={
            canary: {revision: share_of(canary, names.others, of) for revision, of in weights.items() if canary in of}
            for canary in names.canaries
        },
        others=names.others,
        steps=len(plan.steps),
        false_alarms=limits.false_alarms * AGENTS / (split.spec.proxy.replicas * _REPLACED),
        ratio=limits.tolerate.ratio,
        fraction=limits.tolerate.percent / 100,
    )


def judgement_of_proxies(rollout: RolloutStatus, proxies: Iterable[Proxy]) -> Judgement | None:
    """The verdict of the first proxy that has rolled back the present step by itself; None if none has."""
    step = rollout.evidence[-1] if rollout.evidence else None
    if step is None or step.step != rollout.step:
        return None
    for proxy in proxies:
        found = proxy.report.rolled_back if proxy.report else None
        if found and found.revision == step.revision and found.canary in step.weights:
            share = share_of(found.canary, compared(rollout).others, step.weights)
            sample, verdict = Sample(found.own, found.others, share), Verdict(VerdictKind.FAILED, found.chance)
            how = f"pod {proxy.name} rolled back by itself at {time_text(found.at)}, without contact to the operator"
            return Judgement(VerdictKind.FAILED, f"{how}: {text_of(found.canary, sample, verdict)}")
    return None
