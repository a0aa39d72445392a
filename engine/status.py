"""Builds a Kanary's status from what was observed, decided and done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from engine.conditions import ENTRIES_LOST, Recording, conditions
from engine.course import Course
from engine.fleet.reach import Traffic, traffic_of
from engine.journal import Journal
from engine.model.entries import Share
from engine.model.spec import weights_text
from engine.model.states import Applied
from engine.model.status import Display, KanaryStatus, ProxyStatus, RouteStatus
from engine.model.times import time_text
from engine.model.weight import TOTAL_WEIGHT
from engine.observe import Observed
from states import Decision, Delivery, Difference, Phase, Progress, RouteFacts

Json = dict[str, Any]


_NOTABLE = Decimal(1)
"""Percentage points between the weight and the share of a route."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a reconcile."""

    phase: Phase
    decision: Decision
    applied: Applied | None
    """The configuration written for the proxies now."""
    delivery: Delivery
    course: Course
    is_written_now: bool
    """Whether this reconcile wrote it."""
    journal: Journal
    recording: Recording
    staleness: str = ""
    """Why the cluster is not known as it is; empty if it is."""

    @property
    def progress(self) -> Progress:
        """The progress of the proxies with the configuration written now."""
        is_target = self.is_written_now or self.delivery.difference is Difference.NONE
        return self.delivery.progress if is_target else self.delivery.former

    @property
    def is_current(self) -> bool:
        """Whether all proxies serve the target."""
        is_target = self.is_written_now or self.delivery.difference is Difference.NONE
        return is_target and self.progress is Progress.CURRENT


def next_status(observed: Observed, result: Outcome) -> KanaryStatus:
    """The status after a reconcile."""
    before, applied, decision, phase = observed.status, result.applied, result.decision, result.phase
    is_same = (before.phase, before.reason) == (phase.value, decision.reason.value)
    limit = decision.limit
    weights = _weights(observed, result)
    return KanaryStatus(
        observed_generation=observed.intent.generation,
        phase=phase.value,
        reason=decision.reason.value,
        message=decision.message,
        # A time in the future comes from a clock that was ahead.
        since=min(before.since, observed.now) if is_same and before.since else observed.now,
        rule=decision.rule,
        until=limit.end(observed.now, before.until) if limit else None,
        then=limit.then if limit else None,
        revision=applied.revision if applied else before.revision,
        split=result.journal.split,
        weights=weights,
        proxies=_proxies(observed, applied) if applied else None,
        rollout=result.course.rollout,
        display=_display(observed, applied, weights, result.course) if applied else before.display,
        config_hash=applied.digest if applied else None,
        progressing_since=_progressing_since(observed, result),
        conditions=conditions(
            before.conditions,
            is_ready=phase is Phase.READY,
            decision=decision,
            recording=_with_losses(result),
            generation=observed.intent.generation,
            now=time_text(observed.now),
            staleness=result.staleness,
        ),
        change_cause=result.journal.cause,
        history=result.journal.history,
    )


def status_json(status: KanaryStatus) -> Json:
    """As the API writes it."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def with_former_details(status: KanaryStatus, former: KanaryStatus) -> KanaryStatus:
    """The status with what is written only with other changes as it was: counts of connections, and the limit.

    Counts change with each connection, and are written as well when they have about doubled. Of the connections since
    the last change of the weights, eight times as many are another magnitude, and a share that is no longer near the
    weight, or is again.
    """
    if status.rule == former.rule:
        status = status.model_copy(update={"until": former.until, "then": former.then})
    known = {route.backend: route for route in former.weights}
    kept = [known.get(route.backend) for route in status.weights]
    if not all(kept) or [*map(_magnitudes, filter(None, kept))] != [*map(_magnitudes, status.weights)]:
        return status
    weights = tuple(
        route.model_copy(update={name: getattr(old, name) for name in _COUNTS})
        for route, old in zip(status.weights, filter(None, kept), strict=True)
    )
    if weights == status.weights or status.display is None:
        return status.model_copy(update={"weights": weights})
    display = status.display.model_copy(update={"actual": former.display.actual if former.display else None})
    return status.model_copy(update={"weights": weights, "display": display})


_COUNTS = ("connections", "failed", "since_change", "actual")


def _magnitudes(route: RouteStatus) -> list[int | bool | None]:
    since = route.since_change
    return [
        _magnitude(route.connections),
        _magnitude(route.failed),
        None if since is None else -(-since.bit_length() // 3),
        None if route.actual is None else abs(route.actual - route.weight) >= _NOTABLE,
    ]


def _magnitude(count: int | None) -> int | None:
    return None if count is None else count.bit_length()


def only_counts_differ(before: KanaryStatus, after: KanaryStatus) -> bool:
    """Whether they differ only in counts of pods and in the progress of the proxies with these."""
    return _lasting(before) == _lasting(after)


def only_evidence_differs(before: KanaryStatus, after: KanaryStatus) -> bool:
    """Whether they differ only in the time and the counts of a step that continues."""
    changes = {"rollout": None, "message": "", "conditions": (), "rule": "", "until": None, "then": None}
    if after.rollout is None or not only_counts_differ(before, after):
        return False
    return before.model_copy(update=changes) == after.model_copy(update=changes)


def may_pass(before: KanaryStatus, after: KanaryStatus) -> bool:
    """Whether the proxies only began to load what the status has, and may be ready before anything reads the status."""
    is_move = before.phase in (Phase.RENDERING, Phase.DEGRADED) and after.phase == Phase.ROLLING
    return is_move and _declared(before) == _declared(after)


def _lasting(status: KanaryStatus) -> tuple[object, ...]:
    fixed_conditions = tuple((c.type, c.status, c.reason) for c in status.conditions)
    weights = tuple((route.backend, route.weight) for route in status.weights)
    display = status.display and (status.display.weights, status.display.ready)
    rollout = status.rollout and (
        status.rollout.number,
        status.rollout.state,
        status.rollout.reason,
        status.rollout.step,
        status.rollout.is_announced,
    )
    fixed = status.phase, status.reason, status.revision, display, status.history, rollout
    return fixed, fixed_conditions, weights, _declared(status)


def _declared(status: KanaryStatus) -> tuple[object, ...]:
    return status.observed_generation, status.split, status.change_cause


def _with_losses(result: Outcome) -> Recording:
    history, recording = result.journal.history, result.recording
    if history is None or not history.lost:
        return recording
    lost = f"{history.lost} entries were dropped before the history recorded them"
    reason = ENTRIES_LOST if recording.is_recorded else recording.reason
    return Recording(False, reason, f"{lost}; {recording.message}")


def _weights(observed: Observed, result: Outcome) -> tuple[RouteStatus, ...]:
    """The weights that every proxy serves; until all proxies serve new ones, the previous ones.

    If the ConfigMap is lost, the status is their only source.
    """
    is_served = result.applied is not None and result.progress >= Progress.ADOPTED
    if result.applied and is_served:
        spec = result.applied.spec
        written = {route.backend: result.applied.endpoints_of(route.backend) for route in spec.routes}
        counted = observed.routes(spec.routes, {**written, **observed.intent.endpoints})
        digest = result.applied.digest
        traffic = [traffic_of(observed.fleet, digest, facts.backend) for facts in counted]
        shares = actual_shares([each.since_change for each in traffic])
        return tuple(map(_route, counted, traffic, shares))
    return observed.status.weights


def actual_shares(connections: Sequence[int | None]) -> list[Decimal | None]:
    """The share of each route in percent, rounded to one decimal; unknown if that of any route is, or without any."""
    known = [count for count in connections if count is not None]
    if len(known) < len(connections) or not sum(known):
        return [None] * len(connections)
    return [round(Decimal(TOTAL_WEIGHT * count) / sum(known), 1) for count in known]


def _route(facts: RouteFacts, traffic: Traffic, actual: Decimal | None) -> RouteStatus:
    return RouteStatus(
        backend=facts.backend,
        weight=facts.weight,
        ready=facts.ready,
        unready=facts.unready,
        up=traffic.up,
        down=traffic.down,
        ejected=traffic.ejected,
        connections=traffic.connections,
        failed=traffic.failed,
        since_change=traffic.since_change,
        actual=actual,
    )


def _proxies(observed: Observed, applied: Applied) -> ProxyStatus:
    return ProxyStatus(
        name=observed.owner.proxy_name,
        replicas=applied.spec.proxy.replicas,
        ready=observed.fleet.ready(applied.digest),
        updated=observed.fleet.updated(applied.digest),
        strategy=applied.strategy,
        selector=",".join(f"{label}={value}" for label, value in observed.owner.selector.items()),
    )


def _display(observed: Observed, applied: Applied, weights: tuple[RouteStatus, ...], course: Course) -> Display:
    shares = (Share(backend=route.backend, weight=route.weight) for route in weights)
    measured = [Share(backend=route.backend, weight=route.actual) for route in weights if route.actual is not None]
    replicas = applied.spec.proxy.replicas
    return Display(
        weights=weights_text(shares),
        # While the Deployment scales down, there are more for a moment.
        ready=f"{min(observed.fleet.ready(applied.digest), replicas)}/{replicas}",
        step=course.rollout.place if course.rollout and course.is_under_way else None,
        actual=weights_text(measured) if len(measured) == len(weights) else None,
        down=" ".join(f"{route.backend}={route.down}" for route in weights if route.down) or None,
        ejected=" ".join(f"{route.backend}={route.ejected}" for route in weights if route.ejected) or None,
    )


def _progressing_since(observed: Observed, result: Outcome) -> datetime | None:
    """Start of the progress deadline: proxies fall behind, the spec changes, or a change follows a completed one."""
    before, now = observed.status, observed.now
    if result.applied is None or result.is_current:
        return None
    is_next = result.is_written_now and result.delivery.former is Progress.CURRENT
    is_new_spec = observed.intent.generation != before.observed_generation
    since = before.progressing_since
    return now if is_next or is_new_spec or since is None else min(since, now)
