"""One step of one Kanary: observe, decide, move, act, write the status.

Each part is idempotent: if the process ends between two of them, the next step continues. A step makes at most one move
of the table, so that the status shows every phase. Proxies receive only weights that the status has already.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from engine.adopting import require_finalizer, with_finalizer
from engine.announce import announcements, reverted
from engine.conditions import reports_defect, with_defect
from engine.course import Course, course_of
from engine.delivery import delivery_of
from engine.fitting import target_in_force
from engine.fleet.sent import Sent
from engine.held import HeldStatuses
from engine.journal import journal
from engine.last_status import LastStatuses, contains, read_status
from engine.last_written import LastWritten, last_written
from engine.machine import phase_machine, rollout_machine
from engine.memo import Memo, Memos
from engine.model.states import APPLIED_KEY, Applied, Split, Written
from engine.model.status import KanaryStatus
from engine.observe import Defaults, Observed, declared_snapshot, observe
from engine.plan import Planned, Target, as_written
from engine.ports import Checks, Clock, ClusterView, ClusterWriter, History, Json, RejectedError, Reporter
from engine.render.adoption import adopter
from engine.render.objects import Comparison, Identity
from engine.retire import is_needed, stale_objects
from engine.status import Outcome, next_status, status_json, with_former_details
from states import (
    Action,
    ConditionReason,
    Decision,
    Difference,
    Phase,
    Requeue,
    Snapshot,
    decide,
    degraded,
    soonest,
)
from states.rules import cluster_rejects
from states.timing import HELD_PODS_RECHECK, REJECTED_RECHECK


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a step."""

    decision: Decision | None = None
    requeue: Requeue | None = None
    """When to run the next step if nothing changes before."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The input of a decision and of its actions."""

    observed: Observed
    snapshot: Snapshot
    course: Course
    split: Split | None
    target: Target | None
    stale: tuple[Json, ...]
    compared: dict[Planned, Comparison] = field(default_factory=dict)
    """The planned objects with those in the cluster; each is compared at most once."""


class Reconciler:
    """Runs steps for any number of Kanaries, but only one step of a Kanary at a time."""

    def __init__(
        self,
        view: ClusterView,
        writer: ClusterWriter,
        reporter: Reporter,
        *,
        history: History,
        checks: Checks,
        clock: Clock,
        defaults: Defaults,
        staleness: Callable[[], str] = lambda: "",
    ) -> None:
        """`staleness` returns why the view is not the cluster as it is, if it has been so for some time."""
        self._view = view
        self._writer = writer
        self._reporter = reporter
        self._history = history
        self._checks = checks
        self._clock = clock
        self._defaults = defaults
        self._staleness = staleness
        self._phases = phase_machine()
        self._rollouts = rollout_machine()
        self._memos = Memos()
        self._last: dict[tuple[str, str], LastWritten] = {}
        """Of each Kanary, what was last written for its proxies, in case the ConfigMap is lost."""
        self._sent: dict[tuple[str, str], dict[str, Sent]] = {}
        """Of each Kanary, what is being sent to its proxies, by the uid of the pod."""
        self._statuses = LastStatuses()
        self._held = HeldStatuses()

    def reconcile(self, namespace: str, name: str) -> Step:
        """Run one step. Raises RetryLaterError if the cluster cannot be read or written now."""
        kanary = self._view.kanary(namespace, name)
        if kanary is None:
            self._forget(namespace, name)
            return Step()
        if is_deleted := bool(kanary["metadata"].get("deletionTimestamp")):
            self._record_last(kanary, self._held.latest(kanary, read_status(kanary)))
        kanary, rejection = with_finalizer(self._view, self._writer, kanary)
        if is_deleted and not rejection:
            # The garbage collector deletes the objects of the Kanary; they must not be created again meanwhile.
            return Step()
        with self._memos.round(namespace, name) as memo:
            return self._step(kanary, memo, rejection)

    def _forget(self, namespace: str, name: str) -> None:
        self._last.pop((namespace, name), None)
        self._sent.pop((namespace, name), None)
        self._memos.forget(namespace, name)
        self._writer.forget(namespace, name)
        self._checks.results(namespace, name, ())
        self._reporter.gone(namespace, name)
        if last := self._held.forget(namespace, name):
            self._record_last(*last)
        self._history.deleted(namespace, name)

    def _record_last(self, kanary: Json, status: KanaryStatus) -> None:
        """Record the entries of a deleted Kanary: its status is not written any more."""
        self._history.record(kanary, status.history.entries if status.history else (), None)

    def _step(self, kanary: Json, memo: Memo, rejection: RejectedError | None = None) -> Step:
        situation = self._situation(kanary, memo)
        if not rejection:
            require_finalizer(self._view, kanary)
        decision = self._act(situation, decide(situation.snapshot), rejection)
        written, requeue = self._finish(situation, decision)
        if written and contains(written, situation.split):
            # Continue with the written object: otherwise a spec that changes all the time would never be served.
            return self._step(written, memo, rejection)
        return Step(decision, requeue)

    def _situation(self, kanary: Json, memo: Memo) -> Situation:
        metadata = kanary["metadata"]
        key = metadata["namespace"], metadata["name"]
        last = self._last.get(key)
        observed = observe(
            self._view,
            kanary,
            self._clock.now(),
            self._defaults,
            memo=memo,
            last=partial(last.of, metadata["uid"]) if last else lambda: None,
            sent=self._sent.get(key),
            read=self._statuses.of,
            latest=partial(self._held.latest, kanary),
        )
        snapshot = declared_snapshot(observed)
        course = course_of(observed, snapshot, self._rollouts, partial(self._checks.results, *key))
        snapshot = course.seen_in(snapshot, observed)
        snapshot, split, target = target_in_force(self._view, observed, snapshot, course)
        if split is None or target is None:
            return Situation(observed, snapshot, course, None, None, ())
        comparisons: dict[Planned, Comparison] = {}
        is_applied = target.difference is Difference.NONE and all(
            self._compared(planned, memo, comparisons).is_made for planned in target.all_planned
        )
        delivery = delivery_of(observed, target, is_applied=is_applied)
        stale = stale_objects(self._view, observed, target, delivery)
        snapshot = replace(
            snapshot,
            revision=split.revision,
            is_in_status=split.is_in_status,
            weights=split.text,
            delivery=delivery,
            stale=tuple(f"{obj['kind']} {obj['metadata']['name']}" for obj in stale),
        )
        return Situation(observed, snapshot, course, split, target, stale, comparisons)

    def _act(self, situation: Situation, decision: Decision, before: RejectedError | None) -> Decision:
        """Execute the actions, and return what was done; a rejection, also one `before`, becomes the decision."""
        done: list[Action] = []
        try:
            for action in decision.actions:
                self._perform(situation, action)
                done.append(action)
            if before:
                raise before
        except RejectedError as error:
            rejection = degraded(situation.snapshot, error.problem)
            again = Requeue(REJECTED_RECHECK, "the rejected object is retried")
            return replace(rejection, actions=tuple(done), requeue=again, rule=cluster_rejects.__name__)
        return decision

    def _perform(self, situation: Situation, action: Action) -> None:
        target, memo = situation.target, situation.observed.memo
        if action is Action.RETIRE:
            for obj in situation.stale:
                if not is_needed(self._view, situation.observed.owner, obj):
                    retire = self._writer.give_back if adopter(obj) else self._writer.delete
                    retire(obj)
        elif target and action is Action.SEND:
            self._send(situation.observed, target)
        elif target:
            if action is Action.CONFIGURE:
                self._store_revision(situation.observed, target)
            for planned in target.planned[action]:
                comparison = self._compared(planned, memo, situation.compared)
                if not comparison.is_complete:
                    desired, live = planned.rendered, planned.found_in(self._view)
                    self._writer.apply(desired)
                    if live and (announcement := reverted(live, desired)):
                        self._reporter.announce(situation.observed.kanary, announcement)
                    if text := (desired.get("data") or {}).get(APPLIED_KEY):
                        written = as_written(self._view, memo, planned, desired, target)
                        self._keep(situation.observed.owner, written, text)

    def _store_revision(self, observed: Observed, target: Target) -> None:
        """Store a revision before it is served: later, only the status would have it, which may be deleted with it."""
        before, history = observed.written.applied, observed.stored.history
        if history and target.applied.revision != (before.revision if before else 0):
            self._history.store(observed.kanary, history.entries)

    def _keep(self, owner: Identity, written: Written, applied_text: str | None = None) -> None:
        key = owner.namespace, owner.name
        self._last[key] = last_written(owner.uid, written, self._last.get(key), applied_text)

    def _compared(self, planned: Planned, memo: Memo, known: dict[Planned, Comparison]) -> Comparison:
        if planned not in known:
            known[planned] = planned.compared(self._view, memo)
        return known[planned]

    def _send(self, observed: Observed, target: Target) -> None:
        owner, digest = observed.owner, target.applied.digest
        if proxies := observed.fleet.unsent(digest):
            self._writer.send(proxies, owner, target.written)
        self._sent[owner.namespace, owner.name] = observed.fleet.sending(digest)

    def _finish(self, situation: Situation, decision: Decision) -> tuple[Json | None, Requeue | None]:
        """Write the status and report it; returns the written Kanary, if any, and when to reconcile again."""
        observed, target, course = situation.observed, situation.target, situation.course
        phase = situation.snapshot.phase
        phase = self._phases.fire(phase, decision.trigger) if decision.trigger else phase
        written_now = _written_now(situation, decision)
        latest = written_now or observed.written
        if written_now is None:
            self._keep(observed.owner, observed.written)
        recorded = self._history.recorded(observed.owner.uid)
        digest = target.applied.digest if target else None
        record = journal(observed, situation.split, decision, course, phase, digest=digest, recorded=recorded.number)
        delivery, is_now = situation.snapshot.delivery, written_now is not None
        result = Outcome(
            phase, decision, latest.applied, delivery, course, is_now, record, recorded.recording, self._staleness()
        )
        status = next_status(observed, result)
        written, wait = self._write_status(observed, status)
        self._report(situation, decision, status, is_stored=written is None and wait is None)
        if wait is None:
            self._record(situation, status, latest.applied)
        if decision.trigger or (course.decision and course.decision.trigger):
            return written, Requeue(timedelta(), "the next step follows at once")
        holds = situation.split is not None and situation.split.holds_pods
        held = Requeue(HELD_PODS_RECHECK, "pods without a Service are looked up") if holds else None
        loop = Requeue(HELD_PODS_RECHECK, "loops of Kanaries are looked up") if observed.may_reach_proxies else None
        retires = Action.RETIRE in decision.actions
        retired = Requeue(HELD_PODS_RECHECK, "what was deleted is looked up") if retires else None
        by_course = course.decision.requeue if course.decision else None
        return written, soonest(decision.requeue, by_course, held, loop, retired, wait)

    def _write_status(self, observed: Observed, status: KanaryStatus) -> tuple[Json | None, Requeue | None]:
        """Write the status if it differs, unless the write can wait: then return when it cannot any more."""
        is_same = with_former_details(status, observed.stored) == observed.stored
        if not is_same and (wait := self._held.hold(observed, status)):
            return None, Requeue(wait, "the held status is written")
        raw = status_json(observed.stored if is_same else status)
        # The text decides: `stored` is without what is damaged there.
        is_written = raw == observed.kanary.get("status")
        written = None if is_written else self._writer.write_status(observed.kanary, raw)
        self._held.release(observed.kanary)
        if is_written:
            return None, None
        for announcement in announcements(observed.stored, status):
            self._reporter.announce(observed.kanary, announcement)
        return written, None

    def _report(self, situation: Situation, decision: Decision, status: KanaryStatus, *, is_stored: bool) -> None:
        observed = situation.observed
        if decision.trigger or decision.reason.value != observed.status.reason:
            self._reporter.transition(
                observed.kanary,
                trigger=decision.trigger.value if decision.trigger else "",
                reason=decision.reason.value,
                message=decision.message,
                is_warning=status.phase == Phase.DEGRADED,
            )
        self._reporter.observed(observed.kanary, status, observed.intent.spec, is_stored=is_stored)

    def _record(self, situation: Situation, status: KanaryStatus, applied: Applied | None) -> None:
        """Pass the entries of a written status to the history, with the configuration that they name."""
        target, configuration = situation.target, None
        is_named = situation.split is not None and not situation.split.is_in_status
        if target and (is_named or (applied and applied.digest == target.applied.digest)):
            configuration = target.configuration
        entries = status.history.entries if status.history else ()
        self._history.record(situation.observed.kanary, entries, configuration)

    def report_defect(self, namespace: str, name: str, error: Exception) -> None:
        """Set the condition Ready to Unknown because reconciles fail with a defect of the operator.

        Raises RetryLaterError and RejectedError.
        """
        # The text of an error may differ each time, and each write would start another reconcile at once.
        kind = f"reconcile failed: {type(error).__name__}"
        message = f"{f'{kind}: {error}'[:300]}; the proxies keep their configuration; see the log of the operator"
        self._report_unknown(namespace, name, kind, message, ConditionReason.RECONCILE_FAILED)

    def report_stale(self, namespace: str, name: str, why: str) -> None:
        """Set the condition Ready to Unknown because the view lacks objects, so that nothing can be decided.

        A Kanary that is being deleted needs no decision. Raises RetryLaterError and RejectedError.
        """
        self._report_unknown(namespace, name, why, why, ConditionReason.COPY_STALE)
        if (kanary := self._view.kanary(namespace, name)) and kanary["metadata"].get("deletionTimestamp"):
            self._record_last(kanary, self._held.latest(kanary, read_status(kanary)))
            if rejection := with_finalizer(self._view, self._writer, kanary)[1]:
                raise rejection

    def _report_unknown(self, namespace: str, name: str, known: str, message: str, reason: ConditionReason) -> None:
        """Write the message unless the condition reports one that begins like `known`."""
        kanary = self._view.kanary(namespace, name)
        if kanary is None:
            return
        latest = self._held.latest(kanary, read_status(kanary))
        if not reports_defect(latest, known):
            self._writer.write_status(kanary, status_json(with_defect(latest, message, self._clock.now(), reason)))


def _written_now(situation: Situation, decision: Decision) -> Written | None:
    """What the actions of the decision wrote for the proxies; None if that did not change."""
    target = situation.target
    is_other = target is not None and target.difference is not Difference.NONE
    return target.written if target and is_other and Action.CONFIGURE in decision.actions else None
