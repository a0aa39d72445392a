"""`kanary undo`: writes the weights of an earlier revision back into the spec."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from engine.status import read_status
from kanary.cli import going_back
from kanary.cli.access import connect, opened, told
from kanary.cli.failure import CommandError, listed
from kanary.cli.find import revision_before, revision_of
from kanary.cli.text import one_line
from kanary.history.model import KnownKanary, RecordedChange
from kanary.history.selection import Selection
from kanary.history.source import Source, find_kanary
from kanary.kanaries import KANARIES
from kanary.kube.client import ClusterClient
from kanary.kube.errors import ClusterError, Conflict, NotFound
from kanary.kube.resources import SERVICES

Json = dict[str, Any]
Ask = Callable[[str], bool]

FIELD_MANAGER = "kanary-undo"

_ATTEMPTS = 5


def run(options: argparse.Namespace) -> int:
    """Go back, or say why not."""
    with told():
        client = connect(options)
        with opened(options, client) as access:
            undo = Undo(client, access.source, access.namespace, options.name)
            print(one_line(undo.go_back(options.to_revision, _yes if options.yes else _ask)))
    return 0


def _yes(_: str) -> bool:
    return True


def _ask(what: str) -> bool:
    """Ask who sits at the terminal. Raises CommandError where nobody does."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(f"{what}, which is more than {going_back.LARGE} percentage points: confirm it by --yes")
    print(f"{one_line(what)}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class Undo:
    """Of one Kanary."""

    def __init__(self, client: ClusterClient, source: Source, namespace: str, name: str) -> None:
        self._client = client
        self._source = source
        self._namespace = namespace
        self._name = name

    def go_back(self, revision: int | None, ask: Ask) -> str:
        """Write the weights of the revision, or of the one before the current; returns what was done, in one line."""
        kanary = self._live()
        known = self._known(kanary)
        status = read_status(kanary)
        current = self._newest(known)
        if revision is None:
            self._require_current(current, status.revision)
        target = self._target(kanary, known, current, revision)
        cause = f"undo to revision {target.change.revision}"
        services = self._services(going_back.service_names(kanary, target.change.after))
        if missing := going_back.gone(target.change.after, services, self._namespace):
            raise CommandError(f"there is no way back to revision {target.change.revision}: {'; '.join(missing)}")
        before = going_back.declared(kanary, services)
        after = going_back.recorded(target.change.after, services)
        if before.by_backend == after.by_backend:
            raise CommandError(
                f"{self._name} has the weights of revision {target.change.revision} already: {after.text}"
            )
        served = going_back.served(status, current.change.after, services)
        if not self._may(served, before, after, ask):
            raise CommandError(f"{self._name} stays as it is: {before.text}")
        if (kanary.get("spec") or {}).get("paused") is True:
            print(
                f"kanary: warning: {self._name} is paused: the weights are written and wait until spec.paused is false",
                file=sys.stderr,
            )
        self._write(kanary, lambda now: going_back.patch(now, target.change.after, cause, services))
        return (
            f"{self._namespace}/{self._name}: {before.text} becomes {after.text} ({cause}); "
            f"watch: kubectl -n {self._namespace} get ky {self._name} --watch"
        )

    def _live(self) -> Json:
        try:
            kanary = self._client.get(KANARIES, self._namespace, self._name)
        except NotFound as error:
            raise CommandError(self._what_there_is()) from error
        if kanary["metadata"].get("deletionTimestamp"):
            raise CommandError(f"{self._name} is being deleted: there is nothing to go back with")
        return kanary

    def _what_there_is(self) -> str:
        missing = f"there is no Kanary {self._name} in namespace {self._namespace} of {self._client.host}"
        try:
            kanaries, _ = self._client.list(KANARIES, self._namespace)
        except ClusterError:
            return missing
        names = sorted(kanary["metadata"]["name"] for kanary in kanaries)
        return f"{missing}: there {'is' if len(names) == 1 else 'are'} {listed(names) if names else 'none'}"

    def _known(self, kanary: Json) -> KnownKanary:
        """The Kanary as the record has it: not another one that had its name before."""
        selection = Selection(self._namespace, self._name, include_deleted=True)
        found = find_kanary(self._source, selection, kanary["metadata"]["uid"])
        if found is None:
            raise CommandError(
                f"the history has nothing of {self._name} yet: nothing to undo, or the operator cannot record it "
                f"(kubectl -n {self._namespace} describe ky {self._name}, condition HistoryRecorded)"
            )
        return found

    def _newest(self, known: KnownKanary) -> RecordedChange:
        revisions = self._source.revisions(known)
        if revisions is None:
            raise CommandError(f"the history has no change of {self._name}: there is nothing to undo")
        return revision_of(self._source, known, revisions[1])

    def _require_current(self, newest: RecordedChange, revision: int) -> None:
        """Raises CommandError where the Kanary has gone on since: the one before the newest is then another."""
        if revision > newest.change.revision:
            raise CommandError(
                f"Kanary {self._namespace}/{self._name} is at revision {revision}, and the history has up to "
                f"{newest.change.revision}: name one by --to-revision (condition HistoryRecorded says why it is behind)"
            )

    def _target(
        self, kanary: Json, known: KnownKanary, current: RecordedChange, revision: int | None
    ) -> RecordedChange:
        if revision is not None:
            return revision_of(self._source, known, revision)
        services = self._services(going_back.service_names(kanary, current.change.after))
        is_current = (
            going_back.declared(kanary, services).by_backend
            == going_back.recorded(current.change.after, services).by_backend
        )
        if not is_current:
            # What the spec says has not become a revision, so the one before it is the newest that there is.
            return current
        found = revision_before(self._source, known, current.change.revision)
        if found is None:
            raise CommandError(
                f"there is nothing to undo: {self._name} is at revision {current.change.revision}, and the history has "
                "none before it"
            )
        return found

    def _services(self, names: set[str]) -> dict[str, Json | None]:
        return {name: self._service(name) for name in sorted(names)}

    def _service(self, name: str) -> Json | None:
        try:
            return self._client.get(SERVICES, self._namespace, name)
        except NotFound:
            return None

    def _may(self, served: going_back.Weights, before: going_back.Weights, after: going_back.Weights, ask: Ask) -> bool:
        """Whether the step is small, or was agreed to: seen from what is served and from what is declared."""
        large = {
            backend: step
            for old in (served, before)
            for backend, step in going_back.steps(old, after).items()
            if abs(step[1] - step[0]) > going_back.LARGE
        }
        if not large:
            return True
        told_steps = listed([f"{backend} from {old} to {new} %" for backend, (old, new) in large.items()])
        return ask(f"this takes {told_steps}")

    def _write(self, kanary: Json, patch_of: Callable[[Json], Json]) -> None:
        """Write, provided that nobody has changed the Kanary since: the operator's own status apart."""
        generation = kanary["metadata"]["generation"]
        for _ in range(_ATTEMPTS):
            try:
                self._client.merge_patch(
                    KANARIES, self._namespace, self._name, patch_of(kanary), field_manager=FIELD_MANAGER
                )
            except Conflict:
                uid, kanary = kanary["metadata"]["uid"], self._live()
                if kanary["metadata"]["uid"] != uid or kanary["metadata"]["generation"] != generation:
                    break
            else:
                return
        raise CommandError(
            f"{self._name} was changed at the same moment by somebody else: nothing was written; see what it is now "
            f"(kubectl -n {self._namespace} get ky {self._name}), and try again"
        )
