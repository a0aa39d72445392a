"""Replays a rollout against a model of traffic: the engine's own rules, weights and verdicts, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random

from engine.course import moved
from engine.evidence import compared, kind_of_judgement, tallied
from engine.fleet.tally import Ledgers
from engine.machine import rollout_machine
from engine.model.course import RolloutStatus
from engine.model.rollout import RolloutSpec
from engine.model.spec import Route
from engine.rollout_facts import planned_facts, weights_in_force
from engine.shares import Weights
from kanary.cli.traffic import Flow, TrafficModel
from states import Reason
from states.evidence import Counts, VerdictKind
from states.rollout_rules import decide_rollout
from states.rollout_snapshot import RolloutSnapshot
from states.rollouts import RolloutState, RolloutTrigger
from states.timing import left

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_SHORTEST_LOOK = 1.0
"""Seconds between two looks at the counts: proxies report every second."""
_LOOKS = 50
"""Later in a step, a look follows after this part of its time, so that long steps need few of them.

Verdicts are late by at most 2 % of the step's time.
"""
_PROXIES = "proxies"
_MACHINE = rollout_machine()


class RunResult(StrEnum):
    """How a run of a rollout ends."""

    ROLLED_BACK = "RolledBack"
    COMPLETED = "Completed"
    WAITING = "Waiting"
    """For a person."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A rollout and the traffic that it meets."""

    start: tuple[Route, ...]
    """The last good routes, with those of weight 0."""
    goal: tuple[Route, ...]
    """The declared routes: the same with other weights."""
    plan: RolloutSpec
    traffic: TrafficModel
    promote_after: timedelta = timedelta()
    """For how long a step waits for its promotion."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The rollout after a move."""

    seconds: float
    """Since the rollout began."""
    rollout: RolloutStatus
    weights: Weights
    failed: int
    """Connections to the canaries that have failed so far."""

    @property
    def result(self) -> RunResult | None:
        """The result of the run; None while the rollout continues."""
        match RolloutState(self.rollout.state):
            case RolloutState.ROLLING_BACK:
                return RunResult.ROLLED_BACK
            case RolloutState.COMPLETED:
                return RunResult.COMPLETED
            case RolloutState.WAITING if self.rollout.reason in (Reason.INCONCLUSIVE, Reason.VERDICT_FAILED):
                return RunResult.WAITING
            case _:
                return None


class Replay:
    """One run of a rollout: proxies serve each step at once, and each version has pods.

    Windows, freezes, webhooks and Prometheus queries are left out.
    """

    def __init__(self, scenario: Scenario, random: Random) -> None:
        self._scenario = scenario
        self._random = random
        self._now = 0.0
        self._promoted_step = -1
        start = scenario.start
        self._rollout = RolloutStatus(good=start, start=start, goal=start)
        self._canaries = compared(self._rollout.model_copy(update={"goal": scenario.goal})).canaries
        self._flow = Flow(scenario.traffic, {}, 0.0, random)
        self._failed_before = 0

    def moments(self) -> Iterator[Moment]:
        """The moves of the rollout, the last of which has a result."""
        while True:
            reason = self._rollout.reason
            trigger, facts = self._decide()
            moment = Moment(self._now, self._rollout, self._weights, self._failed)
            if trigger or reason != self._rollout.reason:
                yield moment
            if moment.result:
                return
            if trigger is RolloutTrigger.ADVANCE:
                self._begin_step()
            elif trigger is None:
                self._watch(self._now + self._time_to_next_decision(facts).total_seconds())

    def _decide(self) -> tuple[RolloutTrigger | None, RolloutSnapshot]:
        """Make one decision, move the rollout accordingly, and return what was decided from which facts."""
        scenario, last = self._scenario, self._rollout
        planned = planned_facts(last, scenario.goal, scenario.plan, self._time)
        facts = replace(planned, promoted_step=self._promoted_step)
        decision = decide_rollout(facts)
        routes = {"goal": scenario.goal, "former": scenario.start}
        self._rollout = moved(last, facts, decision, _MACHINE, plan=scenario.plan, **routes)
        return decision.trigger, facts

    def _time_to_next_decision(self, facts: RolloutSnapshot) -> timedelta:
        """After which time a rule may decide otherwise, unless a canary fails before."""
        if self._rollout.reason == Reason.STEP_WATCHED:
            return facts.duration - facts.served
        if self._rollout.reason == Reason.WAITING_FOR_PROMOTION:
            remaining = left(self._scenario.promote_after, self._rollout.since, self._time)
            self._promoted_step = facts.step if not remaining else -1
            return remaining
        return facts.duration + facts.max_wait - facts.served

    def _begin_step(self) -> None:
        self._failed_before = self._failed
        weights = {str(backend): weight for backend, weight in self._weights.items()}
        self._flow = Flow(self._scenario.traffic, weights, self._now, self._random)
        self._count()

    def _watch(self, until: float) -> None:
        """Let connections come until then, or until a canary has failed, or until the awaited evidence suffices."""
        flow, plan = self._flow, self._scenario.plan
        ends = {VerdictKind.FAILED}
        if self._rollout.reason == Reason.WAITING_FOR_EVIDENCE:
            ends.add(VerdictKind.PASSED)
        while self._now < until:
            look = max(_SHORTEST_LOOK, (self._now - flow.begun) / _LOOKS)
            self._now = min(until, self._now + look, self._scenario.traffic.constant_until(self._now))
            known = flow.failures(self._canaries)
            flow.advance(self._now)
            if VerdictKind.PASSED in ends or flow.failures(self._canaries) > known:
                self._count()
                if kind_of_judgement(self._rollout, plan.analysis, len(plan.steps)) in ends:
                    return
        self._count()

    def _count(self) -> None:
        """Add the counts of the present step to the rollout, and its time."""
        flow, step = self._flow, self._rollout.step
        counts = {name: Counts(flow.connections[name], flow.failed[name]) for name in flow.connections}

        def ledgers(revision: int) -> Ledgers:
            return {_PROXIES: counts} if revision == step else {}

        evidence = tallied(self._rollout, (step, self._weights), ledgers)
        changes = {"evidence": evidence, "seconds": round(self._now - flow.begun, 3), "counted_at": self._time}
        self._rollout = self._rollout.model_copy(update=changes)

    @property
    def _time(self) -> datetime:
        return _BEGIN + timedelta(seconds=self._now)

    @property
    def _weights(self) -> Weights:
        """The weights in force, in the order of the routes."""
        found = weights_in_force(self._rollout)
        return {route.backend: found[route.backend] for route in self._scenario.start if route.backend in found}

    @property
    def _failed(self) -> int:
        return self._failed_before + self._flow.failures(self._canaries)
