"""A Kanary as a tree, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from rich.tree import Tree

from engine.model.entries import Entry, PhaseChange, RolloutChange, WeightChange
from kanary.cli import rollout_text
from kanary.cli.output import weights_of, weights_text
from kanary.cli.signs import BAD, GOOD, MOVING, UNKNOWN, WARNING, Sign, sign_of_phase, sign_of_rollout
from kanary.cli.times import age_text, at_text, since_text
from kanary.cli.view import FailedConnection, KanaryView, PodView, ProxyView, RouteView
from states.texts import one_line

_GUIDE = 4
"""Columns of each level of a tree."""
_PODS, _FAILURES, _ENTRIES = 10, 3, 6
"""How many pods that are not up and failed connections of each route, and entries of the history, a tree shows."""
_RECENT = timedelta(minutes=1)
"""A failed connection that is as new deserves a look at its route."""
_ROUTES = ("WEIGHT", "ACTUAL", "READY", "UP", "EJECTED", "DOWN", "CONNECTIONS", "FAILED")
_PROXIES = ("NODE", "REVISION", "READY", "OPEN", "FAILED")


@dataclass(frozen=True)
class _Row:
    sign: Sign | None
    cells: Sequence[str]
    notes: Sequence[tuple[Sign, str]] = ()
    """What stands below it."""


@dataclass(frozen=True)
class TreeStyle:
    """How a tree is drawn."""

    width: int
    """Columns of the terminal."""
    is_unicode: bool

    def draw(self, view: KanaryView, now: datetime) -> Tree:
        """A Kanary as a tree."""
        tree = Tree(self._title(view, now), highlight=False)
        if view.unknown:
            self._add(tree, UNKNOWN, "Not known", ((UNKNOWN, problem) for problem in view.unknown))
        self._add_change(tree, view, now)
        self._add_rollout(tree, view, now)
        self._add_table(tree, "Routes", _ROUTES, [_route_row(view, route, now) for route in view.routes])
        self._add_table(tree, "Proxies", _PROXIES, [_proxy_row(view, proxy, now) for proxy in view.proxies])
        lines = [*_entries(view, now, "→" if self.is_unicode else "->")]
        if lines:
            self._add(tree, None, "Last transitions, newest first", ((None, line) for line in lines[:_ENTRIES]))
        return tree

    def _title(self, view: KanaryView, now: datetime) -> Text:
        sign = sign_of_phase(view.phase)
        title = Text.assemble(self._sign(sign), (one_line(f"{view.namespace}/{view.name}"), "bold"), ": ")
        if not view.phase:
            return title.append("no status yet")
        since = f" {since_text(view.since, now)}" if view.since else ""
        title.append(one_line(view.phase), sign.style).append(
            f" ({one_line(view.reason)}){since}, revision {view.revision}"
        )
        return title.append(f"\n{one_line(view.message)}") if view.message else title

    def _add_change(self, tree: Tree, view: KanaryView, now: datetime) -> None:
        """Weights that not every proxy serves yet."""
        decided = weights_of(view.change.weights) if view.change else {}
        # While a step is watched, the change has no result yet, and all proxies serve it.
        if view.change and view.change.result is None and decided != {r.backend: r.weight for r in view.routes}:
            since = since_text(view.change.at, now)
            self._add(tree, MOVING, f"Revision {view.change.revision} is in progress {since}: {weights_text(decided)}")

    def _add_rollout(self, tree: Tree, view: KanaryView, now: datetime) -> None:
        if not view.rollout or not view.rollout.is_known:
            return
        lines = rollout_text.details(view.rollout, view.message, now)
        title, sign = rollout_text.title(view.rollout, now), sign_of_rollout(view.rollout.state)
        node = self._add(tree, sign, title, ((None, line) for line in lines))
        rows = [_Row(None, cells) for cells in rollout_text.evidence(view.rollout)]
        self._add_table(node, f"Step {view.rollout.place}", rollout_text.EVIDENCE, rows, depth=2)

    def _add(self, parent: Tree, sign: Sign | None, text: str, notes: Iterable[tuple[Sign | None, str]] = ()) -> Tree:
        node = parent.add(Text.assemble(self._sign(sign), one_line(text)))
        for mark, note in notes:
            node.add(Text.assemble(self._sign(mark), one_line(note)))
        return node

    def _add_table(
        self, parent: Tree, title: str, headings: Sequence[str], rows: Sequence[_Row], depth: int = 1
    ) -> None:
        """Rows with columns if the terminal is wide enough, otherwise with the heading before each value."""
        if not rows:
            return
        rows = [_Row(row.sign, [one_line(cell) for cell in row.cells], row.notes) for row in rows]
        mark = max(cell_len(self._sign(row.sign)[0]) for row in rows)
        columns = zip(("", *headings), *(row.cells for row in rows), strict=True)
        name, *widths = (max(map(cell_len, column)) for column in columns)
        # The title begins further left than the rows.
        name = max(name, cell_len(title) - _GUIDE - mark)
        if (depth + 1) * _GUIDE + mark + name + sum(widths) + 2 * len(widths) <= self.width:
            first = set_cell_size(title, _GUIDE + mark + name)
            node = parent.add(Text(_joined([first, *map(set_cell_size, headings, widths)]), "bold"))
            texts = [_joined(map(set_cell_size, row.cells, (name, *widths))) for row in rows]
        else:
            node, room = parent.add(Text(title, "bold")), self.width - (depth + 1) * _GUIDE
            texts = [_stacked(headings, row.cells, room) for row in rows]
        for row, text in zip(rows, texts, strict=True):
            child = node.add(Text.assemble(self._sign(row.sign), text))
            for sign, note in row.notes:
                child.add(Text.assemble(self._sign(sign), one_line(note)))

    def _sign(self, sign: Sign | None) -> tuple[str, str]:
        """The sign and its style, or nothing."""
        return (f"{sign.symbol if self.is_unicode else sign.ascii} ", sign.style) if sign else ("", "")


def _joined(cells: Iterable[str]) -> str:
    return "  ".join(cells).rstrip()


def _stacked(headings: Sequence[str], cells: Sequence[str], room: int) -> str:
    """The name, and below it each value after its heading, as many in a line as have room."""
    name, *values = cells
    lines = [name, ""]
    for heading, value in zip(headings, values, strict=True):
        pair = f"{heading.lower()} {value}"
        if lines[-1] and cell_len(f"{lines[-1]}, {pair}") > room:
            lines.append("")
        lines[-1] += f", {pair}" if lines[-1] else pair
    return "\n".join(lines)


# Routes


def _route_row(view: KanaryView, route: RouteView, now: datetime) -> _Row:
    counts = (route.up, route.ejected, route.down, route.connections, route.failed)
    cells = [
        route.backend,
        str(route.weight),
        "-" if route.actual is None else str(route.actual),
        f"{route.ready}/{route.ready + route.unready}",
        *("-" if count is None else str(count) for count in counts),
    ]
    return _Row(_sign_of_route(route, now), cells, [*_notes(view, route, now)])


def _sign_of_route(route: RouteView, now: datetime) -> Sign:
    if route.weight and (route.ready == 0 or route.up == 0):
        return BAD
    is_failing = any(now - failure.time < _RECENT for failure in route.failures)
    return WARNING if route.unready or route.down or route.ejected or route.pods or is_failing else GOOD


def _notes(view: KanaryView, route: RouteView, now: datetime) -> Iterator[tuple[Sign, str]]:
    for pod in route.pods[:_PODS]:
        yield (BAD if pod.status == "DOWN" else WARNING), _pod_text(pod, view, now)
    known = max((route.down or 0) + (route.ejected or 0), len(route.pods))
    if known > _PODS or known > len(route.pods) > 0:
        yield WARNING, f"and {known - min(_PODS, len(route.pods))} more pods that are down or ejected"
    for failure in route.failures[:_FAILURES]:
        yield WARNING, _failure_text(failure, now)


def _pod_text(pod: PodView, view: KanaryView, now: datetime) -> str:
    readable = sum(proxy.unread is None for proxy in view.proxies)
    proxies = f"{len(pod.proxies)} of {readable} proxies"
    return f"{_named(pod.pod, pod.server)} {pod.state} {since_text(pod.since, now)} at {proxies}: {pod.words}"


def _failure_text(failure: FailedConnection, now: datetime) -> str:
    pod = f"{_named(failure.pod, failure.server)}, " if failure.server else ""
    return f"failed at {at_text(failure.time, now)}: {failure.cause}; {pod}client {failure.client}"


def _named(pod: str | None, server: str) -> str:
    return f"{pod} ({server})" if pod else server


# Proxies


def _proxy_row(view: KanaryView, proxy: ProxyView, now: datetime) -> _Row:
    counts = (proxy.connections, proxy.failed)
    cells = [
        proxy.name,
        proxy.node or "-",
        _revision(proxy),
        "stopping" if proxy.stopping_since else "yes" if proxy.ready else "no",
        *("-" if count is None else str(count) for count in counts),
    ]
    notes = [(WARNING, problem) for problem in proxy.problems]
    if proxy.digest and not proxy.latest and not proxy.stopping_since:
        missing = "the latest endpoints" if proxy.revision == view.revision else f"revision {view.revision}"
        notes.append((WARNING, f"has not loaded {missing}"))
    if proxy.stopping_since:
        notes.append((MOVING, f"stopping {since_text(proxy.stopping_since, now)}"))
    if proxy.draining:
        notes.append((MOVING, f"{proxy.draining} former HAProxy processes serve connections from before a reload"))
    return _Row(_sign_of_proxy(proxy), cells, notes)


def _sign_of_proxy(proxy: ProxyView) -> Sign:
    if proxy.stopping_since:
        return MOVING
    if not proxy.ready:
        return BAD
    if proxy.unread:
        return UNKNOWN
    return GOOD if proxy.latest and not proxy.problems else WARNING


def _revision(proxy: ProxyView) -> str:
    if not proxy.digest:
        return "-"
    if proxy.revision is None:
        return f"digest {proxy.digest[:12]}"
    return str(proxy.revision)


# The history


def _entries(view: KanaryView, now: datetime, arrow: str) -> Iterator[str]:
    for entry in reversed(view.entries):
        if text := _entry_text(entry, arrow, view.message):
            yield f"{at_text(entry.at, now)} ({age_text(entry.at, now)} ago) {text}"


def _entry_text(entry: Entry, arrow: str, shown: str) -> str:
    """Empty for entries that others repeat, and for kinds of a newer version; `shown` is not repeated."""
    match entry:
        case PhaseChange() | RolloutChange():
            place = f"rollout {entry.rollout}, step {entry.step}: " if isinstance(entry, RolloutChange) else ""
            message = f": {entry.message}" if entry.message != shown else ""
            return f"{place}{entry.source} {arrow} {entry.to} ({entry.reason}){message}"
        case WeightChange():
            author = f" by {entry.author}" if entry.author else ""
            return f"revision {entry.revision}: {weights_text(weights_of(entry.after))}{author}: {entry.cause}"
    return ""
