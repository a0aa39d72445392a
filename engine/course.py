"""The course of a rollout: which weights are in force between the last good ones and the declared ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from engine.calendar import frozen
from engine.evidence import tallied
from engine.gates import LatestResults, announced, decide_with_checks
from engine.machine import RolloutMachine
from engine.model.course import RolloutStatus
from engine.model.entries import Share
from engine.model.rollout import RolloutSpec
from engine.model.spec import MAX_BACKENDS, KanarySpec, Route, weights_text
from engine.observe import Observed
from engine.rollout_facts import Look, next_step, weights_in_force
from engine.shares import weights_of, with_weights
from states import Problem, Reason, Snapshot
from states.evidence import VerdictKind
from states.rollout_rules import LONGEST_BLOCK, RolloutDecision, decide_rollout
from states.rollout_snapshot import RolloutSnapshot
from states.rollouts import ENDED, UNDER_WAY, RolloutState, RolloutTrigger
from states.timing import ROLLOUT_RECHECK, Limit, Requeue

_LONGEST_LOOK = 3 * ROLLOUT_RECHECK
"""How much time of a step counts at most between two looks: clocks may jump, and operators may be down."""


@dataclass(frozen=True, slots=True)
class Course:
    """The weights that a rollout has decided."""

    rollout: RolloutStatus | None = None
    """None if the spec declares no rollout."""
    decision: RolloutDecision | None = None
    routes: tuple[Route, ...] | None = None
    """In force; None for those of the spec."""
    before: RolloutStatus | None = None
    """The rollout before the decision."""
    fault: Problem | None = None
    """Why no rollout can lead to the declared routes."""

    @property
    def state(self) -> RolloutState:
        """The state of the rollout."""
        return self.rollout.state if self.rollout else RolloutState.COMPLETED

    @property
    def is_under_way(self) -> bool:
        """Whether the rollout has begun and has no verdict yet."""
        return self.state in UNDER_WAY

    @property
    def is_back(self) -> bool:
        """Whether the last good weights are in force again, whatever the spec declares."""
        return self.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)

    @property
    def change(self) -> Mapping[str, Any] | None:
        """The entry of the history for the move of the state machine, if there was one."""
        if not (self.rollout and self.before and self.decision and self.decision.trigger):
            return None
        return {
            "rollout": self.rollout.number,
            "source": self.before.state,
            "to": self.rollout.state,
            "trigger": self.decision.trigger.value,
            "step": self.before.place,
            "reason": self.decision.reason.value,
            "message": self.rollout.message,
        }

    @property
    def cause(self) -> str:
        """Why the weights in force change; empty if the user has changed the spec."""
        if self.rollout is None or self.state is RolloutState.COMPLETED:
            return ""
        return self.rollout.message if self.is_back or self.rollout.step > 1 else self.rollout.cause

    def seen_in(self, snapshot: Snapshot, observed: Observed) -> Snapshot:
        """The snapshot with the weights in force instead of the declared ones."""
        declared, applied = observed.to_apply, observed.written.applied
        if self.decision is None or declared is None:
            return snapshot
        if self.fault:
            snapshot = replace(snapshot, fault=self.fault)
        spec = self.applied_to(declared)
        text = self.rollout.message if self.rollout and self.decision.trigger else self.decision.message
        is_at_rest = self.state is RolloutState.COMPLETED and self.decision.reason is not Reason.FROZEN
        return replace(
            snapshot,
            routes=observed.routes(spec.routes, observed.present_endpoints),
            is_change=applied is None or spec != applied.spec,
            rollout=None if is_at_rest else Problem(self.decision.reason, text),
            rollout_limit=self.decision.limit,
            is_rolled_back=self.is_back,
        )

    def applied_to(self, spec: KanarySpec) -> KanarySpec:
        """The spec with the weights in force."""
        return spec if self.routes is None else spec.model_copy(update={"routes": self.routes})

    def back_from(self, spec: KanarySpec) -> KanarySpec:
        """The last written spec, with the last good weights if they are in force again."""
        return self.applied_to(spec) if self.is_back else spec


def course_of(observed: Observed, snapshot: Snapshot, machine: RolloutMachine, results_of: LatestResults) -> Course:
    """What becomes of the rollout now. The first weights of a Kanary are served at once.

    `results_of` returns the results of its queries and webhooks.
    """
    applied, declared = observed.written.applied, observed.to_apply
    spec = declared or (applied.spec if applied else None)
    stored = observed.status.rollout, applied.rollout if applied else None
    known = next((each for each in stored if each and each.number), None) or RolloutStatus()
    if spec is None or not (applied or known.goal):
        results_of(())
        return Course()
    # If the ConfigMap is lost, the status has the weights that the running proxies split by.
    former = applied.spec.routes if applied else _routes(known, spec.routes) or known.goal
    is_usable = not (snapshot.fault or snapshot.missing)
    if applied and spec.rollout is None and not is_usable:
        # A spec that cannot be applied ends no rollout either.
        spec = spec.model_copy(update={"rollout": applied.spec.rollout})
    lost_port = _lost_port(spec, applied.spec) if applied and declared and not snapshot.fault else None
    if spec.rollout is None:
        results_of(())
        return _at_once(spec, former, known.number, observed.now, lost_port)
    if not known.goal:
        known = known.model_copy(update={"good": former, "start": former, "goal": former})
    fault = None
    if declared and not snapshot.fault:
        fault = _too_many_routes(spec, known, former) or lost_port
    snapshot = replace(snapshot, fault=fault) if fault else snapshot
    # A spec that cannot be applied changes nothing; what is under way is judged by it nevertheless.
    goal = declared.routes if declared and is_usable and not fault else known.goal
    last = _counted(Look(observed, snapshot, spec, known, goal))
    facts = Look(observed, snapshot, spec, last, goal).facts(spec.rollout)
    if last.number and not facts.is_new and facts.state in ENDED and not last.is_announced:
        last = last.model_copy(update={"is_announced": announced(observed.owner, last, spec.rollout, results_of)})
        decision = decide_rollout(facts)
    else:
        facts, decision = decide_with_checks(observed.owner, last, facts, spec.rollout, results_of)
    rollout = moved(last, facts, decision, machine, plan=spec.rollout, goal=goal, former=former)
    return Course(rollout, decision, _routes(rollout, spec.routes), last, fault)


def _too_many_routes(spec: KanarySpec, known: RolloutStatus, former: Sequence[Route]) -> Problem | None:
    declared, most = spec.routes, MAX_BACKENDS // (1 + len(spec.ports))
    others = {**weights_of(known.good), **weights_of(former)}.keys() - {route.backend for route in declared}
    total = len(declared) + len(others)
    if total <= most:
        return None
    message = (
        f"spec.routes: a rollout to these {len(declared)} routes needs {len(others)} former ones as well, together "
        f"{total}: at most {most} are possible; change fewer routes at a time, or remove spec.rollout"
    )
    return Problem(Reason.INVALID_SPEC, message)


def _lost_port(spec: KanarySpec, before: KanarySpec) -> Problem | None:
    """Former routes stay in force during a rollout or a freeze, and each further port leads to their former port."""
    declared = {route.backend.service_name for route in spec.routes}
    former = tuple(route for route in before.routes if route.backend.service_name not in declared)
    known = dict(zip((port.name for port in before.ports), before.splits[1:], strict=True))
    _, *now = spec.model_copy(update={"routes": former}).splits
    for index, (port, routes) in enumerate(zip(spec.ports, now, strict=True)):
        backends = {route.backend.service_name: route.backend for route in known.get(port.name, ())}
        for route in routes:
            backend = backends.get(route.backend.service_name, route.backend)
            if backend != route.backend:
                message = (
                    f"spec.ports[{index}].backends: {backend} is needed as well until the rollout or the freeze has "
                    f"ended, because {backend.service_name} is a former route: add {{serviceName: "
                    f"{backend.service_name}, servicePort: {backend.service_port}}}"
                )
                return Problem(Reason.INVALID_SPEC, message)
    return None


def _at_once(
    spec: KanarySpec, former: Sequence[Route], number: int, now: datetime, lost_port: Problem | None
) -> Course:
    """The number stays: orders about earlier rollouts must not be about later ones."""
    ended = RolloutStatus(number=number) if number else None
    weights, freeze = weights_of(former), frozen(spec.freeze, now)
    if freeze is None or weights_of(spec.routes) == weights:
        return Course(ended)
    problem, lasts = freeze
    requeue = Requeue(min(lasts, LONGEST_BLOCK), "the freeze ends") if lasts else None
    limit = Limit(lasts, "the freeze ends") if lasts else None
    decision = RolloutDecision(None, problem.reason, problem.message, requeue, limit)
    return Course(ended, decision, with_weights(spec.routes, weights, former), fault=lost_port)


def _counted(look: Look) -> RolloutStatus:
    """The rollout with the connections and the time since the last look."""
    last, now = look.last, look.observed.now
    if last.state not in UNDER_WAY:
        return last
    passed = timedelta()
    if last.counted_at and not look.paused:
        passed = min(max(now - last.counted_at, timedelta()), _LONGEST_LOOK)
    served = passed if last.step and last.state is not RolloutState.SHIFTING else timedelta()
    applied = look.observed.written.applied
    written = (applied.revision, weights_of(applied.spec.routes)) if applied and look.is_written else None
    changes = {
        "seconds": round(last.seconds + served.total_seconds(), 3),
        "waited_seconds": round(last.waited_seconds + passed.total_seconds(), 3),
        "counted_at": now,
        "evidence": tallied(last, written, look.observed.fleet.ledgers),
    }
    return last.model_copy(update=changes)


def moved(
    last: RolloutStatus,
    facts: RolloutSnapshot,
    decision: RolloutDecision,
    machine: RolloutMachine,
    *,
    plan: RolloutSpec,
    goal: tuple[Route, ...],
    former: tuple[Route, ...],
) -> RolloutStatus:
    """The rollout after a decision; `goal` are the declared routes, and `former` those in force before."""
    state = machine.fire(facts.state, decision.trigger) if decision.trigger else facts.state
    if decision.trigger is None and state not in (*UNDER_WAY, RolloutState.ROLLING_BACK):
        # What has ended keeps its reason, also while a freeze is the reason of the Kanary.
        return last
    is_same = (last.state, last.reason) == (state, decision.reason.value)
    is_judged = facts.step and facts.state in UNDER_WAY
    changes = {
        "state": state,
        "reason": decision.reason.value,
        "message": decision.message,
        "since": min(last.since, facts.now) if is_same and last.since else facts.now,
        "waited_seconds": last.waited_seconds if is_same else 0.0,
        "rule": decision.rule,
        "until": decision.limit.end(facts.now, last.until) if decision.limit else None,
        "then": decision.limit.then if decision.limit else None,
        "steps": facts.steps,
        "verdict": facts.judgement.text if is_judged else last.verdict,
    }
    rollout = last.model_copy(update=changes)
    return rollout.model_copy(
        update=_consequences(decision.trigger, rollout, facts, plan=plan, goal=goal, former=former)
    )


def _consequences(
    trigger: RolloutTrigger | None,
    rollout: RolloutStatus,
    facts: RolloutSnapshot,
    *,
    plan: RolloutSpec,
    goal: tuple[Route, ...],
    former: tuple[Route, ...],
) -> Mapping[str, Any]:
    """What a move changes beside the state."""
    match trigger:
        case RolloutTrigger.BEGIN:
            # A rollback that is not written yet takes place all the same.
            is_back = facts.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)
            cause, start = "" if facts.is_new else rollout.message, rollout.good if is_back else former
            begun = {"number": rollout.number + 1, "cause": cause, "start": start, "goal": goal}
            begun |= {"evidence": (), "verdict": "", "judged_from": 1, "is_announced": False}
            return begun | {"step": 0, "steps": len(plan.steps), "to": None, "seconds": 0.0, "counted_at": facts.now}
        case RolloutTrigger.ADVANCE:
            step, to = next_step(rollout, facts, plan)
            is_overruled = facts.judgement.verdict is VerdictKind.FAILED or facts.reason is Reason.VERDICT_FAILED
            judged_from = step if is_overruled else rollout.judged_from
            return {"step": step, "to": to, "judged_from": judged_from, "seconds": 0.0, "counted_at": facts.now}
        case RolloutTrigger.FAIL:
            back = (Share(backend=str(route.backend), weight=route.weight) for route in rollout.good if route.weight)
            return {"message": f"rolled back to {weights_text(back)}: {rollout.message}"}
        case RolloutTrigger.COMPLETE:
            return {"good": rollout.goal}
        case RolloutTrigger.RETURN:
            return {"goal": goal, "good": goal}
        case _:
            return {}


def _routes(rollout: RolloutStatus, declared: Sequence[Route]) -> tuple[Route, ...] | None:
    """The routes in force: the declared ones, and the former ones as long as they may return."""
    weights = weights_in_force(rollout)
    if rollout.state == RolloutState.COMPLETED and weights == weights_of(declared):
        return None
    may_return = {} if rollout.state == RolloutState.COMPLETED else weights_of(rollout.good)
    former = (*rollout.goal, *rollout.start, *rollout.good)
    needed = [route for route in former if route.backend in weights or route.backend in may_return]
    return with_weights(declared, weights, needed)
