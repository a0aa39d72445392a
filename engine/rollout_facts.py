"""Everything that the rules of a rollout need to know, from what was observed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from engine.calendar import closed, frozen
from engine.evidence import compared, judgement_of
from engine.fleet.reach import unreached_routes
from engine.model.commands import ABORT, PAUSE, PROMOTE, RESUME, RETRY, command_for
from engine.model.course import RolloutStatus
from engine.model.rollout import RolloutSpec, StepSpec
from engine.model.spec import KanarySpec, Route
from engine.observe import Observed
from engine.rollbacks import judgement_of_proxies
from engine.shares import Weights, between, weights_of
from states import OnEmptyRoute, Problem, Reason, Snapshot
from states.rollout_snapshot import RolloutSnapshot
from states.rollouts import RolloutState


def weights_in_force(rollout: RolloutStatus) -> Weights:
    """The weights that the rollout has decided."""
    match rollout.state:
        case RolloutState.ROLLING_BACK | RolloutState.ROLLED_BACK:
            return weights_of(rollout.good)
        case RolloutState.COMPLETED:
            return weights_of(rollout.goal)
        case _:
            percent = rollout.to if rollout.to is not None else Decimal()
            found = between(weights_of(rollout.start), weights_of(rollout.goal), percent)
            return {backend: weight for backend, weight in found.items() if weight}


def steps_ahead(rollout: RolloutStatus, plan: RolloutSpec) -> tuple[StepSpec, ...]:
    """The declared steps that lead further than this one: they may have been edited since it began."""
    return tuple(step for step in plan.steps if rollout.to is None or step.to > rollout.to)


def next_step(rollout: RolloutStatus, facts: RolloutSnapshot, plan: RolloutSpec) -> tuple[int, Decimal]:
    """The number of the step that follows, and how far it leads in percent; there must be one."""
    number = min(max(facts.step, facts.promoted_step) + 1, facts.steps)
    return number, steps_ahead(rollout, plan)[number - facts.step - 1].to


def current_step(rollout: RolloutStatus, plan: RolloutSpec) -> StepSpec | None:
    """The declared step of the weights in force, or the one before; None before the first one."""
    reached = [step for step in plan.steps if rollout.to is not None and step.to <= rollout.to]
    return reached[-1] if reached else None


def planned_facts(last: RolloutStatus, goal: Sequence[Route], plan: RolloutSpec, now: datetime) -> RolloutSnapshot:
    """The facts that follow from a rollout, the routes to which it has to lead, and its plan: nothing is in its way."""
    steps = last.step + len(steps_ahead(last, plan))
    current, analysis = current_step(last, plan), plan.analysis
    return RolloutSnapshot(
        state=last.state,
        now=now,
        reason=last.known_reason,
        message=last.message,
        waited=timedelta(seconds=last.waited_seconds),
        number=last.number,
        is_new=weights_of(goal) != weights_of(last.goal),
        is_former=weights_of(goal) == weights_of(last.good),
        step=last.step,
        steps=steps,
        is_served=True,
        served=last.served,
        duration=current.time if current else timedelta(),
        until_promoted=bool(current and current.until),
        judgement=judgement_of(last, analysis, steps),
        max_wait=analysis.max_wait,
        on_inconclusive=analysis.on_inconclusive,
        on_failure=plan.on_failure,
    )


@dataclass(frozen=True, slots=True)
class Look:
    """A look at one rollout."""

    observed: Observed
    snapshot: Snapshot
    """Of the declared spec."""
    spec: KanarySpec
    """The declared one, or the last good one if it is invalid."""
    last: RolloutStatus
    goal: tuple[Route, ...]
    """The declared routes, or those to which the rollout leads while the spec cannot be applied."""

    def facts(self, plan: RolloutSpec) -> RolloutSnapshot:
        """The facts."""
        last, now = self.last, self.observed.now
        freeze, window = frozen(self.spec.freeze, now), closed(plan.windows, now)
        canaries, planned = compared(last).canaries, planned_facts(last, self.goal, plan, now)
        return replace(
            planned,
            judgement=judgement_of_proxies(last, self.observed.fleet.proxies) or planned.judgement,
            is_served=self._is_served,
            unreached=self._unreached(canaries),
            absent=self._absent(canaries),
            promoted_step=self._promoted_step,
            promotion=self._ordered(PROMOTE),
            paused=self.paused,
            resumed=self._ordered(RESUME),
            aborted=self._ordered(ABORT),
            retried=self._ordered(RETRY),
            frozen=freeze[0] if freeze else None,
            closed=self._obstacle or (window[0] if window else None),
            opens=freeze[1] if freeze else window[1] if window else None,
            deadline=self.snapshot.progress_deadline,
        )

    @property
    def is_written(self) -> bool:
        """Whether the proxies' ConfigMap has the weights that the rollout has decided."""
        applied = self.observed.written.applied
        return applied is not None and weights_of(applied.spec.routes) == weights_in_force(self.last)

    @property
    def paused(self) -> str:
        """By whom and why the rollout is paused; empty if it is not."""
        return "by spec.paused" if self.spec.paused or self.snapshot.paused else self._ordered(PAUSE)

    @property
    def _is_served(self) -> bool:
        """Whether every proxy that accepts connections splits them by these weights."""
        applied = self.observed.written.applied
        return applied is not None and self.is_written and self.observed.fleet.all_split_by(applied.digest)

    @property
    def _promoted_step(self) -> int:
        command = command_for(self.observed.kanary, PROMOTE, self.last.number)
        return command.step if command else -1

    def _ordered(self, annotation: str) -> str:
        """By whom and why this was ordered about this rollout; empty if it was not."""
        command = command_for(self.observed.kanary, annotation, self.last.number)
        return command.text if command else ""

    @property
    def _obstacle(self) -> Problem | None:
        """Why no other weights can be applied: no step starts meanwhile."""
        snapshot = self.snapshot
        if snapshot.fault or snapshot.missing or snapshot.on_empty_route is not OnEmptyRoute.HOLD:
            return snapshot.fault or snapshot.missing
        empty = self._absent(str(route.backend) for route in (*self.goal, *self.last.start) if route.weight)
        message = f"{', '.join(empty)} has no ready endpoint (spec.onEmptyRoute: Hold)"
        return Problem(Reason.ROUTE_WITHOUT_ENDPOINTS, message) if empty else None

    def _unreached(self, canaries: Iterable[str]) -> tuple[str, ...]:
        """The canaries that no connection reaches. Once they were reached, only what HAProxy has found counts.

        The servers of a proxy that has just started are unreached until their first check.
        """
        applied = self.observed.written.applied
        found = unreached_routes(self.observed.fleet, applied) if applied else ()
        is_first = self.last.state == RolloutState.SHIFTING
        names = {route.backend for route in found if is_first or route.evidence or not route.left}
        return tuple(name for name in canaries if name in names)

    def _absent(self, backends: Iterable[str]) -> tuple[str, ...]:
        """Those without a pod that serves."""
        present = {str(backend) for backend, found in self.observed.present_endpoints.items() if found}
        return tuple(dict.fromkeys(name for name in backends if name not in present))
