"""`kanary undo`: writes the weights of an earlier revision into the spec."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from itertools import chain

from engine.last_status import read_status
from kanary.cli import weights
from kanary.cli.failure import CommandError, listed, note
from kanary.cli.find import revision_of
from kanary.cli.live import kanary_to_change
from kanary.cli.output import Json, weights_of, weights_text
from kanary.cli.text import one_line
from kanary.cli.weights import Weights
from kanary.history.queries import ChangeQuery, KanaryQuery, every
from kanary.history.records import RecordedChange
from kanary.history.source import Source
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import Conflict, NotFound
from kanary.kube.resources import SERVICES

FIELD_MANAGER = "kanary-undo"
_ATTEMPTS = 5


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
        kanary = self._live()
        newest, target = self._revisions(kanary, revision)
        number, before, after = target.change.revision, weights.declared(kanary), weights_of(target.change.after)
        if problems := list(filter(None, (self._resolved(backend)[1] for backend in after))):
            raise CommandError(f"revision {number} cannot be restored: {'; '.join(problems)}")
        if self._by_number(before) == self._by_number(after):
            raise CommandError(f"{self._name} has the weights of revision {number} already: {weights_text(after)}")
        if not is_confirmed:
            self._confirm(kanary, newest, after)
        if (kanary.get("spec") or {}).get("paused") is True:
            note(f"warning: {self._name} is paused: the weights are written, but not served until it is resumed")
        cause = f"undo to revision {number}"
        self._write(kanary, after, cause)
        done = f"{weights_text(before) or 'no routes'} becomes {weights_text(after)} ({cause})"
        watch = f"watch: kubectl -n {self._namespace} get ky {self._name} --watch"
        print(one_line(f"{self._namespace}/{self._name}: {done}; {watch}"))

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

    def _confirm(self, kanary: Json, newest: RecordedChange, after: Weights) -> None:
        """Raises CommandError unless the user confirms the large steps from the served and the declared weights."""
        # Without a status, take the newest revision as served.
        served = {each.backend: each.weight for each in read_status(kanary).weights or newest.change.after}
        present = [self._by_number(each) for each in (served, weights.declared(kanary))]
        large = weights.large_steps(present, self._by_number(after))
        if not large:
            return
        steps = listed([f"{backend} from {old} to {new} %" for backend, (old, new) in large.items()])
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

    def _write(self, kanary: Json, after: Weights, cause: str) -> None:
        """Write the weights, provided that nothing but the status of the Kanary has changed since it was read."""
        uid, generation = kanary["metadata"]["uid"], kanary["metadata"]["generation"]
        for _ in range(_ATTEMPTS):
            patch = weights.patch(kanary, after, cause, lambda backend: self._resolved(backend)[0])
            with suppress(Conflict):
                self._client.merge_patch(KANARIES, self._namespace, self._name, patch, field_manager=FIELD_MANAGER)
                return
            kanary = self._live()
            if (kanary["metadata"]["uid"], kanary["metadata"]["generation"]) != (uid, generation):
                break
        raise CommandError(
            f"{self._name} was changed at the same time: nothing was written; see what it is now "
            f"(kubectl -n {self._namespace} get ky {self._name}), and try again"
        )
