"""The checks of a rollout that are made over HTTP, and their results.

A check has an id that is the same after a restart: it names the Kanary, the rollout, the step and what is checked. So
a check that is lost with its process is made again, and the receiver of a webhook can recognise the repetition.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from engine.model.checks import PrometheusQuery, Webhook, WebhookEvent, WebhookTemplate
from engine.model.entries import Share
from engine.model.spec import Backend, weights_text
from engine.model.weight import weight_number
from engine.render.objects import Identity


@dataclass(frozen=True, slots=True)
class QueryCheck:
    """Evaluate a query, again and again."""

    id: str
    query: PrometheusQuery
    text: str
    """The expression, without placeholders."""


@dataclass(frozen=True, slots=True)
class WebhookCheck:
    """Call a webhook until it has answered."""

    id: str
    webhook: Webhook
    body: str = field(compare=False)
    """JSON. The first body of an id is sent until it is answered: a check with another body is the same check."""


Check = QueryCheck | WebhookCheck


class CheckOutcome(Enum):
    """What a check says about the rollout."""

    PENDING = "Pending"
    """No answer yet."""
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """No usable answer; the check is repeated."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The latest result of a check."""

    outcome: CheckOutcome
    message: str = ""
    """What was found, with its numbers; it names the check."""
    at: datetime | None = None
    """The time of the answer; None if there is none."""


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """A step of a rollout."""

    kanary: Identity
    rollout: int
    """Counts the rollouts of the Kanary."""
    step: int
    """From 1."""
    of: int


@dataclass(frozen=True, slots=True)
class Occasion:
    """What webhooks report."""

    event: WebhookEvent
    at: RolloutStep
    weights: Sequence[Share]
    evidence: str = ""
    """The evidence as a text."""
    state: str = ""
    """Of the rollout."""
    message: str = ""
    """Why it has this state."""


def query_check(at: RolloutStep, query: PrometheusQuery, canary: Backend) -> QueryCheck:
    """The check of a query about a canary. Raises KeyError if the query has an unknown placeholder."""
    values = {
        "backend": str(canary),
        "service": canary.service_name,
        "port": str(canary.service_port),
        "namespace": at.kanary.namespace,
        "kanary": at.kanary.name,
    }
    return QueryCheck(f"{_prefix(at)}_{query.name}_{canary}", query, query.text(values))


def webhook_checks(occasion: Occasion, webhooks: Sequence[Webhook]) -> tuple[WebhookCheck, ...]:
    """The calls of those webhooks that have the event."""
    # Without dots: receivers separate the id by a dot from what follows in the signed content.
    prefix = f"{_prefix(occasion.at)}_{occasion.event}"
    return tuple(
        WebhookCheck(f"{prefix}_{webhook.name}", webhook, json.dumps(_body(occasion, webhook.template)))
        for webhook in webhooks
        if occasion.event in webhook.events
    )


def _prefix(at: RolloutStep) -> str:
    return f"kanary_{at.kanary.uid}_{at.rollout}_{at.step}"


def _body(occasion: Occasion, template: WebhookTemplate) -> Mapping[str, object]:
    if template is WebhookTemplate.SLACK:
        return {"text": _escaped(_text(occasion))}
    at = occasion.at
    return {
        "kanary": at.kanary.name,
        "namespace": at.kanary.namespace,
        "rollout": at.rollout,
        "step": at.step,
        "of": at.of,
        "event": occasion.event,
        "weights": {share.backend: weight_number(share.weight) for share in occasion.weights},
        "evidence": occasion.evidence,
        "state": occasion.state,
        "message": occasion.message,
    }


def _text(occasion: Occasion) -> str:
    at, step = occasion.at, f"step {occasion.at.step} of {occasion.at.of}"
    what = {
        WebhookEvent.BEFORE_STEP: f"is about to start {step}",
        WebhookEvent.AFTER_STEP: f"has completed {step}",
        WebhookEvent.RESULT: f"has ended at {step}",
    }[occasion.event]
    state = ", ".join(part for part in (occasion.state, occasion.message) if part)
    name = f"Rollout {at.rollout} of Kanary {at.kanary.namespace}/{at.kanary.name}"
    sentences = (
        f"{name} {what}: {state}." if state else f"{name} {what}.",
        f"Weights: {weights_text(occasion.weights)}.",
        occasion.evidence,
    )
    return " ".join(sentence for sentence in sentences if sentence)


def _escaped(text: str) -> str:
    """For Slack, which reads mentions and links in angle brackets."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
