"""The evidence of a rollout: what the proxies have counted in each step, and the verdict on it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from engine.fleet.tally import Ledgers, add, begin
from engine.model.course import RolloutStatus, StepEvidence
from engine.model.rollout import RolloutAnalysis
from engine.shares import Weights, weights_of
from states.evidence import (
    AGENTS,
    Analysis,
    Counts,
    Sample,
    Tolerance,
    Verdict,
    VerdictKind,
    chance_of_evidence,
    judge,
    kind_of_verdict,
)
from states.rollout_snapshot import WORST_FIRST, Judgement

_STEPS_COUNTED = 2
"""A connection that began in the step before may fail now; agents keep the counts of some revisions."""
_FEW_ROUTES = 20
"""With more routes, failures of the step before are not added: the counts of all proxies would exceed the status."""
_MOST_ROUTES = 500
"""The sum of the routes over all steps whose counts are kept, so that `status.rollout` has at most 300 kB."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The backends whose failures a rollout compares."""

    canaries: tuple[str, ...] = ()
    """Those that gain weight since the last good weights."""
    others: tuple[str, ...] = ()
    """Those that had weight then and gain none; if there are none, all that gain none."""


def compared(rollout: RolloutStatus) -> Compared:
    """The canaries and the others of a rollout, of which any may have no weight in a step."""
    good, goal, start = weights_of(rollout.good), weights_of(rollout.goal), weights_of(rollout.start)
    rising = [backend for backend in goal if goal[backend] > good.get(backend, 0)]
    former = [backend for backend in {**good, **start, **goal} if backend not in rising]
    proven = [backend for backend in former if backend in good]
    return Compared(tuple(map(str, rising)), tuple(map(str, proven or former)))


def tallied(
    rollout: RolloutStatus, written: tuple[int, Weights] | None, ledgers: Callable[[int], Ledgers]
) -> tuple[StepEvidence, ...]:
    """The evidence with the reports of the proxies.

    `written` has the revision and the weights of the present step; None as long as the proxies' ConfigMap has others.
    `ledgers` returns what the proxies report of a revision.
    """
    evidence = rollout.evidence
    last = evidence[-1].step if evidence else 0
    if written and evidence and rollout.step == last and evidence[-1].revision != written[0]:
        # The same weights in another order, or with another route that has none, are another revision.
        evidence = (*evidence[:-1], evidence[-1].continued(written[0]))
    if written and rollout.step > last:
        revision, weights = written
        each = compared(rollout)
        by_name = {str(backend): weight for backend, weight in weights.items()}
        shares = {name: by_name[name] for name in (*each.canaries, *each.others) if name in by_name}
        evidence = (*evidence, StepEvidence(step=rollout.step, revision=revision, tally=begin(shares)))
    has_few = bool(evidence) and len(evidence[-1].tally.routes) <= _FEW_ROUTES
    recent = evidence[-(_STEPS_COUNTED if has_few else 1) :]
    older = [each.without_ledgers() for each in evidence[: len(evidence) - len(recent)]]
    reports = [each.counted(add(each.tally, ledgers(each.revision))) for each in recent]
    found = _bounded((*older, *reports))
    return rollout.evidence if found == rollout.evidence else found


def _bounded(evidence: tuple[StepEvidence, ...]) -> tuple[StepEvidence, ...]:
    """Without the oldest steps, if all of them have too many routes: those that are left are evidence by themselves."""
    routes = list(accumulate(len(each.tally.routes) for each in reversed(evidence)))
    return evidence[-max(sum(count <= _MOST_ROUTES for count in routes), 1) :]


def judgement_of(rollout: RolloutStatus, analysis: RolloutAnalysis, steps: int) -> Judgement:
    """The worst of the verdicts on the canaries that have weight in this step."""
    counted = _counted(rollout)
    if not counted:
        return Judgement(VerdictKind.INCONCLUSIVE if rollout.step else VerdictKind.PASSED)
    left_out, found = counted[-1].tally.left_out, []
    for canary, samples, verdict in verdicts_of(rollout, analysis, steps):
        found.append(Judgement(verdict.kind, text_of(canary, samples[-1], verdict, left_out)))
    return min(found, key=lambda each: WORST_FIRST.index(each.verdict), default=Judgement())


def verdicts_of(
    rollout: RolloutStatus, analysis: RolloutAnalysis, steps: int
) -> Iterator[tuple[str, Sequence[Sample], Verdict]]:
    """Each canary that has weight in this step, with its counts of each judged step, and the verdict on it."""
    for canary, case in _cases(rollout, _counted(rollout), analysis, steps):
        samples, *_ = case
        yield canary, samples, judge(*case)


def kind_of_judgement(rollout: RolloutStatus, analysis: RolloutAnalysis, steps: int) -> VerdictKind:
    """The verdict of `judgement_of` for a step that has counts, in a tenth of its time."""
    kinds = [kind_of_verdict(*case) for _, case in _cases(rollout, _counted(rollout), analysis, steps)]
    return min(kinds, key=WORST_FIRST.index, default=VerdictKind.PASSED)


def chances(rollout: RolloutStatus, analysis: RolloutAnalysis) -> Mapping[str, float]:
    """`Verdict.chance` of each canary that has weight in this step; empty as long as the step has no counts."""
    cases = _cases(rollout, _counted(rollout), analysis, rollout.steps)
    return {canary: chance_of_evidence(*case) for canary, case in cases}


def highest_chance(analysis: RolloutAnalysis) -> float:
    """The chance at which a canary fails: the rest of the false alarms is left to the proxies' agents."""
    return analysis.false_alarms * (1 - AGENTS)


def _counted(rollout: RolloutStatus) -> Sequence[StepEvidence]:
    """What counts for the verdict; nothing as long as the present step has no counts."""
    counted = [each for each in rollout.evidence if each.step >= rollout.judged_from]
    return counted if rollout.step and counted and counted[-1].step == rollout.step else ()


def _cases(
    rollout: RolloutStatus, counted: Sequence[StepEvidence], analysis: RolloutAnalysis, steps: int
) -> Iterator[tuple[str, tuple[Sequence[Sample], Analysis, int, int]]]:
    """Each canary that has weight in this step, and the arguments of `judge`."""
    names = compared(rollout)
    tolerance = Tolerance(analysis.tolerate.ratio, analysis.tolerate.percent / 100)
    limits = Analysis(highest_chance(analysis), tolerance, analysis.detect.percent / 100)
    for canary in names.canaries if counted else ():
        if canary in counted[-1].tally.routes:
            samples = [sample for each in counted if (sample := _sample(canary, names.others, each))]
            yield canary, (samples, limits, max(steps, len(samples)), len(names.canaries))


def _sample(canary: str, others: Sequence[str], step: StepEvidence) -> Sample | None:
    tally = step.tally
    if canary not in tally.routes:
        return None
    found = [tally.of(name) for name in others]
    total = Counts(sum(each.connections for each in found), sum(each.failed for each in found))
    return Sample(tally.of(canary), total, share_of(canary, others, step.weights))


def share_of(canary: str, others: Sequence[str], weights: Mapping[str, Decimal]) -> float:
    """The canary's part of the weights of itself and the others, from 0 to 1."""
    own, rest = weights[canary], sum(weights.get(name, Decimal()) for name in others)
    return float(own / (own + rest))


def text_of(canary: str, sample: Sample, verdict: Verdict, left_out: int = 0) -> str:
    """The verdict in a sentence, with its numbers."""
    own, others = sample.canary, sample.others
    counts = f"{own.failed} of {own.connections} connections to {canary} failed"
    if sample.share < 1:
        counts += f", and {others.failed} of {others.connections} others"
    match verdict.kind:
        case VerdictKind.FAILED if sample.share < 1:
            share = f"{own.failed} of {own.failed + others.failed} failed connections were those of {canary}"
            return (
                f"{share}, which had {100 * sample.share:.3g} % of the connections ({own.connections} of "
                f"{own.connections + others.connections}); less than one of "
                f"{verdict.rollouts:,} rollouts of good versions has so many failures"
            )
        case VerdictKind.FAILED:
            return f"{counts}; less than one of {verdict.rollouts:,} rollouts of good versions has so many failures"
        case VerdictKind.INCONCLUSIVE if verdict.missing is not None:
            ignored = f"; {left_out} were not split by the weights and do not count" if left_out else ""
            return f"{counts}; about {_rounded(verdict.missing):,} more connections are needed{ignored}"
        case VerdictKind.INCONCLUSIVE:
            return (
                f"{counts}; no number of connections is enough to find a version that fails as often as "
                "spec.rollout.analysis.detect says, because the others fail, or have failed, about as often: raise it"
            )
        case _:
            return counts


def _rounded(count: int) -> int:
    """Up to two significant digits."""
    digits = len(str(count))
    return round(count, min(2 - digits, 0))
