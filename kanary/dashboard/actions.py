"""What a page can do to a Kanary: each action first says what it would do, and then does exactly that or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.model.commands import LONGEST_TEXT
from kanary.cli.failure import CommandError
from kanary.cli.steering import carry_out, planned, would_change
from kanary.cli.undo import Restoration, Undo
from kanary.dashboard.opened import OpenHistory
from kanary.kube.client import ClusterClient
from kanary.kube.resources import Json, Key
from states.texts import one_line


@dataclass(frozen=True)
class Button:
    """A button."""

    name: str
    """In the path."""
    label: str
    verb: str
    """The order that it gives; empty for an undo."""
    how: Mapping[str, Any]


ACTIONS = {
    action.name: action
    for action in (
        Button("promote", "Promote", "promote", {"is_seen": True}),
        Button("promote-full", "Promote to the last step", "promote", {"is_full": True}),
        Button("pause", "Pause", "pause", {}),
        Button("resume", "Resume", "resume", {}),
        Button("abort", "Abort", "abort", {}),
        Button("retry", "Retry", "retry", {}),
        Button("undo", "Undo", "", {}),
    )
}


@dataclass(frozen=True)
class Plan:
    """What an action would do, or has done."""

    done: str
    changes: bool
    """Whether there is anything to write."""
    warnings: tuple[str, ...]
    target: Mapping[str, str]
    """Fields of the form: what was confirmed. The action does nothing if it has changed."""


class Actions:
    """Plans and executes actions with the user's rights. Both raise CommandError, ClusterError and HistoryError."""

    def __init__(self, client: ClusterClient, history: OpenHistory) -> None:
        self._client = client
        self._history = history

    def available(self, kanary: Json) -> list[Button]:
        """The actions that would change something now."""
        now = self._client.clock.now()
        orders = (each for each in ACTIONS.values() if each.verb)
        return [*(each for each in orders if would_change(kanary, now, each.verb, **each.how)), ACTIONS["undo"]]

    def plan(self, action: Button, key: Key) -> Plan:
        """What it would do now."""
        if not action.verb:
            return self._undo(key, None, _restoration)
        given = planned(self._client, key, action.verb, **action.how)
        uid, rollout, step = given.steered.present
        target = {"uid": uid, "rollout": str(rollout), "step": str(step)}
        return Plan(given.order.done, bool(given.order.annotations), tuple(given.warnings()), target)

    def execute(self, action: Button, key: Key, form: Mapping[str, str]) -> Plan:
        """Do what was confirmed: the fields of the form are the target of its plan, and a reason."""
        if not action.verb:
            return self._undo(key, _number(form, "revision"), lambda undo, plan: _write(undo, plan, form))
        # An abort or a pause of the next step is meant as well, a promotion of it is not.
        fields = ("rollout", "step") if action.verb == "promote" else ("rollout",)
        present: tuple[str | int, ...] = form.get("uid", ""), *(_number(form, field) for field in fields)
        given = carry_out(self._client, key, action.verb, _reason(form), present=present, **action.how)
        return Plan(given.order.done, bool(given.order.annotations), tuple(given.warnings()), {})

    def _undo(self, key: Key, revision: int | None, use: Callable[[Undo, Restoration], Plan]) -> Plan:
        with self._history() as (source, _):
            undo = Undo(self._client, source, *key)
            return use(undo, undo.plan(revision))


def _restoration(_: Undo, plan: Restoration) -> Plan:
    large = [f"this changes {plan.large}"] if plan.large else []
    uid, generation = plan.version
    target = {"revision": str(plan.revision), "uid": uid, "generation": str(generation)}
    return Plan(plan.done, True, (*large, *plan.warnings), target)


def _write(undo: Undo, plan: Restoration, target: Mapping[str, str]) -> Plan:
    if plan.version != (target.get("uid"), _number(target, "generation")):
        raise CommandError("the Kanary was changed since: nothing was written; look at it again")
    undo.write(plan)
    return _restoration(undo, plan)


def _number(target: Mapping[str, str], field: str) -> int:
    try:
        return int(target[field])
    except (KeyError, ValueError):
        raise CommandError(f"the form has no {field}: open the page again") from None


def _reason(form: Mapping[str, str]) -> str:
    reason = one_line(form.get("reason", ""))
    if len(reason) > LONGEST_TEXT:
        raise CommandError(f"the reason has {len(reason)} characters, {LONGEST_TEXT} are allowed: shorten it")
    return reason
