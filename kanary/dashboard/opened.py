"""What is read only for Kanaries whose pages are open: the reports of their proxies, and their weights over time.

One task reads for all pages of a Kanary, and ends with the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool

from engine.last_status import read_status
from kanary.cli.events import EventFilter, KanaryEvent, read_events
from kanary.cli.failure import CommandError
from kanary.cli.rights import explained
from kanary.cli.svg import svg
from kanary.cli.timeline import timeline
from kanary.cli.view import FleetReading, owner_of, read_fleet
from kanary.dashboard.board import Board
from kanary.dashboard.evidence import Growth
from kanary.history.queries import ChangeQuery, KanaryQuery, every
from kanary.history.source import Source
from kanary.kube.client import ClusterClient
from kanary.kube.errors import ClusterError
from kanary.kube.resources import Json, Key

_log = logging.getLogger(__name__)

OpenHistory = Callable[[], AbstractContextManager[tuple[Source, str]]]

_READ_SECONDS = 4.0
"""Between two readings of the proxies: a port-forward to each of them."""
_KEPT_SECONDS = 60.0
"""After the last page was closed."""
_EVENTS_SECONDS = 15.0
"""Between two readings of the Events of the namespace."""
_PLOTTED = 12
"""Weight changes that are drawn."""
_PLOT_SECONDS = 20.0
"""Between two drawings if the status has nothing new: the history has it a moment after the status."""


@dataclass
class Opened:
    """What was last read about one Kanary."""

    uid: str = ""
    """Of the Kanary that was read."""
    fleet: FleetReading | None = None
    """None until it is read for the first time."""
    plot: Markup | None = None
    """The weights over time, as by `kanary history --plot`."""
    no_plot: str = ""
    """Why it is missing."""
    events: Sequence[KanaryEvent] | None = None
    """Oldest first; None if they were not read yet."""
    no_events: str = ""
    """Why they are missing."""
    events_read: float = float("-inf")
    growth: Growth = field(default_factory=Growth)
    pages: int = 0
    closed_at: float = 0.0
    """When the last page was closed."""
    task: asyncio.Task[None] | None = None
    plotted: tuple[str, float] = ("", float("-inf"))
    """The Kanary and the last entry of its history that it shows, and when it was drawn."""

    def begin(self, uid: str) -> None:
        """Forget what was read about a former Kanary of the same name."""
        begun = Opened(uid, pages=self.pages, closed_at=self.closed_at, task=self.task)
        vars(self).update(vars(begun))


class OpenedKanaries:
    """What was read about each Kanary whose page is open."""

    def __init__(self, client: ClusterClient, board: Board, history: OpenHistory) -> None:
        self._client = client
        self._board = board
        self._history = history
        self._opened: dict[Key, Opened] = {}

    def of(self, key: Key) -> Opened:
        """What was read about a Kanary; nothing if no page of it is open, or if it was about a former one."""
        opened, kanary = self._opened.get(key), self._board.kanary(key)
        is_former = opened is not None and kanary is not None and opened.uid != kanary["metadata"]["uid"]
        return Opened() if opened is None or is_former else opened

    @asynccontextmanager
    async def open(self, key: Key) -> AsyncIterator[Opened]:
        """Read about a Kanary as long as a page shows it."""
        opened = self._opened.setdefault(key, Opened())
        opened.pages += 1
        if opened.task is None:
            opened.task = asyncio.create_task(self._follow(key, opened))
        try:
            yield opened
        finally:
            opened.pages -= 1
            opened.closed_at = time.monotonic()

    async def _follow(self, key: Key, opened: Opened) -> None:
        # A page that is loaded again finds what was read before.
        while opened.pages or time.monotonic() < opened.closed_at + _KEPT_SECONDS:
            kanary = self._board.kanary(key)
            if kanary and opened.pages:
                if opened.uid != kanary["metadata"]["uid"]:
                    opened.begin(kanary["metadata"]["uid"])
                try:
                    await run_in_threadpool(self._read, kanary, opened)
                except Exception:  # the pages continue with what was read before
                    _log.exception("%s cannot be read", key)
                self._board.changed(key)
            await asyncio.sleep(_READ_SECONDS)
        del self._opened[key]

    def _read(self, kanary: Json, opened: Opened) -> None:
        fleet = read_fleet(self._client, owner_of(kanary))
        # What was read before an outage stays, with the reason why it may be outdated.
        opened.fleet = replace(opened.fleet, problem=fleet.problem) if fleet.problem and opened.fleet else fleet
        self._read_events(kanary, opened)
        self._read_plot(kanary, opened)

    def _read_events(self, kanary: Json, opened: Opened) -> None:
        if (now := time.monotonic()) < opened.events_read + _EVENTS_SECONDS:
            return
        opened.events_read = now
        try:
            found, _ = read_events(self._client, kanary["metadata"]["namespace"], EventFilter(kanary))
            opened.events, opened.no_events = found, ""
        except ClusterError as error:
            opened.no_events = explained(error)

    def _read_plot(self, kanary: Json, opened: Opened) -> None:
        history = read_status(kanary).history
        last, now = f"{kanary['metadata']['uid']} {history.last if history else 0}", time.monotonic()
        if last != opened.plotted[0] or now > opened.plotted[1] + _PLOT_SECONDS:
            opened.plotted = last, now
            try:
                opened.plot, opened.no_plot = self._plot(kanary), ""
            except CommandError as error:
                opened.no_plot = str(error)

    def _plot(self, kanary: Json) -> Markup:
        """Raises CommandError."""
        with self._history() as (source, _):
            found = next(every(source.kanaries, KanaryQuery(uid=kanary["metadata"]["uid"])), None)
            if found is None:
                raise CommandError("the history has nothing of this Kanary yet")
            # Over years, the steps of a rollout would be too narrow to be seen.
            changes = source.changes(ChangeQuery(uid=found.uid, limit=_PLOTTED)).items
            since = changes[-1].change.at if changes else None
            return Markup(svg(timeline(source, found, since, self._board.now())))  # noqa: S704 -- its texts are escaped
