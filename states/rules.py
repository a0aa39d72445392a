"""The policy: an ordered chain of small pure rules. The first rule that returns a decision decides.

Each rule takes a snapshot and returns a decision or None. A decision explains itself: its reason is a fixed word, and
its message names the field, the value found and, if something is wrong, the way out.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from states.actions import KEEP_SERVING, Action
from states.decision import Decision
from states.phases import Phase, Trigger
from states.reasons import Reason
from states.snapshot import Difference, OnEmptyRoute, Problem, Progress, Snapshot, UpdateStrategy
from states.timing import FIRST_ENDPOINTS_GRACE, SETTLE_LIMIT, SETTLING_RECHECK, Limit, Requeue, left, soonest
from states.wording import because, consequence, endpoint_count, names_of_empty, notes, proxies, unreachable_text

Rule = Callable[[Snapshot], Decision | None]


def spec_is_unusable(snapshot: Snapshot) -> Decision | None:
    """An invalid spec leaves traffic as it was."""
    return degraded(snapshot, snapshot.fault) if snapshot.fault else None


def backend_is_missing(snapshot: Snapshot) -> Decision | None:
    """A new Kanary waits for a backend that does not exist; one that serves is Degraded and holds its pods."""
    if not snapshot.missing:
        return None
    return degraded(snapshot, snapshot.missing) if snapshot.has_served else _pending(snapshot, snapshot.missing)


def is_paused(snapshot: Snapshot) -> Decision | None:
    """While paused, changes of the spec wait; endpoints are still updated."""
    if not snapshot.paused:
        return None
    if not snapshot.has_served:
        return _pending(snapshot, Problem(Reason.PAUSED, "spec.paused is true: set it to false to start serving"))
    if not snapshot.is_change:
        return None
    message = f"spec.paused is true: {snapshot.weights} stays until it is false; endpoints are still updated"
    message += because(snapshot.delivery.trouble)
    trigger = None if snapshot.phase is Phase.RENDERING else Trigger.RENDER
    return Decision(trigger, Reason.PAUSED, message, _serving_actions(snapshot), _requeue(snapshot))


def destination_is_contested(snapshot: Snapshot) -> Decision | None:
    """The proxies run for a Service that is not theirs, so that only a moment passes when it is deleted or adopted."""
    if not snapshot.contested:
        return None
    serving = f"; {proxies(snapshot)}" if snapshot.revision else ""
    message = f"{snapshot.contested.message}{serving}{because(snapshot.delivery.trouble)}"
    return degraded(snapshot, Problem(snapshot.contested.reason, message))


def first_endpoints_are_awaited(snapshot: Snapshot) -> Decision | None:
    """A new Kanary starts when the pods of each weighted route are ready, or after a grace period when any pod is."""
    incomplete = [route for route in snapshot.routes if route.is_incomplete]
    has_begun = snapshot.has_served or snapshot.lost or (snapshot.is_in_status and not snapshot.all_empty)
    if has_begun or not incomplete:
        return None
    # A wait that begins now has the whole grace period.
    since = snapshot.since if snapshot.waits_for_endpoints else snapshot.now
    waiting = left(FIRST_ENDPOINTS_GRACE, since, snapshot.now)
    if not snapshot.all_empty and not waiting:
        return None
    message = f"waiting for the first endpoints of {', '.join(map(endpoint_count, incomplete))}"
    if snapshot.all_empty:
        return _pending(snapshot, Problem(Reason.WAITING_FOR_ENDPOINTS, message))
    limit = FIRST_ENDPOINTS_GRACE.total_seconds()
    message += f"; starts with the ready ones {limit:.0f} s after the start of this wait"
    requeue = Requeue(waiting, "the grace period of the first endpoints ends")
    pending = _pending(snapshot, Problem(Reason.WAITING_FOR_ENDPOINTS, message), requeue)
    return replace(pending, limit=Limit(waiting, "traffic starts with the pods that are ready"))


def no_endpoint_is_left(snapshot: Snapshot) -> Decision | None:
    """No backend has a ready endpoint, so connections are closed."""
    if not snapshot.all_empty or snapshot.on_empty_route is OnEmptyRoute.HOLD:
        return None
    message = (
        f"none of {names_of_empty(snapshot)} has a ready endpoint: "
        f"connections are closed until a pod of a backend becomes ready{notes(snapshot)}"
    )
    return degraded(snapshot, Problem(Reason.NO_READY_ENDPOINTS, message))


def haproxy_rejects(snapshot: Snapshot) -> Decision | None:
    """A configuration that HAProxy rejects reaches no running proxy; the message quotes HAProxy."""
    if not snapshot.delivery.rejection:
        return None
    message = (
        f"{snapshot.delivery.rejection}; the proxies keep the previous configuration: "
        "change what the line names, or set spec.proxy.image to an image with HAProxy 3.0 or later"
    )
    return degraded(snapshot, Problem(Reason.REJECTED_BY_HAPROXY, message))


def route_is_empty(snapshot: Snapshot) -> Decision | None:
    """While a weighted route has no ready endpoint, the served split differs from the declared one."""
    if not snapshot.empty_routes:
        return None
    message = (
        f"{names_of_empty(snapshot)} has no ready endpoint: {consequence(snapshot)} "
        f"(spec.onEmptyRoute: {snapshot.on_empty_route}) until a pod becomes ready or its weight is 0"
        f"{notes(snapshot)}"
    )
    return degraded(snapshot, Problem(Reason.ROUTE_WITHOUT_ENDPOINTS, message))


def deadline_is_exceeded(snapshot: Snapshot) -> Decision | None:
    """Proxies that miss the deadline are reported; the others continue to serve."""
    delivery, since = snapshot.delivery, snapshot.progressing_since
    if _is_current(snapshot) or snapshot.spec_changed or since is None or delivery.waits_for_routes:
        return None
    if left(snapshot.progress_deadline, since, snapshot.now):
        return None
    message = (
        f"not rolled out after {snapshot.progress_deadline.total_seconds():.0f} s (spec.progressDeadlineSeconds)"
        f"{because(delivery.trouble)}; {proxies(snapshot)}, the others keep the previous configuration: "
        "fix the cause or change the spec"
    )
    return degraded(snapshot, Problem(Reason.PROGRESS_DEADLINE_EXCEEDED, message))


def cluster_rejects(snapshot: Snapshot) -> Decision | None:
    """The operator retries a rejected object, without a change of phase, until the API server accepts it."""
    if not snapshot.rejection or snapshot.spec_changed or snapshot.delivery.is_applied:
        return None
    decision = degraded(snapshot, snapshot.rejection)
    # The API server may accept the object now.
    again = Requeue(SETTLING_RECHECK, "the rejected object may be applied now")
    return replace(decision, requeue=soonest(decision.requeue, again))


def endpoints_wait(snapshot: Snapshot) -> Decision | None:
    """Newer endpoints wait while proxies start with older ones, or drain the processes of many reloads.

    A rollout of a backend changes its endpoints every few seconds. If each change replaced the proxies of the previous
    one, no proxy would ever become ready. Also, each reload leaves a HAProxy process until its connections have ended:
    with long-lived connections, processes would accumulate. Nothing else waits.
    """
    waiting = _waiting(snapshot)
    if waiting is None or snapshot.phase in (Phase.PENDING, Phase.RENDERING):
        return None
    is_reported = bool(snapshot.delivery.exhaustion or snapshot.delivery.unreached)
    if is_reported and snapshot.delivery.progress >= Progress.SERVING:
        # This is reported instead; changes of endpoints do not change the phase.
        return None
    message = f"{proxies(snapshot)}: {snapshot.weights}; newer endpoints wait: {waiting.why}"
    if snapshot.phase is Phase.READY and snapshot.delivery.progress >= Progress.SERVING:
        return Decision(None, Reason.SERVING, message, requeue=waiting, limit=_end_of_waiting(snapshot))
    trigger = None if snapshot.phase is Phase.ROLLING else Trigger.ROLL
    return Decision(trigger, Reason.ROLLING_OUT, message, requeue=waiting, limit=_end_of_waiting(snapshot))


def configuration_differs(snapshot: Snapshot) -> Decision | None:
    """New weights or settings are recorded in the status in Rendering, before any proxy receives them.

    Changes of endpoints do not change the phase: the proxies receive them in any phase.
    """
    if snapshot.phase is Phase.RENDERING and snapshot.is_in_status:
        actions = _serving_actions(snapshot)
        requeue, limit = _until_deadline(snapshot), _deadline(snapshot)
        return Decision(Trigger.ROLL, Reason.ROLLING_OUT, proxies(snapshot), actions, requeue, limit)
    delivery = snapshot.delivery
    if delivery.difference <= Difference.ENDPOINTS and snapshot.phase is not Phase.PENDING and snapshot.is_in_status:
        return None
    reason = Reason.REPLACING_PROXIES if delivery.fallback else Reason.CONFIGURATION_CHANGED
    if delivery.fallback:
        message = f"{delivery.fallback}: the proxies are replaced"
    elif delivery.difference is Difference.WEIGHTS or not snapshot.is_in_status:
        message = f"{snapshot.weights} becomes revision {snapshot.revision}"
    else:
        message = f"revision {snapshot.revision} has new settings, or a route is empty now or has endpoints again"
    trigger = None if snapshot.phase is Phase.RENDERING else Trigger.RENDER
    return Decision(trigger, reason, message)


def proxies_are_behind(snapshot: Snapshot) -> Decision | None:
    """Until every proxy serves the declared weights, the Kanary is Rolling."""
    delivery = snapshot.delivery
    if delivery.progress >= Progress.SERVING or (delivery.waits_for_routes and snapshot.phase is not Phase.READY):
        return None
    trigger = None if snapshot.phase is Phase.ROLLING else Trigger.ROLL
    waiting_for = f"waiting for {delivery.waiting_for}" if delivery.waiting_for else ""
    message = f"{proxies(snapshot)}{because(delivery.trouble or waiting_for)}"
    if snapshot.delivery.others_listen_for is not None:
        message += "; the replaced proxies may still accept connections"
    if delivery.exhaustion:
        message += f"; {delivery.exhaustion}"
    if delivery.adopts:
        message += f"; Service {delivery.adopts} leads to them when all serve"
    requeue = soonest(_requeue(snapshot), _until_deadline(snapshot))
    return Decision(
        trigger, Reason.ROLLING_OUT, message, _serving_actions(snapshot), requeue, limit=_deadline(snapshot)
    )


def route_is_unreachable(snapshot: Snapshot) -> Decision | None:
    """A route of which no server passes a check is reported; a Kanary becomes Ready only when it reaches every route.

    A short stall of a route changes nothing while the Kanary is Ready.
    """
    unreached = snapshot.delivery.unreached
    lasting = [route for route in unreached if snapshot.reports_unreached or not route.left]
    if lasting:
        return degraded(snapshot, Problem(Reason.ROUTE_UNREACHABLE, unreachable_text(snapshot, lasting)))
    if not unreached or snapshot.phase is Phase.READY:
        return None
    trigger = None if snapshot.phase is Phase.ROLLING else Trigger.ROLL
    names = ", ".join(route.backend for route in unreached)
    message = f"{proxies(snapshot)}: waiting for the first health check that passes of {names}"
    limit = Limit(min(route.left for route in unreached), f"Degraded ({Reason.ROUTE_UNREACHABLE})")
    return Decision(trigger, Reason.ROLLING_OUT, message, _serving_actions(snapshot), _requeue(snapshot), limit)


def proxies_are_exhausted(snapshot: Snapshot) -> Decision | None:
    """A proxy that ran out of memory or connections serves less than the spec promises."""
    if not snapshot.delivery.exhaustion:
        return None
    return degraded(snapshot, Problem(Reason.PROXIES_EXHAUSTED, snapshot.delivery.exhaustion))


def rollout_is_under_way(snapshot: Snapshot) -> Decision | None:
    """As long as the weights in force are not the declared ones, a Kanary is not Ready."""
    if snapshot.rollout is None:
        return None
    if snapshot.is_rolled_back:
        return replace(degraded(snapshot, snapshot.rollout), limit=snapshot.rollout_limit)
    trigger = None if snapshot.phase is Phase.ROLLING else Trigger.ROLL
    message = f"{snapshot.rollout.message}: {snapshot.weights}{notes(snapshot)}"
    actions, requeue = _serving_actions(snapshot), _requeue(snapshot)
    return Decision(trigger, snapshot.rollout.reason, message, actions, requeue, limit=snapshot.rollout_limit)


def everything_is_served(snapshot: Snapshot) -> Decision:
    """Every proxy serves exactly the declared weights."""
    trigger = {Phase.ROLLING: Trigger.COMPLETE, Phase.DEGRADED: Trigger.ROLL}.get(snapshot.phase)
    reason = Reason.ROLLING_OUT if trigger is Trigger.ROLL else Reason.SERVING
    message = f"{proxies(snapshot)}: {snapshot.weights}{notes(snapshot)}"
    requeue = _requeue(snapshot) if _is_current(snapshot) else soonest(_requeue(snapshot), _until_deadline(snapshot))
    return Decision(trigger, reason, message, _serving_actions(snapshot), requeue)


RULES: tuple[Rule, ...] = (
    spec_is_unusable,
    backend_is_missing,
    is_paused,
    destination_is_contested,
    first_endpoints_are_awaited,
    no_endpoint_is_left,
    haproxy_rejects,
    route_is_empty,
    deadline_is_exceeded,
    cluster_rejects,
    endpoints_wait,
    configuration_differs,
    proxies_are_behind,
    route_is_unreachable,
    proxies_are_exhausted,
    rollout_is_under_way,
    everything_is_served,
)


def decide(snapshot: Snapshot) -> Decision:
    """The decision of the first rule of `RULES` that returns one; the last rule always does."""
    decisions = ((rule, rule(snapshot)) for rule in RULES)
    return next(replace(decision, rule=rule.__name__) for rule, decision in decisions if decision)


def degraded(snapshot: Snapshot, problem: Problem) -> Decision:
    """The decision to report `problem` while the proxies keep serving."""
    trigger = None if snapshot.phase is Phase.DEGRADED else Trigger.DEGRADE
    message = problem.message + (f"; {snapshot.lost}" if snapshot.lost and not snapshot.applies_spec else "")
    return Decision(trigger, problem.reason, message, _serving_actions(snapshot), _requeue(snapshot))


def _pending(snapshot: Snapshot, problem: Problem, requeue: Requeue | None = None) -> Decision:
    """The decision to wait for the user before anything is served, or to report `problem` if proxies run."""
    if snapshot.lost:
        return degraded(snapshot, problem)
    trigger = None if snapshot.phase is Phase.PENDING else Trigger.WAIT
    return Decision(trigger, problem.reason, problem.message, requeue=requeue)


def _serving_actions(snapshot: Snapshot) -> tuple[Action, ...]:
    """The actions that keep traffic flowing. No proxy receives weights that are not in the status yet."""
    serves_something = snapshot.applies_spec or snapshot.has_served
    if not serves_something or not snapshot.is_in_status or _waiting(snapshot):
        return ()
    send = (Action.SEND,) if snapshot.delivery.strategy is UpdateStrategy.LIVE else ()
    retire = (Action.RETIRE,) if snapshot.stale else ()
    configure, *others = KEEP_SERVING
    return (configure, *send, *others, *retire)


def _is_current(snapshot: Snapshot) -> bool:
    return snapshot.delivery.difference is Difference.NONE and snapshot.delivery.progress is Progress.CURRENT


def _waiting(snapshot: Snapshot) -> Requeue | None:
    """How long newer endpoints wait, in any phase; None if they may be written now, or there are none."""
    delivery = snapshot.delivery
    if delivery.difference is not Difference.ENDPOINTS:
        return None
    if delivery.reload_spacing:
        return Requeue(delivery.reload_spacing, "the proxies still drain the processes of earlier reloads")
    # Running proxies need not become ready with one configuration before they load the next.
    is_settling = (
        delivery.strategy is UpdateStrategy.ROLLING
        and delivery.former is not Progress.CURRENT
        and not delivery.trouble
        and left(SETTLE_LIMIT, delivery.written_at, snapshot.now) > timedelta()
    )
    return Requeue(SETTLING_RECHECK, "proxies are starting with older ones") if is_settling else None


def _requeue(snapshot: Snapshot) -> Requeue | None:
    """When a limit has passed; watches deliver the changes in the cluster, and agents their reports."""
    listens_for, next_limit = snapshot.delivery.others_listen_for, snapshot.delivery.next_limit
    return soonest(
        _waiting(snapshot),
        Requeue(listens_for, "replaced proxies have stopped listening") if listens_for else None,
        Requeue(next_limit, "a time limit about a proxy has passed") if next_limit else None,
    )


def _end_of_waiting(snapshot: Snapshot) -> Limit:
    """Until when newer endpoints wait."""
    settling = left(SETTLE_LIMIT, snapshot.delivery.written_at, snapshot.now)
    return Limit(snapshot.delivery.reload_spacing or settling, "the proxies receive the newer endpoints")


def _remaining(snapshot: Snapshot) -> timedelta:
    return left(snapshot.progress_deadline, snapshot.progressing_since or snapshot.now, snapshot.now)


def _until_deadline(snapshot: Snapshot) -> Requeue:
    return Requeue(max(_remaining(snapshot), timedelta(seconds=1)), "the progress deadline has passed")


def _deadline(snapshot: Snapshot) -> Limit:
    return Limit(_remaining(snapshot), f"Degraded ({Reason.PROGRESS_DEADLINE_EXCEEDED})")
