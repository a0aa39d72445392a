"""One step of one Kanary: observe, decide, fire, act, and only then say so.

Each part can be repeated: a process that dies between any two of them leaves a cluster from which the next step carries
on. The step moves at most one row of the table, so that every phase a Kanary passes is written down.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from engine.changes import Confirmed
from engine.facts import Facts, gather
from engine.machine import PhaseMachine
from engine.ports import Clock, ClusterView, ClusterWriter, History, Narrator, RefusedError
from engine.record import Record
from engine.resolve.declared import route_facts
from engine.rollout import mounted_digests
from engine.status import Kept, Served, next_status
from engine.target import Defaults
from states import Action, Decision, Phase, Problem, Reason, decide, degraded

HELD_PODS_RECHECK = timedelta(seconds=10)
"""How often pods that are served without a Service that names them are looked at."""
REFUSED_RECHECK = timedelta(seconds=30)
"""How often something that the cluster refused is asked for again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step came to: `again` is when to run the next one though nothing is observed to change, or None."""

    decision: Decision | None = None
    again: timedelta | None = None


class Reconciler:
    """Runs steps for any number of Kanaries; one Kanary must not be in two steps at once."""

    def __init__(
        self,
        view: ClusterView,
        writer: ClusterWriter,
        narrator: Narrator,
        *,
        history: History,
        clock: Clock,
        proxy_image: str,
    ) -> None:
        self._view = view
        self._writer = writer
        self._narrator = narrator
        self._history = history
        self._clock = clock
        self._proxy_image = proxy_image
        self._machine = PhaseMachine()

    def reconcile(self, namespace: str, name: str) -> Outcome:
        """Take the Kanary one step on. Raises RetryLaterError where the cluster cannot be asked or written now."""
        kanary = self._view.kanary(namespace, name)
        if kanary is None:
            self._narrator.gone(namespace, name)
            self._history.deleted(namespace, name)
            return Outcome()
        if kanary["metadata"].get("deletionTimestamp"):
            # What Kanary made goes with its owner; nothing is to be made anew meanwhile.
            return Outcome()
        facts = gather(self._view, kanary, self._clock.now(), self._defaults())
        decision = self._act(facts, decide(facts.snapshot))
        self._tell(facts, decision)
        return Outcome(decision, _again(facts, decision))

    def _defaults(self) -> Defaults:
        return Defaults(self._proxy_image, self._view.serves_disruption_budgets())

    def _act(self, facts: Facts, decision: Decision) -> Decision:
        """Do what was decided, and say what of it was done; a refusal by the cluster is a decision of its own."""
        done: list[Action] = []
        try:
            for action in decision.actions:
                self._perform(facts, action)
                done.append(action)
        except RefusedError as error:
            refusal = degraded(facts.snapshot, error.problem)
            return replace(refusal, actions=tuple(done), recheck=REFUSED_RECHECK, rule=decision.rule)
        return decision

    def _perform(self, facts: Facts, action: Action) -> None:
        if action is Action.RETIRE:
            self._retire(facts)
        elif action is Action.REFRESH:
            for pod, annotations in facts.refreshes:
                self._writer.annotate(pod, annotations)
        elif facts.target:
            for desired in facts.target.objects[action]:
                self._writer.apply(desired)

    def _retire(self, facts: Facts) -> None:
        owner, kept = facts.owner, set()
        if any(obj["kind"] == "ConfigMap" for obj in facts.stale):
            # A ReplicaSet whose pod is lost makes another one, which is not there to be seen yet.
            templates = self._view.pod_templates(owner.namespace, owner.name)
            kept = {("ConfigMap", owner.mounted_name(digest)) for digest in mounted_digests(templates)}
        for obj in facts.stale:
            if (obj["kind"], obj["metadata"]["name"]) not in kept:
                self._writer.delete(obj)

    def _tell(self, facts: Facts, decision: Decision) -> None:
        before = facts.snapshot.phase
        phase = self._machine.fire(before, decision.trigger) if decision.trigger else before
        served = _served(facts, decision)
        recorded = self._history.recorded(facts.owner.uid)
        status = next_status(
            facts.status,
            facts.kanary,
            phase=phase,
            decision=decision,
            served=served,
            kept=Kept(Confirmed(recorded.number, recorded.number), recorded.recording),
            now=facts.snapshot.now,
        )
        if status != facts.kanary.get("status"):
            self._writer.write_status(facts.kanary, status)
        # The status has no entries yet.
        self._history.record(facts.kanary, (), None)
        self._narrate(facts, decision, phase, served.record)
        self._narrator.observed(facts.kanary, status)

    def _narrate(self, facts: Facts, decision: Decision, phase: Phase, served: Record | None) -> None:
        if decision.trigger or decision.reason.value != facts.status.reason:
            self._narrator.transition(
                facts.kanary,
                trigger=decision.trigger.value if decision.trigger else "",
                reason=decision.reason.value,
                message=decision.message,
                is_warning=phase is Phase.DEGRADED,
            )
        if served and facts.status.revision != served.revision and facts.status.display:
            self._narrator.weights_changed(
                facts.kanary,
                before=facts.status.display.weights,
                after=facts.snapshot.weights,
                revision=served.revision,
            )


def _served(facts: Facts, decision: Decision) -> Served:
    """What the proxies are configured with once the decision's actions are done."""
    owner, target, record, rolled = facts.owner, facts.target, facts.record, facts.snapshot.rollout
    is_configured_now = Action.CONFIGURE in decision.actions and not rolled.is_configured
    if target and (is_configured_now or rolled.is_configured):
        record, routes = target.record, facts.routes
    else:
        routes = route_facts(record.spec, record.endpoints) if record else ()
    return Served(
        record,
        routes,
        owner.proxy_name,
        ready=facts.proxies.ready(record.digest) if record else 0,
        is_complete=rolled.is_complete,
        is_served=rolled.is_taken and not is_configured_now,
        is_next=is_configured_now and rolled.has_arrived,
    )


def _again(facts: Facts, decision: Decision) -> timedelta | None:
    if decision.trigger:
        return timedelta()
    waits = [decision.recheck, HELD_PODS_RECHECK if facts.holds_endpoints else None]
    return min((wait for wait in waits if wait is not None), default=None)


def refused(message: str) -> RefusedError:
    """The error for a request that the cluster will not take, with the way out."""
    told = " ".join(message.split())
    text = f"the cluster refuses what Kanary has to apply: {told}; mend that, and Kanary tries again by itself"
    return RefusedError(Problem(Reason.REFUSED_BY_CLUSTER, text))
