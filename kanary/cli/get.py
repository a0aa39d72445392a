"""`kanary get`: what a Kanary does now, its rollout, and the connections that failed."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from engine.last_status import read_status
from kanary.cli.console import new_console
from kanary.cli.feeds import KanariesFeed
from kanary.cli.live import live_kanary
from kanary.cli.output import document, is_unicode
from kanary.cli.tree import TreeStyle
from kanary.cli.view import KanaryView, owner_of, read_fleet, view_of
from kanary.cli.watching import Sight, watch, write
from kanary.kube.resources import Json, Key

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_READ_SECONDS = 3.0
"""How often the proxies are read, which takes a connection to each one; longer if that takes long."""
_LEAST_SECONDS = 1.0
"""The same after a change of the Kanary."""
_REST = 4
"""Between two readings, the command rests so many times as long as the reading took."""


def get(client: ClusterClient, namespace: str, name: str, output: str, *, is_watched: bool) -> None:
    """Print a Kanary, again at each change if it is watched. Raises CommandError if it does not exist."""
    kanary = live_kanary(client, namespace, name)
    if is_watched:
        with _KanaryFeed(client, kanary) as feed:
            watch(feed, output)
    else:
        view = view_of(kanary, read_fleet(client, owner_of(kanary)))
        write(_sight(client, view, new_console().width), output)


def _sight(client: ClusterClient, view: KanaryView, columns: int, end: str = "") -> Sight:
    tree = TreeStyle(columns, is_unicode(sys.stdout)).draw(view, client.clock.now())
    return Sight(tree, lambda: document(view), _state(view), end)


class _KanaryFeed(KanariesFeed):
    """Follows a Kanary and its proxies."""

    def __init__(self, client: ClusterClient, kanary: Json) -> None:
        self._owner = owner_of(kanary)
        super().__init__(client, self._owner.namespace, self._owner.name)
        self._kanary, self._is_deleted = kanary, False
        self._digest = read_status(kanary).config_hash
        self._fleet = read_fleet(client, self._owner)
        self._stopped, self._wake = threading.Event(), threading.Event()
        self._defect: Exception | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._read_again, daemon=True).start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._wake.set()
        super().__exit__(kind, error, traceback)

    def look(self, columns: int) -> Sight:
        """The Kanary and what the proxies reported last."""
        if self._defect:
            raise self._defect
        # It may have been deleted before the first list.
        copy, owner = self._copy, self._owner
        self._is_deleted |= copy.synced.is_set() and copy.get(owner.namespace, owner.name) is None
        trouble, fleet = self._trouble, self._fleet
        # While the API server does not respond, one reason suffices.
        view = view_of(self._kanary, replace(fleet, problem="") if trouble else fleet)
        view = view.model_copy(update={"unknown": (*trouble, *view.unknown)})
        return _sight(self._client, view, columns, f"{self._owner.name} was deleted" if self._is_deleted else "")

    def _changed(self, key: Key, old: Json | None, new: Json | None) -> None:
        if new is None:
            self._is_deleted = True
        else:
            self._kanary = new
        self._wake.set()
        super()._changed(key, old, new)

    def _read_again(self) -> None:
        try:
            while not self._stopped.wait(_LEAST_SECONDS):
                self._wake.clear()
                began = time.monotonic()
                self._read()
                self.news.set()
                self._wake.wait(max(_READ_SECONDS - _LEAST_SECONDS, _REST * (time.monotonic() - began)))
        except Exception as defect:  # it is raised in the main thread
            self._defect = defect

    def _read(self) -> None:
        digest, known = read_status(self._kanary).config_hash, self._fleet
        fleet = read_fleet(self._client, self._owner, known.pods if digest == self._digest else {})
        # What was read last stays, with the reason.
        self._fleet = replace(known, problem=fleet.problem) if fleet.problem else fleet
        self._digest = digest


def _state(view: KanaryView) -> object:
    """All of it but counts and ages."""
    rollout = view.rollout
    routes = [
        (
            *(route.backend, route.weight, route.ready, route.unready, route.up, route.down, route.ejected),
            [(pod.server, pod.status, pod.check, pod.text) for pod in route.pods],
        )
        for route in view.routes
    ]
    proxies = [
        (proxy.name, proxy.ready, proxy.stopping_since, proxy.digest, proxy.problems, proxy.unread is None)
        for proxy in view.proxies
    ]
    return (
        *(view.phase, view.reason, view.message, view.since, view.revision, view.change),
        rollout and (rollout.number, rollout.state, rollout.reason, rollout.step, rollout.message),
        [entry.number for entry in view.entries],
        routes,
        proxies,
        bool(view.unknown),
    )
