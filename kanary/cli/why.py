"""`kanary why`: the rule that holds a Kanary and its rollout, since when, until when, and what would move them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from engine.conditions import READY
from engine.last_status import read_status
from engine.model.course import RolloutStatus
from engine.model.shape import Shape, Time
from engine.model.status import KanaryStatus
from kanary.cli.explain import write_paragraph
from kanary.cli.failure import note
from kanary.cli.live import live_kanary, outdated
from kanary.cli.output import document, json_text, yaml_text
from kanary.cli.text import write_table
from kanary.cli.times import local_text, took_text
from kanary.reasons_page import explanation_of
from states import RULES
from states.rollout_rules import ROLLOUT_RULES, rollout_has_ended
from states.rollouts import ENDED
from states.texts import one_line

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient
    from kanary.kube.resources import Json

_Rules = Sequence[Callable[..., Any]]


class RuleView(Shape):
    """A rule that the operator has evaluated."""

    name: str
    applies: bool
    """Whether it has decided; the ones before it did not apply."""
    meaning: str


class ChainView(Shape):
    """What an ordered chain of rules has decided."""

    about: str
    """The Kanary, or its rollout with the step."""
    state: str
    """The phase, or the state of the rollout; empty if the operator has not written a status yet."""
    reason: str
    message: str
    since: Time | None
    until: Time | None
    """Until when this lasts at the latest, if nothing changes; null if only a change ends it."""
    then: str | None
    """What happens at that time."""
    remedy: str | None
    """What would end it before."""
    rule: str
    """The one that has decided."""
    rules: tuple[RuleView, ...]
    """Those before it and itself; empty if this version of the command does not have it."""


class WhyView(Shape):
    """Why a Kanary and its rollout are where they are."""

    phase: ChainView
    rollout: ChainView | None
    """The one that is under way, or the last one; null if there has been none."""
    unknown: tuple[str, ...]
    """Why this may not be about the present spec."""


def why(client: ClusterClient, namespace: str, name: str, output: str) -> None:
    """Print it. Raises CommandError if the Kanary does not exist, and ClusterError."""
    view = why_of(live_kanary(client, namespace, name))
    if output == "text":
        _write_text(view, client.clock.now())
    elif output == "json":
        sys.stdout.write(json_text(document(view), sys.stdout, indent=2) + "\n")
    else:
        sys.stdout.write(yaml_text(document(view), sys.stdout))


def why_of(kanary: Json) -> WhyView:
    """Why a Kanary and its rollout are where they are, by its status."""
    status, metadata = read_status(kanary), kanary["metadata"]
    rollout = status.rollout
    name = f"{metadata['namespace']}/{metadata['name']}"
    return WhyView(
        phase=_chain(name, status.phase, status.rule, status, RULES),
        rollout=_rollout_chain(rollout) if rollout and rollout.is_known else None,
        unknown=(*outdated(kanary, status), *_defect(status)),
    )


def _defect(status: KanaryStatus) -> Iterator[str]:
    for condition in status.conditions:
        if condition.type == READY and condition.status == "Unknown":
            yield f"{condition.message} (kanary explain {condition.reason})"


def _rollout_chain(rollout: RolloutStatus) -> ChainView:
    # What has ended keeps the decision that ended it.
    rule = rollout_has_ended.__name__ if rollout.state in ENDED else rollout.rule
    return _chain(f"rollout {rollout.number}, step {rollout.place}", rollout.state, rule, rollout, ROLLOUT_RULES)


def _chain(about: str, state: str, rule: str, source: KanaryStatus | RolloutStatus, rules: _Rules) -> ChainView:
    names = [each.__name__ for each in rules]
    explanation = explanation_of(source.reason)
    return ChainView(
        about=about,
        state=state,
        reason=source.reason,
        message=source.message,
        since=source.since,
        until=source.until,
        then=source.then,
        remedy=explanation.remedy if explanation else None,
        rule=rule,
        rules=tuple(
            RuleView(name=name, applies=name == rule, meaning=(each.__doc__ or "").splitlines()[0])
            for name, each in zip(names, rules[: names.index(rule) + 1] if rule in names else (), strict=False)
        ),
    )


def _write_text(view: WhyView, now: datetime) -> None:
    _write_chain(view.phase, now)
    if view.rollout:
        sys.stdout.write("\n")
        _write_chain(view.rollout, now)
    for problem in view.unknown:
        note(problem)


def _write_chain(chain: ChainView, now: datetime) -> None:
    reason = f" ({chain.reason})" if chain.reason else ""
    sys.stdout.write(one_line(f"{chain.about}: {chain.state or 'no status yet'}{reason}") + "\n")
    for name, text in _facts(chain, now):
        write_paragraph(f"  {name}:", text)
    if chain.rules:
        rows = [[f"  {rule.name}", "yes" if rule.applies else "no", rule.meaning] for rule in chain.rules]
        sys.stdout.write("\n")
        write_table(["  RULE", "APPLIES", "MEANING"], [rows], sys.stdout)


def _facts(chain: ChainView, now: datetime) -> Iterator[tuple[str, str]]:
    if chain.message:
        yield "Message", chain.message
    if chain.rule and not chain.rules:
        yield "Rule", f"{chain.rule}, which this version of kanary does not have: use that of the operator"
    if chain.since:
        yield "Since", f"{local_text(chain.since)}, {took_text(max((now - chain.since).total_seconds(), 0))} ago"
    if chain.until:
        left = (chain.until - now).total_seconds()
        when = f"in {took_text(left)}" if left > 0 else "now"
        yield "Until", f"{local_text(chain.until)} at the latest, {when}; then: {chain.then}"
    elif chain.state and chain.rules and chain.rules[-1].name != RULES[-1].__name__:
        yield "Until", "something changes; there is no time limit"
    if chain.remedy:
        yield "Remedy", chain.remedy
        yield "See", f"kanary explain {chain.reason}"
