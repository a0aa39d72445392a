"""The rules of `spec.rollout`."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from engine.calendar import unknown_zones
from engine.model.checks import MAX_CHECKS, WebhookEvent, query_problems, webhook_problems
from engine.model.durations import VALID_DURATION
from engine.model.rollout import DAYS, MAX_STEPS, MAX_WINDOWS, RolloutSpec
from engine.model.spec import KanarySpec
from engine.model.weight import TOTAL_WEIGHT
from states import UpdateStrategy

EXPECTED: Mapping[str, str] = {
    "rollout": "an object with steps",
    "steps": f"a list of 1 to {MAX_STEPS} steps, each with `to`",
    "step": "an object with `to`, such as {to: 10, for: 10m}",
    "to": "a number from 0.1 to 100 with at most one decimal",
    "for": VALID_DURATION,
    "until": "Promoted or left out",
    "maxWait": VALID_DURATION,
    "falseAlarms": "a number from 1e-9 to 0.5, such as 0.001",
    "ratio": "a number from 1 to 100, such as 1.5",
    "tolerate.percent": "a number from 0.000001 to 50, such as 0.1",
    "detect.percent": "a number from 0.0001 to 100, such as 1",
    "onInconclusive": "one of Pause, Proceed, Rollback",
    "onFailure": "Rollback or Pause",
    "windows": f"a list of at most {MAX_WINDOWS} windows",
    "days": f"a list of {', '.join(DAYS)}",
    "day": f"one of {', '.join(DAYS)}",
    "event": f"one of {', '.join(WebhookEvent)}",
    "start": "a time such as 09:00",
    "end": "a time such as 16:30",
    "timeZone": "a time zone of the IANA database, such as Europe/Berlin",
    "freeze": "an object with until and reason, both optional",
    "freeze.until": "a time with its zone, such as 2026-12-27T06:00:00Z",
    "freeze.reason": "a text of at most 200 characters",
    "prometheus": f"a list of at most {MAX_CHECKS} queries, each with name, address and query",
    "webhooks": f"a list of at most {MAX_CHECKS} webhooks, each with name and url",
}
"""What the fields must be, by name."""


def rollout_problems(spec: KanarySpec, rollout: RolloutSpec) -> Iterator[str]:
    """What is wrong with the rollout, each with the way out."""
    where = "spec.rollout"
    if spec.update_strategy is not UpdateStrategy.LIVE:
        yield f"{where} needs the agents of spec.updateStrategy Live, and it is {spec.update_strategy}: set it to Live"
    for index, (step, after) in enumerate(pairwise(rollout.steps)):
        if after.to <= step.to:
            yield (
                f"{where}.steps[{index + 1}].to is {after.to}, and the step before is to {step.to}: each step must be "
                "greater than the one before"
            )
    if not rollout.steps[0].to:
        yield f"{where}.steps[0].to is 0: the first step must be greater than 0"
    last = rollout.steps[-1].to
    if last != TOTAL_WEIGHT:
        yield f"{where}.steps[{len(rollout.steps) - 1}].to is {last}: the last step must be to 100; append {{to: 100}}"
    analysis = rollout.analysis
    if analysis.detect.percent <= analysis.tolerate.percent:
        yield (
            f"{where}.analysis.detect.percent is {analysis.detect.percent:g}, not above tolerate.percent "
            f"({analysis.tolerate.percent:g}): raise it, or lower tolerate.percent"
        )
    for index, zone in unknown_zones(rollout.windows):
        yield f'{where}.windows[{index}].timeZone is "{zone}": must be {EXPECTED["timeZone"]}'
    yield from query_problems(f"{where}.analysis.prometheus", analysis.prometheus)
    yield from webhook_problems(f"{where}.webhooks", rollout.webhooks)
