"""`kanary undo`: writes the weights of an earlier revision back into the spec."""

from __future__ import annotations

import sys
from typing import Any

from engine.last_status import read_status
from kanary.cli import weights
from kanary.cli.failure import CommandError, listed, note
from kanary.cli.find import revision_before, revision_of
from kanary.cli.output import weights_of, weights_text
from kanary.cli.text import one_line
from kanary.cli.weights import Weights
from kanary.history.queries import ChangeQuery, KanaryQuery, every
from kanary.history.records import KanarySummary, RecordedChange
from kanary.history.source import Source
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import ClusterError, Conflict, NotFound
from kanary.kube.resources import SERVICES

Json = dict[str, Any]

FIELD_MANAGER = "kanary-undo"

_ATTEMPTS = 5


class Undo:
    """Of one Kanary."""

    def __init__(self, client: ClusterClient, source: Source, namespace: str, name: str) -> None:
        self._client = client
        self._source = source
        self._namespace = namespace
        self._name = name
        self._services: dict[str, Json | None] = {}

    def restore(self, revision: int | None, *, is_confirmed: bool) -> None:
        """Write the weights of the revision, or of the one before the current. Raises CommandError, ClusterError."""
        kanary = self._live()
        known, newest = self._newest(kanary)
        target = self._target(kanary, known, newest, revision)
        before, after = weights.declared(kanary), weights_of(target.change.after)
        self._check(target, before, after)
        if not is_confirmed:
            self._confirm(self._large_steps(kanary, newest, after))
        if (kanary.get("spec") or {}).get("paused") is True:
            note(f"warning: {self._name} is paused: the weights are written, but not served until it is resumed")
        cause = f"undo to revision {target.change.revision}"
        self._write(kanary, after, cause)
        done = f"{weights_text(before) or 'no routes'} becomes {weights_text(after)} ({cause})"
        watch = f"watch: kubectl -n {self._namespace} get ky {self._name} --watch"
        print(one_line(f"{self._namespace}/{self._name}: {done}; {watch}"))

    def _live(self) -> Json:
        try:
            kanary = self._client.get(KANARIES, self._namespace, self._name)
        except NotFound as error:
            raise CommandError(self._not_found()) from error
        if kanary["metadata"].get("deletionTimestamp"):
            raise CommandError(f"{self._name} is being deleted")
        return kanary

    def _not_found(self) -> str:
        missing = f"there is no Kanary {self._name} in namespace {self._namespace} of {self._client.host}"
        try:
            kanaries, _ = self._client.list(KANARIES, self._namespace)
        except ClusterError:
            return missing
        names = sorted(kanary["metadata"]["name"] for kanary in kanaries)
        return f"{missing}; it has {listed(names) if names else 'none'}"

    def _newest(self, kanary: Json) -> tuple[KanarySummary, RecordedChange]:
        """The Kanary in the history, not another one that had its name before, and its newest change."""
        found = self._source.kanaries(KanaryQuery(uid=kanary["metadata"]["uid"])).items
        known = found[0] if found else None
        if known is None or known.last_revision is None:
            raise CommandError(
                f"the history has no change of {self._name} yet; condition HistoryRecorded says whether it is written: "
                f"kubectl -n {self._namespace} describe ky {self._name}"
            )
        return known, revision_of(self._source, known, known.last_revision)

    def _target(
        self, kanary: Json, known: KanarySummary, newest: RecordedChange, revision: int | None
    ) -> RecordedChange:
        if revision is not None:
            return revision_of(self._source, known, revision)
        current, kept = read_status(kanary).revision, newest.change.revision
        if current > kept:
            # The revision before the newest in the history is not the one before the current.
            raise CommandError(
                f"Kanary {self._namespace}/{self._name} is at revision {current}, and the history has up to {kept}: "
                "name one with --to-revision (condition HistoryRecorded says why the history is behind)"
            )
        if not self._is_same(weights.declared(kanary), weights_of(newest.change.after)):
            # The spec has not become a revision, so the newest is the one before it.
            return newest
        found = self._replaced_by(known, newest) or revision_before(self._source, known, kept)
        if found is None:
            raise CommandError(
                f"there is nothing to undo: {self._name} is at revision {kept}, and the history has none before it"
            )
        return found

    def _replaced_by(self, known: KanarySummary, newest: RecordedChange) -> RecordedChange | None:
        """The revision that was in force before the newest: some in between may never have been served."""
        changes = every(self._source.changes, ChangeQuery(uid=known.uid))
        earlier = (each for each in changes if each.change.revision < newest.change.revision)
        return next((each for each in earlier if each.change.after == newest.change.before), None)

    def _check(self, target: RecordedChange, before: Weights, after: Weights) -> None:
        """Raises CommandError where the weights cannot be restored, or are there already."""
        revision = target.change.revision
        self._look_up(after)
        if missing := weights.missing(after, self._services, self._namespace):
            raise CommandError(f"revision {revision} cannot be restored: {'; '.join(missing)}")
        if self._is_same(before, after):
            raise CommandError(f"{self._name} has the weights of revision {revision} already: {weights_text(after)}")

    def _large_steps(self, kanary: Json, newest: RecordedChange, after: Weights) -> dict[str, tuple[int, int]]:
        """From what is served and from what is declared; without a status the newest revision is served."""
        status = {each.backend: each.weight for each in read_status(kanary).weights}
        served = status or weights_of(newest.change.after)
        new = self._by_number(after)
        from_served = weights.large_steps(self._by_number(served), new)
        return from_served | weights.large_steps(self._by_number(weights.declared(kanary)), new)

    def _confirm(self, large: dict[str, tuple[int, int]]) -> None:
        """Raises CommandError unless there is no large step, or the user agrees."""
        if not large:
            return
        steps = listed([f"{backend} from {old} to {new} %" for backend, (old, new) in large.items()])
        question = one_line(f"this changes {steps}")
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CommandError(f"{question}, more than {weights.LARGE} percentage points: confirm with --yes")
        print(f"{question}. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError(f"nothing was written to {self._name}")

    def _is_same(self, one: Weights, other: Weights) -> bool:
        return self._by_number(one) == self._by_number(other)

    def _by_number(self, these: Weights) -> Weights:
        self._look_up(these)
        return weights.by_number(these, self._services)

    def _look_up(self, these: Weights) -> None:
        """Get the Services that have not been looked up yet."""
        for name in sorted(weights.service_names(these) - self._services.keys()):
            try:
                self._services[name] = self._client.get(SERVICES, self._namespace, name)
            except NotFound:
                self._services[name] = None

    def _write(self, kanary: Json, after: Weights, cause: str) -> None:
        """Write, provided that nobody has changed the Kanary since; its status apart."""
        uid, generation = kanary["metadata"]["uid"], kanary["metadata"]["generation"]
        for _ in range(_ATTEMPTS):
            patch = weights.patch(kanary, after, cause, self._services)
            try:
                self._client.merge_patch(KANARIES, self._namespace, self._name, patch, field_manager=FIELD_MANAGER)
            except Conflict:
                kanary = self._live()
                if (kanary["metadata"]["uid"], kanary["metadata"]["generation"]) != (uid, generation):
                    break
            else:
                return
        raise CommandError(
            f"{self._name} was changed at the same time: nothing was written; see what it is now "
            f"(kubectl -n {self._namespace} get ky {self._name}), and try again"
        )
