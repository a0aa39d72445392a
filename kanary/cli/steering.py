"""`kanary promote`, `pause`, `resume`, `abort` and `retry`: orders to a rollout, as annotations of its Kanary.

Each order names the rollout, and a promotion the step, so that an order that is sent twice changes nothing.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.calendar import closed, frozen
from engine.last_status import read_status
from engine.model.commands import ABORT, LONGEST_TEXT, PAUSE, PROMOTE, RESUME, RETRY, Command, command_for
from engine.model.course import RolloutStatus
from engine.model.spec import KanarySpec
from engine.resolve.validation import InvalidSpecError, read_spec
from kanary.cli.failure import CommandError, note
from kanary.cli.live import kanary_to_change, outdated
from kanary.cli.output import routes_text
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import Conflict
from kanary.kube.resources import Json, Key
from states import Reason
from states.rollouts import UNDER_WAY, RolloutState
from states.texts import one_line

_ATTEMPTS = 5
_JUST_BEGUN = 10
"""Seconds for which a step is served while another promotion still means the step before."""
_NOT_OVERRIDDEN = (Reason.WAITING_FOR_ENDPOINTS, Reason.WAITING_FOR_WEBHOOK)
"""What steps wait for whatever is promoted, beside what the spec says."""


@dataclass(frozen=True)
class Order:
    """What an order writes, and what it does."""

    done: str
    annotations: Mapping[str, Command | None]
    """None removes one. Empty if there is nothing to write: the order was given before, or its aim is reached."""
    obstacles: tuple[str, ...] = ()
    """Why the next step waits nevertheless."""


@dataclass(frozen=True)
class Steered:
    """A Kanary with its rollout as the status describes it."""

    kanary: Json
    rollout: RolloutStatus
    now: datetime

    @property
    def title(self) -> str:
        """The rollout in words."""
        return f"rollout {self.rollout.number} of {self.kanary['metadata']['name']}"

    @property
    def present(self) -> tuple[str, int, int]:
        """The uid of the Kanary, and the numbers of the rollout and of its step."""
        return self.kanary["metadata"]["uid"], self.rollout.number, self.rollout.step

    @property
    def spec(self) -> KanarySpec | None:
        """The declared spec; None if it is invalid, so that the last good one counts."""
        with suppress(InvalidSpecError):
            return read_spec(self.kanary)
        return None

    @property
    def paused_by_spec(self) -> bool:
        """Whether the spec pauses the whole Kanary."""
        return (self.kanary.get("spec") or {}).get("paused") is True

    def given(self, annotation: str) -> Command | None:
        """The order about this rollout that was given before."""
        return command_for(self.kanary, annotation, self.rollout.number)

    def place_of(self, step: int) -> str:
        """A step in short, such as `2/4 10%`."""
        plan = self.spec.rollout if self.spec else None
        is_declared = plan is not None and len(plan.steps) == self.rollout.steps
        to = f" {plan.steps[step - 1].to}%" if plan and is_declared else ""
        return f"{step}/{self.rollout.steps}{to}"

    def require_under_way(self) -> None:
        """Raises CommandError if the rollout has ended."""
        if self.rollout.state in UNDER_WAY:
            return
        name = self.kanary["metadata"]["name"]
        if self.rollout.state is RolloutState.COMPLETED:
            why = next(outdated(self.kanary, read_status(self.kanary)), self.rollout.message)
            raise CommandError(f"no rollout of {name} is under way: {why or 'its weights are those of the spec'}")
        raise CommandError(f"{self.title} was {self.rollout.message}; kanary retry {name} begins another one")

    def obstacles(self) -> Iterator[str]:
        """What a step waits for that no order overrides."""
        spec = self.spec
        if spec and (freeze := frozen(spec.freeze, self.now)):
            yield freeze[0].message
        if spec and spec.rollout and (window := closed(spec.rollout.windows, self.now)):
            yield window[0].message
        if self.paused_by_spec:
            yield "spec.paused is true"
        if pause := self.given(PAUSE):
            yield f"the rollout is paused, {pause.text}; kanary resume ends that"
        if self.rollout.known_reason in _NOT_OVERRIDDEN:
            yield self.rollout.message


def promote(
    steered: Steered, command: Command, *, is_full: bool = False, step: int | None = None, is_seen: bool = False
) -> Order:
    """The present step, or `step`, passes now; with `is_full` the last step is next.

    With `is_seen` the user has seen which step is the present one, so that it is meant if it has just begun as well.
    """
    rollout, given = steered.rollout, steered.given(PROMOTE)
    if given and steered.rollout.state is RolloutState.COMPLETED and given.step >= rollout.steps:
        return Order(f"{steered.title} is complete already, promoted {given.text}", {})
    steered.require_under_way()
    passed = rollout.steps - 1 if is_full else rollout.step
    if step is not None and step > rollout.step:
        raise CommandError(f"step {step} of {steered.title} has not begun: step {rollout.place} is the present one")
    if step is not None and step < rollout.step:
        return Order(f"step {step} has passed already: step {rollout.place} is the present one", {})
    if is_full and rollout.step >= rollout.steps:
        return Order(f"step {rollout.place} is the last one already; kanary promote ends it", {})
    if passed < 1:
        raise CommandError(f"{steered.title} has no step to promote yet: {rollout.message}")
    if given and given.step >= passed:
        return Order(f"step {steered.place_of(passed)} is promoted already, {given.text}", {})
    is_new = rollout.state is RolloutState.SHIFTING or rollout.seconds < _JUST_BEGUN
    is_clear = is_full or is_seen or step is not None
    if given and not is_clear and is_new and given.step >= rollout.step - 1:
        so_far = f"step {steered.place_of(rollout.step - 1)} is promoted already, {given.text}"
        return Order(f"{so_far}; step {rollout.place} has just begun: promote it with --step {rollout.step}", {})
    is_last = passed >= rollout.steps
    follows = "the rollout completes" if is_last else f"step {steered.place_of(passed + 1)} follows"
    obstacles = () if is_last else tuple(steered.obstacles())
    done = f"{steered.title} is promoted in step {rollout.place}; {follows}"
    return Order(done, {PROMOTE: command.model_copy(update={"step": passed})}, obstacles)


def pause(steered: Steered, command: Command) -> Order:
    """No step follows, and no time counts."""
    steered.require_under_way()
    if given := steered.given(PAUSE):
        return Order(f"{steered.title} is paused already, {given.text}", {})
    done = f"{steered.title} is paused in step {steered.rollout.place}, and rolled back if it fails; kanary resume"
    return Order(f"{done} continues it", {PAUSE: command, RESUME: None})


def resume(steered: Steered, command: Command) -> Order:
    """The rollout continues."""
    steered.require_under_way()
    if steered.given(PAUSE):
        obstacles = ("spec.paused is true",) if steered.paused_by_spec else ()
        done = f"{steered.title} is resumed in step {steered.rollout.place}"
        return Order(done, {PAUSE: None, RESUME: command}, obstacles)
    if steered.paused_by_spec:
        raise CommandError(f"{steered.title} is paused by spec.paused: set it to false")
    if given := steered.given(RESUME):
        return Order(f"{steered.title} is resumed already, {given.text}", {})
    raise CommandError(f"{steered.title} is not paused: {steered.rollout.message}")


def abort(steered: Steered, command: Command) -> Order:
    """The last good weights return at once."""
    if steered.rollout.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK):
        return Order(f"{steered.title} is rolled back already: {steered.rollout.message}", {})
    steered.require_under_way()
    if given := steered.given(ABORT):
        return Order(f"{steered.title} is aborted already, {given.text}", {})
    good = routes_text(steered.rollout.good)
    return Order(f"{steered.title} is aborted in step {steered.rollout.place}; {good} returns", {ABORT: command})


def retry(steered: Steered, command: Command) -> Order:
    """A rollout that was rolled back begins again."""
    rollout = steered.rollout
    if steered.rollout.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK):
        if given := steered.given(RETRY):
            return Order(f"{steered.title} is tried again already, {given.text}", {})
        done = f"{steered.title} is tried again, to {routes_text(rollout.goal)}"
        return Order(done, {RETRY: command}, tuple(steered.obstacles()))
    if command_for(steered.kanary, RETRY, rollout.number - 1):
        return Order(f"rollout {rollout.number - 1} is tried again already, as {steered.title}: {rollout.message}", {})
    raise CommandError(f"there is nothing to retry: {steered.title} was not rolled back: {rollout.message}")


_PLANS: Mapping[str, Callable[..., Order]] = {each.__name__: each for each in (promote, pause, resume, abort, retry)}
"""What an order does to a rollout, with the command that it writes. Each raises CommandError if it is impossible."""


@dataclass(frozen=True)
class Given:
    """An order to a rollout as it was given, or would be."""

    steered: Steered
    order: Order

    def warnings(self) -> Iterator[str]:
        """What the user should know beside what the order does."""
        yield from outdated(self.steered.kanary, read_status(self.steered.kanary))
        yield from (f"the next step waits: {obstacle}" for obstacle in self.order.obstacles)

    @property
    def aim(self) -> tuple[str, Mapping[str, Command | None]]:
        """What it is about, and what it writes."""
        return self.steered.kanary["metadata"]["uid"], self.order.annotations


def would_change(kanary: Json, now: datetime, verb: str, **how: Any) -> bool:
    """Whether an order would write anything; `how` has the arguments of `promote`."""
    try:
        steered = _steered(kanary, now)
        return bool(_PLANS[verb](steered, Command(rollout=steered.rollout.number), **how).annotations)
    except CommandError:
        return False


def planned(client: ClusterClient, kanary: Key, verb: str, reason: str = "", **how: Any) -> Given:
    """The order as it would be given now; `how` has the arguments of `promote`.

    Raises CommandError if it is impossible, and ClusterError.
    """
    return _planned(client, kanary, verb, Command(by=_author(client), reason=reason), how)


def carry_out(
    client: ClusterClient,
    kanary: Key,
    verb: str,
    reason: str,
    *,
    present: tuple[str | int, ...] = (),
    **how: Any,
) -> Given:
    """Give an order, to this Kanary and rollout, and in this step, if they are named; `how` is as for `promote`.

    Raises CommandError, with nothing written, if it is impossible or if its aim changes at the same time. Raises
    ClusterError.
    """
    command = Command(by=_author(client), reason=reason)
    first = given = _planned(client, kanary, verb, command, how)
    if given.steered.present[: len(present)] != present:
        raise CommandError(f"{_changed(kanary)}: step {given.steered.rollout.place} of {given.steered.title}")
    for _ in range(_ATTEMPTS):
        if not given.order.annotations:
            return given
        with suppress(Conflict):
            patch = _patch(given.steered, given.order)
            client.merge_patch(KANARIES, *kanary, patch, field_manager=f"kanary-{verb}")
            return given
        # As a rule, only the status has changed.
        given = _planned(client, kanary, verb, command, how)
        if given.order.annotations and given.aim != first.aim:
            raise CommandError(f"{_changed(kanary)}: step {given.steered.rollout.place} of {given.steered.title}")
    raise CommandError(_changed(kanary))


def give(client: ClusterClient, kanary: Key, verb: str, reason: str, **how: Any) -> None:
    """Give an order, and print what it does; `how` has the arguments of `promote`.

    Raises CommandError and ClusterError.
    """
    given = carry_out(client, kanary, verb, reason, **how)
    for warning in given.warnings():
        note(f"warning: {warning}")
    watch = f"; watch: kubectl -n {kanary.namespace} get ky {kanary.name} --watch" if given.order.annotations else ""
    print(one_line(f"{kanary}: {given.order.done}{watch}"))


def _planned(client: ClusterClient, kanary: Key, verb: str, command: Command, how: Mapping[str, Any]) -> Given:
    steered = _steered(kanary_to_change(client, *kanary), client.clock.now())
    about = command.model_copy(update={"rollout": steered.rollout.number})
    return Given(steered, _PLANS[verb](steered, about, **how))


def _changed(kanary: Key) -> str:
    see = f"see what it is now (kanary get -n {kanary.namespace} {kanary.name}), and try again"
    return f"{kanary.name} was changed at the same time: nothing was written; {see}"


def _patch(steered: Steered, order: Order) -> Json:
    annotations = {key: each and each.model_dump_json(by_alias=True) for key, each in order.annotations.items()}
    version = steered.kanary["metadata"]["resourceVersion"]
    return {"metadata": {"resourceVersion": version, "annotations": annotations}}


def _steered(kanary: Json, now: datetime) -> Steered:
    """Raises CommandError if it has no rollout."""
    name = kanary["metadata"]["name"]
    if not (kanary.get("spec") or {}).get("rollout"):
        raise CommandError(f"{name} has no rollouts: without spec.rollout, other weights are served at once")
    status = read_status(kanary)
    if status.rollout is None:
        why = next(outdated(kanary, status), "the first weights of a Kanary are served at once")
        raise CommandError(f"{name} has had no rollout yet: {why}")
    return Steered(kanary, status.rollout, now)


def _author(client: ClusterClient) -> str:
    """The user as the API server knows them, else by the kubeconfig, else by the login name."""
    if name := client.username() or client.user:
        return name[:LONGEST_TEXT]
    with suppress(OSError, KeyError):
        return getpass.getuser()[:LONGEST_TEXT]
    return ""
