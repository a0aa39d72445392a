"""One step of one Kanary: observe, decide, fire, act, write down.

Each part can be repeated: a process that dies between any two of them leaves a cluster from which the next step carries
on. The step moves at most one row of the table, so that every phase a Kanary passes is written down, and gives proxies
no weights that are not written down yet.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from engine.conditions import reports_defect, with_defect
from engine.journal import journal
from engine.last_status import read_status
from engine.machine import PhaseMachine
from engine.model.entries import Configuration, WeightChange
from engine.model.spec import weights_text
from engine.model.states import Applied, Split, Written
from engine.model.status import KanaryStatus
from engine.observe import Defaults, Observed, declared_snapshot, observe, split_in_force
from engine.plan import Planner, Target
from engine.ports import Clock, ClusterView, ClusterWriter, History, Json, Narrator, RefusedError
from engine.render.objects import REFRESH_ANNOTATION, made_from
from engine.retire import is_needed, stale_objects
from engine.rollout import rollout_of
from engine.status import Outcome, next_status, only_counts_differ, status_json
from states import (
    Action,
    Decision,
    Difference,
    Phase,
    Problem,
    Reason,
    Requeue,
    Snapshot,
    decide,
    degraded,
    left,
    soonest,
)
from states.timing import HELD_PODS_RECHECK, REFUSED_RECHECK, STATUS_INTERVAL


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to."""

    decision: Decision | None = None
    requeue: Requeue | None = None
    """When to run the next one though nothing is observed to change."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision is taken from, and what its actions work on."""

    observed: Observed
    snapshot: Snapshot
    split: Split | None
    target: Target | None
    stale: tuple[Json, ...]


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
        self._planner = Planner()
        self._written: dict[tuple[str, str], tuple[str, Written]] = {}
        """By Kanary, its uid and what was last written for its proxies: it outlives the ConfigMap."""
        self._status_written: dict[tuple[str, str], datetime] = {}
        self._held_back: dict[tuple[str, str], tuple[str | None, datetime | None]] = {}
        """Of a status that waits: the version of the Kanary that it is for, and since when proxies are behind."""

    def reconcile(self, namespace: str, name: str) -> Step:
        """Take the Kanary one step on. Raises RetryLaterError where the cluster cannot be asked or written now."""
        kanary = self._view.kanary(namespace, name)
        if kanary is None:
            self._forget(namespace, name)
            return Step()
        if kanary["metadata"].get("deletionTimestamp"):
            # What Kanary made goes with its owner; nothing is to be made anew meanwhile.
            noted = read_status(kanary).history
            self._history.record(kanary, noted.entries if noted else (), None)
            return Step()
        return self._step(kanary)

    def _forget(self, namespace: str, name: str) -> None:
        self._written.pop((namespace, name), None)
        self._status_written.pop((namespace, name), None)
        self._held_back.pop((namespace, name), None)
        self._planner.forget(namespace, name)
        self._narrator.gone(namespace, name)
        self._history.deleted(namespace, name)

    def _step(self, kanary: Json) -> Step:
        situation = self._look(kanary)
        decision = self._act(situation, decide(situation.snapshot))
        written, requeue = self._write_down(situation, decision)
        if written and _is_in(written, situation.split):
            # From the object as it was written: one whose spec changes all the time would else never be served.
            return self._step(written)
        return Step(decision, requeue)

    def _look(self, kanary: Json) -> Situation:
        defaults = Defaults(self._proxy_image, self._view.serves_disruption_budgets())
        metadata = kanary["metadata"]
        uid, last = self._written.get((metadata["namespace"], metadata["name"]), ("", None))
        known = last if uid == metadata["uid"] else None
        observed = self._recalled(observe(self._view, kanary, self._clock.now(), defaults, known))
        snapshot = declared_snapshot(observed)
        split = split_in_force(self._view, observed, snapshot)
        if split is None:
            return Situation(observed, snapshot, None, None, ())
        target = self._planner.plan(observed, split)
        is_applied = all(made_from(self._view.live(desired), desired) for desired in target.all_objects)
        rollout = rollout_of(observed, target, is_applied=is_applied)
        stale = stale_objects(self._view, observed, target, rollout)
        snapshot = replace(
            snapshot,
            revision=split.revision,
            is_in_status=split.is_in_status,
            weights=split.text,
            rollout=rollout,
            stale=tuple(f"{obj['kind']} {obj['metadata']['name']}" for obj in stale),
        )
        return Situation(observed, snapshot, split, target, stale)

    def _recalled(self, observed: Observed) -> Observed:
        """With what is known of the last status though it was not written."""
        metadata = observed.kanary["metadata"]
        version, since = self._held_back.get((metadata["namespace"], metadata["name"]), ("", None))
        if version != metadata.get("resourceVersion"):
            return observed
        return replace(observed, status=observed.status.model_copy(update={"progressing_since": since}))

    def _act(self, situation: Situation, decision: Decision) -> Decision:
        """Do what was decided, and say what of it was done; a rejection by the API server is a decision of its own."""
        done: list[Action] = []
        try:
            for action in decision.actions:
                self._perform(situation, action)
                done.append(action)
        except RefusedError as error:
            refusal = degraded(situation.snapshot, error.problem)
            requeue = Requeue(REFUSED_RECHECK, "what the API server rejected is sent again")
            return replace(refusal, actions=tuple(done), requeue=requeue, rule=decision.rule)
        return decision

    def _perform(self, situation: Situation, action: Action) -> None:
        target = situation.target
        if action is Action.RETIRE:
            for obj in situation.stale:
                if not is_needed(self._view, situation.observed.owner, obj):
                    self._writer.delete(obj)
        elif target and action is Action.REFRESH:
            for pod, request in situation.observed.fleet.requests(target.applied.digest):
                self._writer.annotate(pod, {REFRESH_ANNOTATION: request})
        elif target:
            for desired in target.objects[action]:
                self._writer.apply(desired)

    def _write_down(self, situation: Situation, decision: Decision) -> tuple[Json | None, Requeue | None]:
        """Write the status and report; returns the Kanary as it was written, if it was, and when to look again."""
        observed, target = situation.observed, situation.target
        phase = situation.snapshot.phase
        phase = self._machine.fire(phase, decision.trigger) if decision.trigger else phase
        written_now = _written_now(situation, decision)
        latest = written_now or observed.written
        self._written[observed.owner.namespace, observed.owner.name] = observed.owner.uid, latest
        applied = latest.applied
        recorded = self._history.recorded(observed.owner.uid)
        digest = target.applied.digest if target else None
        noted = journal(observed, situation.split, decision, phase, digest=digest, recorded=recorded.number)
        rollout = situation.snapshot.rollout
        result = Outcome(phase, decision, applied, rollout, written_now is not None, noted, recorded.recording)
        status = next_status(observed, result)
        written, wait = self._write_status(observed, status)
        if wait is None:
            self._report(situation, decision, status, applied)
        if decision.trigger:
            return written, Requeue(timedelta(), "the next step follows at once")
        holds = situation.split is not None and situation.split.holds_pods
        held = Requeue(HELD_PODS_RECHECK, "pods without a Service are looked for") if holds else None
        return written, soonest(decision.requeue, held, wait)

    def _write_status(self, observed: Observed, status: KanaryStatus) -> tuple[Json | None, Requeue | None]:
        """Write it if it differs; where only counts do, not so often, and then say when."""
        raw, key = status_json(status), (observed.owner.namespace, observed.owner.name)
        if raw == observed.kanary.get("status"):
            return None, None
        wait = left(STATUS_INTERVAL, self._status_written.get(key), observed.now)
        if wait and only_counts_differ(observed.status, status):
            self._held_back[key] = observed.kanary["metadata"].get("resourceVersion"), status.progressing_since
            return None, Requeue(wait, "counts of pods are to be written")
        written = self._writer.write_status(observed.kanary, raw)
        self._status_written[key] = observed.now
        self._held_back.pop(key, None)
        return written, None

    def _report(self, situation: Situation, decision: Decision, status: KanaryStatus, applied: Applied | None) -> None:
        observed, target = situation.observed, situation.target
        before, kanary = observed.status, observed.kanary
        configuration = None
        is_named = situation.split is not None and not situation.split.is_in_status
        if target and (is_named or (applied and applied.digest == target.applied.digest)):
            endpoints = {
                backend: tuple(f"{e.address}:{e.port}" for e in found)
                for backend, found in target.applied.endpoints.items()
            }
            text = target.written.latest
            configuration = Configuration(digest=target.applied.digest, text=text, endpoints=endpoints)
        self._history.record(kanary, status.history.entries if status.history else (), configuration)
        if decision.trigger or decision.reason.value != before.reason:
            self._narrator.transition(
                kanary,
                trigger=decision.trigger.value if decision.trigger else "",
                reason=decision.reason.value,
                message=decision.message,
                is_warning=status.phase == Phase.DEGRADED,
            )
        change = _change_to(status, applied.revision) if applied and applied.revision != before.revision else None
        if change and change.before:
            former, after = weights_text(change.before), weights_text(change.after)
            self._narrator.weights_changed(kanary, before=former, after=after, revision=change.revision)
        self._narrator.observed(kanary, status)

    def report_defect(self, namespace: str, name: str, error: Exception) -> None:
        """Have the Kanary's conditions say that reconciles fail for a defect of ours, whatever else they say.

        Raises RetryLaterError and RefusedError.
        """
        kanary = self._view.kanary(namespace, name)
        if kanary is None:
            return
        kind = f"reconcile failed: {type(error).__name__}"
        if reports_defect(read_status(kanary), kind):
            # The text of an error may be another one each time, and each write has the Kanary reconciled at once.
            return
        text = f"{kind}: {error}"[:300]
        message = f"{text}; the proxies keep what they have, the operator's log has the details"
        status = with_defect(read_status(kanary), message, self._clock.now())
        self._writer.write_status(kanary, status_json(status))


def _is_in(kanary: Json, split: Split | None) -> bool:
    """Whether this split, which nobody had written down, is in the status now."""
    noted = read_status(kanary).split
    return split is not None and not split.is_in_status and noted is not None and noted.revision == split.revision


def _change_to(status: KanaryStatus, revision: int) -> WeightChange | None:
    entries = status.history.entries if status.history else ()
    return next((e for e in reversed(entries) if isinstance(e, WeightChange) and e.revision == revision), None)


def _written_now(situation: Situation, decision: Decision) -> Written | None:
    """What the decision's actions have written for the proxies; None where that is what was written before."""
    target = situation.target
    is_other = target is not None and target.difference is not Difference.NONE
    return target.written if target and is_other and Action.CONFIGURE in decision.actions else None


def refused(message: str) -> RefusedError:
    """The error for a request that the API server rejects, with the way out."""
    told = " ".join(message.split())
    text = f"the API server rejected the change: {told}; fix this and Kanary retries automatically"
    return RefusedError(Problem(Reason.REFUSED_BY_CLUSTER, text))
