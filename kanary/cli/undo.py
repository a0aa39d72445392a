"""`kanary undo`: writes the weights of an earlier revision into the spec."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain

from pydantic import ValidationError

from engine.calendar import frozen
from engine.journal import UNDO, UNDO_CAUSE
from engine.last_status import read_status
from engine.model.rollout import Freeze
from kanary.cli import weights
from kanary.cli.failure import CommandError, listed, note
from kanary.cli.find import revision_of
from kanary.cli.live import kanary_to_change
from kanary.cli.output import Json, weights_of, weights_text
from kanary.cli.weights import Weights
from kanary.history.queries import ChangeQuery, KanaryQuery, every
from kanary.history.records import RecordedChange
from kanary.history.source import Source
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import ClusterError, Conflict, NotFound
from kanary.kube.resources import SERVICES
from states.texts import one_line

_GITOPS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
}
"""The field managers of those who write what a repository declares again and again."""
_ATTEMPTS = 5


def version_of(kanary: Json) -> tuple[str, int]:
    """The uid and the generation: what no change of the status changes."""
    return kanary["metadata"]["uid"], kanary["metadata"]["generation"]


@dataclass(frozen=True)
class Restoration:
    """The weights of an earlier revision, for the Kanary as it was read."""

    kanary: Json
    revision: int
    before: Weights
    """The declared weights."""
    after: Weights
    large: str
    """The weights that change by more than `weights.LARGE`; empty if there are none."""
    frozen: str
    """Why they wait until a freeze ends; empty if there is none, or if they are served."""

    @property
    def version(self) -> tuple[str, int]:
        """Of the Kanary that it is meant for."""
        return version_of(self.kanary)

    @property
    def warnings(self) -> Iterator[str]:
        """Why the weights may not be served, or not for long."""
        name = self.kanary["metadata"]["name"]
        if (self.kanary.get("spec") or {}).get("paused") is True:
            yield f"{name} is paused: the weights are written, but not served until spec.paused is false"
        if self.frozen:
            yield f"{name} waits: {self.frozen}; the weights are written, but not served until this ends"
        entries = self.kanary["metadata"].get("managedFields") or ()
        managers = {str(entry.get("manager")) for entry in entries if "f:spec" in (entry.get("fieldsV1") or {})}
        for manager in sorted(managers & _GITOPS.keys()):
            yield (
                f"{_GITOPS[manager]} ({manager}) applies the spec of {name}, and may write its own weights again: "
                "change them in its source as well"
            )

    @property
    def cause(self) -> str:
        """Of the new revision."""
        return f"{UNDO_CAUSE} {self.revision}"

    @property
    def done(self) -> str:
        """What it does, in words."""
        return f"{weights_text(self.before) or 'no routes'} becomes {weights_text(self.after)} ({self.cause})"


def _served(kanary: Json, newest: RecordedChange) -> Weights:
    """As the status has them; without one, those of the newest revision."""
    return {each.backend: each.weight for each in read_status(kanary).weights or newest.change.after}


class Undo:
    """Restores the weights of one Kanary."""

    def __init__(self, client: ClusterClient, source: Source, namespace: str, name: str) -> None:
        self._client = client
        self._source = source
        self._namespace = namespace
        self._name = name
        self._services = cache(self._service)

    def restore(self, revision: int | None, *, is_confirmed: bool) -> None:
        """Write the weights of the revision, or of the one before the current. Raises CommandError and ClusterError."""
        plan = self.plan(revision)
        if plan.large and not is_confirmed:
            self._confirm(plan.large)
        for warning in plan.warnings:
            note(f"warning: {warning}")
        self.write(plan)
        watch = f"watch: kubectl -n {self._namespace} get ky {self._name} --watch"
        print(one_line(f"{self._namespace}/{self._name}: {plan.done}; {watch}"))

    def plan(self, revision: int | None) -> Restoration:
        """What to restore. Raises CommandError if it is impossible or there is nothing to do, and ClusterError."""
        kanary = self._live()
        newest, target = self._revisions(kanary, revision)
        number, before, after = target.change.revision, weights.declared(kanary), weights_of(target.change.after)
        if problems := list(filter(None, (self._resolved(backend)[1] for backend in after))):
            raise CommandError(f"revision {number} cannot be restored: {'; '.join(problems)}")
        if self._by_number(before) == self._by_number(after):
            raise CommandError(
                f"{self._name} has the weights of revision {number} already: {weights_text(after)}; name another "
                f"revision with --to-revision (kanary history {self._name} -n {self._namespace} lists them)"
            )
        large, frozen = self._large_steps(kanary, newest, after), self._frozen(kanary, newest, after)
        return Restoration(kanary, number, before, after, large, frozen)

    def write(self, plan: Restoration) -> None:
        """Write the weights, provided that nothing but the status of the Kanary has changed since it was read.

        Raises CommandError and ClusterError.
        """
        kanary, (uid, generation) = plan.kanary, plan.version
        for _ in range(_ATTEMPTS):
            patch = weights.patch(kanary, plan.after, plan.cause, lambda backend: self._resolved(backend)[0])
            with suppress(Conflict):
                self._give_up_fields(self._patch(patch))
                return
            kanary = self._live()
            if version_of(kanary) != (uid, generation):
                break
        raise CommandError(
            f"{self._name} was changed at the same time: nothing was written; see what it is now "
            f"(kubectl -n {self._namespace} get ky {self._name}), and try again"
        )

    def _give_up_fields(self, written: Json) -> None:
        """Leave what was written without an owner: `kubectl apply --server-side` refuses to change fields of others."""
        try:
            for _ in range(_ATTEMPTS):
                metadata = written["metadata"]
                others = [each for each in metadata.get("managedFields") or () if each.get("manager") != UNDO]
                change = {"resourceVersion": metadata["resourceVersion"], "managedFields": others}
                with suppress(Conflict):
                    self._patch({"metadata": change})
                    return
                written = self._live()
            why = "the Kanary changes all the time"
        except (ClusterError, CommandError) as error:
            why = str(error)
        note(
            f"warning: the weights are written, but {UNDO} still owns them ({why}): "
            "kubectl apply --server-side needs --force-conflicts to change them"
        )

    def _patch(self, change: Json) -> Json:
        return self._client.merge_patch(KANARIES, self._namespace, self._name, change, field_manager=UNDO)

    def _live(self) -> Json:
        return kanary_to_change(self._client, self._namespace, self._name)

    def _revisions(self, kanary: Json, revision: int | None) -> tuple[RecordedChange, RecordedChange]:
        """The newest revision in the history, and the one to restore."""
        uid = kanary["metadata"]["uid"]
        changes = every(self._source.changes, ChangeQuery(uid=uid, limit=50))
        newest = next(changes, None)
        if newest is None:
            raise CommandError(
                f"the history has no change of {self._name} yet; condition HistoryRecorded says whether it is written: "
                f"kubectl -n {self._namespace} describe ky {self._name}"
            )
        if revision is not None:
            known = next(every(self._source.kanaries, KanaryQuery(uid=uid)))
            return newest, revision_of(self._source, known, revision)
        current, kept = read_status(kanary).revision, newest.change.revision
        if current > kept:
            # Otherwise undo would restore the revision before the newest recorded one, which is not the current one.
            raise CommandError(
                f"Kanary {self._namespace}/{self._name} is at revision {current}, and the history has up to {kept}: "
                "name one with --to-revision (condition HistoryRecorded says why the history is behind)"
            )
        if self._by_number(weights.declared(kanary)) != self._by_number(weights_of(newest.change.after)):
            # The spec is not a revision yet: the newest revision is the one before it.
            return newest, newest
        earlier = next(changes, None)
        if earlier is None:
            raise CommandError(
                f"there is nothing to undo: {self._name} is at revision {kept}, and the history has none before it"
            )
        # Restore the revision that the newest replaced: those in between may never have been served.
        replaced = (each for each in chain([earlier], changes) if each.change.after == newest.change.before)
        return newest, next(replaced, earlier)

    def _large_steps(self, kanary: Json, newest: RecordedChange, after: Weights) -> str:
        """The large steps from the served and the declared weights, as text."""
        served = _served(kanary, newest)
        present = [self._by_number(each) for each in (served, weights.declared(kanary))]
        large = weights.large_steps(present, self._by_number(after))
        names = {self._resolved(backend)[0]: backend for backend in (*served, *weights.declared(kanary), *after)}
        steps = [f"{names[number]} from {old} to {new} %" for number, (old, new) in large.items()]
        return listed(steps) if steps else ""

    def _frozen(self, kanary: Json, newest: RecordedChange, after: Weights) -> str:
        if self._by_number(_served(kanary, newest)) == self._by_number(after):
            return ""
        with suppress(ValidationError):
            freeze = (kanary.get("spec") or {}).get("freeze")
            found = frozen(Freeze.model_validate(freeze), self._client.clock.now()) if freeze is not None else None
            return found[0].message if found else ""
        return ""

    def _confirm(self, steps: str) -> None:
        """Raises CommandError unless the user confirms these steps."""
        question = one_line(f"this changes {steps}")
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError(f"{question}, more than {weights.LARGE} percentage points: confirm with --yes")
        print(f"{question}. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError(f"nothing was written to {self._name}")

    def _by_number(self, these: Weights) -> Weights:
        return {self._resolved(backend)[0]: weight for backend, weight in these.items()}

    def _resolved(self, backend: str) -> tuple[str, str]:
        return weights.resolved(backend, self._namespace, self._services)

    def _service(self, name: str) -> Json | None:
        try:
            return self._client.get(SERVICES, self._namespace, name)
        except NotFound:
            return None
