"""`kanary list`: all Kanaries on one screen, those that need attention first."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from engine.model.status import RouteStatus
from kanary.cli.console import new_console
from kanary.cli.failure import note
from kanary.cli.feeds import KanariesFeed
from kanary.cli.output import document, is_unicode
from kanary.cli.signs import UNKNOWN, Sign, sign_of_phase
from kanary.cli.text import cut
from kanary.cli.times import age_text
from kanary.cli.view import KanaryOverview, overview_of
from kanary.cli.watching import Sight, watch, write
from kanary.kanaries import KANARIES
from kanary.kube.resources import Json, Key
from states import Phase
from states.texts import one_line

if TYPE_CHECKING:
    from kanary.kube.client import ClusterClient

_LEAST_WEIGHTS = 24
"""Columns of the weights in a row; if fewer are left, they are in a line of their own."""
_ORDER = (Phase.DEGRADED, Phase.PENDING, Phase.ROLLING, Phase.RENDERING)
"""After those without a current status; Ready is last."""


def list_kanaries(client: ClusterClient, namespace: str | None, output: str, *, is_watched: bool) -> None:
    """Print the Kanaries of a namespace or of all, again at each change if they are watched. Raises ClusterError."""
    kanaries, _ = client.list(KANARIES, namespace)
    if is_watched:
        with _ListFeed(client, namespace, kanaries) as feed:
            watch(feed, output)
    else:
        write(_sight(client, namespace, map(overview_of, kanaries), new_console().width), output)
        if not kanaries:
            place = f"namespace {namespace} of {client.cluster}; -A lists all" if namespace else client.cluster
            note(f"there is no Kanary in {place}")


class _ListFeed(KanariesFeed):
    """Follows Kanaries; each is read once for each of its changes."""

    def __init__(self, client: ClusterClient, namespace: str | None, kanaries: Iterable[Json]) -> None:
        super().__init__(client, namespace)
        self._namespace = namespace
        self._found = {Key.of(kanary): overview_of(kanary) for kanary in kanaries}

    def _changed(self, key: Key, old: Json | None, new: Json | None) -> None:
        if new is not None:
            self._found[key] = overview_of(new)
        super()._changed(key, old, new)

    def look(self, columns: int) -> Sight:
        """The Kanaries that are in the copy."""
        keys = self._copy.all_keys() if self._copy.synced.is_set() else [*self._found]
        found = [self._found[key] for key in keys if key in self._found]
        return _sight(self._client, self._namespace, found, columns, self._trouble)


def _sight(
    client: ClusterClient,
    namespace: str | None,
    kanaries: Iterable[KanaryOverview],
    columns: int,
    trouble: Sequence[str] = (),
) -> Sight:
    found = sorted(kanaries, key=_urgency)
    style = _ListStyle(columns, is_unicode(sys.stdout), has_namespaces=namespace is None)
    picture = style.draw(found, trouble, client.clock.now())
    return Sight(picture, lambda: [document(each) for each in found], [*map(_state, found), bool(trouble)])


def _urgency(kanary: KanaryOverview) -> tuple[object, ...]:
    """What a person on call looks at first is the least."""
    order = _ORDER.index(Phase(kanary.phase)) if kanary.phase in _ORDER else len(_ORDER)
    needs_a_look = kanary.step is not None or any(route.down or route.ejected for route in kanary.routes)
    is_ready = order == len(_ORDER) and not needs_a_look and not kanary.unknown
    # Of those that need attention, what has changed last comes first.
    since = -kanary.since.timestamp() if kanary.since and not is_ready else 0.0
    return not kanary.unknown, order, not needs_a_look, since, kanary.namespace, kanary.name


def _state(kanary: KanaryOverview) -> object:
    """All of it but counts of connections and ages."""
    routes = [(r.backend, r.weight, r.ready, r.unready, r.up, r.down, r.ejected) for r in kanary.routes]
    rest = kanary.model_copy(update={"routes": ()})
    return rest, routes


@dataclass(frozen=True)
class _ListStyle:
    """How the list is drawn."""

    width: int
    is_unicode: bool
    has_namespaces: bool

    def draw(self, kanaries: Sequence[KanaryOverview], trouble: Sequence[str], now: datetime) -> Text:
        """A row for each Kanary, and a line with the message of those that are not Ready."""
        text = Text(no_wrap=True, overflow="ignore", end="")
        for problem in trouble:
            text.append(f"{self._mark(UNKNOWN)} {one_line(problem)}\n", UNKNOWN.style)
        if not kanaries:
            return text
        headings = ["NAME", "PHASE", "REASON", "FOR", "STEP", "PROXIES"]
        rows = [self._cells(kanary, now) for kanary in kanaries]
        widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
        room = self.width - 2 - sum(widths) - 2 * len(widths)
        has_weights = room >= _LEAST_WEIGHTS
        head = [*map(set_cell_size, headings, widths), *(["WEIGHTS, DECLARED AND ACTUAL"] if has_weights else [])]
        text.append(self._cut("  " + "  ".join(head)).rstrip() + "\n", "bold")
        for kanary, row in zip(kanaries, rows, strict=True):
            sign, weights = _sign(kanary), self._weights(kanary.routes)
            cells = [*map(set_cell_size, row, widths), *([weights] if has_weights else [])]
            text.append(self._mark(sign), sign.style)
            text.append(self._cut("  ".join(cells).rstrip(), 2).join((" ", "\n")))
            if not has_weights and weights:
                text.append(self._cut(f"    {weights}") + "\n")
            for line in self._messages(kanary):
                text.append(self._cut(f"    {one_line(line)}") + "\n", "dim")
        return text

    def _cells(self, kanary: KanaryOverview, now: datetime) -> list[str]:
        name = f"{kanary.namespace}/{kanary.name}" if self.has_namespaces else kanary.name
        is_known = kanary.proxies_ready is not None
        return [
            name,
            one_line(kanary.phase) or "no status",
            one_line(kanary.reason) or "-",
            age_text(kanary.since, now) if kanary.since else "-",
            kanary.step or "-",
            f"{kanary.proxies_ready}/{kanary.proxies_desired}" if is_known else "-",
        ]

    def _weights(self, routes: Sequence[RouteStatus]) -> str:
        """Each backend with its weight and its actual share, such as `web-v1:http=80→79.6`."""
        arrow = "→" if self.is_unicode else "->"
        return " ".join(f"{one_line(route.backend)}={route.weight}{arrow}{_share(route)}" for route in routes)

    def _messages(self, kanary: KanaryOverview) -> list[str]:
        """What is wrong with it, or what it waits for."""
        found = [] if kanary.phase == Phase.READY and not kanary.step else [kanary.message]
        for route in kanary.routes:
            counts = [f"{count} {word}" for count, word in ((route.down, "down"), (route.ejected, "ejected")) if count]
            found += [f"{route.backend}: {' and '.join(counts)}"] if counts else []
        return [line for line in (*kanary.unknown, *found) if line]

    def _mark(self, sign: Sign) -> str:
        return sign.symbol if self.is_unicode else sign.ascii

    def _cut(self, line: str, before: int = 0) -> str:
        return cut(line, self.width - before)


def _share(route: RouteStatus) -> str:
    if route.actual is None:
        return "?" if route.since_change is None else "-"
    return str(route.actual)


def _sign(kanary: KanaryOverview) -> Sign:
    return UNKNOWN if kanary.unknown else sign_of_phase(kanary.phase)
