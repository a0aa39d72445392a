"""The evidence of a rollout for its page: each step with its counts, and how near the verdict is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log, log10

from markupsafe import Markup

from engine.evidence import Compared, compared, verdicts_of
from engine.model.course import RolloutStatus, StepEvidence
from engine.model.rollout import RolloutSpec, StepSpec, Until
from kanary.dashboard.drawing import Canvas
from states.evidence import AGENTS, Sample, VerdictKind
from states.rollout_rules import FAILURES, last_good_weights_are_declared
from states.rollouts import UNDER_WAY, RolloutState

Point = tuple[int, float]
"""Connections to the canary so far, and how much of the evidence that fails it there is."""

_MOST_POINTS = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 86, 700, 24, 190
_TICKS = 4


@dataclass(frozen=True)
class CanaryEvidence:
    """What a rollout knows about one of the backends that gain weight."""

    backend: str
    kind: VerdictKind
    connections: int
    """In the judged steps."""
    failed: int
    others: int
    """Connections to the other backends."""
    others_failed: int
    rollouts: int
    """One of so many rollouts of good versions has as much evidence against one."""
    limit: int
    """At one of so many, it fails."""
    level: float
    """From 0 to 1, where it fails: the logarithm of the one in that of the other."""
    needed: int | None
    """How many connections this step needs to pass, with those that it has; None if it needs no more."""
    in_step: int
    """Connections of this step to the canary and the others."""
    points: tuple[Point, ...]
    """At the end of each judged step, and now."""


@dataclass(frozen=True)
class StepRow:
    """A step of the plan, with what was counted in it."""

    number: int
    to: str
    wait: str
    """For what it waits."""
    state: str
    """passed, skipped, present, next, failed, ended or not reached."""
    connections: int | None
    """To the canaries; None if nothing is counted, or there is no canary."""
    failed: int | None
    others: int | None
    others_failed: int | None


def evidence_of(rollout: RolloutStatus, plan: RolloutSpec) -> list[CanaryEvidence]:
    """The evidence about each canary of the present step."""
    # Each verdict is that of the operator on the evidence up to that step.
    courses: dict[str, list[Point]] = {}
    found: list[CanaryEvidence] = []
    steps = max(rollout.steps, len(plan.steps))
    for end in range(1, len(rollout.evidence) + 1):
        last = rollout.evidence[end - 1]
        so_far = rollout.model_copy(update={"evidence": rollout.evidence[:end], "step": last.step})
        found = []
        for canary, samples, verdict in verdicts_of(so_far, plan.analysis, steps):
            own, others = _sums(samples)
            limit = 1 / (plan.analysis.false_alarms * (1 - AGENTS))
            level = min(1.0, log(1 / verdict.chance) / log(limit)) if verdict.chance > 0 else 1.0
            course = courses.setdefault(canary, [(0, 0.0)])
            course.append((own[0], level))
            in_step = samples[-1].canary.connections + samples[-1].others.connections
            found.append(
                CanaryEvidence(
                    backend=canary,
                    kind=verdict.kind,
                    connections=own[0],
                    failed=own[1],
                    others=others[0],
                    others_failed=others[1],
                    rollouts=verdict.rollouts,
                    limit=int(limit),
                    level=level,
                    needed=None if verdict.missing is None else in_step + verdict.missing,
                    in_step=in_step,
                    points=tuple(course),
                )
            )
    is_present = bool(rollout.evidence) and rollout.evidence[-1].step == rollout.step
    return found if is_present and rollout.state is not RolloutState.COMPLETED else []


def _sums(samples: Sequence[Sample]) -> tuple[tuple[int, int], tuple[int, int]]:
    own, others = [each.canary for each in samples], [each.others for each in samples]
    return tuple((sum(c.connections for c in part), sum(c.failed for c in part)) for part in (own, others))  # type: ignore[return-value]  # two parts give two pairs


def steps_of(rollout: RolloutStatus, plan: RolloutSpec | None) -> Iterator[StepRow]:
    """The steps of the plan if it is that of the rollout, otherwise those that have counts."""
    declared: dict[int, StepSpec] = {}
    if plan and len(plan.steps) == rollout.steps:
        declared = dict(enumerate(plan.steps, start=1))
    counted = {each.step: each for each in rollout.evidence}
    names = _compared(rollout)
    for number in range(1, rollout.steps + 1):
        spec, counts = declared.get(number), counted.get(number)
        own, others = _of_step(counts, names.canaries), _of_step(counts, names.others)
        yield StepRow(
            number=number,
            to=f"{spec.to} %" if spec else "",
            wait=_wait(spec) if spec else "",
            state=_state(number, rollout, counted.keys()),
            connections=own and own[0],
            failed=own and own[1],
            others=others and others[0],
            others_failed=others and others[1],
        )


def _compared(rollout: RolloutStatus) -> Compared:
    """The canaries and the others of a rollout, also after its end; neither if they are no longer known."""
    if rollout.state is RolloutState.COMPLETED:
        if _has_returned(rollout):
            return Compared()
        # The goal is the last good weights now; those before are the ones in force when the rollout began.
        rollout = rollout.model_copy(update={"good": rollout.start})
    names = compared(rollout)
    return names if names.canaries else Compared()


def _has_returned(rollout: RolloutStatus) -> bool:
    """Whether the rollout ended because the spec declared the last good weights again."""
    return rollout.rule == last_good_weights_are_declared.__name__


def _of_step(step: StepEvidence | None, names: Sequence[str]) -> tuple[int, int] | None:
    if step is None or not names:
        return None
    counts = [step.tally.of(name) for name in names]
    return sum(each.connections for each in counts), sum(each.failed for each in counts)


def _wait(step: StepSpec) -> str:
    minutes, seconds = divmod(int(step.time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if n)
    parts = ([time] if time else []) + (["promotion"] if step.until is Until.PROMOTED else [])
    return " and ".join(parts)


def _state(number: int, rollout: RolloutStatus, counted: Collection[int]) -> str:
    """The state of a step; `counted` are the steps that have counts."""
    is_under_way = rollout.state in UNDER_WAY
    if number > rollout.step:
        return "next" if is_under_way else "not reached"
    if number < rollout.step:
        # If there are too many routes, the counts of the oldest steps are deleted; the latest steps keep theirs.
        is_deleted = len(counted) > 1 and number < min(counted)
        return "passed" if number in counted or is_deleted else "skipped"
    if is_under_way:
        return "present"
    if rollout.state is RolloutState.COMPLETED:
        return "ended" if _has_returned(rollout) else "passed"
    return "failed" if _has_failed(rollout) else "ended"


def _has_failed(rollout: RolloutStatus) -> bool:
    """Whether a rollout was rolled back because its step failed, and not by a person."""
    # The reason is soon that of the rollback; the message stays: "rolled back to (weights): step 2/4 failed: ...".
    cause = rollout.message.partition(": ")[2]
    return rollout.known_reason in FAILURES or re.match(r"step \d+/\d+ failed: ", cause) is not None


class Growth:
    """The evidence about the canaries of one Kanary as it was seen to grow, since its page was opened."""

    def __init__(self) -> None:
        self._last: tuple[str, RolloutStatus, RolloutSpec] | None = None
        self._found: list[CanaryEvidence] = []
        self._basis: object = None
        self._seen: dict[str, list[tuple[int, Point]]] = {}
        """In order of time, each with the number of points that the evidence had."""

    def evidence(self, uid: str, rollout: RolloutStatus, plan: RolloutSpec) -> list[CanaryEvidence]:
        """The evidence that the status has now, which is remembered."""
        if self._last == (now := (uid, rollout, plan)):
            return self._found
        if self._basis != (basis := _basis(*now)):
            self._basis, self._seen = basis, {}
        self._last, self._found = now, evidence_of(rollout, plan)
        for each in self._found:
            seen, point = self._seen.setdefault(each.backend, []), (len(each.points), each.points[-1])
            if not seen or seen[-1] != point:
                seen.append(point)
            if len(seen) > _MOST_POINTS:
                del seen[::2]
        return self._found

    def points(self, evidence: CanaryEvidence) -> list[Point]:
        """What was seen in each step, and the end of the step, in order of time: the last one is the present one."""
        seen, found = self._seen.get(evidence.backend, []), list[Point]()
        for number, end in enumerate(evidence.points, start=1):
            found += [*(point for step, point in seen if step == number), end]
        return [point for point, _ in groupby(found)]


def _basis(uid: str, rollout: RolloutStatus, plan: RolloutSpec) -> object:
    """What all points have in common: they do not hold for another rollout, other judged steps or other limits."""
    first = rollout.evidence[0].step if rollout.evidence else 0
    return uid, rollout.number, rollout.judged_from, first, rollout.steps, len(plan.steps), plan.analysis


def chart(evidence: CanaryEvidence, points: Sequence[Point]) -> Markup:
    """The evidence against one canary over its connections, up to the line where it fails; the last point is now."""
    title = (
        f"Evidence against {evidence.backend}: one of {evidence.rollouts:,} rollouts of good versions has as much, "
        f"after {evidence.connections:,} connections; it fails at one of {evidence.limit:,}"
    )
    canvas = Canvas(_RIGHT + 20, _BOTTOM + 46, title=title, kind="chart")
    most = max(1, *(connections for connections, _ in points))

    def place(point: Point) -> tuple[float, float]:
        return _LEFT + point[0] / most * (_RIGHT - _LEFT), _BOTTOM - point[1] * (_BOTTOM - _TOP)

    for power in range(int(log10(evidence.limit)) + 1):
        y = place((0, power / log10(evidence.limit)))[1]
        canvas.add("path", kind="grid", d=f"M{_LEFT} {y:.1f}H{_RIGHT}")
        canvas.add("text", f"1 in {10**power:,}", x=_LEFT - 8, y=y + 4, text_anchor="end")
    canvas.add("path", kind="limit", d=f"M{_LEFT} {_TOP}H{_RIGHT}")
    canvas.add("text", f"fails at 1 in {evidence.limit:,}", kind="limit", x=_RIGHT, y=_TOP - 8, text_anchor="end")
    line = "L".join("{:.1f} {:.1f}".format(*place(point)) for point in points)
    canvas.add("path", kind="line", d=f"M{line}")
    x, y = place(points[-1])
    canvas.add("circle", kind="now", cx=x, cy=y, r=4)
    for count in sorted({most * tick // _TICKS for tick in range(_TICKS + 1)}):
        canvas.add("text", f"{count:,}", x=place((count, 0))[0], y=_BOTTOM + 18, text_anchor="middle")
    canvas.add("text", "connections to the canary", x=(_LEFT + _RIGHT) / 2, y=_BOTTOM + 38, text_anchor="middle")
    return canvas.markup()
