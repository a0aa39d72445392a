"""The policy: an ordered chain of small pure rules, the first of which that has something to say decides.

Each rule takes a snapshot and answers with a decision or None. A decision explains itself: its reason is a fixed word,
its message names what the user wrote, what was found and, where something is wrong, the way out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from states.actions import KEEP_SERVING, Action
from states.phases import Phase, Trigger
from states.reasons import Reason
from states.snapshot import OnEmptyRoute, Problem, RouteFacts, Snapshot, Source, UpdateStrategy
from states.source import which_spec

FIRST_ENDPOINTS_GRACE = timedelta(seconds=30)
"""How long a new Kanary waits for the slower of its backends before it starts with those that are there.

Long enough for pods that were applied together, so that the first traffic is already split as declared.
"""

_SETTLING_RECHECK = timedelta(seconds=1)
"""How often proxies that are on their way are looked at."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a snapshot, and why."""

    trigger: Trigger | None
    """The move to make, or None to stay in the phase."""
    reason: Reason
    message: str
    actions: tuple[Action, ...] = ()
    recheck: timedelta | None = None
    """When to look again though nothing was observed to change, or None."""
    rule: str = ""
    """The name of the rule that took the decision."""


Rule = Callable[[Snapshot], Decision | None]


def spec_is_unusable(snapshot: Snapshot) -> Decision | None:
    """A spec that cannot be obeyed leaves traffic as it was."""
    return degraded(snapshot, snapshot.fault) if snapshot.fault else None


def backend_is_missing(snapshot: Snapshot) -> Decision | None:
    """A backend that does not exist is awaited by a new Kanary, and degrades one that serves."""
    if not snapshot.missing:
        return None
    return degraded(snapshot, snapshot.missing) if snapshot.has_served else _pending(snapshot, snapshot.missing)


def is_paused(snapshot: Snapshot) -> Decision | None:
    """While paused, changes of the spec wait; endpoints are still followed."""
    if not snapshot.paused:
        return None
    if not snapshot.has_served:
        return _pending(snapshot, Problem(Reason.PAUSED, "spec.paused is true: set it to false to start serving"))
    if not snapshot.is_change:
        return None
    message = f"spec.paused is true: {snapshot.weights} stays until it is false; endpoints are still followed"
    message += _because(snapshot.rollout.trouble)
    trigger = None if snapshot.phase is Phase.RENDERING else Trigger.RENDER
    return Decision(trigger, Reason.PAUSED, message, _serving_actions(snapshot), _recheck(snapshot))


def first_endpoints_are_awaited(snapshot: Snapshot) -> Decision | None:
    """A new Kanary starts when the pods of each weighted route are ready, or, after a grace, when any pod is."""
    incomplete = [route for route in snapshot.routes if route.is_incomplete]
    if snapshot.has_served or not incomplete:
        return None
    grace = _grace_left(snapshot)
    if not snapshot.all_empty and grace <= timedelta():
        return None
    message = f"waiting for the first endpoints of {', '.join(map(_endpoint_count, incomplete))}"
    if not snapshot.all_empty:
        limit = FIRST_ENDPOINTS_GRACE.total_seconds()
        message += f"; starts with those that are ready {limit:.0f} s after the backends were created"
    recheck = None if snapshot.all_empty else grace
    return _pending(snapshot, Problem(Reason.WAITING_FOR_ENDPOINTS, message), recheck)


def no_endpoint_is_left(snapshot: Snapshot) -> Decision | None:
    """With no ready endpoint anywhere there is nothing to send a connection to."""
    if not snapshot.all_empty or snapshot.on_empty_route is OnEmptyRoute.HOLD:
        return None
    message = (
        f"none of {_names_of_empty(snapshot)} has a ready endpoint: "
        "connections are closed until a pod of a backend becomes ready"
    )
    return degraded(snapshot, Problem(Reason.NO_READY_ENDPOINTS, message))


def route_is_empty(snapshot: Snapshot) -> Decision | None:
    """A weighted route with no ready endpoint means that the declared split is not what is served."""
    if not snapshot.empty_routes:
        return None
    message = (
        f"{_names_of_empty(snapshot)} has no ready endpoint: {_consequence(snapshot)} "
        f"(spec.onEmptyRoute: {snapshot.on_empty_route}) until a pod becomes ready or its weight is 0"
    )
    return degraded(snapshot, Problem(Reason.ROUTE_WITHOUT_ENDPOINTS, message))


def haproxy_refuses(snapshot: Snapshot) -> Decision | None:
    """A configuration that HAProxy refuses reaches no running proxy; the user is told HAProxy's own words."""
    if not snapshot.rollout.refusal:
        return None
    message = (
        f"{snapshot.rollout.refusal}; the proxies go on with the last one; "
        "change what the line speaks of, or spec.proxy.image to one with HAProxy 3.0 or later"
    )
    return degraded(snapshot, Problem(Reason.REFUSED_BY_HAPROXY, message))


def deadline_is_exceeded(snapshot: Snapshot) -> Decision | None:
    """Proxies that do not get there in time are the user's to know; those that serve go on."""
    since, rollout = snapshot.progressing_since, snapshot.rollout
    if rollout.is_complete or snapshot.spec_changed or since is None:
        return None
    if snapshot.now - since < snapshot.progress_deadline:
        return None
    message = (
        f"not rolled out after {snapshot.progress_deadline.total_seconds():.0f} s (spec.progressDeadlineSeconds)"
        f"{_because(rollout.trouble)}; {_proxies(snapshot)}, any others go on with the last one; "
        "mend the cause or change the spec"
    )
    return degraded(snapshot, Problem(Reason.PROGRESS_DEADLINE_EXCEEDED, message))


def cluster_refuses(snapshot: Snapshot) -> Decision | None:
    """What the cluster refused is tried again where the Kanary is, until it is taken."""
    if not snapshot.refusal or snapshot.spec_changed or snapshot.rollout.is_applied:
        return None
    return degraded(snapshot, snapshot.refusal)


def endpoints_wait(snapshot: Snapshot) -> Decision | None:
    """Newer endpoints wait while proxies start with former ones, or drain what many reloads have left.

    Pods of a backend that roll change its endpoints every few seconds. Were each change to replace the proxies of the
    one before, none would ever become ready. And each reload leaves a HAProxy process behind until the connections it
    holds have ended: with long-lived connections these would pile up. Whatever else changes does not wait.
    """
    rollout, wait = snapshot.rollout, _wait(snapshot)
    if wait is None or snapshot.phase is Phase.PENDING:
        return None
    if rollout.is_settling:
        message = f"proxies are starting with revision {snapshot.revision}; newer endpoints follow when they are ready"
    else:
        message = f"{snapshot.weights}; newer endpoints follow within seconds: proxies drain what former reloads left"
    if snapshot.phase is Phase.READY and not rollout.is_settling:
        return Decision(None, Reason.SERVING, message, recheck=wait)
    trigger = None if snapshot.phase is Phase.ROLLING else Trigger.ROLL
    return Decision(trigger, Reason.ROLLING_OUT, message, recheck=_recheck(snapshot))


def configuration_differs(snapshot: Snapshot) -> Decision | None:
    """What differs from the applied configuration is rendered, and written in Rendering."""
    if snapshot.phase is Phase.RENDERING:
        actions = _serving_actions(snapshot)
        return Decision(Trigger.ROLL, Reason.ROLLING_OUT, _proxies(snapshot), actions, _until_deadline(snapshot))
    if snapshot.rollout.is_configured and snapshot.phase is not Phase.PENDING:
        return None
    if snapshot.rollout.unreported:
        message = f"{snapshot.rollout.unreported}: the proxies are replaced instead"
    elif snapshot.is_new_revision:
        message = f"{snapshot.weights} is to be served as revision {snapshot.revision}"
    else:
        message = f"endpoints or settings of revision {snapshot.revision} have changed"
    return Decision(Trigger.RENDER, Reason.CONFIGURATION_CHANGED, message)


def proxies_are_behind(snapshot: Snapshot) -> Decision | None:
    """Proxies that are not all ready with the applied configuration are rolling."""
    if snapshot.rollout.is_complete:
        return None
    trigger = None if snapshot.phase is Phase.ROLLING else Trigger.ROLL
    message = f"{_proxies(snapshot)}{_because(snapshot.rollout.trouble)}"
    if snapshot.rollout.others_listen_for is not None:
        message += "; those that they replace may still take a connection"
    until_deadline = _until_deadline(snapshot)
    recheck = min(_recheck(snapshot) or until_deadline, until_deadline)
    return Decision(trigger, Reason.ROLLING_OUT, message, _serving_actions(snapshot), recheck)


def proxies_are_exhausted(snapshot: Snapshot) -> Decision | None:
    """A proxy that ran out of memory or of connections serves less than the spec promises."""
    if not snapshot.rollout.exhaustion:
        return None
    return degraded(snapshot, Problem(Reason.PROXIES_EXHAUSTED, snapshot.rollout.exhaustion))


def everything_is_served(snapshot: Snapshot) -> Decision:
    """Every proxy serves exactly what the spec declares."""
    trigger = {Phase.ROLLING: Trigger.COMPLETE, Phase.DEGRADED: Trigger.ROLL}.get(snapshot.phase)
    reason = Reason.ROLLING_OUT if trigger is Trigger.ROLL else Reason.SERVING
    message = f"{_proxies(snapshot)}: {snapshot.weights}"
    return Decision(trigger, reason, message, _serving_actions(snapshot), _recheck(snapshot))


RULES: tuple[Rule, ...] = (
    spec_is_unusable,
    backend_is_missing,
    is_paused,
    first_endpoints_are_awaited,
    no_endpoint_is_left,
    haproxy_refuses,
    route_is_empty,
    deadline_is_exceeded,
    cluster_refuses,
    endpoints_wait,
    configuration_differs,
    proxies_are_behind,
    proxies_are_exhausted,
    everything_is_served,
)


def decide(snapshot: Snapshot) -> Decision:
    """The first decision that a rule of `RULES` takes; the last rule always takes one."""
    decisions = ((rule, rule(snapshot)) for rule in RULES)
    return next(replace(decision, rule=rule.__name__) for rule, decision in decisions if decision)


def degraded(snapshot: Snapshot, problem: Problem) -> Decision:
    """The decision to tell `problem`, with what serves kept serving."""
    trigger = None if snapshot.phase is Phase.DEGRADED else Trigger.DEGRADE
    return Decision(trigger, problem.reason, problem.message, _serving_actions(snapshot), _recheck(snapshot))


def _pending(snapshot: Snapshot, problem: Problem, recheck: timedelta | None = None) -> Decision:
    trigger = None if snapshot.phase is Phase.PENDING else Trigger.WAIT
    return Decision(trigger, problem.reason, problem.message, recheck=recheck)


def _serving_actions(snapshot: Snapshot) -> tuple[Action, ...]:
    if which_spec(snapshot) is Source.NOTHING or _wait(snapshot) is not None:
        return ()
    refresh = (Action.REFRESH,) if snapshot.rollout.strategy is UpdateStrategy.LIVE else ()
    retire = (Action.RETIRE,) if snapshot.stale else ()
    return KEEP_SERVING + refresh + retire


def _wait(snapshot: Snapshot) -> timedelta | None:
    """How long to wait before the target is written, whatever the phase; None if it may be now, or is."""
    rollout = snapshot.rollout
    if rollout.is_configured:
        return None
    return _SETTLING_RECHECK if rollout.is_settling else rollout.reload_spacing


def _recheck(snapshot: Snapshot) -> timedelta | None:
    """When to look at the proxies again; what changes about them in the cluster is heard of anyway."""
    waits = (_wait(snapshot), snapshot.rollout.others_listen_for, snapshot.rollout.look_again)
    return min((wait for wait in waits if wait is not None), default=None)


def _until_deadline(snapshot: Snapshot) -> timedelta:
    # A status may hold any time, one in the far future included.
    passed = max(snapshot.now - (snapshot.progressing_since or snapshot.now), timedelta())
    return max(snapshot.progress_deadline - passed, timedelta(seconds=1))


def _grace_left(snapshot: Snapshot) -> timedelta:
    return FIRST_ENDPOINTS_GRACE - (snapshot.now - (snapshot.backends_since or snapshot.now))


def _consequence(snapshot: Snapshot) -> str:
    """What becomes of the share of an empty route. Where nothing was ever good, there is nothing to hold."""
    if snapshot.on_empty_route is OnEmptyRoute.REDISTRIBUTE:
        return "the other routes take its share"
    if snapshot.on_empty_route is OnEmptyRoute.HOLD and snapshot.has_served:
        return f"the last good configuration stays ({snapshot.weights})"
    return "connections of its share are closed"


def _endpoint_count(route: RouteFacts) -> str:
    known = route.endpoints + route.unready
    return f"{route.backend} ({f'{route.endpoints} of {known} ready' if known else 'none yet'})"


def _names_of_empty(snapshot: Snapshot) -> str:
    return ", ".join(f"{route.backend} (weight {route.weight})" for route in snapshot.empty_routes)


def _proxies(snapshot: Snapshot) -> str:
    rollout = snapshot.rollout
    verb = "serves" if rollout.ready == 1 else "serve"
    return f"{rollout.ready} of {rollout.replicas} proxies {verb} the configuration of revision {snapshot.revision}"


def _because(trouble: str) -> str:
    return f": {trouble}" if trouble else ""
